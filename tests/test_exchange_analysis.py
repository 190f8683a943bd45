"""Analysis of parallel tempering against processes and spectra that are known exactly.

Standard errors are taken over independent samples; |z| < 4 is asked.  Seeds are fixed.
"""

import json
from math import inf, log
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from scipy.special import gammaln, logsumexp
from test_enumeration import Enumerated

from dsm_hpc.analysis.exchange import (
    exchange,
    mixing_matrix,
    predicted_round_trips,
    second_eigenvalue,
    suggested_temperatures,
    tuning,
)
from dsm_hpc.analysis.figures.exchange import BetaAxis, _seats
from dsm_hpc.analysis.free_energy import (
    free_energy,
    integral_of_energy,
    mbar_log_z,
    sample_free_energy,
    thinned,
    uncorrelated,
)
from dsm_hpc.analysis.plots import plot
from dsm_hpc.analysis.results import load
from dsm_hpc.analysis.tables import analyze
from dsm_hpc.config import Config
from dsm_hpc.errors import InputError
from dsm_hpc.inputfile import parse_resolved
from dsm_hpc.storage.layout import layout
from dsm_hpc.storage.results import create

SIGMAS = 4
BETAS = [0.0, 0.3, 0.7, 1.2, 2.0, inf]
REJECTION = np.array([0.1, 0.5, 0.35, 0.6, 0.25])


def configuration(betas: list[float], samples: int = 8, clones: int = 2, **changes: Any) -> Config:
    tree: dict[str, Any] = {
        "name": "tempered",
        "network": {"width": 2, "depth": 2, "fan_in": 2, "weights": "ising"},
        "patterns": {"train": 5, "test": 10},
        "ensemble": {"samples": samples, "clones": clones},
        "dynamics": {"betas": betas, "exchange_every": 3},
        "schedule": {"sweeps": 4000, "measurements": {"kind": "linear", "every": 10}, "waiting_times": 0},
    }
    for section, values in changes.items():
        tree[section] = {**tree[section], **values}
    return parse_resolved(yaml.safe_dump(tree), "test")


def write(path: Path, config: Config, values: dict[str, Any], **attributes: str) -> Path:
    """A results file with random numbers for what `values` does not give."""
    about = {"config": "", "config_resolved": config.as_yaml(), "point": "{}"}
    about |= {"config_overrides": "[]", "provenance": '{"resumes": []}'}
    shape = layout(config)
    create(path, shape, about | attributes)
    random = np.random.default_rng(1)
    with h5py.File(path, "r+") as file:
        for variable in shape.variables:
            size = shape.shape(variable.dimensions)
            array = values.get(variable.name, random.uniform(0.1, 0.9, size))
            file[variable.name][...] = np.broadcast_to(array, size)
        file.attrs["finished"] = 1
    return path


def widest(text: str) -> int:
    """Length of the longest line from the section on exchange on."""
    return max(map(len, text[text.index("* Exchange") :].splitlines()))


def z(estimate: Any, expected: Any) -> Any:
    """How far an estimate is from what is expected, in its standard errors."""
    difference = np.asarray(estimate.mean.values - expected)
    return difference / np.where(np.abs(difference) < 1e-12, 1, estimate.error.values)


# ---------------------------------------------------------------------------------------- a known process


class Indices:
    """Ladders whose swaps on edge e are rejected with probability r_e, independently of everything.

    Counts its round trips from what each replica has visited, without the program's help; all ladders at
    once.  `steps` : transitions of replicas between rungs over double rounds.
    """

    def __init__(self, ladders: int, rejection: Any, rounds: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        count = len(rejection) + 1
        at = np.tile(np.arange(count), (ladders, 1))  # replica at each rung
        self.attempts, self.accepts = np.zeros((2, ladders, count - 1))
        self.trips = np.zeros((ladders, count))
        self.steps = np.zeros((count, count))
        stage = np.zeros((ladders, count), int)  # 0: not at the hot end yet, 1: from hot, 2: from cold
        row = np.arange(ladders)
        stage[row, at[:, 0]] = 1
        before = at.argsort(axis=1)
        for step in range(rounds):
            for edge in range(step % 2, count - 1, 2):
                made = rng.random(ladders) >= rejection[edge]
                at[made, edge], at[made, edge + 1] = at[made, edge + 1], at[made, edge].copy()
                self.attempts[:, edge] += 1
                self.accepts[:, edge] += made
            cold, hot = at[:, -1], at[:, 0]
            stage[row, cold] = np.where(stage[row, cold] == 1, 2, stage[row, cold])
            self.trips[row, hot] += stage[row, hot] == 2
            stage[row, hot] = 1
            if step % 2:
                after = at.argsort(axis=1)
                np.add.at(self.steps, (before, after), 1)
                before = after
        self.permutation = at


SAMPLES, ROUNDS, EVERY = 32, 4000, 3


@pytest.fixture(scope="module")
def process() -> Indices:
    """Two starts and two clones of every sample."""
    return Indices(SAMPLES * 4, REJECTION, ROUNDS, seed=5)


def tempered(process: Indices, reverse: bool = False, **changes: Any) -> tuple[Config, dict[str, Any]]:
    """A run whose swaps were those of the process, measured at half time and at the end."""
    sweeps = ROUNDS * EVERY
    config = configuration(
        BETAS[::-1] if reverse else BETAS,
        SAMPLES,
        schedule={"sweeps": sweeps, "measurements": {"kind": "linear", "every": sweeps // 2}},
        **changes,
    )
    order = slice(None, None, -1 if reverse else 1)
    ends = {
        "exchange/attempts": process.attempts[:, order],
        "exchange/accepts": process.accepts[:, order],
        "exchange/round_trips": process.trips[:, order],
    }
    values = {
        name: end.reshape(SAMPLES, 2, 2, 1, -1) * np.array([0, 0.5, 1])[:, None] for name, end in ends.items()
    }
    held = process.permutation[:, order]
    held = len(BETAS) - 1 - held if reverse else held
    first = np.broadcast_to(np.arange(len(BETAS)), held.shape)
    values["exchange/permutation"] = np.stack([first, first, held], axis=1).reshape(SAMPLES, 2, 2, 3, -1)
    return config, values


class TestIndexProcess:
    @pytest.mark.parametrize("reverse", [False, True], ids=["hot first", "cold first"])
    def test_barrier_and_round_trips(self, process: Indices, tmp_path: Path, reverse: bool) -> None:
        numbers = exchange(load(write(tmp_path / "x.h5", *tempered(process, reverse))))
        assert numbers is not None
        assert numbers["betas"] == BETAS
        predicted = 1 / (2 + 2 * (REJECTION / (1 - REJECTION)).sum())
        for start in numbers["starts"].values():
            assert np.abs(z(start["acceptance"], 1 - REJECTION)).max() < SIGMAS
            assert np.abs(z(start["barrier"], REJECTION.cumsum())).max() < SIGMAS
            assert (start["acceptance"].error.values < 0.01).all()
            assert abs(z(start["predicted_per_round"], predicted)) < SIGMAS
            measured = start["rate_per_round"]
            assert abs(z(measured, predicted)) < SIGMAS
            # Sharp: not the rate of random instead of alternating edges, nor 1 / (2 + 2 Lambda).
            reversible = 1 / (2 * len(REJECTION) + 2 * (REJECTION / (1 - REJECTION)).sum())
            for wrong in (reversible, 1 / (2 + 2 * REJECTION.sum())):
                assert abs(z(measured, wrong)) > 2 * SIGMAS
            assert float(start["rate"].mean) == pytest.approx(
                float(measured.mean) / (EVERY * len(BETAS)), rel=1e-12
            )
            assert start["temperatures"] == suggested_temperatures(REJECTION.sum()) == 5
            assert start["bottlenecks"] == []
        trips = process.trips.reshape(SAMPLES, 2, 2, -1)[:, 1].mean(axis=(0, 1))
        np.testing.assert_allclose(numbers["starts"]["random"]["round_trips"].mean, trips)

    def test_mixing_matrix_is_that_of_the_process(self, process: Indices) -> None:
        """Transition frequencies over double rounds; each row is multinomial."""
        matrix, visits = mixing_matrix(1 - REJECTION), process.steps.sum(axis=1, keepdims=True)
        np.testing.assert_array_equal(process.steps[matrix == 0], 0)
        error = np.sqrt(matrix * (1 - matrix) / visits)
        some = matrix > 0
        assert np.abs((process.steps / visits - matrix)[some] / error[some]).max() < SIGMAS

    @pytest.mark.parametrize("reverse", [False, True], ids=["hot first", "cold first"])
    def test_ways(self, process: Indices, tmp_path: Path, reverse: bool) -> None:
        """Whatever the order of the file, column n is the replica that began n rungs above the hottest."""
        results = load(write(tmp_path / "x.h5", *tempered(process, reverse)))
        seats = _seats(results, "random")
        np.testing.assert_array_equal(seats.isel(time=0), np.arange(len(BETAS)))
        random = process.permutation.reshape(SAMPLES, 2, 2, -1)[0, 1, 0]
        for replica in range(len(BETAS)):
            assert random[int(seats.isel(time=-1, replica=replica))] == replica


class TestMixing:
    @pytest.mark.parametrize("accepted", [0.0, 0.2, 0.5, 0.7, 1.0])
    def test_two_temperatures(self, accepted: float) -> None:
        assert second_eigenvalue(np.array([accepted])) == pytest.approx(abs(1 - 2 * accepted), abs=1e-12)

    @pytest.mark.parametrize(("a", "b"), [(0.3, 0.6), (0.2, 0.1), (0.9, 0.4), (0.8, 0.9)])
    def test_three_temperatures(self, a: float, b: float) -> None:
        """1 and the roots of x^2 - (trace - 1) x + det."""
        rest, det = (1 - a) + (1 - a) * (1 - b) + (1 - b) - 1, (1 - 2 * a) * (1 - 2 * b)
        root = np.sqrt(complex(rest**2 - 4 * det))
        expected = max(abs(rest + root), abs(rest - root)) / 2
        assert second_eigenvalue(np.array([a, b])) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("count", [2, 3, 5, 8])
    def test_free_exchange_circulates(self, count: int) -> None:
        """All swaps accepted: every replica goes round the ladder, there and back in 2 B rounds."""
        matrix = mixing_matrix(np.ones(count - 1))
        powers = [np.linalg.matrix_power(matrix, n) for n in range(1, count + 1)]
        assert [bool((power == np.eye(count)).all()) for power in powers] == [False] * (count - 1) + [True]
        assert second_eigenvalue(np.ones(count - 1)) == pytest.approx(1)
        assert predicted_round_trips(np.zeros(count - 1)) == count / (2 * count)

    def test_blocked(self) -> None:
        assert second_eigenvalue(np.array([0.5, 0.0, 0.5])) == pytest.approx(1)
        assert predicted_round_trips(np.array([0.5, 1.0, 0.5])) == 0
        assert np.isnan(second_eigenvalue(np.array([0.5, np.nan])))
        assert np.isnan(predicted_round_trips(np.array([0.5, np.nan])))
        assert np.isnan(suggested_temperatures(np.nan))


class TestExchangeText:
    def test_section(self, process: Indices, tmp_path: Path) -> None:
        rounds = [
            {"betas": [str(beta) for beta in BETAS], "rejection": [0.1, 0.9, 0.5, 0.5, 0.5]},
            {"betas": [str(beta) for beta in BETAS], "rejection": [0.4, 0.5, 0.5, 0.5, 0.6]},
        ]
        told = json.dumps({"burn_in": 300, "rounds": rounds})
        path = write(tmp_path / "x.h5", *tempered(process), ladder_tuning=told)
        text, numbers = analyze([path])
        tree = numbers["files"][0]["exchange"]
        json.dumps(numbers, allow_nan=False)
        assert tree["betas"][-1] == tree["tuning"]["rounds"][0]["betas"][-1] == "inf"
        assert np.array(tree["starts"]["random"]["mixing"]["matrix"]).shape == (6, 6)
        words = " ".join(text.split())
        for phrase in (
            "tried every 3 sweeps",
            "rejection 0.10 to 0.90 in the first of 2 rounds, 0.40 to 0.60 in the last",
            "about 2 Lambda + 1 = 5 temperatures are suggested, 6 are used",
            "relaxation time",
            "round trips from here",
        ):
            assert phrase in words
        assert "Bottleneck" not in text
        assert "fewer than half" not in text
        assert widest(text) <= 100

    def test_bottlenecks(self, process: Indices, tmp_path: Path) -> None:
        config, values = tempered(process)
        values["exchange/accepts"][:, 1, :, :, 2] = 0
        values["exchange/attempts"][0, 1, 1, :, 4] = values["exchange/accepts"][0, 1, 1, :, 4] = 0
        path = write(tmp_path / "x.h5", config, values)
        text, numbers = analyze([path])
        random = numbers["files"][0]["exchange"]["starts"]["random"]
        assert random["bottlenecks"] == [
            {"betas": [0.7, 1.2], "never": "accepted", "ladders": 64, "of": 64},
            {"betas": [2.0, "inf"], "never": "tried", "ladders": 1, "of": 64},
        ]
        assert random["predicted_per_round"]["mean"] == 0
        assert random["mixing"]["relaxation"]["mean"] == "inf"
        assert "beta = 0.7 to 1.2: no swap was accepted in 64 of 64 ladders" in text
        assert "a replica never forgets its temperature" in " ".join(text.split())
        assert "may hide a larger barrier" in " ".join(text.split())
        json.dumps(numbers, allow_nan=False)

    def test_fewer_round_trips_than_predicted(self, process: Indices, tmp_path: Path) -> None:
        config, values = tempered(process)
        values["exchange/round_trips"] = values["exchange/round_trips"] * 0.3
        assert "fewer than half of that" in " ".join(
            analyze([write(tmp_path / "x.h5", config, values)])[0].split()
        )

    @pytest.mark.parametrize("told", ["[]", '{"burn_in": 3}', '{"burn_in": 3, "rounds": [{"betas": 1}]}'])
    def test_damaged_tuning(self, process: Indices, tmp_path: Path, told: str) -> None:
        path = write(tmp_path / "x.h5", *tempered(process), ladder_tuning=told)
        with pytest.raises(InputError, match="damaged: the attribute `ladder_tuning`"):
            tuning(load(path))


# ---------------------------------------------------------------------------------------- a known spectrum


TIMES = 401
WEIGHTS = 2 * 2 * 2


@pytest.fixture(scope="module")
def machine() -> Enumerated:
    """All 256 students of an Ising machine with N = c = L = 2."""
    return Enumerated(2, 2, 2, 5, 4)


def log_z(energies: Any, betas: Any) -> Any:
    """ln of the prior average of e^{-beta E}, with infinity times 0 = 0."""
    values = []
    for beta in betas:
        exponents = np.where(energies == 0, 0.0, -beta * np.where(energies == 0, 1, energies))
        values.append(logsumexp(exponents) - log(len(energies)))
    return np.array(values)


def drawn(energies: Any, betas: Any, shape: tuple[int, ...], seed: int) -> Any:
    """Independent energies from the Boltzmann distribution at each beta, (*shape[:3], beta, shape[3])."""
    rng = np.random.default_rng(seed)
    sets = []
    for beta in betas:
        p = (energies == 0) * 1.0 if np.isinf(beta) else np.exp(-beta * energies)
        sets.append(rng.choice(energies, size=shape, p=p / p.sum()))
    return np.stack(sets, axis=3).astype(float)


class TestFreeEnergy:
    @pytest.mark.parametrize("reverse", [False, True], ids=["hot first", "cold first"])
    def test_exact_count(self, machine: Enumerated, tmp_path: Path, reverse: bool) -> None:
        """Every beta, and ln(count of E = 0 / 2^(L N c)), by both ways."""
        betas = BETAS[::-1] if reverse else BETAS
        energies = drawn(machine.energies, betas, (32, 2, 1, TIMES), seed=3)
        path = write(tmp_path / "x.h5", configuration(betas, 32, 1), {"energy": energies})
        numbers = free_energy(load(path))
        assert numbers is not None
        exact = log_z(machine.energies, BETAS) / WEIGHTS
        count = np.count_nonzero(machine.energies == 0)
        assert exact[-1] == pytest.approx(log(count / 2**WEIGHTS) / WEIGHTS)
        mean = [p @ machine.energies for p in map(machine.boltzmann, BETAS[:-1])]
        for start in numbers["starts"].values():
            np.testing.assert_array_less(np.abs(z(start["mbar"], exact)[1:]), SIGMAS)
            integration, quadrature = start["integration"], start["quadrature"].mean.values
            off = np.abs(integration.mean.values - exact) - quadrature
            np.testing.assert_array_less(off[1:], SIGMAS * integration.error.values[1:])
            assert np.abs(z(start["energy"], np.array([*mean, 0]) / 10)[:-1]).max() < SIGMAS
            # A mistake of 5 % would be seen.
            for way in ("mbar", "integration"):
                assert start[way].error.values[-1] * 2 * SIGMAS < 0.05 * abs(exact[-1])
            assert quadrature[-1] < 0.05 * abs(exact[-1])
            assert start["missing"] == [0] * len(BETAS)
        assert abs(numbers["agreement"]["in_errors"]) < SIGMAS
        assert numbers["agreement"]["beta"] == inf

    def test_a_wrong_temperature_is_seen(self, machine: Enumerated, tmp_path: Path) -> None:
        """Energies of a machine 20 % colder than it says."""
        wrong = [1.2 * beta for beta in BETAS]
        energies = drawn(machine.energies, wrong, (32, 2, 1, TIMES), seed=3)
        path = write(tmp_path / "x.h5", configuration(BETAS, 32, 1), {"energy": energies})
        numbers = free_energy(load(path))
        assert numbers is not None
        exact = log_z(machine.energies, BETAS) / WEIGHTS
        for start in numbers["starts"].values():
            assert abs(z(start["mbar"], exact)[3]) > 2 * SIGMAS
            assert abs(z(start["integration"], exact)[3]) > 2 * SIGMAS

    def test_relative_to_a_finite_beta(self, machine: Enumerated, tmp_path: Path) -> None:
        betas = [0.5, 1.0, 2.0]
        energies = drawn(machine.energies, betas, (8, 2, 2, TIMES), seed=4)
        path = write(tmp_path / "x.h5", configuration(betas), {"energy": energies})
        text, numbers = analyze([path])
        tree = numbers["files"][0]["free_energy"]
        exact = (log_z(machine.energies, betas) - log_z(machine.energies, betas[:1])) / WEIGHTS
        assert tree["reference"] == 0.5
        for start in tree["starts"].values():
            for way in ("mbar", "integration"):
                difference = np.abs(np.array(start[way]["mean"]) - exact)[1:]
                bound = SIGMAS * np.array(start[way]["error"]) + np.array(start["quadrature"]["mean"])
                np.testing.assert_array_less(difference, bound[1:])
        words = " ".join(text.split())
        assert "relative to the hottest beta = 0.5, not to the prior" in words
        assert "Gardner volume, " not in words

    def test_text_and_json(self, machine: Enumerated, tmp_path: Path) -> None:
        energies = drawn(machine.energies, BETAS, (8, 2, 2, TIMES), seed=3)
        text, numbers = analyze([write(tmp_path / "x.h5", configuration(BETAS), {"energy": energies})])
        json.dumps(numbers, allow_nan=False)
        tree = numbers["files"][0]["free_energy"]
        volume = tree["starts"]["random"]["mbar"]
        words = " ".join(text.split())
        assert f"{volume['mean'][-1]:.4f} ± {volume['error'][-1]:.4f} by MBAR" in words
        assert "relative to the prior (beta = 0): at beta = inf it is ln of the Gardner volume" in words
        assert "Planted minus random start, ln Z per weight at beta = inf" in words
        assert widest(text) <= 100

    def test_no_solution_seen(self, machine: Enumerated, tmp_path: Path) -> None:
        """One sample without E = 0 at finite beta: no volume, rather than that of the luckier ones."""
        energies = drawn(machine.energies, BETAS, (8, 2, 2, TIMES), seed=3)
        energies[2] += 1
        text, numbers = analyze([write(tmp_path / "x.h5", configuration(BETAS), {"energy": energies})])
        for start in numbers["files"][0]["free_energy"]["starts"].values():
            assert start["integration"]["mean"][-1] is start["mbar"]["mean"][-1] is None
            assert start["mbar"]["mean"][-2] is not None
            assert start["missing"] == [0, 0, 0, 0, 0, 1]
        assert "in 1 of 8 samples, E = 0 was not seen at beta = 2" in " ".join(text.split())
        json.dumps(numbers, allow_nan=False)

    def test_only_one_finite_beta(self, machine: Enumerated) -> None:
        """From beta = 0 straight to infinity: the fraction of E = 0 in the prior."""
        energies = drawn(machine.energies, [0.0, inf], (1, 1, 2, 800), seed=6)[0, 0].transpose(1, 0, 2)
        found = sample_free_energy(np.array([0.0, inf]), energies)
        fraction = np.mean(energies[0] == 0)
        assert found["integration"].tolist() == [0, np.log(fraction)]
        np.testing.assert_allclose(found["mbar"], [0, np.log(fraction)], atol=0.05)

    def test_energies_at_infinite_beta_carry_no_weight(self, machine: Enumerated) -> None:
        """Greedy students that are stuck at E > 0 are no equilibrium state and change nothing."""
        betas = np.array(BETAS)
        energies = drawn(machine.energies, BETAS, (1, 1, 2, 400), seed=7)[0, 0].transpose(1, 0, 2)
        stuck = energies.copy()
        stuck[-1] = 7
        one, other = sample_free_energy(betas, energies), sample_free_energy(betas, stuck)
        for name in ("integration", "mbar"):
            np.testing.assert_array_equal(one[name], other[name])

    def test_mbar_without_overlap_or_data(self) -> None:
        betas = np.array([0.0, 1.0, 2.0])
        empty, some = np.empty(0), np.array([3.0, 2.0, 3.0])
        assert np.isnan(mbar_log_z(betas, [some, empty, some])[0][1:]).all()
        values, solved = mbar_log_z(betas, [some + 300, some + 100, some])
        assert values.shape == (3,)
        assert np.isnan(solved)


def binomial(levels: int) -> tuple[Any, Any]:
    """Energies and ln of the number of states of independent two-level systems."""
    energies = np.arange(levels + 1.0)
    return energies, gammaln(levels + 1) - gammaln(energies + 1) - gammaln(levels - energies + 1)


def glass(levels: int) -> tuple[Any, Any]:
    """A Gaussian density of states that ends at a few states with E = 0."""
    energies = np.arange(levels + 1.0)
    return energies, -((energies - 0.45 * levels) ** 2) / (2 * (0.06 * levels) ** 2)


def perceptron(levels: int) -> tuple[Any, Any]:
    """An entropy that falls with ln E: <E> ~ 1 / beta."""
    energies = np.arange(levels + 1.0)
    ratio = 2 * (energies + 1) / levels
    return energies, 0.3 * levels * (np.log(ratio) - ratio + 1)


class TestQuadrature:
    @pytest.mark.parametrize(
        ("spectrum", "levels"),
        [(binomial, 8), (binomial, 200), (glass, 200), (perceptron, 8), (perceptron, 200)],
    )
    @pytest.mark.parametrize(
        "betas",
        [
            np.r_[0, np.geomspace(0.2, 8, 8)],
            np.r_[0, np.geomspace(0.1, 8, 14)],
            np.linspace(0, 0.9, 12) / (1 - np.linspace(0, 0.9, 12)),
            np.linspace(0, 0.9, 24) / (1 - np.linspace(0, 0.9, 24)),
            np.r_[np.linspace(0.3, 5, 12), 100, 1e5],
        ],
        ids=["geometric 9", "geometric 15", "even 12", "even 24", "wide"],
    )
    def test_within_its_error(self, spectrum: Any, levels: int, betas: Any) -> None:
        """Exact <E>: the integral is off by less than the error it states, and by less than trapezoids."""
        energies, entropy = spectrum(levels)
        exponents = entropy - betas[:, None] * energies
        exact = logsumexp(exponents, axis=1)
        mean = np.exp(exponents - exact[:, None]) @ energies
        integral, error = integral_of_energy(betas, mean)
        off = np.abs(-integral - (exact - exact[0]))
        assert (off <= error + 1e-9).all()
        trapezoids = (np.diff(betas) * (mean[1:] + mean[:-1]) / 2).sum()
        assert error[-1] < 1.25 * abs(trapezoids - integral[-1]) + 0.02 * integral[-1]
        assert off[-1] < abs(trapezoids + exact[-1] - exact[0])


class TestThinning:
    def test_correlated_series(self) -> None:
        """A Markov chain that renews itself with probability 1 - p has the inefficiency (1 + p) / (1 - p)."""
        rng, p, length = np.random.default_rng(3), 0.8, 20000
        fresh = rng.integers(0, 10, length).astype(float)
        last = np.maximum.accumulate(np.where(rng.random(length) >= p, np.arange(length), 0))
        kept = uncorrelated(fresh[last])
        assert length / len(kept) == pytest.approx((1 + p) / (1 - p), rel=0.15)

    def test_series_that_cannot_be_judged(self) -> None:
        for series in (np.empty(0), np.array([1.0, 2.0]), np.zeros(50)):
            np.testing.assert_array_equal(uncorrelated(series), series)

    def test_thinned(self) -> None:
        values = np.arange(1000.0)
        assert thinned(values, 2000) is values
        kept = thinned(values, 11)
        assert (len(kept), kept[0], kept[-1]) == (11, 0, 999)


# ---------------------------------------------------------------------------------------- files and figures


KINDS = ("exchange", "free_energy")


class TestFiles:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("betas", [BETAS, BETAS[::-1], [0.5, 1.0], [1.0, inf], [0.01, 0.02, 0.05, 900.0]])
    def test_figures(self, machine: Enumerated, tmp_path: Path, kind: str, betas: list[float]) -> None:
        output = tmp_path / f"{kind}.png"
        energies = drawn(machine.energies, betas, (8, 2, 2, TIMES), seed=1)
        replicas = np.broadcast_to(np.arange(float(len(betas))), (8, 2, 2, TIMES, len(betas)))
        values = {"energy": energies, "exchange/permutation": replicas}
        plot([write(tmp_path / "x.h5", configuration(betas), values)], kind, output)
        assert output.read_bytes().startswith(b"\x89PNG")
        assert output.stat().st_size > 10_000

    @pytest.mark.parametrize("kind", KINDS)
    def test_without_exchange(self, tmp_path: Path, kind: str) -> None:
        config = configuration([0.5, 1.0], dynamics={"exchange_every": None})
        path = write(tmp_path / "x.h5", config, {})
        with pytest.raises(InputError, match=rf"--kind {kind} needs a run with exchange"):
            plot([path], kind, tmp_path / "x.png")
        assert not (tmp_path / "x.png").exists()
        text, numbers = analyze([path])
        assert not {"exchange", "free_energy"} & set(numbers["files"][0])
        assert "Exchange" not in text
        assert "Free energy" not in text
        assert exchange(load(path)) is free_energy(load(path)) is None

    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_measured(self, tmp_path: Path, kind: str) -> None:
        config = configuration(BETAS)
        nothing = {variable.name: np.nan for variable in layout(config).variables}
        path = write(tmp_path / "x.h5", config, nothing)
        assert "nothing has been measured yet" in analyze([path])[0]
        with pytest.raises(InputError, match="nothing has been measured yet"):
            plot([path], kind, tmp_path / "x.png")

    @pytest.mark.parametrize("measured", [1, 2, 150])
    @pytest.mark.parametrize("samples", [1, 3])
    def test_a_run_in_progress(
        self, machine: Enumerated, tmp_path: Path, measured: int, samples: int
    ) -> None:
        """One sample, one clone, one start; at t = 0 no swap has been tried."""
        config = configuration(
            BETAS, samples, 1, ensemble={"starts": ["random"], "samples": samples, "clones": 1}
        )
        energies = drawn(machine.energies, BETAS, (samples, 1, 1, TIMES), seed=1)
        counts = np.broadcast_to(np.arange(float(TIMES))[:, None], (samples, 1, 1, TIMES, len(BETAS)))
        values = {
            "energy": energies,
            "exchange/attempts": counts[..., 1:] * 2,
            "exchange/accepts": counts[..., 1:],
            "exchange/round_trips": counts,
            "exchange/permutation": np.broadcast_to(np.arange(6.0), counts.shape),
        }
        path = write(tmp_path / "x.h5", config, values)
        with h5py.File(path, "r+") as file:
            for variable in layout(config).variables:
                if "time" in variable.dimensions:
                    later = tuple(
                        slice(measured, None) if axis == "time" else slice(None)
                        for axis in variable.dimensions
                    )
                    file[variable.name][later] = np.nan
        text, numbers = analyze([path])
        json.dumps(numbers, allow_nan=False)
        assert "Exchange of replicas" in text
        for kind in KINDS:
            plot([path], kind, tmp_path / f"{kind}.svg")
            assert "<svg" in (tmp_path / f"{kind}.svg").read_text()


class TestBetaAxis:
    def test_order_and_ends(self) -> None:
        axis = BetaAxis(np.array(BETAS))
        assert (np.diff(axis.places) > 0).all()
        assert (axis.places[0], axis.places[-1]) == (0, 1)
        assert (axis.middles > axis.places[:-1]).all()
