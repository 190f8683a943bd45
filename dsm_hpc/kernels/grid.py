"""The fixed-point grid of weights and pre-activations.

A weight J acts as the integer rint(J * 2**bits); pre-activations are sums of such integers, exact and
independent of the order of summation, so that signs and energies never drift.  The real-valued J stays
the master copy on which the Monte Carlo moves act.
"""

from math import ceil, log2

MAX_BITS = 20
MAX_FAN_IN = 1 << 14
"""Largest fan-in for which the grid is still as fine as 2**-16."""


def weight_bits(fan_in: int, ising: bool) -> int:
    """Fractional bits of the weights of a perceptron with `fan_in` inputs.

    sum_k |J_k| is about 0.8 c for the Gaussian prior; bits = min(20, 30 - ceil(log2 c)) keeps it at
    0.8 * 2**30, a factor 2.5 below the int32 limit.  Ising weights are the integers +-1 themselves.
    """
    if not 1 <= fan_in <= MAX_FAN_IN:
        raise ValueError(f"fan-in {fan_in} is outside 1..{MAX_FAN_IN}")
    return 0 if ising else min(MAX_BITS, 30 - ceil(log2(fan_in)))
