"""What a checkpoint costs: writing it against writing the same bytes, and reading it back."""

import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.machines import SIZES, sample, title
from benchmarks.timing import print_head, print_row, quotients
from dsm_hpc.config import Config
from dsm_hpc.ensemble import walkers
from dsm_hpc.parallel.decomposition import decompose
from dsm_hpc.parallel.ladders import SharedLadder, shared_ladders
from dsm_hpc.parallel.world import World
from dsm_hpc.restoring import Saved
from dsm_hpc.sampling.walker import Walker
from dsm_hpc.storage import checkpoint
from dsm_hpc.storage.checkpoint import Checkpoint, Moment
from dsm_hpc.storage.disk import bring_to_disk

REPEATS, CLONES = 7, 16


def report() -> None:
    """Prints the table.  Bound: bytes to disk, and one pass of BLAKE2b (about 1 GB/s) over them."""
    print(f"\n## Checkpoints: one process, {CLONES} walkers, wall ms, medians of {REPEATS} pairs\n")
    print_head(
        "machine", "MB", "checkpoint", "same bytes, fsync", "ratio", "restore", "sweeps in the time of one"
    )
    for name in SIZES:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            _row(name, Path(folder, "x.h5"))


def _row(name: str, results: Path) -> None:
    of, world = sample(name), World()
    config = of.config.model_copy(
        update={
            "ensemble": of.config.ensemble.model_copy(
                update={"samples": 1, "starts": ("planted",), "clones": CLONES}
            )
        }
    )
    keys = tuple(walkers(config))
    ladders = shared_ladders(config, [Walker(key, of, config) for key in keys], decompose(config, 1), world)
    moment = Moment("benchmark", config.as_yaml(), 0, 0, 0, None)
    ours, plain = [], []
    for _ in range(REPEATS):
        began = perf_counter()
        _save(results, moment, config, ladders, world)
        ours.append(perf_counter() - began)
        plain.append(_plain(results.with_suffix(".raw"), ladders))
    began = perf_counter()
    Saved.read(Checkpoint(checkpoint.newest(results)), config, {0: of}, keys)
    restore = perf_counter() - began
    began = perf_counter()
    for walker in ladders[0].replicas:
        walker.advance(0, 1)
    sweep = (perf_counter() - began) * CLONES / len(ladders[0].replicas)
    size = checkpoint.newest(results).stat().st_size
    print_row(
        title(name),
        f"{size / 1e6:.1f}",
        f"{1e3 * median(ours):.1f}",
        f"{1e3 * median(plain):.1f}",
        quotients(ours, plain),
        f"{1e3 * restore:.0f}",
        f"{median(ours) / sweep:.2g}",
    )


def _save(results: Path, moment: Moment, config: Config, ladders: list[SharedLadder], world: World) -> None:
    records = [record for shared in ladders for record in shared.states()]
    checkpoint.save(results, moment, config, records, "gather", world)


def _plain(path: Path, ladders: list[SharedLadder]) -> float:
    """Seconds to write the weights alone, and to bring them to disk."""
    began = perf_counter()
    with path.open("wb") as file:
        for shared in ladders:
            for walker in shared.replicas:
                np.asarray(walker.student.weights).tofile(file)
    bring_to_disk(path)
    return perf_counter() - began
