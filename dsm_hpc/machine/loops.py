"""What the dense limit drops: loops in the wiring, and correlated neurons (PHYSICS section 2)."""

from math import isqrt

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import hypergeom

from dsm_hpc.kernels import squared_correlations
from dsm_hpc.machine.sample import Sample

ROWS_AT_A_TIME = 256

WORDS_AT_MOST = 4 * 10**9
"""Sign words that may be compared per layer, N^2 M / 64: about a second."""


def loops(sample: Sample) -> dict[str, NDArray[np.float64] | float]:
    """Loop counts of one sample.

    shared_pairs : (L,), pairs of perceptrons of one layer that share two or more inputs.
    shared_pairs_expected : (L,), their mean number for random c-out-of-N wiring.
    correlation : (L,), sum_i!=j (M^-1 sum_mu S_i S_j)^2 / (N (N-1)) - 1/M over the teacher's neurons of
        layer l and the training set; input_correlation : the same for the inputs (layer 0).  NaN if N = 1.
        Where N^2 M is very large, over the first of the (exchangeable) neurons only.
    """
    depth, width, fan_in = sample.wiring.shape
    correlation = _correlations(sample)
    return {
        "shared_pairs": np.array([shared_pairs(layer) for layer in sample.wiring], np.float64),
        "shared_pairs_expected": np.full(depth, expected_shared_pairs(width, fan_in)),
        "correlation": correlation[1:],
        "input_correlation": correlation[0],
    }


def shared_pairs(layer: NDArray[np.int32]) -> int:
    """Pairs of perceptrons (rows of int (N, c)) that share two or more inputs."""
    width, fan_in = layer.shape
    if fan_in == width:
        return width * (width - 1) // 2 if fan_in > 1 else 0
    reads = csr_array(
        (np.ones(layer.size, np.int32), layer.ravel(), np.arange(0, layer.size + 1, fan_in)),
        shape=(width, width),
    )
    count = 0
    for first in range(0, width, ROWS_AT_A_TIME):
        shared = (reads[first : first + ROWS_AT_A_TIME] @ reads.T).tocoo()
        later = shared.col > shared.row + first
        count += int((shared.data[later] >= 2).sum())
    return count


def expected_shared_pairs(width: int, fan_in: int) -> float:
    """N (N-1) / 2 times the hypergeometric probability of at least two common inputs."""
    return width * (width - 1) / 2 * float(hypergeom.sf(1, width, fan_in, fan_in))


def _correlations(sample: Sample) -> NDArray[np.float64]:
    """Mean squared correlation between distinct neurons of layers 0..L, less 1/M (its value by chance)."""
    patterns = sample.config.patterns.train
    signs = sample.teacher.train
    neurons = min(signs.shape[1], max(2, isqrt(WORDS_AT_MOST // signs.shape[2])))
    if neurons == 1:
        return np.full(len(signs), np.nan)
    sums = np.array([squared_correlations(layer[:neurons], patterns) for layer in signs])
    return np.asarray(2 * sums / (patterns**2 * neurons * (neurons - 1)) - 1 / patterns)
