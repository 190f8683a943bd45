"""Promises 1 and 2: any pattern of interruptions and resumes ends with the same bytes; nothing is lost."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from conftest import Made, datasets, dsm, stopping

from dsm_hpc import cli
from dsm_hpc.ensemble import WalkerKey
from dsm_hpc.parallel.stopping import SLURM_END, TEAR_DOWN, Deadline
from dsm_hpc.storage import results
from dsm_hpc.storage.checkpoint import MAGIC, Checkpoint, Damaged, newest, older
from dsm_hpc.storage.reading import read_header
from dsm_hpc.watch import Watch

STOPPED, BAD_INPUT, FAILED = 75, 2, 3

TEMPERED = {
    "betas": {"ladder": "adaptive", "hot": 0.3, "cold": float("inf"), "count": 3, "burn_in": 64},
    "exchange_every": 3,
}
MACHINES: dict[str, dict[str, Any]] = {
    "sparse": {},
    "fully connected ising": {"network__fan_in": "all", "network__width": 6, "network__weights": "ising"},
    "mixed moves": {"dynamics": {"moves": [{"kind": "billiard", "share": 2.0}, {"kind": "weight"}]}},
    "annealed": {"dynamics": {"anneal": {"from": 0.5, "sweeps": 13}}},
    "adaptive ladder": {"dynamics": TEMPERED},
    "linear times": {"schedule": {"sweeps": 20, "measurements": {"kind": "linear", "every": 3}}},
}


def run(source: Path, path: Path, *words: str) -> int:
    return cli.main(["run", str(source), "-o", str(path), *words])


def resume(results: Path, *words: str) -> int:
    return cli.main(["resume", str(results), *words])


def stopped_run(source: Path, results: Path, look: int) -> None:
    with stopping(look):
        assert run(source, results) == STOPPED


def flip_bit(path: Path, place: int) -> None:
    """Place counts from the end if it is negative."""
    with path.open("r+b") as file:
        file.seek(place, 2 if place < 0 else 0)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 16]))


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest, make_input: Made) -> Path:
    return make_input(**MACHINES[request.param])


def test_stopped_at_every_look_up_and_resumed(machine: Path, tmp_path: Path) -> None:
    """The hardest pattern: each process moves on by one turn, then stops with a checkpoint."""
    assert run(machine, tmp_path / "one.h5") == 0
    many, stops = tmp_path / "many.h5", 0
    with stopping(1):
        code = run(machine, many)
    while code == STOPPED:
        stops += 1
        with stopping(1 + stops % 2):
            code = resume(many)
    assert code == 0
    assert stops > 5
    assert datasets(many) == datasets(tmp_path / "one.h5")
    header = read_header(many)
    assert header.finished
    assert len(header.provenance["resumes"]) == stops


@pytest.mark.mpi
@pytest.mark.parametrize("kind", ["sparse", "adaptive ladder"])
def test_a_checkpoint_resumes_on_any_number_of_ranks(make_input: Made, tmp_path: Path, kind: str) -> None:
    """Stopped by one rank's signal on 3 ranks, then on 2, then on 5, ended on 1; both writers in turn."""
    source, many = make_input(**MACHINES[kind]), tmp_path / "many.h5"
    assert run(source, tmp_path / "one.h5") == 0
    verb: list[object] = ["run", source, "-o", many]
    for ranks, look in ((3, 4), (2, 2), (5, 3)):
        code = (
            "import os, signal, sys, test_resume\n"
            f"with test_resume.stopping({look} if os.environ['OMPI_COMM_WORLD_RANK'] == '1' else 0):\n"
            "    sys.exit(test_resume.cli.main(sys.argv[1:]))"
        )
        command = ["mpirun", "-n", str(ranks), sys.executable, "-c", code, *map(str, verb)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=240, env=environment, stdin=subprocess.DEVNULL
        )
        assert done.returncode == STOPPED, done.stderr
        assert done.stderr.count("dsm: stopped on request: received SIGTERM") == 1
        verb = ["resume", many]
    assert resume(many) == 0
    assert datasets(many) == datasets(tmp_path / "one.h5")


def test_data_after_the_checkpoint_are_taken_back(make_input: Made, tmp_path: Path) -> None:
    """Until they are measured again they are NaN, though the file held them before the kill."""
    source, path = make_input(), tmp_path / "x.h5"
    stopped_run(source, path, 4)
    measured = Checkpoint(newest(path)).moment.measured
    with h5py.File(path, "r+") as file:
        file["energy"][...] = 7
    with stopping(1):
        assert resume(path) == STOPPED
    with h5py.File(path) as file:
        energies = file["energy"][()]
    assert 0 < measured < energies.shape[-1] - 2
    assert (energies[..., :measured] == 7).all()
    assert np.isnan(energies[..., measured + 2 :]).all()


@pytest.mark.parametrize("kind", ["sparse", "adaptive ladder", "linear times"])
def test_extending_a_finished_run(make_input: Made, tmp_path: Path, kind: str) -> None:
    """As if the longer schedule had been asked for at once; the first part is the shorter run."""
    source = make_input(**MACHINES[kind])
    assert run(source, tmp_path / "short.h5") == 0
    shutil.copytree(tmp_path, tmp_path / "copy", dirs_exist_ok=True)
    extended = tmp_path / "copy" / "short.h5"
    assert resume(extended, "--sweeps", "37") == 0
    tree = yaml.safe_load(source.read_text())
    tree["schedule"] |= {"sweeps": 37, "extended_from": [20]}
    long = tmp_path / "long.yaml"
    long.write_text(yaml.safe_dump(tree))
    assert run(long, tmp_path / "long.h5") == 0
    assert datasets(extended) == datasets(tmp_path / "long.h5")
    with h5py.File(extended) as file, h5py.File(tmp_path / "short.h5") as short:
        count = len(short["time"])
        assert file["time"][:count].tolist() == short["time"][()].tolist()
        assert file["time"][-1] == 37
        assert np.array_equal(file["teacher/q"][..., :count, :], short["teacher/q"][()])


def test_an_extension_can_be_interrupted_and_repeated(make_input: Made, tmp_path: Path) -> None:
    source, path = make_input(), tmp_path / "x.h5"
    assert run(source, path) == 0
    assert resume(path, "--sweeps", "30") == 0
    copy = tmp_path / "y.h5"
    assert run(source, copy) == 0
    with stopping(2):
        assert resume(copy, "--sweeps", "30") == STOPPED
    assert resume(copy, "--sweeps", "30") == 0
    assert datasets(copy) == datasets(path)


def test_a_finished_run_has_nothing_left(
    make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.h5"
    assert run(make_input(), path) == 0
    before = path.read_bytes()
    assert resume(path) == 0
    assert "is finished" in capsys.readouterr().out
    assert resume(path, "--sweeps", "5") == BAD_INPUT
    assert "--sweeps 5" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_without_a_checkpoint_it_begins_at_zero(make_input: Made, tmp_path: Path) -> None:
    source, path = make_input(), tmp_path / "x.h5"
    assert run(source, tmp_path / "one.h5") == 0
    stopped_run(source, path, 4)
    newest(path).unlink()
    assert resume(path) == 0
    assert datasets(path) == datasets(tmp_path / "one.h5")


# ---------------------------------------------------------------------------- bad checkpoints


@pytest.fixture
def interrupted(make_input: Made, tmp_path: Path) -> Path:
    """A run that was stopped twice: two checkpoints are there."""
    path = tmp_path / "x.h5"
    stopped_run(make_input(), path, 3)
    with stopping(2):
        assert resume(path) == STOPPED
    assert Checkpoint(newest(path)).moment.sweep > Checkpoint(older(path)).moment.sweep
    return path


@pytest.mark.parametrize("place", [3, len(MAGIC) + 2, len(MAGIC) + 10, 100, 5000, -3])
def test_a_flipped_bit_falls_back_to_the_older_checkpoint(
    interrupted: Path, make_input: Made, tmp_path: Path, place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever the bit is: magic, length, digest, header, a walker's record, the last record."""
    flip_bit(newest(interrupted), place)
    assert resume(interrupted) == 0
    said = capsys.readouterr().err
    assert str(newest(interrupted)) in said
    assert "goes on from the checkpoint before" in said
    assert run(make_input(), tmp_path / "one.h5") == 0
    assert datasets(interrupted) == datasets(tmp_path / "one.h5")


def test_records_of_two_checkpoints_cannot_be_mixed(
    interrupted: Path, make_input: Made, tmp_path: Path
) -> None:
    """The first walker's record of the older checkpoint, whole, in the place of the newer one."""
    old, new = older(interrupted).read_bytes(), bytearray(newest(interrupted).read_bytes())
    starts = [
        len(MAGIC) + 24 + int.from_bytes(raw[len(MAGIC) : len(MAGIC) + 8], "little") for raw in (old, new)
    ]
    record = 8 * (3 * 9 * 4 + 6 + 1 + 2 * 3) + 16
    remembered = 8 * 3 * 9 * 4 * Checkpoint(newest(interrupted)).moment.remembered
    assert (
        Checkpoint(older(interrupted)).moment.remembered == Checkpoint(newest(interrupted)).moment.remembered
    )
    size = record + remembered
    new[starts[1] : starts[1] + size] = old[starts[0] : starts[0] + size]
    newest(interrupted).write_bytes(bytes(new))
    with pytest.raises(Damaged, match="does not have its digest"):
        Checkpoint(newest(interrupted)).read(WalkerKey(0, 0, 0, 0))
    assert resume(interrupted) == 0
    assert run(make_input(), tmp_path / "one.h5") == 0
    assert datasets(interrupted) == datasets(tmp_path / "one.h5")


def test_a_finished_run_without_checkpoints_is_not_emptied(
    make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.h5"
    assert run(make_input(), path) == 0
    before = path.read_bytes()
    newest(path).unlink()
    older(path).unlink(missing_ok=True)
    assert resume(path, "--sweeps", "40") == BAD_INPUT
    assert "its checkpoints are gone" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_overwriting_that_fails_keeps_what_was_there(
    make_input: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.h5"
    stopped_run(make_input(), path, 3)
    kept = path.read_bytes(), newest(path).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "_create_datasets", full)
    assert run(make_input(), path, "--overwrite") == FAILED
    assert (path.read_bytes(), newest(path).read_bytes()) == kept


def test_two_bad_checkpoints_are_refused(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip_bit(newest(interrupted), 5000)
    with older(interrupted).open("r+b") as file:
        file.truncate(3000)
    before = interrupted.read_bytes()
    assert resume(interrupted) == BAD_INPUT
    said = capsys.readouterr().err
    assert "does not have its digest" in said
    assert "3000 bytes instead of" in said
    assert "none of its checkpoints can be used" in said
    assert interrupted.read_bytes() == before


def test_a_checkpoint_of_another_run_is_refused(
    interrupted: Path, make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.h5"
    stopped_run(make_input(), other, 4)
    shutil.copy(newest(other), newest(interrupted))
    older(interrupted).unlink()
    assert resume(interrupted) == BAD_INPUT
    assert "is of another run" in capsys.readouterr().err


def test_a_changed_configuration_is_refused_with_the_difference(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(interrupted, "r+") as file:
        tree = yaml.safe_load(file.attrs["config_resolved"])
        tree["dynamics"]["moves"][0]["angle"] = 0.25
        tree["seed"] = 4
        file.attrs["config_resolved"] = yaml.safe_dump(tree)
    assert resume(interrupted) == BAD_INPUT
    said = capsys.readouterr().err
    assert "seed: 3 in the checkpoint, 4 in the results" in said
    assert "angle" in said


def test_a_newer_checkpoint_format_is_named(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = newest(interrupted).read_bytes()
    start = len(MAGIC) + 24
    length = int.from_bytes(raw[len(MAGIC) : len(MAGIC) + 8], "little")
    header = raw[start : start + length].replace(b'"format_version": 1', b'"format_version": 9')
    digest = hashlib.blake2b(header, digest_size=16).digest()
    newest(interrupted).write_bytes(raw[: len(MAGIC) + 8] + digest + header + raw[start + length :])
    older(interrupted).unlink()
    assert resume(interrupted) == BAD_INPUT
    assert "format_version 9 is of a newer dsm_hpc" in capsys.readouterr().err


# ---------------------------------------------------------------------------- bad disks


def test_a_results_file_that_is_gone_or_cut(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with interrupted.open("r+b") as file:
        file.truncate(interrupted.stat().st_size // 2)
    assert resume(interrupted) == BAD_INPUT
    assert "truncated" in capsys.readouterr().err
    interrupted.unlink()
    assert resume(interrupted) == BAD_INPUT
    assert f"{interrupted}: cannot be read: No such file" in capsys.readouterr().err
    assert newest(interrupted).exists()


@pytest.mark.parametrize(("harm", "message"), [("unlink", "gone"), ("cut", "was cut"), ("swap", "replaced")])
def test_a_results_file_harmed_during_the_run(
    make_input: Made,
    tmp_path: Path,
    harm: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One message, exit 3."""
    path, plain, looks = tmp_path / "x.h5", Watch.look_up, iter(range(1, 1000))

    def look_up(self: Watch, *arguments: Any) -> None:
        if next(looks) == 3:
            if harm == "cut":
                os.truncate(path, 5000)
            else:
                path.unlink()
            if harm == "swap":
                path.write_text("another file")
        plain(self, *arguments)

    monkeypatch.setattr(Watch, "look_up", look_up)
    assert run(make_input(), path) == FAILED
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_full_disk_keeps_the_checkpoint_before(make_input: Made, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: it hits the checkpoint, the largest file."""
    source = make_input(network__width=40, network__fan_in=20, schedule__waiting_times=4)
    path = tmp_path / "x.h5"
    assert run(source, tmp_path / "one.h5") == 0
    stopped_run(source, path, 2)
    kept = newest(path).read_bytes()
    limit = newest(path).stat().st_size - 1000
    assert path.stat().st_size < limit
    code = (
        "import resource, sys; from mpi4py import MPI;"  # before the limit: it writes files of its own
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "from dsm_hpc import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "resume", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == FAILED
    assert "cannot be written: File too large; make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert newest(path).read_bytes() == kept
    assert not list(tmp_path.glob("*.checkpoint.tmp"))
    assert resume(path) == 0
    assert datasets(path) == datasets(tmp_path / "one.h5")


# ---------------------------------------------------------------------------- requests to stop

LONG = {"schedule": {"sweeps": 10**9, "measurements": {"kind": "log", "count": 5}}}


def started(source: Path, results: Path, *words: str, **environment: str) -> "subprocess.Popen[str]":
    """A process that runs, with its first sign of life given."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dsm_hpc", "run", str(source), "-o", str(results), *words],
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
    )
    sign = results.with_name(results.name + ".progress")
    while not sign.exists() and process.poll() is None:
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_stops_with_a_checkpoint(make_input: Made, tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "x.h5"
    process = started(make_input(**LONG), path)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == STOPPED
    assert f"received {number.name}" in said
    assert Checkpoint(newest(path)).moment.sweep > 0


def test_a_second_interrupt_stops_at_once(make_input: Made, tmp_path: Path) -> None:
    """Even inside a sweep of minutes, which no look up ends."""
    big = {"network": {"width": 2000, "depth": 4, "fan_in": 1000}, "ensemble": {"samples": 1, "clones": 1}}
    process = started(make_input(**LONG, **big), tmp_path / "x.h5")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == FAILED
    assert "interrupted twice" in said


@pytest.mark.parametrize("told", ["--walltime", SLURM_END])
def test_the_end_of_the_time_stops_with_a_checkpoint(make_input: Made, tmp_path: Path, told: str) -> None:
    path = tmp_path / "x.h5"
    environment = {SLURM_END: str(int(time.time()) + 20)} if told == SLURM_END else {}
    words = ["--walltime", "00:00:20"] if told == "--walltime" else []
    process = started(make_input(**LONG), path, *words, **environment)
    _, said = process.communicate(timeout=60)
    assert process.returncode == STOPPED
    assert told in said
    assert newest(path).exists()


def test_the_deadline_leaves_room_for_what_is_still_to_do() -> None:
    now = [0.0]
    deadline = Deadline(3600.0, 0.0, clock=lambda: now[0])
    now[0] = 3600 - TEAR_DOWN - 2 * 30 - 1
    assert not deadline.near(30.0)
    now[0] += 2
    assert deadline.near(30.0)
    short = Deadline(20.0, 0.0, clock=lambda: 18.0)
    assert not short.near(0.4)
    assert short.near(0.6)
    assert not Deadline(None, 0.0).near(1e9)


# ---------------------------------------------------------------------------- scans


def test_a_stopped_scan_goes_on_with_all_its_points(make_input: Made, tmp_path: Path) -> None:
    source = make_input(scan={"network.depth": [1, 2, 3]})
    assert run(source, tmp_path / "whole") == 0
    folder = tmp_path / "scan"
    stopped_run(source, folder, 12)
    begun = sorted(path.name for path in folder.glob("*.h5"))
    assert begun == ["depth=1.h5", "depth=2.h5"]
    assert resume(folder) == 0
    for name in ("depth=1.h5", "depth=2.h5", "depth=3.h5"):
        assert datasets(folder / name) == datasets(tmp_path / "whole" / name)
    assert resume(folder, "--sweeps", "30") == 0
    assert all(read_header(path).config.schedule.sweeps == 30 for path in folder.glob("*.h5"))


def test_an_overwritten_scan_never_mixes_with_the_old_one(make_input: Made, tmp_path: Path) -> None:
    source, folder = make_input(scan={"network.depth": [1, 2]}), tmp_path / "scan"
    assert run(source, folder) == 0
    with stopping(2):
        assert run(source, folder, "--overwrite", "--set", "seed=99") == STOPPED
    assert resume(folder) == 0
    assert [read_header(path).config.seed for path in folder.glob("*.h5")] == [99, 99]


@pytest.mark.mpi
def test_a_late_point_that_cannot_be_written_ends_all_ranks(make_input: Made, tmp_path: Path) -> None:
    """Its file appears while the first point runs: one message, exit 2, no rank left waiting."""
    source, folder = make_input(scan={"network.depth": [1, 2]}), tmp_path / "scan"
    code = (
        "import sys, pathlib, test_resume\n"
        "plain = test_resume.Watch.look_up\n"
        "def look_up(self, *arguments):\n"
        f"    pathlib.Path({str(folder / 'depth=2.h5')!r}).touch()\n"
        "    plain(self, *arguments)\n"
        "test_resume.Watch.look_up = look_up\n"
        "sys.exit(test_resume.cli.main(sys.argv[1:]))"
    )
    command = ["mpirun", "-n", "2", sys.executable, "-c", code, "run", str(source), "-o", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, stdin=subprocess.DEVNULL
    )
    assert done.returncode == BAD_INPUT, done.stderr
    assert done.stderr.count("depth=2.h5: exists already") == 1


def test_one_point_of_a_scan(make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, folder = make_input(scan={"network.depth": [1, 2]}), tmp_path / "scan"
    assert run(source, folder, "--point", "2") == 0
    assert [path.name for path in folder.glob("*.h5")] == ["depth=2.h5"]
    assert resume(folder, "--point", "1") == 0
    assert (folder / "depth=1.h5").exists()
    assert resume(folder, "--point", "3") == BAD_INPUT
    assert "allowed are 1..2" in capsys.readouterr().err
    assert run(make_input(), tmp_path / "x.h5", "--point", "1") == BAD_INPUT
    assert "no scan" in capsys.readouterr().err


def test_another_scan_needs_another_folder(
    make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scan"
    assert run(make_input(scan={"network.depth": [1]}), folder) == 0
    before = (folder / "scan.json").read_text()
    assert run(make_input(scan={"network.width": [8]}), folder) == BAD_INPUT
    assert "is the list of another scan" in capsys.readouterr().err
    assert (folder / "scan.json").read_text() == before
    assert run(make_input(scan={"network.width": [8]}), folder, "--overwrite") == 0


@pytest.mark.mpi
def test_resume_says_once_what_is_wrong(make_input: Made, tmp_path: Path) -> None:
    done = dsm("resume", tmp_path / "nothing.h5", ranks=3)
    assert done.returncode == BAD_INPUT
    assert done.stderr.count("nothing.h5: cannot be read") == 1


def test_a_link_stays_a_link(make_input: Made, tmp_path: Path) -> None:
    """Results that are kept on another disk are replaced there."""
    (tmp_path / "disk").mkdir()
    link = tmp_path / "x.h5"
    assert run(make_input(), tmp_path / "disk" / "x.h5") == 0
    link.symlink_to(tmp_path / "disk" / "x.h5")
    assert run(make_input(), link, "--overwrite", "--set", "seed=9") == 0
    assert link.is_symlink()
    assert read_header(tmp_path / "disk" / "x.h5").config.seed == 9
