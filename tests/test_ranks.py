"""Promise 1: the same bytes for any number of ranks and either writer; promise 4: no rank is left waiting."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from conftest import SMALL, Made, changed, datasets, dsm

pytestmark = pytest.mark.mpi

MACHINES: dict[str, dict[str, Any]] = {
    "sparse": {},
    "fully connected": {"network__fan_in": "all", "network__width": 6, "dynamics__moves": "paper"},
    "ising at three temperatures": {"network__weights": "ising", "dynamics__betas": [float("inf"), 1.5, 0.0]},
}

WRITERS = ("mpio", "gather") if h5py.get_config().mpi else ("gather",)


@pytest.fixture(params=MACHINES, scope="module")
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An input file and the results of one process on it."""
    folder = tmp_path_factory.mktemp("reference")
    changes = {key.replace("__", "."): value for key, value in MACHINES[request.param].items()}
    source, results = folder / "input.yaml", folder / "one.h5"
    source.write_text(yaml.safe_dump(changed(SMALL, changes)))
    done = dsm("run", source, "-o", results, "--set", "output.mode=gather")
    assert done.returncode == 0, done.stderr
    return source, results


@pytest.mark.parametrize(
    ("ranks", "writer"),
    [(1, WRITERS[0]), (2, WRITERS[-1]), (3, WRITERS[0]), (5, WRITERS[0]), (5, WRITERS[-1])],
)
def test_same_bytes_for_any_ranks_and_writer(
    reference: tuple[Path, Path], ranks: int, writer: str, tmp_path: Path
) -> None:
    source, one = reference
    many = tmp_path / "many.h5"
    done = dsm("run", source, "-o", many, "--set", f"output.mode={writer}", ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert datasets(many) == datasets(one)
    with h5py.File(many) as file:
        assert file.attrs["finished"] == 1
        origin = json.loads(file.attrs["provenance"])
    assert (origin["ranks"], origin["writer"]) == (ranks, writer)


def test_another_seed_gives_other_bytes(reference: tuple[Path, Path], tmp_path: Path) -> None:
    """The comparison above can fail."""
    source, one = reference
    dsm("run", source, "-o", tmp_path / "other.h5", "--set", "seed=4")
    other = datasets(tmp_path / "other.h5")
    assert other.keys() == datasets(one).keys()
    assert all(other[name] != datasets(one)[name] for name in ("teacher/q", "clones/q", "energy"))


def test_every_measurement_is_there(reference: tuple[Path, Path]) -> None:
    """No NaN but where nothing can be measured: acceptance at t = 0, autocorrelation before t_w."""
    with h5py.File(reference[1]) as file:
        times, waits = file["time"][:], file["waiting"][:]
        for name in (
            "energy",
            "test_error",
            "teacher/q",
            "teacher/r_test_aligned",
            "clones/r",
            "loops/correlation",
        ):
            assert np.isfinite(file[name][()]).all(), name
        assert np.isnan(file["acceptance"][..., 0, :]).all()
        assert np.isfinite(file["acceptance"][..., 1:, :]).all()
        correlation = file["autocorrelation/q"][()]
        assert (np.isfinite(correlation[..., 0]) == (times >= waits[:, None])).all()


def test_more_ranks_than_walkers_is_said(make_input: Made, tmp_path: Path) -> None:
    source = make_input(ensemble__samples=1, ensemble__clones=1)
    done = dsm("run", source, "-o", tmp_path / "x.h5", ranks=3)
    assert done.returncode == 2
    assert done.stderr.count("3 ranks for 2 walkers") == 1
    assert not (tmp_path / "x.h5").exists()


def test_a_scan_starts_only_if_all_its_points_can(make_input: Made, tmp_path: Path) -> None:
    source = make_input(scan={"ensemble.samples": [3, 1]}, ensemble__clones=1, ensemble__starts=["planted"])
    done = dsm("run", source, "-o", tmp_path / "scan", ranks=2)
    assert done.returncode == 2
    assert done.stderr.count("2 ranks for 1 walkers") == 1
    assert not (tmp_path / "scan").exists()


def test_usage_errors_are_said_once() -> None:
    done = dsm("run", "--bogus", ranks=3)
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1


@pytest.mark.parametrize("writer", WRITERS)
def test_ranks_of_different_size_write_together(make_input: Made, tmp_path: Path, writer: str) -> None:
    """Buffers that fill up during the run, on ranks with 4, 4 and 5 walkers: as one process writes."""
    changes = {"ensemble": {"samples": 13, "clones": 1, "starts": ["random"]}}
    source = make_input(schedule={"sweeps": 30, "measurements": {"kind": "linear", "every": 1}}, **changes)
    words = ["run", source, "--set", f"output.mode={writer}", "-o"]
    assert dsm(*words, tmp_path / "one.h5").returncode == 0
    code = (
        "import sys; from dsm_hpc import cli, measurement; measurement.BUFFER_BYTES = 20_000; "
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    command = ["mpirun", "-n", "3", sys.executable, "-c", code, *map(str, words), str(tmp_path / "many.h5")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=dict(os.environ), stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert datasets(tmp_path / "many.h5") == datasets(tmp_path / "one.h5")


def test_bad_input_gives_one_message_from_all_ranks(make_input: Made, tmp_path: Path) -> None:
    done = dsm("run", make_input(network__fan_in=10), "-o", tmp_path / "x.h5", ranks=3)
    assert done.returncode == 2
    assert done.stderr.count("fan_in = 10") == 1


def test_existing_output_is_kept_and_said_once(make_input: Made, tmp_path: Path) -> None:
    out = tmp_path / "x.h5"
    out.write_text("precious")
    done = dsm("run", make_input(), "-o", out, ranks=2)
    assert done.returncode == 2
    assert done.stderr.count("exists already; give --overwrite") == 1
    assert out.read_text() == "precious"


def test_what_one_rank_finds_wrong_is_said_once(make_input: Made, tmp_path: Path) -> None:
    """A bad value in the user's inputs, found while the samples are drawn: no hang, exit 2, no file."""
    rows = np.ones((170, 9), np.int8)
    rows[:, 0] = 2
    np.save(tmp_path / "rows.npy", rows)
    source = make_input(patterns__inputs={"kind": "file", "path": str(tmp_path / "rows.npy")})
    done = dsm("run", source, "-o", tmp_path / "x.h5", ranks=2, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("allowed are -1 and 1") == 1
    assert not (tmp_path / "x.h5").exists()


FAILING_RANK = """
import sys
from dsm_hpc import cli
from dsm_hpc.sampling.walker import Walker

def advance(self, start, stop):
    if self.key.sample == 2:
        raise RuntimeError("a bug on the rank of sample 2")

Walker.advance = advance
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("writer", WRITERS)
def test_an_exception_on_one_rank_ends_all(make_input: Made, tmp_path: Path, writer: str) -> None:
    """No hang, exit 3, the traceback once."""
    words = ["run", make_input(), "-o", tmp_path / "x.h5", "--set", f"output.mode={writer}"]
    command = ["mpirun", "-n", "3", sys.executable, "-c", FAILING_RANK, *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=dict(os.environ), stdin=subprocess.DEVNULL
    )
    assert done.returncode == 3
    assert done.stderr.count("RuntimeError: a bug on the rank of sample 2") == 1
    assert "rank 2 failed; all ranks stop" in done.stderr
