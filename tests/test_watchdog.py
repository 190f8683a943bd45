"""A rank that hears nothing of the others ends; one that was suspended, or has met nobody yet, does not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dsm_hpc.errors import InputError
from dsm_hpc.parallel import watchdog

CODE = """
import sys, time
from dsm_hpc.parallel import watchdog
watchdog.TICK = 0.05
dog = watchdog.Watchdog(7, 0.5)
for _ in range(int(sys.argv[1])):
    time.sleep(0.2)
    dog.met()
print("alone", flush=True)
time.sleep(30)
"""


def alone(meetings: int) -> "subprocess.Popen[str]":
    """A process whose other ranks are gone after some meetings."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(meetings)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "alone\n"
    return process


def test_silence_ends_the_process() -> None:
    process = alone(3)
    _, said = process.communicate(timeout=25)
    assert process.returncode == 3
    assert "rank 7 has heard nothing of the other ranks" in said


def test_before_the_first_meeting_it_waits() -> None:
    process = alone(0)
    time.sleep(3)
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_a_suspended_process_is_not_late() -> None:
    """Stopped at once for longer than its patience, it still has all of its patience left when it goes on."""
    process = alone(3)
    process.send_signal(signal.SIGSTOP)
    time.sleep(8)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_patience_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(watchdog.VARIABLE, raising=False)
    assert watchdog.patience() == watchdog.PATIENCE
    monkeypatch.setitem(os.environ, watchdog.VARIABLE, "20")
    assert watchdog.patience() == 20
    monkeypatch.setitem(os.environ, watchdog.VARIABLE, "soon")
    with pytest.raises(InputError, match="DSM_PATIENCE=soon: allowed are whole seconds"):
        watchdog.patience()
