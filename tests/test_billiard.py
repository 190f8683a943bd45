"""Billiards of perceptrons: against a slow integration of the same motion, and against exact averages."""

from math import inf, sqrt

import numpy as np
import oracle
import pytest
from test_kernel_against_oracle import every_kernel, pair
from test_prior import assert_standard_normal, student_without_labels

from dsm_hpc import kernels

SIGMAS = 4


def machine(seed, depth, width, fan_in, patterns, start, kind="sparse"):
    """One machine as (kernel student, slow billiard)."""
    rng = np.random.default_rng(seed)
    wiring = oracle.draw_wiring(rng, depth, width, fan_in, kind)
    teacher = oracle.draw_weights(rng, wiring.shape, False)
    inputs = oracle.draw_signs(rng, patterns, width)
    targets = oracle.forward(wiring, oracle.integers_of(teacher, False), inputs)[-1]
    weights = teacher if start == "planted" else oracle.draw_weights(rng, wiring.shape, False)
    student, _ = pair(wiring, weights, inputs, targets, False)
    return student, oracle.Billiard(wiring, weights, inputs, targets)


CASES = [
    # depth, width, fan_in, patterns, start, beta, angle
    (1, 1, 1, 1, "planted", inf, 3.0),
    (2, 3, 2, 5, "planted", inf, 1.0),
    (3, 4, 1, 9, "random", 1.0, 2.0),
    (2, 16, 5, 63, "planted", inf, 0.2),
    (3, 17, 16, 64, "random", inf, 0.05),
    (3, 20, 20, 65, "planted", inf, 0.1),
    (2, 33, 10, 130, "random", 0.5, 0.1),
    (2, 64, 64, 65, "planted", inf, 0.2),
    (2, 65, 65, 70, "random", 2.0, 0.05),
    (2, 100, 20, 130, "planted", inf, 0.1),
    (2, 129, 129, 64, "planted", inf, 0.1),
    (2, 130, 3, 100, "planted", inf, 0.2),
    (4, 12, 6, 40, "random", 0.0, 0.3),
]


@pytest.mark.parametrize("case", CASES, ids=["-".join(map(str, case)) for case in CASES])
def test_the_motion_is_that_of_hamilton(case):
    """Same walls, same reflections, same weights; the same bits by every kernel of every level."""
    depth, width, fan_in, patterns, start, beta, angle = case
    student, slow = machine(1, depth, width, fan_in, patterns, start, "full" if fan_in == width else "sparse")
    students = every_kernel(student)
    for sweep in range(2):
        before = student.weights.copy()
        slow.weights = before.copy()
        generator = np.random.Generator(np.random.PCG64(sweep))
        slow.sweep(generator, beta, angle)
        after = generator.integers(0, 1000, 5)
        for one in students:
            stream = np.random.PCG64(sweep)
            one.billiard(stream, beta, angle, 1)
            # all took the same number of draws, buffered halves included
            np.testing.assert_array_equal(np.random.Generator(stream).integers(0, 1000, 5), after)
            np.testing.assert_array_equal(one.weights, student.weights)
            assert one.same_state(one.recomputed())
        np.testing.assert_allclose(student.weights, slow.weights, rtol=0, atol=1e-6)
        assert not np.array_equal(student.weights, before)
    assert slow.walls > 0
    assert student.accepted.sum() == student.proposed.sum() == 2 * student.weights.size


def test_cases_pass_and_are_reflected():
    """What is compared above has both, at beta = infinity and at finite beta."""
    for case in (3, 12, 6, 40, "planted", inf, 0.5), CASES[6]:
        _, slow = machine(1, *case[:5])
        slow.sweep(np.random.Generator(np.random.PCG64(0)), *case[5:])
        assert 0 < slow.passed < slow.walls


def test_the_way_back():
    """The rule itself: with the opposite velocity the slow motion returns to where it came from."""
    _, slow = machine(3, 2, 9, 8, 20, "random")
    start = slow.weights.copy()
    end, cost = slow.visit(0, 2, np.random.default_rng(1).standard_normal(8), 1.5, 1)
    assert slow.walls > 3
    assert not np.allclose(slow.weights, start)
    slow.visit(0, 2, -end, 1.5, 1 - cost)
    np.testing.assert_allclose(slow.weights, start, atol=1e-9)


def test_weights_follow_the_prior():
    """At beta = 0 nothing reflects: a visit by any angle leaves N(0, 1) alone and leads to it."""
    student = student_without_labels(np.ones((4, 80, 80)))
    student.billiard(np.random.PCG64(2), 0.0, 1.0, 60)
    assert_standard_normal(student.weights.ravel())


# ------------------------------------------------------------------------------------- exact averages


class Weighed:
    """Students drawn from the prior, each with its energy: averages at any beta are weighted sums."""

    def __init__(self, depth, width, fan_in, patterns, seed, draws=400_000):
        rng = np.random.default_rng(seed)
        self.wiring = oracle.draw_wiring(rng, depth, width, fan_in, "full" if fan_in == width else "sparse")
        self.teacher = oracle.draw_weights(rng, self.wiring.shape, False)
        self.inputs = oracle.draw_signs(rng, patterns, width)
        self.targets = oracle.forward(self.wiring, oracle.integers_of(self.teacher, False), self.inputs)[-1]
        self.weights = rng.standard_normal((draws, *self.wiring.shape))
        signs = np.broadcast_to(self.inputs, (draws, *self.inputs.shape))
        for layer in range(depth):
            h = np.einsum("dik,dmik->dmi", self.weights[:, layer], signs[:, :, self.wiring[layer]])
            signs = np.where(h >= 0, 1, -1)
        self.energies = np.count_nonzero(signs != self.targets, axis=(1, 2))

    def student(self, weights):
        words = [oracle.words_of(signs) for signs in (self.inputs, self.targets)]
        return kernels.Student(self.wiring, weights, *words, len(self.inputs), False)

    def observables(self, weights):
        """q(l), <J^2> and the overlap of two perceptrons of the first layer, per student."""
        norm = np.linalg.norm(weights, axis=-1)
        q = (weights * self.teacher).sum(-1) / norm / np.linalg.norm(self.teacher, axis=-1)
        pair = (weights[..., 0, 0, :] * weights[..., 0, 1, :]).sum(-1)
        return np.stack([*np.moveaxis(q.mean(-1), -1, 0), (weights**2).mean((-3, -2, -1)), pair], axis=-1)

    def expected(self, beta):
        """Means and their standard errors at beta."""
        p = np.where(self.energies == 0, 1.0, 0.0) if beta == inf else np.exp(-beta * self.energies)
        values = np.column_stack([self.observables(self.weights), self.energies])
        mean = p @ values / p.sum()
        return mean, np.sqrt(((p[:, None] * (values - mean)) ** 2).sum(0)) / p.sum()

    def sampled(self, beta, move, chains=300, burn_in=150, readings=400):
        """The same over independent chains."""
        means = []
        for chain in range(chains):
            rng = np.random.default_rng([5, chain])
            # at beta = inf from an exact draw: a solution of the prior
            at = (
                rng.choice(np.flatnonzero(self.energies == 0))
                if beta == inf
                else rng.integers(len(self.weights))
            )
            student, stream = self.student(self.weights[at]), np.random.PCG64([6, chain])
            move(student, stream, burn_in)
            rows = []
            for _ in range(readings):
                move(student, stream, 1)
                rows.append([*self.observables(student.weights), student.energy])
            means.append(np.mean(rows, axis=0))
        return np.mean(means, axis=0), np.std(means, axis=0, ddof=1) / sqrt(chains)

    def largest_z(self, beta, move):
        (mean, error), (found, spread) = self.expected(beta), self.sampled(beta, move)
        error = np.hypot(error, spread)
        return np.abs((found - mean) / np.where(error == 0, 1, error)).max()


@pytest.fixture(scope="module", params=[(2, 2, 2, 4), (2, 3, 3, 5)], ids=["c2", "c3"])
def weighed(request):
    """c = 2: all walls are orthogonal or the same; c = 3: none are orthogonal."""
    return Weighed(*request.param, seed=1)


@pytest.mark.parametrize("beta", [0.4, 1.5, inf])
@pytest.mark.parametrize("angle", [0.4, 2.0])
def test_equilibrium_is_that_of_the_prior_weighed(weighed, beta, angle):
    """q(l), norms, the overlap of two perceptrons, energy: against importance sampling from the prior."""
    z = weighed.largest_z(beta, lambda student, stream, n: student.billiard(stream, beta, angle, n))
    assert z < SIGMAS


def test_another_temperature_is_seen(weighed):
    """The comparison above has the power to fail."""
    assert (
        weighed.largest_z(1.5, lambda student, stream, n: student.billiard(stream, 1.2, 0.4, n)) > 2 * SIGMAS
    )


# ---------------------------------------------------------------------------------------------- the call


@pytest.mark.parametrize("angle", [0.0, -1.0, 3.2, float("nan")])
def test_angles_beyond_half_a_turn_are_refused(angle):
    student, _ = machine(1, 2, 3, 2, 5, "random")
    with pytest.raises(ValueError, match=r"angle = .*: must be in"):
        student.billiard(np.random.PCG64(0), inf, angle, 1)


@pytest.mark.parametrize("beta", [-1.0, float("nan")])
def test_bad_temperatures_are_refused(beta):
    student, _ = machine(1, 2, 3, 2, 5, "random")
    with pytest.raises(ValueError, match=r"beta = .*: must be >= 0"):
        student.billiard(np.random.PCG64(0), beta, 0.5, 1)


def test_ising_weights_are_refused():
    rng = np.random.default_rng(1)
    wiring = oracle.draw_wiring(rng, 2, 4, 2)
    inputs = oracle.draw_signs(rng, 5, 4)
    student, _ = pair(wiring, oracle.draw_weights(rng, wiring.shape, True), inputs, inputs, True)
    with pytest.raises(ValueError, match="Ising"):
        student.billiard(np.random.PCG64(0), inf, 0.5, 1)


@pytest.mark.parametrize("beta", [1.0, inf])
@pytest.mark.parametrize(("width", "fan_in"), [(5, 3), (70, 65), (70, 70)])
def test_twins_move_as_in_the_slow_motion(width, fan_in, beta):
    """Patterns with equal and opposite inputs, targets at random."""
    rng = np.random.default_rng(4)
    wiring = oracle.draw_wiring(rng, 2, width, fan_in, "full" if fan_in == width else "sparse")
    inputs = np.repeat(oracle.draw_signs(rng, 7, width), 3, axis=0)
    inputs[1::3] *= -1
    targets = oracle.draw_signs(rng, len(inputs), width)
    weights = oracle.draw_weights(rng, wiring.shape, False)
    student, _ = pair(wiring, weights, inputs, targets, False)
    slow = oracle.Billiard(wiring, weights, inputs, targets)
    slow.sweep(np.random.Generator(np.random.PCG64(5)), beta, 0.5)
    for one in every_kernel(student):
        one.billiard(np.random.PCG64(5), beta, 0.5, 1)
        np.testing.assert_allclose(one.weights, slow.weights, rtol=0, atol=1e-6)
        assert one.same_state(one.recomputed())
    assert slow.walls > 0


@pytest.mark.parametrize("patterns", [1, 2, 7, 9])
def test_patterns_on_their_walls_at_the_start(patterns):
    """Equal weights: h = 0 in many patterns.  Nothing breaks, and all kernels do the same."""
    rng = np.random.default_rng(patterns)
    wiring = oracle.draw_wiring(rng, 8, 8, 2)
    inputs, targets = (oracle.draw_signs(rng, patterns, 8) for _ in range(2))
    student, _ = pair(wiring, np.ones(wiring.shape), inputs, targets, False)
    students = every_kernel(student)
    for one in students:
        one.billiard(np.random.PCG64(1), 1.0, 0.6, 20)
        np.testing.assert_array_equal(one.weights, student.weights)
        assert one.same_state(one.recomputed())


def test_a_sign_that_rounding_decides_leaves_the_visit_unmade():
    """h = -1e-9 by real weights is 0, so +1, on the grid: the billiard waits for another move."""
    wiring = np.array([[[0, 1], [0, 1]]], dtype=np.int32)
    inputs = np.array([[1, -1]])
    weights = np.array([[[0.5, 0.5 + 1e-9], [1.0, 0.2]]])
    student, _ = pair(wiring, weights, inputs, inputs, False)
    student.billiard(np.random.PCG64(1), inf, 0.6, 50)
    np.testing.assert_array_equal(student.weights[0, 0], weights[0, 0])
    assert not np.array_equal(student.weights[0, 1], weights[0, 1])
    assert 0 < student.accepted.sum() < student.proposed.sum()
    assert student.same_state(student.recomputed())


@pytest.mark.parametrize("beta", [20.0, 1e6, inf])
def test_a_quench_does_not_heat_the_weights(beta):
    """What a flip gains goes nowhere: weights stay of the size that the prior gives them."""
    student, _ = machine(6, 2, 60, 60, 300, "random", "full")
    before = student.energy
    student.billiard(np.random.PCG64(2), beta, 0.6, 20)
    assert student.energy < before
    assert abs((student.weights**2).mean() - 1) < 0.2


def test_twins_flip_together():
    """Equal and opposite patterns meet the same wall at the same time."""
    rng = np.random.default_rng(2)
    wiring = oracle.draw_wiring(rng, 3, 9, 4)
    inputs = np.repeat(oracle.draw_signs(rng, 12, 9), 3, axis=0)
    inputs[1::3] *= -1
    teacher = oracle.draw_weights(rng, wiring.shape, False)
    targets = oracle.forward(wiring, oracle.integers_of(teacher, False), inputs)[-1]
    student, _ = pair(wiring, teacher, inputs, targets, False)
    student.billiard(np.random.PCG64(3), inf, 0.5, 50)
    assert student.energy == 0
    assert student.accepted.sum() == student.proposed.sum()
    assert student.same_state(student.recomputed())
