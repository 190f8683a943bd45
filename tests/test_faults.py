"""The fault campaign in a short form; `make faults` runs it whole."""

import random
from pathlib import Path

import h5py
import pytest
from faults import kills

WRITER = "mpio" if h5py.get_config().mpi else "gather"


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "writer", "seed"), [("greedy", WRITER, 1), ("tempered, adaptive ladder", "gather", 2)]
)
def test_struck_runs_end_as_undisturbed_ones(tmp_path: Path, kind: str, writer: str, seed: int) -> None:
    outcome = kills.Outcome()
    case, moves, runs = kills.case(kind, writer, tmp_path / "case"), random.Random(seed), 0
    while outcome.kills + outcome.requests < 5:
        kills.strike_until(case, tmp_path / f"run-{runs}", moves, 5, outcome)
        runs += 1
    assert not outcome.lost
    assert outcome.finished == runs
    assert outcome.bytes_that_differ == 0
