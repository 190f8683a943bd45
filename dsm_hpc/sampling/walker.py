"""A walker: one student at one temperature, with its own random stream."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import STARTS, Config
from dsm_hpc.ensemble import WalkerKey
from dsm_hpc.kernels import Student
from dsm_hpc.machine.overlaps import Profile, overlaps
from dsm_hpc.machine.sample import Machine, Sample
from dsm_hpc.machine.wiring import draw_weights
from dsm_hpc.rng import Purpose, bit_generator, generator, position, set_position
from dsm_hpc.sampling.turns import make, turns

State = dict[str, NDArray[Any]]
"""What time has changed, as arrays by name."""


class Walker:
    """One student of `sample`, moved at one inverse temperature at a time.

    key : what names it, its random streams included; temperature : index of the beta it has now;
    config : where its temperatures stand.
    """

    def __init__(
        self,
        key: WalkerKey,
        sample: Sample,
        config: Config,
        moves: Purpose = Purpose.MOVES,
        state: State | None = None,
    ) -> None:
        """state : what `state` gave at another time; None begins at t = 0."""
        self.key, self.sample, self.config, self.temperature = key, sample, config, key.beta
        self._snapshots: list[Machine] = []
        self.moves = bit_generator(config.seed, moves, *self._stream)
        weights = self._first_weights() if state is None else state["weights"]
        teacher = sample.teacher.train
        self.student = Student(
            sample.wiring,
            weights,
            teacher[0],
            teacher[-1],
            config.patterns.train,
            config.ising,
            threads=config.dynamics.threads,
        )
        if state is not None:
            self.temperature = int(state["temperature"])
            set_position(self.moves, state["stream"])
            while (past := f"remembered_{len(self._snapshots)}") in state:
                self._snapshots.append(Machine(state[past], sample.train_signs(state[past]), None))

    @property
    def _stream(self) -> tuple[int, ...]:
        """Key of its random streams.  They know the kind of start, not its place in the list."""
        start = STARTS.index(self.config.ensemble.starts[self.key.start])
        return self.key.sample, start, self.key.clone, self.key.beta

    def _first_weights(self) -> NDArray[np.float64]:
        """The weights at t = 0."""
        if self.config.ensemble.starts[self.key.start] == "planted":
            return self.sample.teacher.weights
        random = generator(self.config.seed, Purpose.START, *self._stream)
        return draw_weights(random, self.sample.wiring.shape, self.config.ising)

    def state(self) -> State:
        """Everything that time has changed but the counts of proposals."""
        remembered = {f"remembered_{number}": past.weights for number, past in enumerate(self._snapshots)}
        return {
            "weights": self.student.weights,
            **remembered,
            "stream": position(self.moves),
            "temperature": np.array(self.temperature),
        }

    @property
    def seat(self) -> WalkerKey:
        """Where its measurements belong: data are ordered by temperature."""
        return self.key._replace(beta=self.temperature)

    def advance(self, start: int, stop: int) -> None:
        """Moves on from time `start` to time `stop`, in sweeps."""
        dynamics = self.config.dynamics
        if dynamics.anneal is not None:
            for time in range(start, min(stop, dynamics.anneal.sweeps)):
                self._move(dynamics.anneal.beta(time), time, time + 1)
            start = max(start, min(stop, dynamics.anneal.sweeps))
        self._move(dynamics.ladder[self.temperature], start, stop)

    def _move(self, beta: float, start: int, stop: int) -> None:
        for move, sweeps in turns(self.config.dynamics.moves, start, stop):
            make(self.student, self.moves, move, beta, sweeps)

    @property
    def energy(self) -> int:
        """Wrong output bits over the training set."""
        return self.student.energy

    @property
    def machine(self) -> Machine:
        """The student as it stands, with its signs over training and test set."""
        weights = self.student.weights
        return Machine(weights, self.student.signs, self.sample.test_signs(weights))

    def test_error(self, machine: Machine) -> float:
        """Fraction of wrong output bits over the test set."""
        teacher = self.sample.teacher
        assert machine.test is not None
        assert teacher.test is not None
        wrong = int(np.bitwise_count(machine.test[-1] ^ teacher.test[-1]).sum())
        return wrong / (self.sample.config.network.width * self.sample.config.patterns.test)

    def take_counts(self) -> NDArray[np.int64]:
        """(2, L): proposals accepted and made in each layer since the last call."""
        counts = np.stack([self.student.accepted, self.student.proposed])
        self.student.reset_counters()
        return counts

    def remember(self) -> None:
        """Keeps the present weights and training signs as the start of one more autocorrelation."""
        self._snapshots.append(Machine(self.student.weights.copy(), self.student.signs.copy(), None))

    @property
    def remembered(self) -> int:
        """How many states are kept for autocorrelations."""
        return len(self._snapshots)

    def autocorrelations(self, machine: Machine) -> list[dict[str, Profile]]:
        """Overlaps with each remembered state, oldest first."""
        return [overlaps(self.sample, machine, past) for past in self._snapshots]
