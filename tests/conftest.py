"""What the tests share: small input files, and real mpirun under a hard time limit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from dsm_hpc.config import Config
from dsm_hpc.inputfile import parse_resolved
from dsm_hpc.watch import Watch

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 3,
    "network": {"width": 9, "depth": 3, "fan_in": 4},
    "patterns": {"train": 70, "test": 100},
    "ensemble": {"samples": 3, "clones": 3},
    "schedule": {"sweeps": 20, "measurements": {"kind": "log", "count": 6}},
}

Made = Callable[..., Path]


def changed(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of `tree` with some `a.b` keys set."""
    tree = yaml.safe_load(yaml.safe_dump(tree))
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return tree


@pytest.fixture
def make_input(tmp_path: Path) -> Made:
    """Writes the small input file with some keys changed; returns its path."""

    def make(name: str = "input.yaml", **changes: Any) -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(changed(SMALL, {k.replace("__", "."): v for k, v in changes.items()})))
        return path

    return make


def small_config(**changes: Any) -> Config:
    """The small configuration with some keys changed (`network__depth=2`)."""
    tree = changed(SMALL, {key.replace("__", "."): value for key, value in changes.items()})
    return parse_resolved(yaml.safe_dump(tree), "test")


def dsm(*words: object, ranks: int = 0, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
    """Runs the program as a user does; under mpirun for ranks >= 1."""
    command = [sys.executable, "-m", "dsm_hpc", *map(str, words)]
    if ranks:
        command = ["mpirun", "-n", str(ranks), *command]
    # An explicit environment: mpi4py in this process may have put singleton variables into the C one.
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
    )


def datasets(path: Path) -> dict[str, bytes]:
    """The bytes of every dataset of a results file."""
    found: dict[str, bytes] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            values = item[()]
            found[name] = (
                b"\0".join(values.ravel()) if values.dtype == object else np.asarray(values).tobytes()
            )

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


@contextmanager
def stopping(look: int, number: int = signal.SIGTERM) -> Iterator[None]:
    """Within this, the run in this process gets a signal at its `look`-th look up."""
    plain, looks = Watch.look_up, iter(range(1, 1_000_000))

    def look_up(self: Watch, *arguments: Any) -> None:
        if next(looks) == look:
            os.kill(os.getpid(), number)
            while not self._signals.received:
                time.sleep(0.001)
        plain(self, *arguments)

    Watch.look_up = look_up  # type: ignore[method-assign]
    try:
        yield
    finally:
        Watch.look_up = plain  # type: ignore[method-assign]
