"""One sample: wiring, teacher, training and test set."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import Config
from dsm_hpc.kernels import forward, quantise
from dsm_hpc.kernels.grid import weight_bits
from dsm_hpc.machine.inputs import draw_inputs
from dsm_hpc.machine.wiring import draw_weights, draw_wiring
from dsm_hpc.rng import Purpose, generator


@dataclass(frozen=True)
class Machine:
    """A set of weights on a sample's wiring, with the signs of all its neurons.

    weights : float64 (L, N, c).
    train, test : uint64 (L + 1, N, W), sign words of layers 0..L for either set of patterns; no test signs
        where only the training set is compared.
    """

    weights: NDArray[np.float64]
    train: NDArray[np.uint64]
    test: NDArray[np.uint64] | None


@dataclass(frozen=True)
class Sample:
    """What teacher and students of one sample share."""

    index: int
    config: Config
    wiring: NDArray[np.int32]
    teacher: Machine

    test_inputs: NDArray[np.uint64]

    @property
    def fully_connected(self) -> bool:
        return self.config.network.inputs == self.config.network.width

    def train_signs(self, weights: NDArray[np.float64]) -> NDArray[np.uint64]:
        """Signs of all neurons over the training set, uint64 (L + 1, N, W), with these weights."""
        return signs_of(self.config, self.wiring, weights, self.teacher.train[0], self.config.patterns.train)

    def test_signs(self, weights: NDArray[np.float64]) -> NDArray[np.uint64]:
        """Signs of all neurons over the test set, uint64 (L + 1, N, W), with these weights."""
        return signs_of(self.config, self.wiring, weights, self.test_inputs, self.config.patterns.test)


def draw_sample(config: Config, index: int) -> Sample:
    """Sample `index` of a configuration: always the same, whoever draws it."""
    network, patterns, seed = config.network, config.patterns, config.seed
    wiring = draw_wiring(generator(seed, Purpose.WIRING, index), network.depth, network.width, network.inputs)
    weights = draw_weights(generator(seed, Purpose.TEACHER, index), wiring.shape, config.ising)
    train, test = draw_inputs(config, index)
    teacher = Machine(
        weights,
        signs_of(config, wiring, weights, train, patterns.train),
        signs_of(config, wiring, weights, test, patterns.test),
    )
    return Sample(index, config, wiring, teacher, test)


def signs_of(
    config: Config,
    wiring: NDArray[np.int32],
    weights: NDArray[np.float64],
    inputs: NDArray[np.uint64],
    patterns: int,
) -> NDArray[np.uint64]:
    """Forward pass on the integer grid of the weights: uint64 (L + 1, N, W)."""
    integers = quantise(weights, 2.0 ** weight_bits(wiring.shape[2], config.ising))
    return forward(wiring, integers, inputs, patterns)
