"""Sizes where vectors, words, limbs and blocks of patterns end: every kernel, level and number of threads.

`tools/sanitize.sh` runs this file on kernels that check every access.
"""

from math import inf

import numpy as np
import oracle
import pytest

from dsm_hpc.kernels import SHARED, Student, kernels_for
from dsm_hpc.kernels.levels import AVAILABLE

WIDTHS = (1, 15, 16, 17, 63, 64, 65, 127, 128, 129)


@pytest.mark.parametrize("ising", [False, True], ids=["gaussian", "ising"])
@pytest.mark.parametrize("patterns", [1, 15, 17, 63, 64, 65])
@pytest.mark.parametrize("width", WIDTHS)
def test_where_lanes_end(width: int, patterns: int, ising: bool) -> None:
    """From the teacher at E = 0, then in learning at finite and at no temperature.

    Weights are moved one by one and, where they are Gaussian, all of a perceptron's.
    """
    rng = np.random.default_rng(1000 * width + patterns)
    inputs = rng.choice((-1, 1), size=(patterns, width))
    for fan_in in {width, 1 + width // 9, 1 + width // 32}:
        # from L M = 640 on, proposals are tried side by side at E = 0
        depth = 10 if patterns == 65 and fan_in * width < 5000 else 3
        kind = "full" if fan_in == width else "sparse"
        wiring = oracle.draw_wiring(rng, depth, width, fan_in, kind)
        weights = oracle.draw_weights(rng, wiring.shape, ising)
        outputs = oracle.forward(wiring, oracle.integers_of(weights, ising), inputs)[-1]
        found = set()
        for level in AVAILABLE:
            for kernel in kernels_for(depth, width, fan_in, level, ising):
                for threads in (1, 3) if kernel in SHARED and patterns == 65 else (1,):
                    sizes = oracle.words_of(inputs), oracle.words_of(outputs), patterns, ising
                    student = Student(wiring, weights, *sizes, kernel, level, threads)
                    moves = np.random.PCG64(3)
                    for beta in (inf, 1.0, inf):
                        student.sweep(moves, beta, 0.3, 1)
                        if not ising:
                            student.billiard(moves, beta, 0.6, 1)
                    assert student.same_state(student.recomputed()), (kernel, level, threads)
                    found.add((student.weights.tobytes(), student.energy))
        assert len(found) == 1, f"fan-in {fan_in}"
