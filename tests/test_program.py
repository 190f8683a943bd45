"""The program from outside: verbs, exit codes, what is left on disk, announced against used memory."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
import yaml
from conftest import SMALL, Made, datasets, dsm

from dsm_hpc import cli

HERE = Path(__file__).resolve().parents[1]


@pytest.fixture
def results(make_input: Made, tmp_path: Path) -> Path:
    """A finished results file of the small input, made in this process."""
    path = tmp_path / "small.h5"
    assert cli.main(["run", str(make_input()), "-o", str(path)]) == 0
    return path


def test_validate_prints_the_resolved_configuration_and_the_cost(
    make_input: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["validate", str(make_input()), "--set", "network.depth=2", "--ranks", "4"]) == 0
    printed = capsys.readouterr().out
    head, _, costs = printed.partition("\n\n")
    assert yaml.safe_load(head)["network"] == {"width": 9, "depth": 2, "fan_in": 4, "weights": "gaussian"}
    assert "18 = 3 samples x 2 starts x 3 clones x 1 betas" in costs
    assert re.search(r"memory per rank: .* MiB on 4 ranks", costs)
    assert "results file:" in costs


def test_validate_starts_no_mpi(make_input: Made) -> None:
    code = (
        "import sys; from dsm_hpc import cli; cli.main(sys.argv[1:]); sys.exit('mpi4py.MPI' in sys.modules)"
    )
    words = [sys.executable, "-c", code, "validate", str(make_input())]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_validate_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Config"


INPUTS = sorted(path for path in (HERE / "inputs").glob("*.yaml") if not path.name.startswith("manifold_"))
"""Of the main job; test_manifold_program.py has the others."""


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name)
def test_shipped_inputs_are_valid(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", str(path)]) == 0
    assert "memory per rank" in capsys.readouterr().out


def test_results_file_follows_the_contract(results: Path, make_input: Made) -> None:
    """Root attributes, and axes with their coordinates, as xarray sees them."""
    with h5py.File(results) as file:
        assert file.attrs["format"] == "dsm-hpc"
        assert file.attrs["format_version"] == 1
        assert file.attrs["finished"] == 1
        assert yaml.safe_load(file.attrs["config"]) == SMALL
        assert yaml.safe_load(file.attrs["config_resolved"])["ensemble"]["starts"] == ["planted", "random"]
        origin = json.loads(file.attrs["provenance"])
    assert {
        "program",
        "git_revision",
        "libraries",
        "mpi",
        "hdf5",
        "hosts",
        "ranks",
        "seed",
        "start",
    } <= origin.keys()
    assert origin["end"] >= origin["start"]
    with xr.open_dataset(results, engine="h5netcdf", group="teacher") as teacher:
        assert teacher["q_aligned"].dims == ("sample", "start", "clone", "beta", "time", "layer")
    with xr.open_datatree(results, engine="h5netcdf") as tree:
        assert tree["clones/r"].dims == ("sample", "start", "pair", "beta", "time", "layer")
        assert tree["clones"].coords["pair"].values.tolist() == ["0-1", "0-2", "1-2"]
        assert tree["teacher"].coords["layer"].values.tolist() == [1, 2, 3]
        assert tree["energy"].attrs["long_name"].startswith("wrong output bits")


def test_overlaps_keep_their_bounds_and_starts(results: Path) -> None:
    """|q|, |r| <= 1; the planted start begins as its teacher; E of it is 0 throughout (greedy)."""
    with xr.open_datatree(results, engine="h5netcdf") as tree:
        for name in ("teacher/q", "teacher/r_test_aligned", "clones/q", "autocorrelation/r"):
            values = tree[name].values
            assert np.nanmax(np.abs(values)) <= 1 + 1e-12, name
        planted = tree["teacher"].ds.sel(start="planted").isel(time=0)
        assert all((planted[name] == 1).all() for name in ("q", "r", "r_test", "q_aligned"))
        assert (tree["energy"].sel(start="planted") == 0).all()
        random = tree["energy"].sel(start="random").values
        assert (np.diff(random, axis=-1) <= 0).all()
        test_error = (1 - tree["teacher/r_test"].isel(layer=-1)) / 2
        assert np.allclose(tree["test_error"], test_error, atol=1e-12)


def test_autocorrelation_is_one_at_its_waiting_time(results: Path) -> None:
    with xr.open_datatree(results, engine="h5netcdf") as tree:
        for wait in tree["waiting"].values:
            at_once = tree["autocorrelation"].ds.sel(waiting=wait, time=wait)
            assert all((at_once[name] == 1).all() for name in ("q", "r", "q_aligned", "r_aligned"))
        # The first waiting time of a planted start is the teacher itself.
        planted = {"start": "planted"}
        assert (tree["autocorrelation/q"].sel(waiting=0, **planted) == tree["teacher/q"].sel(**planted)).all()


def test_scan_writes_one_file_per_point(make_input: Made, tmp_path: Path) -> None:
    source = make_input(scan={"network.depth": [1, 2], "patterns.inputs": [{"kind": "iid"}]})
    assert cli.main(["run", str(source), "-o", str(tmp_path / "scan")]) == 0
    files = sorted((tmp_path / "scan").glob("*.h5"))
    assert [path.name for path in files] == ["depth=1,inputs=kind-iid.h5", "depth=2,inputs=kind-iid.h5"]
    with h5py.File(files[1]) as file:
        assert json.loads(file.attrs["point"])["network.depth"] == 2
        assert len(file["layer"]) == 2
    assert cli.main(["run", str(source), "-o", str(tmp_path / "scan")]) == 2


def test_a_point_of_a_scan_equals_the_single_run(make_input: Made, tmp_path: Path) -> None:
    source = make_input(scan={"network.depth": [2]})
    cli.main(["run", str(source), "-o", str(tmp_path / "scan")])
    cli.main(["run", str(make_input("one.yaml")), "-o", str(tmp_path / "one.h5"), "--set", "network.depth=2"])
    assert datasets(tmp_path / "scan" / "depth=2.h5") == datasets(tmp_path / "one.h5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "missing.yaml", "-o", "x.h5"], "missing.yaml: cannot be read: No such file"),
        (["run", "{input}", "-o", "{tmp}/none/x.h5"], "there is no folder"),
        (["run", "{input}", "-o", "{tmp}"], "exists already"),
        (["run", "{input}", "-o", "{tmp}", "--overwrite"], "is a folder; give the name of a file"),
        (["run", "{input}", "-o", "{tmp}/x.h5", "--set", "patterns={{train: 10000000}}",
          "--set", "network.width=50000"], "network, patterns: one student needs"),
        (["run", "{input}", "-o", "{input}", "--overwrite"], "is not a results file"),
        (["run", "{input}", "-o", "{tmp}/" + 300 * "a"], "cannot be written: File name too long"),
        (["run", "{input}", "-o", "{tmp}/x.h5", "--set", "ensemble.samples=50000", "--set",
          "schedule={{sweeps: 1000000, measurements: {{kind: linear, every: 1}}}}"], "MiB left"),
        (["validate"], "give an input file, or --schema"),
    ],
)  # fmt: skip
def test_bad_usage_exits_with_2_and_touches_nothing(
    words: list[str], message: str, make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_input()
    before = sorted(tmp_path.iterdir())
    assert cli.main([word.format(input=source, tmp=tmp_path) for word in words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_overwrite_replaces_in_one_step(results: Path, make_input: Made) -> None:
    first = datasets(results)
    mode = results.stat().st_mode
    assert cli.main(["run", str(make_input()), "-o", str(results), "--set", "seed=5", "--overwrite"]) == 0
    assert datasets(results)["energy"] != first["energy"]
    assert results.stat().st_mode == mode
    assert stat.S_IMODE(mode) & 0o400
    assert [path.name for path in results.parent.iterdir() if path.suffix == ".tmp"] == []


def test_version_says_how_the_kernels_were_built() -> None:
    done = dsm("--version")
    assert done.returncode == 0
    assert re.search(r"kernels: (avx512|avx2|generic) \(possible here: .*generic; DSM_SIMD", done.stdout)
    assert re.search(r"the rest: march \S+ \(-O3 ", done.stdout)
    assert "parallel:" in done.stdout


def test_unexpected_errors_exit_with_3(
    make_input: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("dsm_hpc.sampling.walker.Walker.advance", fail)
    assert cli.main(["run", str(make_input()), "-o", str(tmp_path / "x.h5")]) == 3
    assert "RuntimeError: a bug" in capsys.readouterr().err


def test_a_batch_log_has_plain_lines_with_rate_and_error(make_input: Made, tmp_path: Path) -> None:
    done = dsm("run", make_input(), "-o", tmp_path / "x.h5")
    assert re.search(r"small: 18 walkers on 1 rank, 20 sweeps of 108 proposals", done.stderr)
    assert re.search(
        r"small: done in \d\d:\d\d:\d\d, \S+ proposals/s  training error planted 0.0000, random", done.stderr
    )
    assert "\r" not in done.stderr


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"width": 60, "depth": 2, "fan_in": 10}, "patterns": {"train": 60_000, "test": 5000}},
        {"network": {"width": 700, "depth": 5, "fan_in": "all"}, "patterns": {"train": 1500, "test": 500}},
        {"network": {"width": 3000, "depth": 4, "fan_in": 20}, "patterns": {"train": 900, "test": 500}},
        {
            "network": {"width": 10, "depth": 2, "fan_in": 3},
            "patterns": {"train": 10, "test": 10},
            "ensemble": {"samples": 4000, "starts": ["planted"], "clones": 2},
        },
        {
            "network": {"width": 1000, "depth": 2, "fan_in": 3},
            "patterns": {
                "train": 1000,
                "test": 100,
                "inputs": {"kind": "hidden_manifold", "dimension": 20000},
            },
        },
    ],
    ids=["many patterns", "fully connected", "large", "many walkers", "manifold"],
)
def test_announced_memory_is_right_within_20_percent(make_input: Made, tmp_path: Path, changes: dict) -> None:  # type: ignore[type-arg]
    """Peak resident memory of a rank against `dsm validate`.

    VmHWM, not ru_maxrss: the latter starts with the size of the process that started it.
    """
    single = {"samples": 1, "starts": ["planted"], "clones": 2}
    source = make_input(**({"ensemble": single, "schedule": {"sweeps": 0}} | changes))
    printed = dsm("validate", source).stdout
    number, unit = re.search(r"memory per rank: ([0-9.]+) (MiB|GiB)", printed).groups()  # type: ignore[union-attr]
    announced = float(number) * {"MiB": 1, "GiB": 1024}[unit]
    code = (
        "import re, sys; from dsm_hpc import cli; cli.main(sys.argv[1:]); "
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024)"
    )
    words = [sys.executable, "-c", code, "run", str(source), "-o", str(tmp_path / "x.h5")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
    used = float(done.stdout.split()[-1])
    assert abs(announced / used - 1) < 0.2, f"announced {announced:.0f} MiB, used {used:.0f} MiB"


def test_others_may_read_while_the_run_goes_on(
    make_input: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that holds the file (with HDF5's default lock) neither fails nor stops the run."""
    from dsm_hpc.sampling.walker import Walker

    path, advance = tmp_path / "x.h5", Walker.advance
    seen: list[Any] = []

    reader = (
        "import h5py, numpy, sys; file = h5py.File(sys.argv[1]); "
        "print(numpy.isfinite(file['energy'][..., 0]).all(), flush=True); sys.stdin.read()"
    )

    def look(self: Walker, start: int, stop: int) -> None:
        if not seen:
            command = [sys.executable, "-c", reader, str(path)]
            seen.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            seen.append(seen[0].stdout.readline().strip())
        advance(self, start, stop)

    monkeypatch.setattr(Walker, "advance", look)
    assert cli.main(["run", str(make_input()), "-o", str(path)]) == 0
    seen[0].communicate()
    assert seen[1] == "True"
    with h5py.File(path) as file:
        assert file.attrs["finished"] == 1


@pytest.mark.mpi
def test_job_script_for_pbs_runs_as_it_is(make_input: Made, tmp_path: Path) -> None:
    """Without PBS: variables as qsub -v sets them, and a node file of two ranks on this host."""
    nodes = tmp_path / "nodes"
    nodes.write_text("localhost\nlocalhost\n")
    variables = {"INPUT": str(make_input()), "OUTPUT": str(tmp_path / "x.h5"), "PBS_NODEFILE": str(nodes)}
    done = subprocess.run(
        ["bash", "jobs/pbs.sh"],
        cwd=HERE,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "x.h5") as file:
        assert file.attrs["finished"] == 1
        assert json.loads(file.attrs["provenance"])["ranks"] == 2
