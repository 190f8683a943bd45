"""The verb `watch`: a terminal view of running jobs, from their files and signs of life alone.

It needs no MPI and disturbs nothing: it reads what the job writes, as `status` and `analyze` do.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import numpy as np
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from dsm_hpc.analysis.measured import coldest
from dsm_hpc.analysis.numbers import training_error
from dsm_hpc.analysis.results import Results, load
from dsm_hpc.manifold.format import is_manifold
from dsm_hpc.presentation.style import shown_layers
from dsm_hpc.presentation.wording import number
from dsm_hpc.progress import clock_time
from dsm_hpc.status import Status, found, in_words, of

EVERY = 2.0
"""Seconds between two looks at the files."""

HEIGHT = 6
"""Lines of a profile."""

WIDEST_BAR = 4
"""Characters of a layer's bar, across."""

LONGEST_BAR = 60
"""Characters of a bar that says how much is done."""

NARROW = 80
"""Characters below which a scan's lines lose their bars."""

_AXIS = 5
"""Characters of the axis of a profile."""

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " ..::||##"
_OVER = ("finished", "unreadable")
"""States after which nothing more is to be seen.  A killed or stopped run may be resumed."""


@dataclass(frozen=True)
class Measured:
    """The latest measurement of all walkers, at time t in sweeps and the coldest beta.

    errors : mean E/(NM), by start.  profiles : mean aligned q(l) of student and teacher, l = 1...L, by start.
    """

    time: int
    beta: float
    errors: dict[str, float]
    profiles: dict[str, list[float]]


def watch(path: Path, every: float = EVERY) -> None:
    """Shows a results file, or the folder of a scan, until all is finished.

    Where standard output is no terminal, one frame is printed.  every : seconds between two frames.
    Raises InputError if there is no such run.
    """
    console = Console(highlight=False)
    if not sys.stdout.isatty():
        console.print(frame(path)[0])
        return
    shown, over = frame(path)
    with Live(shown, console=console, auto_refresh=False) as live:
        while not over:
            time.sleep(every)
            shown, over = frame(path)
            live.update(shown, refresh=True)


def frame(path: Path) -> tuple[RenderableType, bool]:
    """What is to be seen now, and whether nothing more is to come."""
    if path.is_dir():
        statuses = found([path])
        return Points(statuses), all(status.state in _OVER for status in statuses)
    status = of(path)
    over = status.state in _OVER
    if is_manifold(path):
        return Group(Text(in_words(status)), Bar(status, LONGEST_BAR)), over
    results = load(path)
    return Group(*_run(results, status, measured(results))), over


def measured(results: Results) -> Measured | None:
    """The latest measurement; None if there is none yet."""
    place = coldest(results)
    errors = training_error(results).isel(beta=place)
    complete = np.flatnonzero(errors.notnull().all(["sample", "start", "clone"]).values)
    if not len(complete):
        return None
    last = int(complete[-1])
    q = results.variable("teacher/q_aligned", beta=place, time=last)
    starts = results.config.ensemble.starts
    means, mean_q = errors.isel(time=last).mean(["sample", "clone"]), q.mean(["sample", "clone"])
    return Measured(
        int(errors["time"].values[last]),
        float(results.layout.coordinates["beta"][place]),
        {start: float(means.sel(start=start)) for start in starts},
        {start: mean_q.sel(start=start).values.tolist() for start in starts},
    )


# ---------------------------------------------------------------------------------------------- one run


def _run(results: Results, status: Status, latest: Measured | None) -> list[RenderableType]:
    network, patterns = results.config.network, results.config.patterns
    lines: list[RenderableType] = [
        Text.assemble(
            (results.config.name, "bold"),
            f"  N = {network.width}, c = {network.inputs}, L = {network.depth}, M = {patterns.train}",
        ),
        Text(_state(status)),
        Bar(status, LONGEST_BAR),
        Text(_pace(status)),
    ]
    if latest is None:
        return [*lines, Text("nothing has been measured yet")]
    errors = ", ".join(f"{start} {number(error)}" for start, error in latest.errors.items())
    return [
        *lines,
        Text(
            f"t = {latest.time}, beta = {latest.beta:g}: training error E/(NM) {errors}; aligned overlap "
            "q(l) of student and teacher:"
        ),
        Profiles(latest.profiles),
    ]


def _state(status: Status) -> str:
    match status.state:
        case "running":
            phase = f", {status.phase}" if status.phase else ""
            return f"running on {status.host}, {status.ranks} rank{'s' * (status.ranks != 1)}{phase}"
        case "stopped":
            return f"stopped: {status.reason}; `dsm resume` goes on"
        case "silent":
            return "no sign of life: just begun, or killed; `dsm resume` goes on"
    return status.state


def _pace(status: Status) -> str:
    """Sweeps, rate, time left, and how old the news is."""
    words = [f"{status.unit} {status.sweep} of {status.sweeps} ({_share(status):.1%})"]
    if status.state == "running" and status.rate:
        words.append(f"{status.rate:.3g} proposals/s")
    if status.left is not None:
        words.append(f"{clock_time(status.left)} left")
    if status.silent is not None:
        words.append(f"last sign of life {status.silent:.0f} s ago")
    return ", ".join(words)


@dataclass(frozen=True)
class Bar:
    """How much is done, as a bar of at most so many characters."""

    status: Status
    most: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        done, left = "#." if options.ascii_only else "█░"
        width = min(self.most, options.max_width)
        filled = int(width * _share(self.status))
        yield Text(done * filled + left * (width - filled))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.most, self.most).clamp(max_width=options.max_width)


def _share(status: Status) -> float:
    """Of the run that is done; a file without sweeps was written at once."""
    return status.sweep / status.sweeps if status.sweeps else 1.0


@dataclass(frozen=True)
class Profiles:
    """Aligned q(l) of every start as bars, beside each other where there is room."""

    profiles: dict[str, list[float]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        across = len(self.profiles)
        if across * (_AXIS + 2 * max(map(len, self.profiles.values()))) + across > options.max_width:
            across = 1
        grid = Table.grid(padding=(1, 2, 0, 0))
        charts = [
            Text("\n".join([f"q(l), {start}", *bars(q, options.max_width // across - 2, options)]))
            for start, q in self.profiles.items()
        ]
        for first in range(0, len(charts), across):
            grid.add_row(*charts[first : first + across])
        yield grid


def bars(values: Sequence[float], width: int, options: ConsoleOptions) -> list[str]:
    """Lines of a small plot of q(l) from 0 to 1, one bar per layer; of more layers than there is room for,
    some, evenly spread.  What is not a number has no bar, nor has what is below 0.

    width : characters of a line.
    """
    blocks = _ASCII if options.ascii_only else _BLOCKS
    layers = shown_layers(len(values), max((width - _AXIS) // 2, 1))
    size = min(max((width - _AXIS) // len(layers) - 1, 1), WIDEST_BAR)
    eighths = [_eighths(values[layer - 1]) for layer in layers]
    lines = []
    for row in reversed(range(HEIGHT)):
        name = {HEIGHT - 1: "1.0", 0: "0.0"}.get(row, "")
        cells = (blocks[min(max(filled - 8 * row, 0), 8)] * size for filled in eighths)
        lines.append(f"{name:>3} |" + " ".join(cells))
    step = -(-(len(str(layers[-1])) + 1) // (size + 1))
    labels = "".join(str(layer).ljust(step * (size + 1)) for layer in layers[::step])
    lines.append("  l  " + labels.rstrip())
    if size >= WIDEST_BAR:
        lines.append("  q  " + " ".join(number(values[layer - 1], 2).ljust(size) for layer in layers))
    return [line.rstrip() for line in lines]


def _eighths(value: float) -> int:
    """The height of a bar in eighths of a line."""
    return 0 if isnan(value) else round(min(max(value, 0.0), 1.0) * 8 * HEIGHT)


# ---------------------------------------------------------------------------------------------- a scan


@dataclass(frozen=True)
class Points:
    """The points of a scan, a line each."""

    statuses: list[Status]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= NARROW
        grid = Table.grid(padding=(0, 2, 0, 0))
        for status in self.statuses:
            cells: list[RenderableType] = [Text(Path(status.path).stem, overflow="ellipsis"), status.state]
            if wide:
                cells.append(Bar(status, LONGEST_BAR // 3))
            left = "" if status.left is None else f"{clock_time(status.left)} left"
            errors = ", ".join(f"{start} {error:.4f}" for start, error in (status.errors or {}).items())
            grid.add_row(*cells, f"{_share(status):.1%}", left, errors)
        yield grid
        done = sum(status.state == "finished" for status in self.statuses)
        yield Text(f"{done} of {len(self.statuses)} points finished")
        for status in self.statuses:
            if status.state == "unreadable":
                yield Text(status.reason)
