"""`dsm manifold` from outside: ranks, interruptions, files, figures, and what it says of wrong input."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
import yaml
from conftest import changed, datasets, dsm, stopping

from dsm_hpc import cli
from dsm_hpc.manifold import storage
from dsm_hpc.manifold.inputfile import load, parse_resolved
from dsm_hpc.manifold.plotting import curves

DONE, BAD_INPUT, STOPPED = 0, 2, 75
INPUTS = Path(__file__).parents[1] / "inputs"

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 5,
    "data": {"width": 60, "dimension": 12},
    "learning": {"rates": [0.1, 0.3], "repetitions": 2},
    "schedule": {"t_max": 8, "measurements": {"kind": "log", "first": 0.1, "count": 6}, "test_inputs": 200},
    "gep": {"functions": ["sgn"], "widths": [20, 40], "inputs": 10_000, "trained_until": 1},
    "scan": {"networks.student": [2, 3]},
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "input.yaml"
    path.write_text(yaml.safe_dump(changed(SMALL, {k.replace("__", "."): v for k, v in changes.items()})))
    return path


def manifold(what: str, source: Path, output: Path, *words: str) -> int:
    return cli.main(["manifold", what, str(source), "-o", str(output), *words])


@pytest.mark.mpi
def test_the_same_bytes_on_any_number_of_ranks(source: Path, tmp_path: Path) -> None:
    one, many = tmp_path / "one.h5", tmp_path / "many.h5"
    assert manifold("online", source, one) == DONE
    done = dsm("manifold", "online", source, "-o", many, ranks=3)
    assert done.returncode == DONE, done.stderr
    assert done.stdout.count("4 cases, 2 repetitions") == 1
    assert datasets(many) == datasets(one)


def test_the_number_of_threads_of_blas_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, scan=None, data={"width": 1000, "dimension": 100}, schedule__t_max=1)
    for threads in ("1", "2"):
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
        done = dsm("manifold", "ode", source, "-o", tmp_path / f"{threads}.h5")
        assert done.returncode == DONE, done.stderr
    assert datasets(tmp_path / "1.h5") == datasets(tmp_path / "2.h5")


@pytest.mark.mpi
def test_stopped_again_and_again_and_resumed_on_other_ranks(source: Path, tmp_path: Path) -> None:
    one, many, stops = tmp_path / "one.h5", tmp_path / "many.h5", 0
    assert manifold("online", source, one) == DONE
    with stopping(2):
        assert manifold("online", source, many) == STOPPED
    while stops < 4:
        stops += 1
        with stopping(stops):
            assert cli.main(["resume", str(many)]) == STOPPED
    kept = storage.read(many)
    assert kept.states
    assert 0 < kept.measured.sum() < 8 * 7
    done = dsm("resume", many, ranks=2)
    assert done.returncode == DONE, done.stderr
    assert datasets(many) == datasets(one)
    with h5py.File(many) as file:
        assert (file.attrs["finished"], "state" in file) == (1, False)
        assert len(json.loads(file.attrs["provenance"])["resumes"]) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input.yaml", "many.h5", "one.h5"]
    assert cli.main(["resume", str(many)]) == DONE


def test_a_damaged_file_is_not_resumed(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.h5"
    with stopping(3):
        assert manifold("online", source, path) == STOPPED
    with h5py.File(path, "r+") as file:
        run = next(name for name in file["state"] if name != "measured")
        file[f"state/{run}/w"][0, 0] += 1
    assert cli.main(["resume", str(path)]) == BAD_INPUT
    assert f"{path}: damaged: its numbers do not have their digest" in capsys.readouterr().err


def test_xarray_opens_the_file(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    assert manifold("online", source, path) == DONE
    with xr.open_dataset(path, engine="h5netcdf") as data:
        assert dict(data.sizes) == {
            "case": 4,
            "repetition": 2,
            "measurement": 7,
            "k": 3,
            "l": 3,
            "m": 2,
            "n": 2,
        }
        assert data["case"].values.tolist() == [
            "K=2, eta=0.1",
            "K=2, eta=0.3",
            "K=3, eta=0.1",
            "K=3, eta=0.3",
        ]
        assert data["t"].sel(case="K=2, eta=0.1").values[[0, -1]].tolist() == [0, 8]
        assert data["eta"].values.tolist() == [0.1, 0.3, 0.1, 0.3]
        assert np.isnan(data["R"].sel(case="K=2, eta=0.1", k=3)).all()
        assert not np.isnan(data["R"].sel(case="K=3, eta=0.1")).any()
        gap = data["test_error"] - data["error"]
        assert float((abs(gap) / data["test_error_se"]).max()) < 5
        # Paired: cases of a repetition start from the same student.
        first = data["error"].sel(measurement=0)
        assert (first[0] == first[1]).all()
        with xr.open_dataset(path, engine="h5netcdf", group="equations") as solved:
            np.testing.assert_allclose(solved["error"][:, :, 0], first)
    with h5py.File(path) as file:
        assert (file.attrs["format"], file.attrs["format_version"]) == ("dsm-hpc-manifold", 1)
        assert file.attrs["config"] == source.read_text()
        assert list(yaml.safe_load(file.attrs["config_resolved"])) == [
            "K=2, eta=0.1",
            "K=2, eta=0.3",
            "K=3, eta=0.1",
            "K=3, eta=0.3",
        ]


def test_the_equations_start_where_a_run_started(source: Path, tmp_path: Path) -> None:
    run, again = tmp_path / "x.h5", tmp_path / "ode.h5"
    assert manifold("online", source, run) == DONE
    assert manifold("ode", run, again) == DONE
    with h5py.File(run) as first, h5py.File(again) as second:
        for name, values in first["equations"].items():
            np.testing.assert_array_equal(values[()], second["equations"][name][()])
    assert manifold("ode", run, again, "--set", "ode.start=limit", "--overwrite") == DONE
    limit = curves(storage.read(again), 0, "equations/")
    assert limit is not None
    np.testing.assert_allclose(limit.R[0, 0], 0.01 * np.eye(2))


def test_the_bar_of_the_issue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, results = write(tmp_path, learning__rates=[0.2], scan=None), tmp_path / "m.h5"
    assert manifold("online", source, results) == DONE
    assert plot(results, tmp_path / "m.png") == DONE
    text = capsys.readouterr().out
    assert "largest relative gap between simulation and equations for t >= 1: " in text
    said = float(text.partition("t >= 1: ")[2].partition("%")[0]) / 100
    with h5py.File(results) as file:
        late = file["t"][0] >= 1
        simulated, solved = (file[name][0].mean(axis=0)[late] for name in ("error", "equations/error"))
    assert said == pytest.approx(abs(simulated / solved - 1).max(), abs=1e-3)


def plot(*paths: Path) -> int:
    *results, output = map(str, paths)
    return cli.main(["plot", *results, "--kind", "manifold", "-o", output])


@pytest.mark.parametrize(
    "changes",
    [
        {"scan": {"data.scenario": ["latent_teacher", "iid"]}, "learning__rates": [0.2]},
        {
            "scan": [{"networks.student": [1, 2, 3]}, {"data.dimension": [6, 12, 24]}],
            "learning__rates": [0.2],
        },
        {"scan": None, "learning__rates": [0.2], "networks": {"student": 3, "teacher": 3}},
        {"scan": None, "networks": {"g": "relu"}},
    ],
)
def test_every_figure(changes: dict[str, Any], tmp_path: Path) -> None:
    source, results = write(tmp_path, **changes, schedule__t_max=2), tmp_path / "m.h5"
    assert manifold("online", source, results) == DONE
    assert plot(results, tmp_path / "m.png") == DONE
    assert (tmp_path / "m.png").read_bytes()[:4] == b"\x89PNG"


def test_several_files_and_unfinished_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path, scan=None, learning__rates=[0.2])
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    assert manifold("ode", source, one) == DONE
    with stopping(3):
        assert manifold("online", source, two) == STOPPED
    assert plot(one, two, tmp_path / "m.svg") == DONE
    text = capsys.readouterr().out
    assert "one: latent teacher: eps_g" in text
    assert "two: latent teacher: eps_g" in text


def test_gep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, results = write(tmp_path, scan=None, learning__rates=[0.2]), tmp_path / "g.h5"
    assert manifold("gep", source, results) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["f", "N", "D", "student"]
    assert [line.split()[:4] for line in lines[2:6]] == [
        ["sgn", width, dimension, student]
        for width, dimension in (("20", "4"), ("40", "8"))
        for student in ("independent", "trained")
    ]
    with xr.open_dataset(results, engine="h5netcdf") as data:
        assert dict(data.sizes) == {"row": 4, "field": 4, "field_too": 4}
        z = (data["mean"] / data["mean_error"]).values
        assert np.abs(z).max() < 5
    assert plot(results, tmp_path / "g.png") == DONE


@pytest.mark.parametrize("path", sorted(INPUTS.glob("manifold_*.yaml")), ids=lambda path: path.stem)
def test_shipped_inputs_are_valid(path: Path) -> None:
    job = load(path)
    assert parse_resolved(job.text, (), job.as_yaml(), "test") == job
    assert f"inputs/{path.name}" in job.text  # the command that shows it


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data.width=0", "data.width: 0 is not allowed"),
        ("data.f=spam", "f = spam: is not known: allowed are sgn, erf, relu, linear"),
        ("data.wide=3", "data.wide: unknown key; did you mean data.width?"),
        ("data.spam=3", "data.spam: unknown key; allowed here are scenario, f, width, dimension"),
        ("schedule.measurements.kind=odd", "'odd' is not known: allowed are log, linear"),
        ("data.scenario=spam", "data.scenario: 'spam' is not allowed"),
        ("networks.g=relu", "ode: networks.g = relu has no equations of motion"),
        ("scan={learning.repetitions: [1, 2]}", "scan.learning.repetitions: is the same for all cases"),
        ("scan=3", "scan: give key paths and lists"),
        ("scan={data.width: 3}", "scan.data.width: 3 is not a list"),
        ("spam", "--set spam: give key=value"),
    ],
)
def test_what_is_wrong_is_said(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path, scan=None, ode={})
    assert manifold("online", source, tmp_path / "x.h5", "--set", words) == BAD_INPUT
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x.h5").exists()


def test_what_is_there_is_kept(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.h5"
    path.write_text("mine")
    for words in ([], ["--overwrite"]):
        assert manifold("online", source, path, *words) == BAD_INPUT
        assert path.read_text() == "mine"
    path.unlink()
    assert manifold("ode", source, path) == DONE
    before = path.read_bytes()
    assert manifold("ode", source, path) == BAD_INPUT
    assert "exists already" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert cli.main(["plot", str(source), "--kind", "manifold", "-o", str(tmp_path / "m.png")]) == BAD_INPUT
    assert cli.main(["plot", str(path), "--kind", "profile", "-o", str(tmp_path / "m.png")]) == BAD_INPUT
    assert manifold("ode", source, tmp_path / "g.h5", "--walltime", "01:00:00") == BAD_INPUT
    assert "--walltime: is for online" in capsys.readouterr().err
    assert manifold("gep", source, tmp_path / "g.h5") == BAD_INPUT
    assert "gep: has one case, the input 4" in capsys.readouterr().err


def test_status_and_validate_know_these_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(__file__).resolve().parents[1] / "inputs" / "manifold_quickstart.yaml"
    path = tmp_path / "m.h5"
    short = ["--set", "schedule.t_max=2", "--set", "data.width=60", "--set", "data.dimension=12"]
    assert cli.main(["validate", str(source), *short]) == 0
    assert "4 = 1 cases x 4 repetitions" in capsys.readouterr().out
    assert cli.main(["manifold", "online", str(source), "-o", str(path), *short]) == 0
    capsys.readouterr()
    assert cli.main(["status", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: finished, 480 updates\n"
