"""Runs that are struck again and again (SIGKILL, requests to stop), resumed, and end as undisturbed ones.

A strike comes at a random moment of the run, or at a fault point (dsm_hpc/faults.py) inside a measurement, a
write, a checkpoint, the exchange of checkpoints, the creation of the results file, or its end.  After each
one the run goes on with another number of ranks.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from conftest import SMALL, changed, datasets, dsm

from dsm_hpc.storage import sign_of_life
from dsm_hpc.storage.checkpoint import Checkpoint, newest

RANKS = (1, 2, 3, 5)
LIMIT = 240.0
"""Seconds after which a run counts as hung."""

POINTS = {"measurement": 60, "writing": 60, "checkpoint": 120, "rotation": 10, "creation": 2, "finish": 1}
"""Fault points and about how often a run passes them."""

BASE: dict[str, Any] = {
    "ensemble.samples": 2,
    "ensemble.clones": 2,
    "schedule": {"sweeps": 6000, "measurements": {"kind": "linear", "every": 60}},
    "output.checkpoint_every": "60 ms",
}
INPUTS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "tempered, adaptive ladder": {
        "ensemble.starts": ["random"],
        "dynamics": {
            "betas": {"ladder": "adaptive", "hot": 0.3, "cold": float("inf"), "count": 3, "burn_in": 1500},
            "exchange_every": 7,
        },
    },
    "fully connected, ising, annealed": {
        "network": {"width": 6, "depth": 3, "fan_in": "all", "weights": "ising"},
        "dynamics": {"anneal": {"from": 0.5, "sweeps": 4000}},
    },
}


@dataclass
class Outcome:
    """What came of a campaign.  lost : runs that could not be brought to their end."""

    strikes: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    finished: int = 0
    bytes_that_differ: int = 0
    lost: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return sum(count for kind, count in self.strikes.items() if not kind.startswith("SIG"))

    @property
    def requests(self) -> int:
        return self.strikes["SIGTERM"]


@dataclass
class Case:
    """An input and what an undisturbed process makes of it."""

    name: str
    source: Path
    wanted: dict[str, bytes]


def case(name: str, writer: str, folder: Path) -> Case:
    """Writes the input and runs it on one process."""
    folder.mkdir(parents=True)
    source = folder / "input.yaml"
    tree = changed(SMALL, BASE | INPUTS[name] | {"output.mode": writer})
    source.write_text(yaml.safe_dump(tree))
    done = dsm("run", source, "-o", folder / "undisturbed.h5", timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    return Case(f"{name}, {writer}", source, datasets(folder / "undisturbed.h5"))


def strike_until(case: Case, folder: Path, moves: random.Random, strikes: int, outcome: Outcome) -> None:
    """One run that is struck `strikes` times (fewer if it ends before), then left to end, and compared."""
    folder.mkdir(parents=True)
    results = folder / "struck.h5"
    for _ in range(strikes):
        kind = _strike(case, results, moves, outcome)
        if kind is None:
            break
        outcome.strikes[kind] += 1
    done = _words(case, results)
    ended = dsm(*done, ranks=moves.choice(RANKS), timeout=LIMIT)
    outcome.resumed += done[0] == "resume"
    if ended.returncode != 0:
        outcome.lost.append(f"{folder}: exit {ended.returncode}: {ended.stderr[-2000:]}")
        return
    outcome.finished += 1
    got = datasets(results)
    outcome.bytes_that_differ += distance(case.wanted, got)


def _words(case: Case, results: Path) -> list[object]:
    """The verb that goes on."""
    return ["resume", results] if results.exists() else ["run", case.source, "-o", results]


def _strike(case: Case, results: Path, moves: random.Random, outcome: Outcome) -> str | None:
    """Starts the run, strikes once, waits for its end; the kind of strike, None if the run was faster."""
    kind = moves.choice(["one rank", "all ranks", "fault point", "fault point", "SIGTERM", "SIGUSR1"])
    ranks = moves.choice(RANKS)
    words = _words(case, results)
    environment = dict(os.environ)
    if kind == "fault point":
        kind = moves.choice(list(POINTS))
        where = f"{kind}:{moves.randint(1, POINTS[kind])}"
        rooted = kind in ("rotation", "creation", "finish")
        environment["DSM_FAULT"] = (
            where if rooted or moves.random() < 0.5 else f"{where}:{moves.randrange(ranks)}"
        )
    began = time.time()
    command = ["mpirun", "-n", str(ranks), sys.executable, "-m", "dsm_hpc", *map(str, words)]
    with (results.parent / "log").open("a") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    outcome.resumed += words[0] == "resume"
    try:
        if kind not in POINTS:
            _wait_for_the_moment(process, results, began, moves)
            _send(process, kind, moves)
        code = process.wait(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        outcome.lost.append(f"{results}: hangs after {kind} on {ranks} ranks")
        code = None
    finally:
        _end_all(process, results)
    if code in (2, 3):
        told = (results.parent / "log").read_text()[-1500:]
        outcome.lost.append(f"{results}: exit {code} after {kind} on {ranks} ranks: {told}")
    if kind.startswith("SIG") and code == 75:
        _check_nothing_is_lost(results, outcome)
    return None if code == 0 else kind


def _wait_for_the_moment(
    process: "subprocess.Popen[bytes]", results: Path, began: float, moves: random.Random
) -> None:
    """A random moment: in one case of six during the set-up, else while the run moves on."""
    if moves.random() < 1 / 6:
        time.sleep(moves.uniform(0.0, 2.0))
        return
    while process.poll() is None and time.time() < began + LIMIT:
        sign = sign_of_life.last(results)
        if sign is not None and sign.at > began and sign.state == "running":
            break
        time.sleep(0.01)
    time.sleep(moves.uniform(0.0, 1.5))


def _send(process: "subprocess.Popen[bytes]", kind: str, moves: random.Random) -> None:
    """Strikes the ranks directly, as a batch system or a failing node does."""
    ranks = _ranks(process)
    if kind.startswith("SIG"):
        targets = ranks if moves.random() < 0.7 else ranks[:1]
        number = signal.Signals[kind]
    else:
        number = signal.SIGKILL
        targets = [moves.choice(ranks)] if ranks and kind == "one rank" else [*_launcher(process), *ranks]
    for target in targets:
        try:
            target.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _launcher(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """mpirun itself, or nothing if it has ended: a run may be faster than the strike."""
    try:
        return [psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        return []


def _ranks(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    try:
        return [
            child for launcher in _launcher(process) for child in launcher.children() if child.is_running()
        ]
    except psutil.NoSuchProcess:
        return []


def _end_all(process: "subprocess.Popen[bytes]", results: Path) -> None:
    """Nothing of a struck run may live on."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = [p for p in psutil.process_iter(["cmdline"]) if str(results) in (p.info["cmdline"] or [])]
    for rank in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            rank.kill()
    psutil.wait_procs(left, timeout=10)


def _check_nothing_is_lost(results: Path, outcome: Outcome) -> None:
    """After a request to stop the checkpoint is at the very sweep that was reached."""
    sign = sign_of_life.last(results)
    if sign is None or sign.state != "stopped" or Checkpoint(newest(results)).moment.sweep != sign.sweep:
        outcome.lost.append(f"{results}: stopped at {sign}, but the checkpoint is of another sweep")


def distance(wanted: dict[str, bytes], got: dict[str, bytes]) -> int:
    """Number of bytes of all datasets that differ."""
    pairs = [(wanted.get(name, b""), got.get(name, b"")) for name in wanted.keys() | got.keys()]
    return sum(
        abs(len(a) - len(b)) + sum(x != y for x, y in zip(a, b, strict=False)) for a, b in pairs if a != b
    )


def as_json(outcome: Outcome) -> str:
    """Counts for a log."""
    return json.dumps(
        {
            "strikes": dict(outcome.strikes),
            "kills": outcome.kills,
            "requests to stop": outcome.requests,
            "resumed": outcome.resumed,
            "finished": outcome.finished,
            "lost": len(outcome.lost),
            "bytes that differ": outcome.bytes_that_differ,
        }
    )
