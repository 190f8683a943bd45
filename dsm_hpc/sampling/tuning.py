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


FROZEN = 50.0
"""No finite beta is placed beyond this one (or twice the hottest): energies are integers, and exp(-50) is
never seen."""


CROWDED = 0.005
"""Distance of neighbours, in units of the mean one, below which a ladder is spread a little."""


def round_lengths(burn_in: int) -> list[int]:
    """Sweeps of each round, at least one; they add up to `burn_in`, which is at least 8."""
    shares = np.array([2.0**step for step in range(ROUNDS)])
    ends = np.rint(np.cumsum(shares) / shares.sum() * burn_in).astype(int)
    return [int(length) for length in np.diff(np.maximum(ends, np.arange(1, ROUNDS + 1)), prepend=0)]


def retuned(
    betas: tuple[float, ...], attempts: NDArray[np.int64], accepts: NDArray[np.int64]
) -> tuple[float, ...]:
    """The ladder with the same ends and equal steps of Lambda, from the swaps counted on the old one.

    Interpolation is monotone (PCHIP) in u = beta / (1 + beta); beta = infinity stands at FROZEN.
    """
    rejection = np.maximum(rejections(attempts, accepts), FLOOR)
    barrier = np.concatenate([[0.0], np.cumsum(rejection)])
    coldest = max(FROZEN, 2 * min(betas)) if np.isinf(max(betas)) else max(betas)
    finite = np.minimum(betas, coldest)
    places = finite / (1 + finite)
    wanted = np.linspace(0.0, barrier[-1], len(betas))
    new = _apart(PchipInterpolator(barrier, places)(wanted))
    return (betas[0], *(float(u / (1 - u)) for u in new[1:-1]), betas[-1])


def _apart(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keeps temperatures from running into each other in front of an edge that rejects everything."""
    even = np.linspace(places[0], places[-1], len(places))
    crowded = (np.diff(places) < CROWDED * np.diff(even)).any()
    return 0.95 * places + 0.05 * even if crowded else places


def rejections(attempts: NDArray[np.int64], accepts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fraction of swaps rejected on each edge; 1/2 where none was tried."""
    rejected = (attempts - accepts).astype(np.float64)
    rates: NDArray[np.float64] = np.full(len(attempts), 0.5)
    np.divide(rejected, attempts, out=rates, where=attempts > 0)
    return rates
