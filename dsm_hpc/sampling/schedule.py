"""When to measure, in sweeps."""

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import LinearTimes, Schedule

Times = NDArray[np.int64]


def measurement_times(schedule: Schedule) -> Times:
    """t = 0, then log-spaced or every so many sweeps; the last is always the end of the run.

    An extended run keeps the times that it had and goes on in the same manner: a log-spaced one with the
    factor of its first stage.
    """
    first, *later = schedule.stages
    times = _first_stage(schedule, first)
    for sweeps in later:
        times = np.concatenate([times, _further(schedule, int(times[-1]), sweeps)])
    return times


def waiting_times(schedule: Schedule) -> Times:
    """The measurement times from which autocorrelations are counted: t = 0 and log-spaced later ones of the
    first stage."""
    times = _first_stage(schedule, schedule.stages[0])
    if schedule.waiting_times == 0 or len(times) < 2:
        return np.empty(0, np.int64)
    wanted = np.concatenate([[0], _log_spaced(1, int(times[-2]), schedule.waiting_times)])[
        : schedule.waiting_times
    ]
    return np.unique(times[:-1][np.searchsorted(times[:-1], wanted)])


def _first_stage(schedule: Schedule, sweeps: int) -> Times:
    kind = schedule.measurements
    if sweeps == 0:
        return np.zeros(1, np.int64)
    if isinstance(kind, LinearTimes):
        times = np.arange(0, sweeps + 1, kind.every, dtype=np.int64)
        return times if times[-1] == sweeps else np.append(times, sweeps)
    return np.unique(np.concatenate([[0], _log_spaced(1, sweeps, kind.count)]))


def _further(schedule: Schedule, start: int, sweeps: int) -> Times:
    """Times after `start`, up to `sweeps` and with it."""
    kind, first = schedule.measurements, schedule.stages[0]
    if isinstance(kind, LinearTimes):
        times = np.arange((start // kind.every + 1) * kind.every, sweeps, kind.every, dtype=np.int64)
    elif kind.count == 1 or first < 2:
        times = _log_spaced(start + 1, sweeps, kind.count)
    else:
        factor = first ** (1 / (kind.count - 1))
        steps = np.arange(1, int(np.log(sweeps / start) / np.log(factor)) + 1)
        times = np.rint(start * factor**steps).astype(np.int64)
    return np.unique(np.append(times[(times > start) & (times < sweeps)], sweeps))


def _log_spaced(first: int, last: int, count: int) -> Times:
    """At most `count` integers from first to last, both included."""
    if last < first:
        return np.empty(0, np.int64)
    if count == 1:
        return np.array([last], np.int64)
    return np.unique(np.rint(np.geomspace(first, last, count)).astype(np.int64))
