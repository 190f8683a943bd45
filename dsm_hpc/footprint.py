"""What a run needs: walkers, memory per rank, size of the results file."""

import os
from math import ceil

from dsm_hpc.config import Config, FileInputs, HiddenManifoldInputs
from dsm_hpc.ensemble import WalkerKey, walker_count
from dsm_hpc.errors import InputError
from dsm_hpc.inputfile import Job
from dsm_hpc.kernels import SHARED, kernels_for
from dsm_hpc.kernels.levels import LEVELS
from dsm_hpc.machine.inputs import ROWS_AT_A_TIME
from dsm_hpc.parallel.decomposition import Decomposition, decompose
from dsm_hpc.storage.checkpoint import checkpoint_bytes
from dsm_hpc.storage.layout import BUFFER_BYTES, layout

PROGRAM_BYTES = 138 << 20
"""Interpreter, libraries and MPI of one rank, measured on Debian 12 with Open MPI."""

WALKER_BYTES = 40 << 10
"""What every walker has besides its arrays that grow with the machine: blocks of random numbers, the arrays'
own headers, its place in lists; measured."""

TEAM_BYTES = 2 << 10
"""What each thread after the first adds to a walker with any kernel (kernels/team.h)."""

HEADER_BYTES = 60 << 10
"""Header of a results file, measured."""


def sample_bytes(config: Config) -> int:
    """Memory of one sample: wiring, teacher, and its signs over both sets."""
    network = config.network
    layers = network.depth + 1
    signs = 8 * layers * network.width * (_words(config.patterns.train) + _words(config.patterns.test))
    return 12 * network.weight_count + signs + 8 * network.width * _words(config.patterns.test)


def walker_bytes(config: Config) -> int:
    """Memory of one walker (kernels/student.pyx), its remembered states and its signs over both sets."""
    network, train = config.network, config.patterns.train
    layers = network.depth + 1
    weights = 8 * network.weight_count
    signs = 8 * layers * network.width * _words(train)
    tests = 8 * layers * network.width * _words(config.patterns.test)
    remembered = len(layout(config).coordinates["waiting"]) * (weights + signs)
    counters = 8 * network.depth * network.width + 4 * train
    return WALKER_BYTES + weights + counters + _kernel_bytes(config) + signs + tests + remembered


def _kernel_bytes(config: Config) -> int:
    """What a student's kernel keeps, by the instruction set whose choice needs most: known on any node."""
    network, train = config.network, config.patterns.train
    shape, threads = (network.depth, network.width, network.inputs), config.dynamics.threads
    most = 0
    for level in LEVELS:
        possible = kernels_for(*shape, level, config.ising)
        taken = next(kernel for kernel in possible if threads == 1 or kernel in SHARED)
        most = max(most, kernel_bytes(taken, *shape, train, threads, config.ising))
    return most


def kernel_bytes(
    kernel: str, depth: int, width: int, fan_in: int, train: int, threads: int = 1, ising: bool = False
) -> int:
    """What a kernel keeps (kernels/word.h, gather.h, dense.h, events.h, bits.h; also billiard.h, team.h)."""
    others = threads - 1
    tasks = 8 * train + others * TEAM_BYTES + (0 if ising else _billiard_bytes(fan_in, train))
    if kernel == "bits":
        return tasks + _bits_bytes(width, fan_in, depth, train)
    if kernel == "events":
        return tasks + _events_bytes(width, fan_in, depth, train) + others * _scratch_bytes(width, fan_in)
    if kernel == "dense":
        return tasks + _dense_bytes(width, depth, train)
    return tasks + _words_bytes(width, fan_in, depth, train, kernel == "gather")


def _billiard_bytes(fan_in: int, train: int) -> int:
    patterns = _words(train) * (64 * (24 + 8 * ceil(fan_in / 64)) + 24)
    return patterns + 12 * fan_in + 640 * ceil(fan_in / 8)


def _words_bytes(width: int, fan_in: int, depth: int, train: int, gathered: bool) -> int:
    planes, patterns = ceil(width / 16), 64 * _words(train)
    patterns += 64 * (patterns % 1024 == 0)
    groups = ceil(width / 4) if width <= 64 else 4 * planes
    signs = 2 * (depth + 1) * planes * patterns + 8 * (depth + 2) * patterns * (1 + (width > 64))
    sentinels = 32 * depth * width
    if gathered:
        weights = 4 * depth * width * fan_in + (depth - 1) * planes * (192 * ceil(fan_in / 4) + 64)
        weights += 16 * (depth + 1) * train  # words of tasks
    else:
        columns = 1024 * (depth - 1) * groups * ceil(width / 32)  # whole vectors of AVX-512
        weights = 64 * depth * width * planes + columns + 2 * depth * width * patterns  # and sums
    return signs + sentinels + weights


def _dense_bytes(width: int, depth: int, train: int) -> int:
    neurons, words = 32 * ceil(width / 32), _words(train)
    rows = 4 * depth * width * (64 * words + 16)
    pair = 64 * (ceil(width / 16) | 1)
    above = (depth - 1) * (pair * ceil(train / 2) + 6 * width * neurons)  # by pattern; columns
    signs = 8 * (depth + 1) * width * words + 16 * train + 32 * depth * width
    return rows + above + signs + train * (16 * depth + 4)


def _bits_bytes(width: int, fan_in: int, depth: int, train: int) -> int:
    blocks, limbs = ceil(width / 16), ceil(width / 32)
    signs = 256 * (depth + 2) * limbs * _words(train)
    weights = 64 * depth * blocks * limbs * (1 + (fan_in < width))
    tasks = 64 * (depth + 1) * limbs * ((ceil(train / 16) | 1) + 2) + 4 * train
    return signs + weights + tasks


def _events_bytes(width: int, fan_in: int, depth: int, train: int) -> int:
    padded, patterns = 16 * ceil(width / 16), 16 * ceil(train / 16)
    kept = 4 * patterns * depth * width + 8 * (depth + 1) * width * _words(train) + train * padded // 8
    kept += 8 * depth * width
    if 16 * fan_in >= width:  # columns
        return kept + 64 * (depth - 1) * (width + train) * (padded // 16 | 1)
    return kept + 12 * (depth - 1) * width * fan_in + 16 * width


def _scratch_bytes(width: int, fan_in: int) -> int:
    """What each thread after the first has of its own (events_make_scratch)."""
    columns = 16 * fan_in >= width
    return 16 * width + (0 if columns else 80 * fan_in)


def passing_bytes(config: Config) -> int:
    """Memory that is taken for a moment: to draw the inputs, or to measure (weights on their grid and, if
    neurons are matched, once more in the other's order, with the matrix of overlaps)."""
    network, patterns = config.network, config.patterns
    match patterns.inputs:
        case HiddenManifoldInputs(dimension=dimension):
            draw = 8 * dimension * (network.width + ROWS_AT_A_TIME) + 10 * ROWS_AT_A_TIME * network.width
        case FileInputs():
            draw = 2 * (patterns.train + patterns.test) * network.width
        case _:
            draw = 0
    fully_connected = network.inputs == network.width
    measure = 4 * network.weight_count
    if fully_connected:
        measure += 8 * network.weight_count + 24 * network.width**2
    return max(draw, measure)


def rank_bytes(config: Config, walkers: tuple[WalkerKey, ...]) -> int:
    """Memory of a rank with these walkers."""
    samples = len({key.sample for key in walkers})
    kept = samples * sample_bytes(config) + len(walkers) * walker_bytes(config)
    buffers = min(BUFFER_BYTES, layout(config).bytes * len(walkers) // walker_count(config))
    return PROGRAM_BYTES + kept + buffers + passing_bytes(config)


def file_bytes(config: Config) -> int:
    """Size of the results file."""
    return HEADER_BYTES + layout(config).bytes


def disk_bytes(config: Config) -> int:
    """Results and checkpoints: two are kept while a third is written."""
    return file_bytes(config) + 3 * checkpoint_bytes(config)


def check_memory(config: Config) -> None:
    """Raises InputError if one walker alone does not fit this machine's memory."""
    needed = rank_bytes(config, (WalkerKey(0, 0, 0, 0),))
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise InputError(
            f"network, patterns: one student needs {_size(needed)}, but this machine has {_size(there)}: "
            "make width, depth, fan_in or train smaller"
        )


def describe(job: Job, ranks: int) -> str:
    """What `dsm validate` prints."""
    return "\n\n".join(
        (f"# point {point.name}\n" if job.is_scan else "") + _describe(point.config, ranks)
        for point in job.points
    )


def _describe(config: Config, ranks: int) -> str:
    spread = decompose(config, ranks)
    return "\n".join([config.as_yaml().rstrip(), "", *_costs(config, spread, ranks)])


def _costs(config: Config, spread: Decomposition, ranks: int) -> list[str]:
    ensemble, shape = config.ensemble, layout(config)
    walkers, times = len(spread.walkers), shape.coordinates["time"]
    most = max(rank_bytes(config, spread.of(rank)) for rank in range(ranks))
    lines = [
        f"walkers:         {walkers} = {ensemble.samples} samples x {len(ensemble.starts)} starts x "
        f"{ensemble.clones} clones x {len(config.dynamics.ladder)} betas",
        f"proposals:       {walkers * config.schedule.sweeps * config.network.weight_count:.3g} in all, "
        f"{config.network.weight_count} per sweep of one walker",
        f"measurements:    {len(times)}, at t = {', '.join(str(t) for t in times[:4])}"
        + (f", ..., {times[-1]}" if len(times) > 4 else ""),
        f"memory per rank: {_size(most)} on {ranks} rank{'s' * (ranks > 1)} "
        f"({_size(walker_bytes(config))} per walker, {_size(sample_bytes(config))} per sample)",
        f"results file:    {_size(file_bytes(config))}",
        f"checkpoints:     {_size(checkpoint_bytes(config))} each, two are kept; one every "
        f"{config.output.checkpoint_every:g} s",
    ]
    if ranks > walkers:
        lines.append(f"ranks:           {ranks} are more than the {walkers} walkers: start at most {walkers}")
    return lines


def _words(patterns: int) -> int:
    return ceil(patterns / 64)


def _size(count: int) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.4g} TiB"
