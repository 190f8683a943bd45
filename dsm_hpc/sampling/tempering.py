"""Parallel tempering of one ladder: which replica sits at which temperature (PHYSICS section 1).

Swaps exchange temperatures, not states.  In turn the even and the odd pairs of neighbouring temperatures are
tried, with probability min(1, exp((beta_a - beta_b)(E_a - E_b))) and infinity times 0 = 0: against beta =
infinity a swap is accepted if and only if it does not raise the energy of the cold replica.
"""

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import STARTS, Config
from dsm_hpc.ensemble import LadderKey
from dsm_hpc.rng import Purpose, generator

_NOWHERE, _FROM_HOT, _FROM_COLD = 0, 1, 2


def swap_exponent(beta_a: float, beta_b: float, energy_a: int, energy_b: int) -> float:
    """(beta_a - beta_b)(E_a - E_b), with infinity times 0 = 0."""
    return 0.0 if energy_a == energy_b else (beta_a - beta_b) * (energy_a - energy_b)


class Ladder:
    """The temperatures of the replicas of one sample, start and clone.

    key, betas : which ladder, and its inverse temperatures.
    replica_at : int (B,), the replica (named after its temperature at t = 0) at each temperature.
    attempts, accepts : int64 (B - 1,), swaps between temperatures e and e + 1 since t = 0.
    round_trips : int64 (B,), completed ways hot end -> cold end -> hot end of each replica.
    """

    def __init__(self, key: LadderKey, config: Config, purpose: Purpose = Purpose.EXCHANGE) -> None:
        start = STARTS.index(config.ensemble.starts[key.start])
        self._seed, self._purpose, self._stream = config.seed, purpose, (key.sample, start, key.clone)
        self.key, self.betas = key, config.dynamics.ladder
        count = len(self.betas)
        self._hot, self._cold = (0, count - 1) if self.betas[0] < self.betas[-1] else (count - 1, 0)
        self.replica_at = np.arange(count)
        self.attempts = np.zeros(max(count - 1, 0), np.int64)
        self.accepts = np.zeros(max(count - 1, 0), np.int64)
        self.round_trips = np.zeros(count, np.int64)
        self._coming = np.full(count, _NOWHERE)
        self._rounds = 0
        self._note_ends()

    def exchange(self, energies: NDArray[np.int64]) -> None:
        """One round of swaps; energies : (B,) of each replica.

        The round draws one uniform number per edge from the stream (sample, start, clone, round), so that
        whoever knows the energies comes to the same decisions.
        """
        uniform = generator(self._seed, self._purpose, *self._stream, self._rounds).random(len(self.attempts))
        for edge in range(self._rounds % 2, len(self.attempts), 2):
            a, b = self.replica_at[edge], self.replica_at[edge + 1]
            exponent = swap_exponent(
                self.betas[edge], self.betas[edge + 1], int(energies[a]), int(energies[b])
            )
            self.attempts[edge] += 1
            if exponent >= 0 or uniform[edge] < np.exp(exponent):
                self.replica_at[edge], self.replica_at[edge + 1] = b, a
                self.accepts[edge] += 1
        self._rounds += 1
        self._note_ends()

    def state(self) -> dict[str, NDArray[np.int64]]:
        """Everything that time has changed, as arrays by name."""
        return {
            "replica_at": self.replica_at,
            "coming": self._coming,
            "round_trips": self.round_trips,
            "attempts": self.attempts,
            "accepts": self.accepts,
            "rounds": np.array(self._rounds),
        }

    def restore(self, state: dict[str, NDArray[np.int64]]) -> None:
        """Goes back to what `state` gave."""
        self.replica_at, self._coming = state["replica_at"], state["coming"]
        self.round_trips = state["round_trips"]
        self.attempts, self.accepts = state["attempts"], state["accepts"]
        self._rounds = int(state["rounds"])

    def _note_ends(self) -> None:
        """Counts the round trips that have just ended."""
        hot, cold = self.replica_at[self._hot], self.replica_at[self._cold]
        if hot == cold:
            return
        if self._coming[cold] == _FROM_HOT:
            self._coming[cold] = _FROM_COLD
        if self._coming[hot] == _FROM_COLD:
            self.round_trips[hot] += 1
        self._coming[hot] = _FROM_HOT
