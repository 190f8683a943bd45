"""`make faults`: the whole campaign.  Prints its counts; exit 1 if anything was lost or differs."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import h5py

from faults import fuzz, kills, network

WRITERS = ("mpio", "gather") if h5py.get_config().mpi else ("gather",)


def main() -> int:
    """One part after the other."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--requests", type=int, default=50, help="requests to stop")
    parser.add_argument("--strikes", type=int, default=8, help="strikes at one run before it may end")
    parser.add_argument("--cuts", type=int, default=4, help="times that the link between two hosts is cut")
    parser.add_argument("--cases", type=int, default=100_000, help="damaged files and inputs")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dsm-faults-") as name:
        sound = [
            struck(Path(name), options),
            cut(Path(name, "cuts"), options.cuts),
            damaged(options.seed, options.cases),
        ]
    return 0 if all(sound) else 1


def struck(folder: Path, options: argparse.Namespace) -> bool:
    """Kills and requests to stop, until there were enough of both."""
    moves, outcome, number, began = random.Random(options.seed), kills.Outcome(), 0, time.time()
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
    print("\n".join([kills.as_json(outcome), *outcome.lost]), flush=True)
    return not outcome.lost and not outcome.bytes_that_differ


def cut(folder: Path, cuts: int) -> bool:
    """Two hosts that lose each other."""
    reason = network.available()
    if reason is not None or cuts == 0:
        print(f"two hosts: skipped: {reason or 'no cuts asked for'}")
        return True
    folder.mkdir()
    outcome = network.campaign(folder, cuts)
    longest = max(outcome.seconds, default=0.0)
    print(
        f"two hosts: {outcome.cuts} cuts, all ranks gone within {longest:.1f} s, {outcome.resumed} resumed, "
        f"{outcome.bytes_that_differ} bytes that differ"
    )
    print("\n".join(outcome.lost), flush=True)
    return not outcome.lost and not outcome.bytes_that_differ and longest < network.ENDS_WITHIN


def damaged(seed: int, cases: int) -> bool:
    """Damaged files and inputs."""
    if cases == 0:
        return True
    counts = fuzz.campaign(seed, cases)
    print(fuzz.in_words(counts), flush=True)
    return not counts.offending


if __name__ == "__main__":
    sys.exit(main())
