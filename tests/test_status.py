"""`dsm status` from the files alone: running, stopped, killed, finished, waiting; and two runs at once."""

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Made, dsm
from test_resume import LONG, run, started, stopped_run

from dsm_hpc import cli
from dsm_hpc.storage import sign_of_life
from dsm_hpc.storage.checkpoint import newest
from dsm_hpc.storage.sign_of_life import SILENT, SignOfLife, give, last


def told(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, list[dict[str, Any]]]:
    """The words and the numbers of `dsm status`."""
    capsys.readouterr()
    assert cli.main(["status", str(path)]) == 0
    words = capsys.readouterr().out
    assert cli.main(["status", str(path), "--json", "-"]) == 0
    return words, json.loads(capsys.readouterr().out)


def test_finished(make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.h5"
    assert run(make_input(), path) == 0
    words, [numbers] = told(path, capsys)
    assert words == f"{path}: finished, 20 sweeps\n"
    assert (numbers["state"], numbers["sweep"]) == ("finished", 20)
    assert not (tmp_path / "x.h5.progress").exists()


def test_stopped(make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.h5"
    stopped_run(make_input(), path, 3)
    words, [numbers] = told(path, capsys)
    assert "stopped at sweep 3 of 20 (15.0%): received SIGTERM" in words
    assert "checkpoint of sweep 3" in words
    assert (numbers["state"], numbers["sweep"], numbers["checkpoint"]) == ("stopped", 3, 3)


def test_running_then_killed(make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without locks in the way; a run that was killed is not taken for a running one."""
    path = tmp_path / "x.h5"
    process = started(make_input(**LONG, output={"checkpoint_every": "10 ms"}), path)
    while not newest(path).exists():
        time.sleep(0.05)
    words, [numbers] = told(path, capsys)
    assert numbers["state"] == "running"
    assert (numbers["host"], numbers["ranks"], numbers["sweeps"]) == (socket.gethostname(), 1, 10**9)
    assert "running on" in words
    process.kill()
    process.communicate()
    words, [numbers] = told(path, capsys)
    assert numbers["state"] == "silent"
    assert numbers["sweep"] == numbers["checkpoint"] > 0
    assert "interrupted: no sign of life" in words
    assert "`dsm resume` goes on" in words


def test_points_of_a_scan(make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_input(scan={"network.depth": [1, 2]})
    assert run(source, tmp_path / "scan", "--point", "2") == 0
    words, numbers = told(tmp_path / "scan", capsys)
    assert [entry["state"] for entry in numbers] == ["waiting", "finished"]
    assert "depth=1.h5: has not begun, 20 sweeps" in words


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.h5").write_text("text")
    assert cli.main(["status", str(tmp_path / "x.h5")]) == 2
    assert "is not an HDF5 file" in capsys.readouterr().err
    assert cli.main(["status", str(tmp_path)]) == 2
    assert "needed is the folder of a scan" in capsys.readouterr().err


def test_two_processes_never_run_the_same_run(
    make_input: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.h5"
    process = started(make_input(**LONG), path)
    done = dsm("resume", path)
    assert done.returncode == 2
    assert f"is being run by process {process.pid}" in done.stderr
    done = dsm("run", make_input(), "-o", path, "--overwrite")
    assert done.returncode == 2
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75


def sign(**changes: Any) -> SignOfLife:
    about = {
        "run": "r",
        "state": "running",
        "reason": "",
        "sweep": 1,
        "sweeps": 2,
        "phase": "",
        "ranks": 1,
        "rate": 1.0,
        "errors": {},
    }
    return SignOfLife(**(about | changes))


def test_life_on_another_machine_is_told_by_age() -> None:
    now = time.time()
    assert sign(host="elsewhere", at=now).alive
    assert not sign(host="elsewhere", at=now - SILENT - 1).alive
    assert not sign(host="elsewhere", at=now, state="stopped").alive


def test_a_process_number_given_to_another_process_is_not_life() -> None:
    assert sign(process=os.getpid()).alive
    assert not sign(process=os.getpid(), at=1000.0).alive
    assert not sign(process=2**22 + 1).alive


def test_a_run_elsewhere_that_speaks_again_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is waited for: a new sign within it means that the run goes on."""
    path = tmp_path / "x.h5"
    give(path, sign(host="elsewhere"))

    def speaks(seconds: float) -> None:
        give(path, sign(host="elsewhere", sweep=2, at=time.time() + 1))

    monkeypatch.setattr(sign_of_life.time, "sleep", speaks)
    with pytest.raises(Exception, match="is being run by process"):
        sign_of_life.refuse_if_alive(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"run": 1}', "[" * 100_000])
def test_a_damaged_sign_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.h5.progress").write_text(text)
    assert last(tmp_path / "x.h5") is None
