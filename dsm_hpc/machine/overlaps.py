"""Overlaps of two machines of one sample, layer by layer, raw and aligned (PHYSICS section 1).

Flipping a hidden neuron (the weights into it and out of it) changes nothing visible, and neither does a
permutation of a fully connected hidden layer.  The aligned overlaps undo both before they compare: with
c = N the neurons are matched first (the assignment that maximises sum |overlap| over the training set),
then each takes the sign of its overlap.  Where two layers are uncorrelated this leaves a bias of about
sqrt(2 / (pi M)).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from dsm_hpc.kernels import cross_overlaps, sign_overlaps, weight_overlaps
from dsm_hpc.machine.sample import Machine, Sample

Signs = NDArray[np.uint64]
Profile = NDArray[np.float64]
"""float64 (L,): one number for each layer 1..L."""


@dataclass(frozen=True)
class Gauge:
    """How the neurons of one machine correspond to those of another.

    order : int (L + 1, N), the neuron that stands for neuron i; None: i itself.
    flip : int8 (L + 1, N), the sign it takes, +1 at the input and the output.
    """

    order: NDArray[np.intp] | None
    flip: NDArray[np.int8]

    def reorder(self, machine: Machine) -> Machine:
        """The machine with its neurons in the other's order."""
        order = self.order
        if order is None:
            return machine
        weights = np.empty_like(machine.weights)
        for layer in range(len(weights)):
            weights[layer] = machine.weights[layer][np.ix_(order[layer + 1], order[layer])]
        train = np.take_along_axis(machine.train, order[:, :, None], axis=1)
        test = None if machine.test is None else np.take_along_axis(machine.test, order[:, :, None], axis=1)
        return Machine(weights, train, test)


def align(sample: Sample, machine: Machine, reference: Machine) -> Gauge:
    """The gauge that brings `machine` closest to `reference` on the training set."""
    depth, width, _ = sample.wiring.shape
    patterns = sample.config.patterns.train
    flip = np.ones((depth + 1, width), np.int8)
    if not sample.fully_connected:
        overlap = sign_overlaps(machine.train[1:depth], reference.train[1:depth], patterns)
        flip[1:depth][overlap < 0] = -1
        return Gauge(None, flip)
    order = np.tile(np.arange(width), (depth + 1, 1))
    for layer in range(1, depth):
        cross = cross_overlaps(reference.train[layer], machine.train[layer], patterns)
        order[layer] = linear_sum_assignment(np.abs(cross), maximize=True)[1]
        flip[layer][cross[np.arange(width), order[layer]] < 0] = -1
    return Gauge(order, flip)


def overlaps(sample: Sample, machine: Machine, reference: Machine) -> dict[str, Profile]:
    """Overlaps of two machines in layers 1..L.

    q(l) = (1/N) sum_i sum_k J_ik J*_ik / (|J_i| |J*_i|), r(l) = (1/NM) sum_i,mu S S* on the training set,
    r_test(l) the same on the test set where both machines have one; each also aligned (`q_aligned`, ...).
    """
    gauge = align(sample, machine, reference)
    raw = _overlaps(sample, machine, reference, np.ones_like(gauge.flip))
    aligned = _overlaps(sample, gauge.reorder(machine), reference, gauge.flip)
    return raw | {f"{name}_aligned": profile for name, profile in aligned.items()}


def _overlaps(sample: Sample, a: Machine, b: Machine, flip: NDArray[np.int8]) -> dict[str, Profile]:
    patterns = sample.config.patterns
    profiles = {
        "q": weight_overlaps(sample.wiring, a.weights, b.weights, flip),
        "r": _mean_sign_overlap(a.train, b.train, flip, patterns.train),
    }
    if a.test is not None and b.test is not None:
        profiles["r_test"] = _mean_sign_overlap(a.test, b.test, flip, patterns.test)
    return profiles


def _mean_sign_overlap(a: Signs, b: Signs, flip: NDArray[np.int8], patterns: int) -> Profile:
    """(1/NM) sum_i,mu s_i S_a S_b for layers 1..L; a sum of integers, so exact."""
    overlap = sign_overlaps(a[1:], b[1:], patterns)
    return np.asarray((overlap * flip[1:]).sum(axis=1) / (overlap.shape[1] * patterns))
