"""A walker: one student at one temperature, with its own random stream."""

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import STARTS
from dsm_hpc.ensemble import WalkerKey
from dsm_hpc.kernels import Student
from dsm_hpc.machine.overlaps import Profile, overlaps
from dsm_hpc.machine.sample import Machine, Sample
from dsm_hpc.machine.wiring import draw_weights
from dsm_hpc.rng import Purpose, bit_generator, generator


class Walker:
    """One student of `sample`, moved at one inverse temperature."""

    def __init__(self, key: WalkerKey, sample: Sample) -> None:
        config = sample.config
        self.key, self.sample = key, sample
        self.beta = config.dynamics.betas[key.beta]
        start = config.ensemble.starts[key.start]
        # Streams know the kind of start, not its place in the list.
        stream = (key.sample, STARTS.index(start), key.clone, key.beta)
        if start == "planted":
            weights = sample.teacher.weights
        else:
            weights = draw_weights(
                generator(config.seed, Purpose.START, *stream), sample.wiring.shape, config.ising
            )
        teacher = sample.teacher.train
        self.student = Student(
            sample.wiring, weights, teacher[0], teacher[-1], config.patterns.train, config.ising
        )
        self.moves = bit_generator(config.seed, Purpose.MOVES, *stream)
        self._snapshots: list[Machine] = []

    def advance(self, sweeps: int) -> None:
        """Moves on by so many sweeps."""
        self.student.sweep(self.moves, self.beta, self.sample.config.move.step, sweeps)

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

    def take_acceptance(self) -> NDArray[np.float64]:
        """Accepted / proposed per layer since the last call; NaN where nothing was proposed."""
        proposed = self.student.proposed
        ratio: NDArray[np.float64] = np.divide(
            self.student.accepted, proposed, out=np.full(len(proposed), np.nan), where=proposed > 0
        )
        self.student.reset_counters()
        return ratio

    def remember(self) -> None:
        """Keeps the present weights and training signs as the start of one more autocorrelation."""
        self._snapshots.append(Machine(self.student.weights.copy(), self.student.signs.copy(), None))

    def autocorrelations(self, machine: Machine) -> list[dict[str, Profile]]:
        """Overlaps with each remembered state, oldest first."""
        return [overlaps(self.sample, machine, past) for past in self._snapshots]
