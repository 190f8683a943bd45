"""The runs of one rank, one after the other: their equations, their steps and their measurements."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsm_hpc.manifold import layout
from dsm_hpc.manifold.experiment import Record, Streams, equations, initial_modes, prepare
from dsm_hpc.manifold.inputfile import Case, ManifoldJob
from dsm_hpc.manifold.inputs import BLOCK
from dsm_hpc.manifold.layout import Arrays, put
from dsm_hpc.manifold.linear import linear_error
from dsm_hpc.manifold.ode import Trajectory
from dsm_hpc.manifold.online import OnlineRun, OnlineState
from dsm_hpc.manifold.storage import State
from dsm_hpc.rng import Purpose, bit_generator, generator, position, set_position


def streams(seed: int, repetition: int) -> Streams:
    """Of a repetition: the same in all cases, so that these differ in nothing but their parameters."""
    return Streams(
        generator(seed, Purpose.HMM_FEATURES, repetition),
        generator(seed, Purpose.HMM_TEACHER, repetition),
        generator(seed, Purpose.HMM_STUDENT, repetition),
        bit_generator(seed, Purpose.HMM_INPUTS, repetition),
    )


def begin(case: Case, repetition: int) -> OnlineRun:
    """A run at t = 0."""
    return prepare(case.config, case.rate, streams(case.config.seed, repetition))


def solve_into(arrays: Arrays, place: int, case: Case, run: OnlineRun) -> None:
    """The equations of a run at t = 0."""
    found: Trajectory = equations(case.config, run)
    for name in ("error", "Q", "R", "T", "W", "Sigma", "v"):
        put(arrays, f"equations/{name}", place, getattr(found, name))
    level = linear_error(initial_modes(case.config, run), case.config.networks.g)
    put(arrays, "equations/linear_error", place, level)


def cost(case: Case) -> float:
    """Relative time that a run takes: making inputs, and updates."""
    data, K = case.config.data, case.config.networks.student
    steps = layout.steps(case)
    inputs = steps[-1] + len(steps) * case.config.schedule.test_inputs
    return float((inputs + 1) * data.width * (data.dimension + 20 + 5 * K))


class Worker:
    """Carries out runs `first` to `last` of a job.

    arrays : what they have measured, NaN elsewhere; measured : measurements of each run that are in there.
    """

    def __init__(
        self,
        job: ManifoldJob,
        first: int,
        last: int,
        arrays: Arrays,
        measured: Sequence[int],
        states: Mapping[int, State],
    ) -> None:
        """arrays, measured : of these runs, changed in place; states : of all that have begun."""
        self._runs, self._first = job.runs[first:last], first
        self.arrays, self.measured = arrays, np.array(measured, np.int64)
        self._waiting = {run: state for run, state in states.items() if first <= run < last}
        self._place = 0
        self._run: OnlineRun | None = None
        self._find()

    @property
    def done(self) -> bool:
        return self._place == len(self._runs)

    def go_on(self, blocks: int) -> None:
        """So many blocks of steps, and the measurements that fall into them."""
        left = blocks * BLOCK
        while left > 0 and not self.done:
            run = self._run = self._run or self._begin()
            case, _ = self._runs[self._place]
            steps = layout.steps(case)
            forward = min(left, int(steps[self.measured[self._place]]) - run.steps)
            run.advance(forward)
            left -= forward
            if run.steps == steps[self.measured[self._place]]:
                self._measure(run)
                self.measured[self._place] += 1
                left -= case.config.schedule.test_inputs
                self._find()

    def states(self) -> dict[int, State]:
        """Of the runs that have begun and not ended."""
        found = dict(self._waiting)
        if self._run is not None:
            now = self._run.state()
            stream: Any = np.random.PCG64DXSM()
            stream.state = now.stream
            found[self._first + self._place] = {
                "w": now.w,
                "v": now.v,
                "steps": np.array(now.steps),
                "stream": position(stream),
            }
        return found

    @property
    def steps(self) -> int:
        """Steps done by all runs of this rank, up to their last measurement."""
        return sum(
            int(layout.steps(case)[count - 1]) if count else 0
            for (case, _), count in zip(self._runs, self.measured, strict=True)
        )

    def _find(self) -> None:
        """The first run that has not ended."""
        while not self.done and self.measured[self._place] == len(layout.steps(self._runs[self._place][0])):
            self._place, self._run = self._place + 1, None

    def _begin(self) -> OnlineRun:
        """The run at this place, at t = 0 or as it was saved."""
        case, repetition = self._runs[self._place]
        run = begin(case, repetition)
        state = self._waiting.pop(self._first + self._place, None)
        if state is not None:
            return _restored(state, run)
        if case.config.ode is not None:
            solve_into(self.arrays, self._place, case, run)
        return run

    def _measure(self, run: OnlineRun) -> None:
        (case, repetition), count = self._runs[self._place], int(self.measured[self._place])
        record, place = Record(run.system), (self._place, count)
        fresh = generator(case.config.seed, Purpose.HMM_TEST, repetition, run.steps)
        record.measure(run, case.config.schedule.test_inputs, fresh)
        put(self.arrays, "error", place, record.error[0])
        for name in ("Q", "R", "W", "Sigma", "v"):
            put(self.arrays, name, place, getattr(record, name)[0])
        put(self.arrays, "T", self._place, record.T[0])
        test = record.test[0]
        if test is not None:
            put(self.arrays, "test_error", place, test.mean)
            put(self.arrays, "test_error_se", place, test.error)


def _restored(state: State, run: OnlineRun) -> OnlineRun:
    """The run as it was saved."""
    stream = np.random.PCG64DXSM()
    set_position(stream, state["stream"])
    saved = OnlineState(state["w"], state["v"], int(state["steps"]), stream.state)
    return OnlineRun.restored(run.system, saved, run.eta, run.second_layer, stream)
