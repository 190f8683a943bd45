"""How far runs are, from their files alone: works while they go on, and after they were killed."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dsm_hpc.config import Config
from dsm_hpc.ensemble import walker_count
from dsm_hpc.errors import InputError
from dsm_hpc.inputfile import Point
from dsm_hpc.manifold import layout, storage
from dsm_hpc.manifold.format import is_manifold
from dsm_hpc.progress import clock_time
from dsm_hpc.storage import scan_list, sign_of_life
from dsm_hpc.storage.checkpoint import Checkpoint, newest, older
from dsm_hpc.storage.reading import read_header


@dataclass(frozen=True)
class Status:
    """What can be told of one run.

    state : `waiting` (a point of a scan that has not begun), `unreadable` (one that is damaged), `running`,
    `stopped` (on request), `silent` (killed, most likely) or `finished`.
    checkpoint : sweep of the newest one that can be read, and its age.
    """

    path: str
    state: str
    sweep: int
    sweeps: int
    phase: str = ""
    reason: str = ""
    host: str = ""
    ranks: int = 0
    rate: float | None = None
    left: float | None = None
    silent: float | None = None
    errors: dict[str, float] | None = None
    checkpoint: int | None = None
    checkpoint_age: float | None = None
    unit: str = "sweep"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def found(paths: list[Path]) -> list[Status]:
    """The status of results files; of a folder, that of every point of its scan."""
    return [status for path in paths for status in (_scan(path) if path.is_dir() else [of(path)])]


def of(path: Path) -> Status:
    """The status of one results file; raises InputError if it is none."""
    if is_manifold(path):
        return _manifold(path)
    header = read_header(path)
    sweeps = header.config.schedule.sweeps
    if header.finished:
        return Status(str(path), "finished", sweeps, sweeps)
    saved, age = _checkpoint(path)
    sign = sign_of_life.last(path)
    if sign is None or sign.run != header.provenance.get("run"):
        return Status(str(path), "silent", saved or 0, sweeps, checkpoint=saved, checkpoint_age=age)
    state = "running" if sign.alive else "stopped" if sign.state == "stopped" else "silent"
    return Status(
        str(path),
        state,
        sign.sweep if state != "silent" else saved or 0,
        sign.sweeps,
        sign.phase,
        sign.reason,
        sign.host,
        sign.ranks,
        sign.rate,
        _left(sign, header.config) if state == "running" else None,
        sign.age,
        sign.errors,
        saved,
        age,
    )


def _manifold(path: Path) -> Status:
    """Of a simulation of the hidden manifold model, whose state is in its results file."""
    found = storage.read(path) if storage.kind_of(path) == storage.ONLINE else None
    if found is None:  # equations, or the Gaussian equivalence: written once
        return Status(str(path), "finished", 0, 0)
    total = sum(int(layout.steps(case)[-1]) for case, _ in found.job.runs)
    if found.finished:
        return Status(str(path), "finished", total, total, unit="update")
    sign, age = sign_of_life.last(path), time.time() - path.stat().st_mtime
    if sign is None or sign.run != found.origin.get("run"):
        return Status(str(path), "silent", 0, total, checkpoint_age=age, unit="update")
    state = "running" if sign.alive else "stopped" if sign.state == "stopped" else "silent"
    about = {"host": sign.host, "ranks": sign.ranks, "silent": sign.age, "reason": sign.reason}
    return Status(
        str(path),
        state,
        sign.sweep,
        sign.sweeps,
        checkpoint_age=age,
        unit="update",
        **about,  # type: ignore[arg-type]
    )


def in_words(status: Status) -> str:
    """One or two lines for a person."""
    share = status.sweep / status.sweeps if status.sweeps else 1.0
    where = f"{status.unit} {status.sweep} of {status.sweeps} ({share:.1%})"
    if status.phase:
        where += f" of the {status.phase}"
    saved = _saved_in_words(status)
    match status.state:
        case "finished":
            length = f", {status.sweeps} {status.unit}s" if status.sweeps else ""
            return f"{status.path}: finished{length}"
        case "unreadable":
            return status.reason
        case "waiting":
            return f"{status.path}: has not begun, {status.sweeps} sweeps"
        case "running":
            errors = ", ".join(f"{start} {error:.4f}" for start, error in (status.errors or {}).items())
            left = "" if status.left is None else f", {clock_time(status.left)} left"
            ranks = f"{status.ranks} rank{'s' * (status.ranks > 1)}"
            rate = f", {status.rate:.3g} proposals/s" if status.rate else ""
            return f"{status.path}: running on {status.host}, {ranks}: {where}{rate}{left}\n  {saved}" + (
                f"; training error {errors}" if errors else ""
            )
        case "stopped":
            return f"{status.path}: stopped at {where}: {status.reason}\n  {saved}; `dsm resume` goes on"
    silence = "" if status.silent is None else f" for {clock_time(status.silent)}"
    told = f"interrupted: no sign of life{silence}, so killed or failed"
    return f"{status.path}: {told}\n  {saved}; `dsm resume` goes on"


def _saved_in_words(status: Status) -> str:
    if status.unit == "update" and status.checkpoint_age is not None:
        return f"saved {clock_time(status.checkpoint_age)} ago"
    if status.checkpoint is None or status.checkpoint_age is None:
        return "no checkpoint yet: a resumed run begins at t = 0"
    return f"checkpoint of sweep {status.checkpoint}, {clock_time(status.checkpoint_age)} old"


def _checkpoint(results: Path) -> tuple[int | None, float | None]:
    """Sweep and age in seconds of the newest checkpoint that can be read."""
    for path in (newest(results), older(results)):
        try:
            moment = Checkpoint(path).moment
            return moment.sweep if moment.burn_in is None else 0, time.time() - path.stat().st_mtime
        except (InputError, OSError):
            continue
    return None, None


def _left(sign: sign_of_life.SignOfLife, config: Config) -> float | None:
    """Seconds to the end at the present rate."""
    proposals = walker_count(config) * config.network.weight_count * (sign.sweeps - sign.sweep)
    return proposals / sign.rate if sign.rate > 0 else None


def _scan(folder: Path) -> list[Status]:
    job, _ = scan_list.read(folder)
    return [_point(point, folder / f"{point.name}.h5") for point in job.points]


def _point(point: Point, path: Path) -> Status:
    if path.exists():
        try:
            return of(path)
        except InputError as error:  # one bad file does not hide the others
            return Status(str(path), "unreadable", 0, point.config.schedule.sweeps, reason=str(error))
    return Status(str(path), "waiting", 0, point.config.schedule.sweeps)
