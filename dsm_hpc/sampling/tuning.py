"""Tuning a ladder of inverse temperatures: equal rejection of swaps between all neighbours.

The rejection rates r_e of the edges add up to the communication barrier Lambda(beta) (Syed, Bouchard-Cote,
Deligiannidis, Doucet, J. R. Stat. Soc. B 84, 321 (2022)), which does not depend on the ladder while the
temperatures are close enough.  A new ladder at equal steps of Lambda has equal rejection rates.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

ROUNDS = 6
"""Rounds of tuning, each twice as long as the one before."""

FLOOR = 1e-3
"""Least rejection rate that an edge counts with, so that Lambda increases everywhere."""


def round_lengths(burn_in: int) -> list[int]:
    """Sweeps of each round; they add up to `burn_in` (at least one each)."""
    shares = np.array([2.0**step for step in range(ROUNDS)])
    ends = np.rint(np.cumsum(shares) / shares.sum() * burn_in).astype(int)
    return [max(1, int(length)) for length in np.diff(ends, prepend=0)]


def retuned(
    betas: tuple[float, ...], attempts: NDArray[np.int64], accepts: NDArray[np.int64]
) -> tuple[float, ...]:
    """The ladder with the same ends and equal steps of Lambda, from the swaps counted on the old one.

    Interpolation is monotone (PCHIP) in u = beta / (1 + beta), which is 1 at beta = infinity.
    """
    rejection = np.maximum(rejections(attempts, accepts), FLOOR)
    barrier = np.concatenate([[0.0], np.cumsum(rejection)])
    places = np.array([1.0 if np.isinf(beta) else beta / (1 + beta) for beta in betas])
    wanted = np.linspace(0.0, barrier[-1], len(betas))[1:-1]
    inner = PchipInterpolator(barrier, places)(wanted)
    return (betas[0], *(float(u / (1 - u)) for u in inner), betas[-1])


def rejections(attempts: NDArray[np.int64], accepts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fraction of swaps rejected on each edge; 1/2 where none was tried."""
    rejected = (attempts - accepts).astype(np.float64)
    rates: NDArray[np.float64] = np.full(len(attempts), 0.5)
    np.divide(rejected, attempts, out=rates, where=attempts > 0)
    return rates
