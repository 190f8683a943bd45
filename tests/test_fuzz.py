"""Fuzzing in short, and the faults that it found, by name.  `python -m faults` does the whole of it."""

import ctypes
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import SMALL, Made, dsm
from faults import fuzz

from dsm_hpc import inputfile, status, tree
from dsm_hpc.errors import InputError
from dsm_hpc.storage import checkpoint, guard, reading, scan_list, sign_of_life


def test_every_case_ends_in_a_result_or_a_clear_error() -> None:
    counts = fuzz.campaign(seed=1, cases=300)
    assert counts.offending == []
    assert counts.total == 300
    for kind in ("yaml", "results", "checkpoint", "scan"):
        assert counts.refused[kind] > 0
    assert counts.accepted["results"] > 0
    assert counts.accepted["sign"] > 0


def test_a_case_is_the_same_again() -> None:
    for kind in ("yaml", "checkpoint", "sign"):
        assert fuzz.reproduce(kind, 3, 4) == fuzz.reproduce(kind, 3, 4)


# ---------------------------------------------------------------------------------------------- the guard


@pytest.fixture
def _no_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(guard.sys.modules, "mpi4py.MPI", raising=False)


def _loop() -> None:
    while True:
        pass


@pytest.mark.usefixtures("_no_mpi")
@pytest.mark.parametrize(
    "fatal",
    [os.abort, lambda: ctypes.string_at(0), _loop, lambda: bytearray(guard.ROOM + 1), lambda: os._exit(7)],
    ids=["abort", "segmentation fault", "loop", "memory", "exit"],
)
def test_what_kills_the_library_is_a_damaged_file(
    fatal: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "SECONDS", 1)
    with pytest.raises(InputError, match=r"x\.h5: damaged: the HDF5 library cannot read it"):
        guard.guarded(fatal, Path("x.h5"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("_no_mpi")
def test_the_guard_hands_on_results_and_errors() -> None:
    def refuse() -> None:
        raise InputError("x.h5: is not ours")

    def fail() -> None:
        raise AssertionError("a fault of the program")

    assert guard.guarded(lambda: (np.arange(3).sum(), os.getpid() != here), Path("x")) == (3, True)
    with pytest.raises(InputError, match="is not ours"):
        guard.guarded(refuse, Path("x"))
    with pytest.raises(AssertionError, match="of the program"):
        guard.guarded(fail, Path("x"))


here = os.getpid()


# ---------------------------------------------------------------------------------------------- inputs


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: !!python/object/apply:os.getcwd []", "tags are not allowed"),
        ("seed: !!int 0x" + "f" * 5000, "tags are not allowed"),
        ("seed: " + "9" * 4000, "an integer of 13288 bits"),
        (
            "schedule: {sweeps: 10, measurements: {kind: linear, every: " + "9" * 30 + "}}",
            "every: an integer",
        ),
        ('name: "\\ud800"', "has characters that are none"),
        ('"\\ud800": 1', "has characters that are none"),
        ("name: [" + "1, " * 600 + "1]", "more than 500 values"),
        ("name: " + "[" * 5000, "nested more than 32 deep"),
        ("network: {width: 010, depth: 2, fan_in: 2}", "network.width: '010' is not allowed"),
        ("scan: {dynamics.moves.²: [1]}", "dynamics.moves"),
        ("scan: {ensemble.samples: [100000], seed: [1, 2, 3, 4, 5, 6, 7, 8]}", "more than 2000000 walkers"),
        ("output: {checkpoint_every: 99999999999999 d}", "allowed are 1 ms to 10000 d"),
        ("output: {checkpoint_every: 0.0000001 ms}", "allowed are 1 ms to 10000 d"),
    ],
)
def test_inputs_that_were_a_traceback_or_took_long(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "MAX_VALUES", 500)
    path = tmp_path / "input.yaml"
    key = text.partition(":")[0]
    rest = {name: value for name, value in SMALL.items() if name != key}
    path.write_text(_yaml(rest) + text + "\n")
    began = time.process_time()
    with pytest.raises(InputError, match=said):
        inputfile.load(path)
    assert time.process_time() - began < 10


def _yaml(tree: dict[str, Any]) -> str:
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in tree.items())


def test_an_exponent_makes_a_number(make_input: Made) -> None:
    path = make_input()
    path.write_text(path.read_text() + "dynamics: {betas: [1.0e-3, 1e2, .5e0]}\n")
    assert inputfile.load(path).points[0].config.dynamics.betas == (0.001, 100.0, 0.5)


def test_a_list_is_not_numbered_by_other_digits(make_input: Made) -> None:
    path = make_input(dynamics__moves=[{"kind": "weight"}])
    for number in ("²", "9" * 5000, "-1"):
        with pytest.raises(InputError, match="is not the number of a list element"):
            inputfile.load(path, (f"dynamics.moves.{number}.step=1",))


# ---------------------------------------------------------------------------------------------- results files


@pytest.fixture
def results_file(tmp_path: Path) -> Path:
    path = tmp_path / "out.h5"
    path.write_bytes(fuzz.materials()[1].results)
    return path


def _external(file: h5py.File) -> None:
    os.mkfifo(Path(file.filename).with_name("fifo.h5"))
    del file["teacher"]
    file["teacher"] = h5py.ExternalLink("fifo.h5", "/")


def _soft(file: h5py.File) -> None:
    file.move("energy", "elsewhere")
    file["energy"] = h5py.SoftLink("/elsewhere")


def _attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def _axis(name: str, *values: float) -> Callable[[h5py.File], None]:
    return lambda file: file[name].write_direct(np.array(values, file[name].dtype))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_external, "the dataset teacher/q is missing"),
        (_soft, "the dataset energy is missing"),
        (_attribute("finished", 2), "`finished` is .*, not 0 or 1"),
        (_attribute("finished", h5py.Empty("i8")), "`finished` is .*, not 0 or 1"),
        (_attribute("format", np.zeros(3)), "has format"),
        (_attribute("provenance", "{}"), "has no list of resumes"),
        (_axis("beta", np.nan, np.inf), "the axis beta is nan, inf, not 0.5, inf"),
        (_axis("sample", 0, 2), "the axis sample is 0, 2, not 0, 1"),
        (_axis("layer", -1, 1), "the axis layer is"),
        (_axis("time", 0, 2, 5), "not sweeps from 0 to 4"),
        (_axis("waiting", 1), "not sweeps from 0 to 4"),
    ],
)
def test_results_files_that_were_believed(
    change: Callable[[h5py.File], None], said: str, results_file: Path
) -> None:
    with h5py.File(results_file, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=said):
        reading.read_header(results_file)


def test_data_are_read_where_they_stand(results_file: Path) -> None:
    header = reading.read_header(results_file)
    with h5py.File(results_file, "r") as file:
        for variable in header.layout.variables:
            values = reading.values(header, variable)
            np.testing.assert_array_equal(values, file[variable.name][()])
    os.truncate(results_file, 4000)
    with pytest.raises(InputError, match="truncated"):
        reading.values(header, header.layout.variables[-1])


@pytest.mark.usefixtures("_no_mpi")
def test_the_library_reads_a_file_in_a_child_only(
    results_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = h5py.File

    def watched(*words: Any, **options: Any) -> h5py.File:
        assert os.getpid() != here
        return real(*words, **options)

    monkeypatch.setattr(reading.h5py, "File", watched)
    assert reading.read_header(results_file).config.network.width == 5


def test_the_program_says_it_in_one_line(results_file: Path) -> None:
    data = bytearray(results_file.read_bytes())
    data[200:4000] = bytes(3800)
    results_file.write_bytes(data)
    done = dsm("status", results_file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"dsm: {results_file}: ")
    assert done.stderr.count("\n") == 1


# ---------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"remembered": 10**9}, "remembered is 1000000000: allowed are 0 to 1"),
        ({"remembered": -1}, "remembered is -1"),
        ({"measured": 10**400}, "measured is 1000"),
        ({"sweep": 5}, "sweep is 5: allowed are 0 to 4"),
        ({"sweep": "2"}, "the header is not run, config"),
        ({"config": 5}, "the header is not run, config"),
        ({"more": 5}, "the header is not run, config"),
        ({"burn_in": {}}, "burn_in is not that of the ladder"),
        ({"format_version": "1"}, "not a JSON object with a format_version"),
        ({"format_version": 2}, "is of a newer dsm_hpc"),
    ],
)
def test_a_right_digest_does_not_make_a_header_right(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        checkpoint.Checkpoint(_checkpoint(tmp_path, 0, change))


@pytest.mark.parametrize("burn_in", [None, {}, {"betas": ["1"], "before": [[0], [0]], "rounds": []}])
def test_a_tuned_ladder_needs_its_burn_in(burn_in: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="burn_in is not that of the ladder"):
        checkpoint.Checkpoint(_checkpoint(tmp_path, 2, {"burn_in": burn_in}))
    assert checkpoint.Checkpoint(_checkpoint(tmp_path, 2, {})).moment.burn_in


@pytest.mark.parametrize("header", [b"", b"[]", b"{", b"\xff", b"[" * 10_000])
def test_a_header_that_is_no_header(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "out.h5.checkpoint"
    path.write_bytes(fuzz._sealed(header, b""))
    with pytest.raises(InputError, match="not a JSON object with a format_version"):
        checkpoint.Checkpoint(path)


def _checkpoint(folder: Path, material: int, change: dict[str, Any]) -> Path:
    """A checkpoint with some words of its header changed, and the right digest."""
    data = fuzz.materials()[material].checkpoint
    start = checkpoint._PREFIX + int.from_bytes(data[fuzz._MAGIC : fuzz._MAGIC + 8], "little")
    told = json.loads(data[checkpoint._PREFIX : start]) | change
    path = folder / "out.h5.checkpoint"
    path.write_bytes(fuzz._sealed(json.dumps(told).encode(), data[start:]))
    return path


# ---------------------------------------------------------------------------------------------- small files


@pytest.mark.parametrize(
    "change",
    [
        {"errors": {"planted": "x"}},
        {"errors": {"planted": float("nan")}},
        {"sweep": 10**400},
        {"rate": float("inf")},
        {"rate": float("nan")},
        {"ranks": True},
        {"host": "\ud800"},
    ],
)
def test_a_sign_of_life_that_cannot_be_told(change: dict[str, Any], results_file: Path) -> None:
    told = json.loads(fuzz.materials()[1].sign)
    sign = results_file.with_name("out.h5.progress")
    sign.write_text(json.dumps(told))
    assert asdict(sign_of_life.last(results_file))["sweep"] == 2  # type: ignore[call-overload]
    sign.write_text(json.dumps(told | change))
    assert sign_of_life.last(results_file) is None
    assert "interrupted" in status.in_words(status.of(results_file))


_POINT = {"values": {"seed": 5}, "config": "x"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": []}, "0 points: a scan has 1 to 10000"),
        ({"points": "ab"}, "points, input or overrides are missing"),
        ({"overrides": "ab"}, "points, input or overrides are missing"),
        ({"points": [_POINT | {"values": {"../x": 1}}]}, "a point is not a mapping"),
        ({"points": [_POINT | {"values": {}}]}, "a point is not a mapping"),
        ({"points": [_POINT | {"config": 5}]}, "a point is not a mapping"),
    ],
)
def test_a_list_of_points_that_was_believed(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / scan_list.NAME).write_text(json.dumps(json.loads(fuzz._scan_told()) | change))
    with pytest.raises(InputError, match=said):
        scan_list.read(tmp_path)


def test_points_have_files_of_their_own(tmp_path: Path) -> None:
    told = json.loads(fuzz._scan_told())
    for values in ({"seed": "x" * 300}, told["points"][1]["values"]):
        told["points"][0]["values"] = values
        (tmp_path / scan_list.NAME).write_text(json.dumps(told))
        with pytest.raises(InputError, match="no file names of their own"):
            scan_list.read(tmp_path)
