"""Parallel tempering, ladder tuning and annealing against enumeration, closed forms and a second exchange.

Standard errors are over independent ladders; |z| < 4 is asked of every average, and a wrong rule must give
|z| > 8.  Seeds are fixed, so a test that passes once always passes.
"""

import json
from functools import cache
from math import exp, inf, isinf
from typing import Any

import h5py
import numpy as np
import oracle
import pytest
import yaml
from conftest import changed, datasets, dsm, small_config
from scipy.stats import binom
from test_enumeration import READINGS, SIGMAS, Enumerated, z_scores

from dsm_hpc.config import STARTS, Anneal, Config, spread_betas
from dsm_hpc.ensemble import LadderKey, WalkerKey
from dsm_hpc.errors import InputError
from dsm_hpc.machine.sample import Machine, Sample, draw_sample
from dsm_hpc.parallel.decomposition import decompose
from dsm_hpc.parallel.ladders import SharedLadder
from dsm_hpc.rng import Purpose
from dsm_hpc.sampling import tempering
from dsm_hpc.sampling.tempering import Ladder, swap_exponent
from dsm_hpc.sampling.tuning import ROUNDS, rejections, retuned, round_lengths
from dsm_hpc.sampling.walker import Walker

CAUGHT = 8
"""Standard errors at which a wrong rule is seen."""

BETAS = (0.0, 0.4, 1.0, 2.5, inf)


def ladder_config(betas: Any, **changes: Any) -> Config:
    """The small configuration with a ladder that swaps at every sweep."""
    return small_config(dynamics={"betas": [float(beta) for beta in betas], "exchange_every": 1}, **changes)


plain_config = cache(ladder_config)


def new_ladder(betas: Any, clone: int = 0) -> Ladder:
    return Ladder(LadderKey(0, 0, clone), plain_config(tuple(betas)))


class Alone:
    """The team of a ladder on one rank."""

    def sum(self, part: np.ndarray) -> np.ndarray:
        return part


# ------------------------------------------------------------------------------- exact enumeration


class Tempered(Enumerated):
    """An enumerated machine with ladders on it."""

    def boltzmann(self, beta):
        """Uniform on E = 0 at beta = inf."""
        p = np.exp(-beta * self.energies) if beta < inf else (self.energies == 0).astype(float)
        return p / p.sum()

    def ladder(self, config, number, states):
        """Replica b of ladder `number` starts in states[b]: it is made the teacher of a planted walker."""
        words = np.array([oracle.words_of(signs) for signs in (self.inputs, self.targets)])
        replicas = []
        for beta, state in enumerate(states):
            weights = np.where(state & self.powers > 0, 1.0, -1.0).reshape(self.shape)
            sample = Sample(0, config, self.wiring, Machine(weights, words, None), words[0])
            replicas.append(Walker(WalkerKey(0, 0, number, beta), sample, config))
        return SharedLadder(Ladder(LadderKey(0, 0, number), config), replicas, Alone())

    def visits(self, betas, seed, ladders, swaps=True, burn_in=None):
        """States by temperature, (B, ladders, READINGS), and acceptances (ladders, B, L).

        Starts are one exact draw for each temperature, so that a correct sampler is stationary from the
        first sweep on; with `burn_in` they are random states, and so many sweeps are not read.
        """
        config = ladder_config(
            betas,
            seed=seed,
            network={"width": 2, "depth": 2, "fan_in": 2, "weights": "ising"},
            patterns={"train": len(self.inputs), "test": 1},
        )
        rng = np.random.default_rng(seed)
        laws = [self.boltzmann(beta if burn_in is None else 0.0) for beta in betas]
        starts = np.array([rng.choice(len(self.energies), size=ladders, p=p) for p in laws]).T
        states = np.empty((len(betas), ladders, READINGS), int)
        acceptances = []
        for number in range(ladders):
            shared = self.ladder(config, number, starts[number])
            for reading in range(-(burn_in or 0), READINGS):
                if reading == 0:
                    shared.take_acceptance()
                for walker in shared.replicas:
                    walker.advance(0, 1)
                if swaps:
                    shared.exchange()
                if reading >= 0:
                    for walker in shared.replicas:
                        states[walker.seat.beta, number, reading] = self.state(walker.student.weights)
            for walker in shared.replicas:
                assert walker.energy == self.energies[states[walker.seat.beta, number, -1]]
            acceptances.append(shared.take_acceptance())
        return states, np.array(acceptances)

    def deviations(self, betas, states):
        """Largest |z| at each beta: energy, overlap and q(l) (`largest_z`); every ground state at inf."""
        with np.errstate(divide="ignore"):  # no spread at all around a wrong value: infinitely many sigma
            z = {beta: max(self.largest_z(s, beta).values()) for beta, s in zip(betas, states, strict=True)}
            if inf in betas:
                each = self.z_of_levels(
                    states[betas.index(inf)], np.arange(len(self.energies)), self.boltzmann(inf)
                )
                z[inf] = max(z[inf], np.abs(each).max())
        return z

    def acceptance(self, beta):
        """Exact acceptance of a proposal in each layer, (L,)."""
        change = self.energies[np.arange(len(self.energies))[:, None] ^ self.powers] - self.energies[:, None]
        accepted = change <= 0 if beta == inf else np.exp(-beta * np.maximum(change, 0))
        return (self.boltzmann(beta) @ accepted).reshape(self.shape[0], -1).mean(axis=1)


@pytest.fixture(scope="module")
def machine():
    """256 states, 9 levels, 8 states with E = 0."""
    system = Tempered(2, 2, 2, 5, 4)
    assert np.count_nonzero(system.energies == 0) == 8
    return system


@pytest.mark.parametrize("swaps", [True, False], ids=["swaps", "no swaps"])
def test_every_temperature_has_its_exact_law(machine, swaps):
    """Started from exact draws (uniform on E = 0 at inf), every temperature keeps its law at every sweep.

    The product of the laws is stationary under moves and swaps, beta = inf included: a swap against it is
    accepted iff the other energy is 0 as well, and then both laws are uniform.  (All replicas planted in
    one teacher are no such start: with swaps, their cold end is uniform only after the ladder has forgotten.)
    """
    states, acceptance = machine.visits(BETAS, seed=5, ladders=56, swaps=swaps)
    z = machine.deviations(BETAS, states)
    assert max(z.values()) < SIGMAS, z
    assert (machine.energies[states[-1]] == 0).all()
    exact = np.array([machine.acceptance(beta) for beta in BETAS])
    assert np.abs(z_scores(acceptance, exact)).max() < SIGMAS


def test_random_starts_reach_the_exact_law_at_every_temperature(machine):
    """With swaps even beta = inf: greedy moves alone get stuck above E = 0, and the ground states are
    reached uniformly.  The list descends here."""
    betas = BETAS[::-1]
    states, acceptance = machine.visits(betas, seed=6, ladders=48, burn_in=50)
    z = machine.deviations(betas, states)
    assert max(z.values()) < SIGMAS, z
    exact = np.array([machine.acceptance(beta) for beta in betas])
    assert np.abs(z_scores(acceptance, exact)).max() < SIGMAS


def test_random_starts_without_swaps_do_not(machine):
    """The comparison above needs the swaps: greedy moves alone leave some students above E = 0 for ever."""
    states, _ = machine.visits((inf,), seed=6, ladders=400, burn_in=60, swaps=False)
    assert machine.deviations((inf,), states)[inf] > CAUGHT
    stuck = (machine.energies[states[0]] > 0).all(axis=1).sum()
    assert 4 < stuck < 200


def misplaced(exchange):
    """Energies taken in the order of temperatures, where they stand in the order of replicas."""
    return lambda self, energies: exchange(self, energies[self.replica_at])


WRONG = {
    "sign flipped": ("swap_exponent", lambda a, b, ea, eb: -swap_exponent(a, b, ea, eb)),
    "always accepted": ("swap_exponent", lambda *_: 0.0),
    "half the exponent": ("swap_exponent", lambda a, b, ea, eb: 0.5 * swap_exponent(a, b, ea, eb)),
    "one energy only": ("swap_exponent", lambda a, b, ea, _: swap_exponent(a, b, ea, 2)),
    "energies misplaced": ("exchange", misplaced(Ladder.exchange)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_swap_rule_is_caught(machine, wrong, monkeypatch):
    """The test of the exact laws has the power to fail, also at finite temperatures alone."""
    name, rule = WRONG[wrong]
    monkeypatch.setattr(tempering if name == "swap_exponent" else Ladder, name, rule)
    states, _ = machine.visits(BETAS, seed=5, ladders=28)
    z = machine.deviations(BETAS, states)
    assert max(z[beta] for beta in BETAS if 0 < beta < inf) > CAUGHT, z


# ------------------------------------------------------------------------------- the rule at beta = inf


@pytest.mark.parametrize("beta", [0.0, 0.3, 7.0])
def test_exponent(beta):
    """(beta_a - beta_b)(E_a - E_b), symmetric in a and b; 0 for equal energies, even against inf."""
    assert swap_exponent(beta, 1.0, 5, 3) == (beta - 1.0) * 2 == swap_exponent(1.0, beta, 3, 5)
    for energy in (0, 17):
        assert swap_exponent(inf, beta, energy, energy) == 0 == swap_exponent(beta, inf, energy, energy)
    assert swap_exponent(inf, beta, 4, 3) == inf == swap_exponent(beta, inf, 3, 4)
    assert swap_exponent(inf, beta, 3, 4) == -inf == swap_exponent(beta, inf, 4, 3)


@pytest.mark.parametrize("finite", [0.0, 1e-300, 2.0, 1e300])
@pytest.mark.parametrize("cold_first", [False, True])
def test_swaps_against_infinity(finite, cold_first):
    """Accepted iff the energy of the cold replica does not rise, in either order of the list."""
    betas = (inf, finite) if cold_first else (finite, inf)
    cold = 0 if cold_first else 1
    for number in range(300):
        ladder = new_ladder(betas, number)
        energies = np.random.default_rng(number).integers(0, 3, size=2)
        before = energies.copy()
        ladder.exchange(energies)
        accepted = before[1 - cold] <= before[cold]
        assert ladder.replica_at.tolist() == ([1, 0] if accepted else [0, 1])
        assert energies[ladder.replica_at[cold]] == before.min()
        assert (ladder.attempts, ladder.accepts) == ([1], [accepted])
        np.testing.assert_array_equal(energies, before)


def test_equal_energies_are_always_swapped():
    """Exponent 0 at every pair of temperatures."""
    ladder = new_ladder(BETAS)
    for _ in range(20):
        ladder.exchange(np.full(5, 13))
    np.testing.assert_array_equal(ladder.attempts, 10)
    np.testing.assert_array_equal(ladder.accepts, 10)


@pytest.mark.parametrize("betas", [[inf, inf], [0.5, inf, inf]])
def test_two_infinities_are_refused(betas):
    """inf - inf would be no number."""
    with pytest.raises(InputError, match="inf is given twice"):
        ladder_config(betas)


# ------------------------------------------------------------------------------- an independent exchange


class SlowLadder:
    """The exchange as documented, one step at a time."""

    def __init__(self, seed, purpose, stream, betas):
        self.seed, self.key, self.betas = seed, (purpose, *stream), betas
        self.replica_at = list(range(len(betas)))
        self.attempts, self.accepts = [0] * (len(betas) - 1), [0] * (len(betas) - 1)
        self.round = 0
        self.ends = [[] for _ in betas]
        self.look()

    def look(self):
        """Notes which replicas are at the hot (smallest beta) and at the cold end, without repetition."""
        for name, place in (("hot", min(self.betas)), ("cold", max(self.betas))):
            seen = self.ends[self.replica_at[self.betas.index(place)]]
            if seen[-1:] != [name]:
                seen.append(name)

    def exchange(self, energies):
        sequence = np.random.SeedSequence(self.seed, spawn_key=(*self.key, self.round))
        numbers = np.random.Generator(np.random.PCG64DXSM(sequence)).random(len(self.betas) - 1)
        for edge, number in enumerate(numbers):
            if edge % 2 == self.round % 2:
                self.attempts[edge] += 1
                hot, cold = sorted((edge, edge + 1), key=self.betas.__getitem__)
                loss = energies[self.replica_at[hot]] - energies[self.replica_at[cold]]  # of the cold end
                gap = self.betas[cold] - self.betas[hot]
                if loss <= 0 or (not isinf(gap) and number < exp(-gap * loss)):
                    self.accepts[edge] += 1
                    here = self.replica_at
                    here[edge], here[edge + 1] = here[edge + 1], here[edge]
        self.round += 1
        self.look()

    @property
    def round_trips(self):
        """hot ... cold ... hot counts one, and each further cold ... hot one more."""
        return [max(0, seen.count("hot") - 1) for seen in self.ends]

    def same_as(self, ladder):
        return all(
            np.array_equal(getattr(self, name), getattr(ladder, name))
            for name in ("replica_at", "attempts", "accepts", "round_trips")
        )


LADDERS = {
    "two": (0.3, 1.0),
    "ends at 0 and inf": (0.0, 0.2, 0.5, 1.1, inf),
    "descending": (inf, 1.4, 0.9, 0.5, 0.2, 0.0),
    "seven": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
}

PURPOSES = {"run": (Purpose.EXCHANGE, 9), "tuning": (Purpose.TUNING_EXCHANGE, 11)}


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("betas", LADDERS.values(), ids=LADDERS)
def test_same_decisions_as_an_independent_exchange(betas, purpose):
    """Even and odd edges in turn, one number per edge from the stream (sample, start, clone, round).

    The stream knows the kind of start (random: 1), not its place in the list.
    """
    config = ladder_config(betas, seed=77, ensemble={"starts": ["random", "planted"]})
    enum, number = PURPOSES[purpose]
    rng = np.random.default_rng(len(betas))
    for key, stream in ((LadderKey(2, 0, 5), (2, 1, 5)), (LadderKey(0, 1, 1), (0, 0, 1))):
        ladder, slow = Ladder(key, config, enum), SlowLadder(77, number, stream, list(betas))
        assert slow.same_as(ladder)
        for _ in range(400):
            energies = rng.integers(0, 6, size=len(betas))
            ladder.exchange(energies)
            slow.exchange(energies.tolist())
            assert slow.same_as(ladder)
            assert sorted(ladder.replica_at) == list(range(len(betas)))
        assert ladder.attempts.tolist() == [200] * (len(betas) - 1)
        assert (ladder.accepts < ladder.attempts).all()
        assert ladder.round_trips.sum() > 0


@pytest.mark.parametrize(
    "other", [(78, 9, (2, 1, 5)), (77, 11, (2, 1, 5)), (77, 9, (2, 0, 5)), (77, 9, (2, 1, 4))]
)
def test_another_stream_decides_otherwise(other):
    """The comparison above can fail: other seed, purpose, start, clone."""
    betas = LADDERS["seven"]
    config = ladder_config(betas, seed=77, ensemble={"starts": ["random", "planted"]})
    ladder, slow = Ladder(LadderKey(2, 0, 5), config), SlowLadder(*other, list(betas))
    rng = np.random.default_rng(1)
    for _ in range(20):
        energies = rng.integers(0, 6, size=7)
        ladder.exchange(energies)
        slow.exchange(energies.tolist())
    assert not slow.same_as(ladder)


# ------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9])
def test_round_trips_of_free_exchange(count, descending):
    """Equal energies: a round trip takes every replica exactly 2 B rounds.

    Unfold the ladder into a ring of 2 B places: place x < B is temperature x on the way up, place x >= B is
    temperature 2 B - 1 - x on the way down.  Every round every replica goes on by one place: at an end it
    finds no partner and turns, which is the step from B - 1 to B or from 2 B - 1 to 0.  Round 0 swaps the
    pairs (0, 1), (2, 3), ..., so that even replicas start upwards and odd ones downwards.
    """
    betas = np.linspace(0.1, 1, count)
    ladder = new_ladder(betas[::-1] if descending else betas)
    ring = 2 * count
    start = np.array([i if i % 2 == 0 else ring - 1 - i for i in range(count)])
    arrival = count - 1 if descending else ring - 1  # the first of the two places at the hot end
    first = (arrival - start) % ring
    first[first == ring - 1] = -1  # at t = 0 already on the second one
    for rounds in range(1, 5 * ring + 1):
        ladder.exchange(np.full(count, 3))
        place = (start + rounds) % ring
        np.testing.assert_array_equal(
            np.argsort(ladder.replica_at), np.where(place < count, place, ring - 1 - place)
        )
        np.testing.assert_array_equal(ladder.round_trips, np.maximum(0, (rounds - first) // ring))
    assert ladder.round_trips.min() == 4
    np.testing.assert_array_equal(ladder.accepts, ladder.attempts)


def binomial_law(beta, bits):
    """Energies of `bits` free spins: P(E) ~ C(bits, E) exp(-beta E)."""
    return binom(bits, 0.0 if isinf(beta) else 1 / (1 + exp(beta)))


def binomial_rejections(betas, bits):
    """Exact rejection rate between neighbours whose energies are independent draws of their laws."""
    levels = np.arange(bits + 1)
    gap = levels[:, None] - levels
    laws = [binomial_law(beta, bits).pmf(levels) for beta in betas]
    rates = []
    for (a, law_a), (b, law_b) in zip(
        zip(betas, laws, strict=True), zip(betas[1:], laws[1:], strict=False), strict=False
    ):
        exponent = np.where(gap == 0, 0.0, (a - b) * np.where(gap == 0, 1, gap))
        rates.append(law_a @ (1 - np.exp(np.minimum(0, exponent))) @ law_b)
    return np.array(rates)


@pytest.mark.parametrize(
    "betas",
    [(0.0, inf), (0.2, 0.6, 0.9, 1.6, 3.0), (inf, 3.0, 1.5, 0.8, 0.4, 0.0)],
    ids=["two", "five", "six descending"],
)
def test_round_trip_rate_of_independent_energies(betas):
    """Energies drawn afresh: 1 / (2 B (1 + sum r_e / (1 - r_e))) round trips per replica and round.

    Each replica walks the ring above; on an edge it goes on with probability 1 - r_e, and otherwise stays
    and turns.  All 2 B states are equally likely, so that it sets out from the hot end once in 2 B rounds.
    It reaches the cold end before it is back with probability 1 / (1 + sum r_e / (1 - r_e)), as light gets
    through a row of mirrors, and from there it always returns at last.  (Summed over the replicas:
    1 / (2 + 2 sum r / (1 - r)), Syed et al. 2022, theorem 3: independent local exploration, which is exact
    here since every round has new energies.)
    """
    bits, ladders, skipped, rounds = 6, 20, 150, 300
    exact = binomial_rejections(betas, bits)
    assert (exact > 0.05).all()
    chances = np.array([0.0 if isinf(beta) else 1 / (1 + exp(beta)) for beta in betas])
    trips, rejected = [], []
    for number in range(ladders):
        ladder, rng = new_ladder(betas, number), np.random.default_rng([3, number])
        before = None
        for time in range(skipped + rounds):
            if time == skipped:
                before = ladder.round_trips.copy(), ladder.attempts.copy(), ladder.accepts.copy()
            energies = np.empty(len(betas), int)
            energies[ladder.replica_at] = rng.binomial(bits, chances)
            ladder.exchange(energies)
        trips.append((ladder.round_trips - before[0]) / rounds)
        rejected.append(1 - (ladder.accepts - before[2]) / (ladder.attempts - before[1]))
    z = z_scores(np.array(rejected), exact)
    assert np.abs(z).max() < SIGMAS, z
    rate = 1 / (2 * len(betas) * (1 + (exact / (1 - exact)).sum()))
    total = np.array(trips).mean(axis=1)
    assert abs(z_scores(total[:, None], rate)[0]) < SIGMAS
    assert np.abs(z_scores(np.array(trips), rate)).max() < SIGMAS
    # The statement is sharp: without the factor for rejections, or with reversible (random) pairs, it fails.
    assert abs(z_scores(total[:, None], 1 / (2 * len(betas)))[0]) > CAUGHT
    if len(betas) > 3:
        reversible = 1 / (2 * len(betas) * (1 / (1 - exact)).sum())
        assert abs(z_scores(total[:, None], reversible)[0]) > CAUGHT


# ------------------------------------------------------------------------------- tuning


def test_round_lengths():
    """They add up to the burn-in, each about twice as long as the one before."""
    for burn_in in (*range(32, 400), 10**6, 10**12):
        lengths = round_lengths(burn_in)
        assert sum(lengths) == burn_in
        assert len(lengths) == ROUNDS
        assert min(lengths) >= 1
    assert round_lengths(63 * 100) == [100, 200, 400, 800, 1600, 3200]


def test_round_lengths_of_short_burn_ins():
    """burn_in >= 8 is allowed."""
    assert all(sum(round_lengths(burn_in)) == burn_in for burn_in in range(8, 32))


def counted(rates, attempts=10**9):
    """(attempts, accepts) with these rejection rates."""
    tried = np.full(len(rates), attempts)
    return tried, np.rint(tried * (1 - np.asarray(rates))).astype(np.int64)


BARRIERS = {
    "tanh": lambda beta: 3 * np.tanh(beta),
    "late": lambda beta: 2 * np.exp(-4 / np.maximum(beta, 1e-300)),
    "step": lambda beta: 2.5 / (1 + np.exp(-np.clip(8 * (beta - 1.5), -700, 700))),
}


@pytest.mark.parametrize("hot", [0.0, 0.2])
@pytest.mark.parametrize("cold", [6.0, inf])
@pytest.mark.parametrize("barrier", BARRIERS)
def test_tuning_finds_equal_steps_of_a_known_barrier(barrier, cold, hot):
    """Where a rejection rate is the difference of Lambda(beta), the ladder ends at equal steps of Lambda."""
    known = BARRIERS[barrier]
    betas = spread_betas(hot, cold, 12)
    spreads = []
    for _ in range(ROUNDS):
        rates = np.diff(known(np.array(betas)))
        spreads.append(np.ptp(rates) / rates.mean())
        betas = retuned(betas, *counted(rates))
        assert (betas[0], betas[-1], len(betas)) == (hot, cold, 12)
        assert (np.diff(betas) > 0).all()
    steps = np.diff(known(np.array(betas)))
    np.testing.assert_allclose(steps, (known(np.array(cold)) - known(np.array(hot))) / 11, rtol=0.05)
    assert spreads[0] > 0.5
    # One more round changes nothing: it is a fixed point.
    np.testing.assert_allclose(retuned(betas, *counted(steps))[:-1], betas[:-1], rtol=0.03, atol=1e-3)


def test_tuning_equalises_the_exact_rejection_rates_of_a_real_system():
    """Free spins from beta = 0 to inf, exact rates: they do not add up exactly, and still become equal."""
    betas = spread_betas(0.0, inf, 10)
    first = binomial_rejections(betas, 30)
    for _ in range(ROUNDS):
        betas = retuned(betas, *counted(binomial_rejections(betas, 30)))
    last = binomial_rejections(betas, 30)
    assert first.max() / first.min() > 3
    assert last.max() / last.min() < 1.05
    assert last.max() < first.max()


def test_tuning_with_counts_that_say_nothing():
    """No swaps tried, or all rejected or accepted alike: the ladder stays; a ladder of two always stays."""
    betas = (0.0, 0.3, 1.0, 4.0, inf)
    for attempts, accepts in ((0, 0), (7, 0), (7, 7)):
        result = retuned(betas, np.full(4, attempts), np.full(4, accepts))
        np.testing.assert_allclose(result[:-1], betas[:-1], rtol=1e-12)
        assert result[-1] == inf
        assert retuned((0.0, inf), np.array([attempts]), np.array([accepts])) == (0.0, inf)
    np.testing.assert_array_equal(
        rejections(np.array([0, 4, 4, 4]), np.array([0, 0, 1, 4])), [0.5, 1, 0.75, 0]
    )


@pytest.mark.parametrize("blocked", range(5))
def test_tuning_moves_temperatures_to_the_blocked_edge(blocked):
    """All swaps rejected on one edge, few on the others: strictly ascending, same ends, finite inside."""
    betas = spread_betas(0.0, inf, 6)
    rates = np.full(5, 0.1)
    rates[blocked] = 1
    new = np.array(retuned(betas, *counted(rates)))
    assert (new[0], new[-1]) == (0, inf)
    assert (np.diff(new) > 0).all()
    assert np.isfinite(new[:-1]).all()
    inside = (new > betas[blocked]) & (new < betas[blocked + 1])
    assert inside.sum() >= 3


def test_tuning_against_a_cold_end_that_never_swaps():
    """Temperatures crowd below a cold end that is out of reach, but none of them gets beta = inf itself."""
    betas = spread_betas(0.2, inf, 12)
    for _ in range(ROUNDS):
        betas = retuned(betas, *counted([*[0.0] * 10, 1.0]))
    assert len(set(betas)) == 12
    assert betas.count(inf) == 1


def test_tuning_of_a_ladder_that_is_cold_throughout():
    """hot may be anything below 1e9: the ladder still ascends."""
    betas = spread_betas(60.0, inf, 5)
    for rates in (np.full(4, 0.5), np.array([0.1, 0.1, 0.1, 0.9])):
        assert (np.diff(retuned(betas, *counted(rates))) > 0).all()


# ------------------------------------------------------------------------------- annealing


@pytest.mark.parametrize(("start", "to"), [(0.2, inf), (0.5, 4.0), (3.0, 0.1), (1e-3, 1e3)])
def test_temperature_falls_linearly(start, to):
    """1 / beta at equal steps from 1 / from at t = 0 to 1 / to at t = sweeps, and stays there."""
    anneal = Anneal.model_validate({"from": start, "to": to, "sweeps": 40})
    temperatures = np.array([1 / anneal.beta(time) for time in range(41)])
    np.testing.assert_allclose(
        temperatures, np.linspace(1 / start, 0 if isinf(to) else 1 / to, 41), rtol=1e-12, atol=1e-15
    )
    assert anneal.beta(40) == anneal.beta(41) == anneal.beta(10**15) == to


class Listener:
    """A student that only notes at which beta it is swept."""

    def __init__(self):
        self.heard = []

    def sweep(self, moves, beta, step, sweeps):
        self.heard += [beta] * sweeps


def annealed_config(sweeps, to=inf, **changes):
    return small_config(
        network={"width": 9, "depth": 3, "fan_in": 4, "weights": "ising"},
        dynamics={"anneal": {"from": 0.3, "to": to, "sweeps": sweeps}},
        **changes,
    )


def annealed(config, sample=0):
    return Walker(WalkerKey(sample, 1, 0, 0), draw_sample(config, sample), config)


@pytest.mark.parametrize("stops", [[30], [10, 30], [1, 9, 10, 11, 30], list(range(1, 31)), [4, 25, 30]])
@pytest.mark.parametrize("to", [2.0, inf])
def test_every_sweep_has_the_beta_of_its_time(stops, to):
    """However the time is cut into turns; a single beta stands in the file, the last one."""
    config = annealed_config(10, to)
    assert config.dynamics.ladder == (to,)
    walker = annealed(config)
    walker.student = Listener()
    for begin, end in zip([0, *stops], stops, strict=False):
        walker.advance(begin, end)
    expected = [1 / (1 / 0.3 + (1 / to - 1 / 0.3) * time / 10) for time in range(10)] + [to] * 20
    np.testing.assert_allclose(walker.student.heard, expected, rtol=1e-12)


@pytest.mark.parametrize("to", [2.0, inf])
def test_after_annealing_the_beta_is_constant(to):
    """The same bits as sweeps at the last beta, and not those at another one."""
    config = annealed_config(10, to)
    on, by_hand, otherwise = (annealed(config) for _ in range(3))
    on.advance(0, 40)
    for walker, beta in ((by_hand, to), (otherwise, 1.0)):
        walker.advance(0, 10)
        walker.student.sweep(walker.moves, beta, config.dynamics.moves[0].step, 30)
    assert on.student.same_state(by_hand.student)
    assert not on.student.same_state(otherwise.student)


def test_annealing_reaches_lower_energy_than_greedy():
    """Six Ising machines that greedy learning leaves at about 130 wrong bits of 630; 200 sweeps each."""
    config = annealed_config(200)
    greedy = small_config(network=config.network.model_dump())
    energies = []
    for sample in range(6):
        walkers = [annealed(config, sample), annealed(greedy, sample)]
        for walker in walkers:
            walker.advance(0, 200)
        energies.append([walker.energy for walker in walkers])
    cooled, quenched = np.array(energies).T
    assert (cooled < quenched).sum() >= 5
    assert cooled.sum() < 0.85 * quenched.sum()


# ------------------------------------------------------------------------------- whole runs, any ranks

EVERY = 2

LADDER_KINDS: dict[str, Any] = {
    "fixed": [inf, 1.5, 0.5, 0.0],
    "adaptive": {"ladder": "adaptive", "hot": 0.0, "cold": inf, "count": 4, "burn_in": 63},
}

WRITERS = ("mpio", "gather") if h5py.get_config().mpi else ("gather",)

# 1 sample x 2 starts x 2 clones x 4 betas; measured after every round of swaps.
RUN: dict[str, Any] = {
    "seed": 12,
    "network": {"width": 4, "depth": 2, "fan_in": 2},
    "patterns": {"train": 3, "test": 20},
    "ensemble": {"samples": 1, "clones": 2, "starts": ["random", "planted"]},
    "dynamics": {"moves": "paper", "exchange_every": EVERY},
    "schedule": {
        "sweeps": 50 * EVERY,
        "measurements": {"kind": "linear", "every": EVERY},
        "waiting_times": 1,
    },
}


def run_both(source, folder, *words, ranks=0):
    """Runs the scan of both kinds of ladder; returns the file of each."""
    done = dsm("run", source, "-o", folder, *words, ranks=ranks)
    assert done.returncode == 0, done.stderr
    files = sorted(folder.glob("*.h5"), key=lambda path: "adaptive" in path.name)
    return dict(zip(LADDER_KINDS, files, strict=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Input file, and the results of one rank for each kind of ladder."""
    folder = tmp_path_factory.mktemp("tempering")
    source = folder / "input.yaml"
    source.write_text(yaml.safe_dump(RUN | {"scan": {"dynamics.betas": list(LADDER_KINDS.values())}}))
    return source, run_both(source, folder / "one", "--set", f"output.mode={WRITERS[0]}", ranks=1)


@pytest.mark.mpi
@pytest.mark.parametrize(("ranks", "writer"), [(2, WRITERS[-1]), (3, WRITERS[0]), (5, WRITERS[-1])])
def test_ladders_split_over_ranks_give_the_same_bytes(finished, ranks, writer, tmp_path):
    """Every dataset, and how an adaptive ladder was tuned."""
    source, one = finished
    many = run_both(source, tmp_path / "many", "--set", f"output.mode={writer}", ranks=ranks)
    for kind, betas in LADDER_KINDS.items():
        owners = decompose(small_config(**RUN, dynamics__betas=betas), ranks).owners()
        split = len({(key.ladder, rank) for key, rank in owners.items()}) > 4
        assert split == (ranks > 2)  # two ranks have two whole ladders each
        assert datasets(many[kind]) == datasets(one[kind])
        with h5py.File(many[kind]) as a, h5py.File(one[kind]) as b:
            assert a.attrs.get("ladder_tuning") == b.attrs.get("ladder_tuning")
            assert ("ladder_tuning" in a.attrs) == (kind == "adaptive")
            assert json.loads(a.attrs["provenance"])["writer"] == writer


@pytest.mark.mpi
@pytest.mark.parametrize("kind", LADDER_KINDS)
def test_the_file_repeats_under_an_independent_exchange(finished, kind):
    """Stored energies, put back to their replicas, lead to the stored permutations, counts, round trips."""
    with h5py.File(finished[1][kind]) as file:
        betas, starts = file["beta"][:].tolist(), file["start"].asstr()[:]
        energy, exchange = file["energy"][()], {name: item[()] for name, item in file["exchange"].items()}
    swaps = trips = 0
    for ladder in np.ndindex(energy.shape[:3]):
        sample, start, clone = ladder
        slow = SlowLadder(12, 9, (sample, STARTS.index(starts[start]), clone), betas)
        seats = exchange["permutation"][ladder].astype(int)  # (time, beta)
        np.testing.assert_array_equal(np.sort(seats, axis=1), np.tile(np.arange(4), (51, 1)))
        for time, replicas in enumerate(seats):
            if time > 0:
                energies = np.empty(4)
                energies[replicas] = energy[ladder][:, time]
                slow.exchange(energies.tolist())
            assert slow.replica_at == replicas.tolist()
            for name in ("attempts", "accepts", "round_trips"):
                assert getattr(slow, name) == exchange[name][ladder][time].tolist()
        swaps += sum(slow.accepts)
        trips += sum(slow.round_trips)
    assert swaps > 100
    assert trips > 0


@pytest.mark.mpi
@pytest.mark.parametrize("kind", LADDER_KINDS)
def test_rows_are_ordered_by_temperature(finished, kind):
    """Mean energy and acceptance fall as beta grows; a planted ladder keeps E = 0 at beta = inf, whoever
    sits there."""
    with h5py.File(finished[1][kind]) as file:
        betas = file["beta"][:]
        energy, accepted = file["energy"][()], file["acceptance"][()][..., 1:, :]
        seats = file["exchange/permutation"][()].astype(int)
        planted = file["start"].asstr()[:].tolist().index("planted")
    order = np.argsort(betas)
    hot, cold = order[0], order[-1]
    mean = energy[..., 10:].mean(axis=(0, 1, 2, 4))[order]
    assert (np.diff(mean) < -0.1).all(), mean
    assert (energy[:, planted, :, cold] == 0).all()
    assert (accepted[:, :, :, hot] == 1).all()
    assert (np.diff(accepted.mean(axis=(0, 1, 2, 4, 5))[order]) < 0).all()
    # There was something to get wrong: the cold end has many tenants, and who began there leaves E = 0.
    assert (np.diff(seats[:, planted, ..., cold]) != 0).sum() > 5
    by_replica = np.empty_like(energy)
    np.put_along_axis(by_replica, np.swapaxes(seats, 3, 4), energy, axis=3)
    assert (by_replica[:, planted, :, cold] > 0).any()


@pytest.mark.mpi
def test_an_adaptive_run_is_the_run_at_its_frozen_betas(finished, tmp_path):
    """The burn-in leaves nothing but the betas: the same bytes from a list of them."""
    adaptive = finished[1]["adaptive"]
    with h5py.File(adaptive) as file:
        betas = file["beta"][:].tolist()
        tuning = json.loads(file.attrs["ladder_tuning"])
        resolved = yaml.safe_load(file.attrs["config_resolved"])
    assert resolved["dynamics"]["betas"] == betas
    assert (betas[0], betas[-1]) == (0, inf)
    assert (np.diff(betas) > 0).all()
    assert tuning["burn_in"] == 63
    assert [len(step["rejection"]) for step in tuning["rounds"]] == [3] * ROUNDS
    first = [float(beta) for beta in tuning["rounds"][0]["betas"]]
    np.testing.assert_allclose(first, spread_betas(0.0, inf, 4), rtol=1e-15)
    assert np.abs(np.subtract(betas[1:-1], first[1:-1])).min() > 0.02
    source, again = tmp_path / "again.yaml", tmp_path / "again.h5"
    source.write_text(yaml.safe_dump(changed(RUN, {"dynamics.betas": betas})))
    done = dsm("run", source, "-o", again)
    assert done.returncode == 0, done.stderr
    assert datasets(again) == datasets(adaptive)
