"""`make faults`: the whole campaign.  Prints its counts; exit 1 if anything was lost or differs."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import h5py

from faults import kills

WRITERS = ("mpio", "gather") if h5py.get_config().mpi else ("gather",)


def main() -> int:
    """Runs until there were enough kills and requests to stop."""
    parser = argparse.ArgumentParser(prog="faults")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--strikes", type=int, default=6, help="strikes at one run before it may end")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    moves, outcome, number = random.Random(options.seed), kills.Outcome(), 0
    with tempfile.TemporaryDirectory(prefix="dsm-faults-") as name:
        folder, began = Path(name), time.time()
        cases = [
            kills.case(kind, writer, folder / f"case-{index}-{writer}")
            for index, kind in enumerate(kills.INPUTS)
            for writer in WRITERS
        ]
        while outcome.kills < options.kills or outcome.requests < options.requests:
            case = cases[number % len(cases)]
            kills.strike_until(case, folder / f"run-{number}", moves, options.strikes, outcome)
            number += 1
            told = f"{outcome.kills} kills, {outcome.requests} requests, {len(outcome.lost)} lost"
            print(f"{time.time() - began:6.0f} s  {case.name}: {told}", flush=True)
    print(kills.as_json(outcome))
    print("\n".join(outcome.lost))
    return 1 if outcome.lost or outcome.bytes_that_differ else 0


if __name__ == "__main__":
    sys.exit(main())
