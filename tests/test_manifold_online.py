"""Online SGD against a plain loop and against itself interrupted; its error against test inputs."""

from math import erf, exp, pi, sqrt

import numpy as np
import pytest
from scipy.stats import kstest

from dsm_hpc.manifold.grid import GRID, MAX_DIMENSION, on_grid, panels_of
from dsm_hpc.manifold.inputs import BLOCK, InputSource
from dsm_hpc.manifold.learning import descend, normals, preactivations, projections, signs
from dsm_hpc.manifold.online import OnlineRun, evolve, measured_error
from dsm_hpc.manifold.system import SCENARIOS, System, draw_student, draw_system


def stream(*key):
    return np.random.PCG64DXSM(np.random.SeedSequence(7, spawn_key=key))


def random(*key):
    return np.random.Generator(stream(*key))


def system(scenario="latent_teacher", f="sgn", g="erf", width=50, dimension=21, teachers=2):
    return draw_system(scenario, f, g, width, dimension, teachers, random(1), random(2))


def run(of, units=3, eta=0.3, second_layer=True, **student):
    w, v = draw_student(random(3), units, of.width, 1.0, student.get("second", 0.7))
    return OnlineRun(of, w, v, eta, second_layer, stream(4))


# ------------------------------------------------------------------------ against a plain loop


def activation(g, x):
    """g and g', one number at a time."""
    if g == "erf":
        return erf(x / sqrt(2)), sqrt(2 / pi) * exp(-(x**2) / 2)
    return (x, 1.0) if g == "linear" else (max(x, 0.0), float(x > 0))


def plain_sgd(of, w, v, eta, second_layer, inputs, fields):
    """PHYSICS section 4, «One-pass SGD», one input at a time."""
    w, v, N = w.copy(), v.copy(), of.width
    for x, nu in zip(inputs.astype(float), fields, strict=True):
        values = [activation(of.g, w_k @ x / sqrt(N)) for w_k in w]
        delta = sum(v_k * g for v_k, (g, _) in zip(v, values, strict=True))
        delta -= sum(A * activation(of.g, n)[0] for A, n in zip(of.A, nu, strict=True))
        old = v.copy()
        for k, (g, slope) in enumerate(values):
            w[k] -= eta / sqrt(N) * old[k] * slope * delta * x
            if second_layer:
                v[k] -= eta / N * g * delta
    return w, v


def normal_numbers(draws, shape):
    out = np.empty(shape, np.float32)
    normals(draws, out.reshape(-1))
    return out


def plain_inputs(of, steps):
    """x and nu by the words of InputSource: float64, the products written out."""
    draws, inputs, fields = stream(4), [], []
    F, N, D = of.features, of.width, of.dimension
    for _ in range(-(-steps // BLOCK)):
        C = (
            np.rint(normal_numbers(draws, (BLOCK, D)) * np.float32(GRID)) / GRID
            if D
            else np.zeros((BLOCK, 0))
        )
        noisy = of.scenario in ("iid", "gaussian_equivalent")
        noise = normal_numbers(draws, (BLOCK, N)).astype(float) if noisy else None
        u = np.einsum("id,sd->si", F, C) / sqrt(max(D, 1))
        match of.scenario:
            case "iid":
                x = noise
            case "gaussian_equivalent":
                b = {"sgn": sqrt(2 / pi), "erf": 1 / sqrt(pi), "relu": 0.5, "linear": 1}[of.f]
                a, c = {"sgn": (0, 1), "erf": (0, 1 / 3), "relu": (1 / sqrt(2 * pi), 0.5), "linear": (0, 1)}[
                    of.f
                ]
                x = b * u + sqrt(max(c - a**2 - b**2, 0)) * noise
            case _:
                x = {
                    "sgn": lambda u: np.where(u >= 0, 1.0, -1.0),
                    "erf": np.vectorize(lambda u: erf(u / sqrt(2))),
                    "relu": lambda u: np.maximum(u, 0) - 1 / sqrt(2 * pi),
                    "linear": lambda u: u,
                    "tanh": np.tanh,
                }[of.f](u)
        latent = of.scenario in ("latent_teacher", "gaussian_equivalent")
        fields.append(C @ of.B.T / sqrt(D) if latent else x @ of.B.T / sqrt(N))
        inputs.append(x)
    return np.concatenate(inputs)[:steps], np.concatenate(fields)[:steps]


def drawn_inputs(of, steps):
    """x and nu as the program draws them."""
    source, draws, inputs, fields = InputSource(of), stream(4), [], []
    for _ in range(-(-steps // BLOCK)):
        block = source.draw(draws)
        inputs.append(block.inputs[:, : of.width].copy())
        fields.append(block.fields.copy())
        assert not block.inputs[:, of.width :].any()
    return np.concatenate(inputs)[:steps], np.concatenate(fields)[:steps]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("f", ["sgn", "erf", "relu", "linear", "tanh"])
def test_inputs_and_labels_are_those_of_the_scenario(scenario, f):
    if f == "tanh" and scenario == "gaussian_equivalent":
        pytest.skip("its moments are tested with the folding functions")
    of = system(scenario, f)
    for mine, theirs in zip(drawn_inputs(of, 300), plain_inputs(of, 300), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("second_layer", [False, True])
@pytest.mark.parametrize("g", ["erf", "linear", "relu"])
@pytest.mark.parametrize("f", ["sgn", "relu"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_sgd_agrees_with_a_plain_loop(scenario, f, g, second_layer):
    """The weights after 2000 steps (t = 40), with the inputs drawn by the program."""
    of = system(scenario, f, g)
    mine = run(of, second_layer=second_layer)
    w, v = plain_sgd(of, mine.w, mine.v, mine.eta, second_layer, *drawn_inputs(of, 2000))
    mine.advance(2000)
    np.testing.assert_allclose(mine.w, w, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mine.v, v, rtol=1e-9, atol=1e-9)
    assert not np.allclose(w, run(of).w, atol=0.1)


@pytest.mark.parametrize(("units", "width"), [(1, 16), (2, 17), (5, 64)])
def test_any_number_of_units_and_inputs_learns_as_the_plain_loop(units, width):
    of = system(width=width, dimension=8, teachers=3)
    mine = run(of, units)
    w, v = plain_sgd(of, mine.w, mine.v, mine.eta, True, *drawn_inputs(of, 500))
    mine.advance(500)
    np.testing.assert_allclose(mine.w, w, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(mine.v, v, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("shape", [(50, 21), (16, 2), (33, 1)])
def test_products_are_exact(shape):
    F, C = on_grid(random(5), shape), on_grid(random(6), (8, shape[1]))
    latent = np.zeros((8, shape[1] + shape[1] % 2), np.int16)
    latent[:, : shape[1]] = C
    out = np.empty((8, -(-shape[0] // 16) * 16), np.float32)
    exact = C.astype(np.int64) @ F.T.astype(np.int64)
    preactivations(panels_of(F), latent, 2.0**-20, out)
    np.testing.assert_array_equal(out[:, : shape[0]], (exact.astype(np.float32) * np.float32(2.0**-20)))
    signs(panels_of(F), latent, out)
    np.testing.assert_array_equal(out[:, : shape[0]], np.where(exact >= 0, 1, -1))


def test_the_widest_manifold_stays_within_int32():
    """|u| up to 14 at the largest allowed D."""
    assert 14 * sqrt(MAX_DIMENSION) * GRID**2 < 2**31


def test_arrays_that_do_not_fit_are_refused():
    x, w = np.zeros((4, 32), np.float32), np.zeros((2, 16))
    with pytest.raises(ValueError, match="width 32"):
        descend(w, np.ones(2), x, np.zeros(4), 16, 0.1, "erf", False)
    with pytest.raises(ValueError, match="do not fit"):
        descend(np.zeros((2, 32)), np.ones(3), x, np.zeros(4), 16, 0.1, "erf", False)
    with pytest.raises(ValueError, match="multiple of 16"):
        projections(np.zeros((4, 8), np.float32), np.zeros((2, 8)), np.zeros((4, 2)))
    panels = panels_of(np.zeros((16, 4), np.int16))
    with pytest.raises(ValueError, match="do not fit"):
        signs(panels, np.zeros((3, 4), np.int16), np.zeros((3, 16), np.float32))
    with pytest.raises(ValueError, match="out is"):
        signs(panels, np.zeros((4, 4), np.int16), np.zeros((4, 32), np.float32))


# ------------------------------------------------------------------------ interruption


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_pattern_of_interruptions_changes_a_bit(scenario):
    of, total = system(scenario), 5 * BLOCK + 11
    whole = run(of)
    whole.advance(total)
    for seed in range(4):
        steps = np.sort(random(8, seed).integers(0, total + 1, 12))
        steps[3] = 2 * BLOCK  # just between two blocks
        other = run(of)
        for step in [*np.sort(steps), total]:
            other.advance(int(step) - other.steps)
            saved = other.state()
            other.advance(3)  # lost
            other = OnlineRun.restored(of, saved, other.eta, True, stream(99))
        assert other.steps == whole.steps == total
        np.testing.assert_array_equal(other.w, whole.w)
        np.testing.assert_array_equal(other.v, whole.v)
        assert other.state().stream == whole.state().stream


def test_measurement_leaves_the_run_alone():
    of, seen = system(), []
    looked, plain = run(of), run(of)
    evolve(
        looked,
        np.array([0, 1, 50, 96, 300]),
        lambda r: seen.append(measured_error(of, r.w, r.v, 200, random(9)).mean),
    )
    plain.advance(300)
    assert len(seen) == 5
    np.testing.assert_array_equal(looked.w, plain.w)


# ------------------------------------------------------------------------ generalisation error


@pytest.mark.parametrize("g", ["erf", "linear", "relu"])
@pytest.mark.parametrize("scenario", ["gaussian_equivalent", "iid"])
def test_closed_error_agrees_with_test_inputs_where_fields_are_gaussian(scenario, g):
    """Exactly Gaussian fields: at any size, before and after learning."""
    of = system(scenario, "relu", g)
    learner = run(of, eta=0.1)
    for steps in (0, 1000):
        learner.advance(steps)
        measured = measured_error(of, learner.w, learner.v, 60_000, random(10))
        assert abs(measured.mean - learner.closed_error()) < 4 * measured.error


@pytest.mark.parametrize("f", ["sgn", "relu", "tanh"])
@pytest.mark.parametrize("scenario", ["latent_teacher", "input_teacher"])
def test_closed_error_agrees_with_test_inputs_on_the_manifold(scenario, f):
    """Gaussian up to finite-size corrections: 4 standard errors and 1 %."""
    of = system(scenario, f, width=1000, dimension=250)
    learner = run(of, eta=0.2)
    for steps in (0, 3000):
        learner.advance(steps)
        measured = measured_error(of, learner.w, learner.v, 20_000, random(11))
        closed = learner.closed_error()
        assert abs(measured.mean - closed) < 4 * measured.error + 0.01 * closed


def test_inputs_that_were_not_centred_would_show():
    """ReLU: with x + a for x the mean field spoils the formula."""
    of = system("latent_teacher", "relu", width=1000, dimension=500)
    w = np.abs(draw_student(random(3), 2, 1000, 1.0, None)[0])
    source = InputSource(of)
    fields = np.concatenate(
        [source.draw(draws).inputs[:, :1000] @ w.T / sqrt(1000) for draws in [stream(12)] for _ in range(100)]
    )
    error = fields.std(axis=0) / sqrt(len(fields))
    assert (np.abs(fields.mean(axis=0)) < 4 * error + 0.05).all()
    assert abs(w.mean() * sqrt(1000) / sqrt(2 * pi)) > 5


def test_memory_is_that_of_one_block():
    """They would be 20 MB at once."""
    import tracemalloc

    of = system()
    w, v = draw_student(random(3), 2, of.width, 1.0, None)
    tracemalloc.start()
    measured_error(of, w, v, 100_000, random(13))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


@pytest.mark.parametrize("count", [1, 511, 1024, 1300])
def test_normal_numbers_are_those_of_box_and_muller(count):
    """To float32 accuracy, from the words that the docstring names, and no others."""
    draws = stream(15)
    found = normal_numbers(draws, (count,))
    other, expected = stream(15), []
    for _ in range(-(-count // 512)):
        words = other.random_raw(256)
        radius = np.sqrt(-2 * np.log(((words >> np.uint64(33)) + 0.5) / 2.0**31))
        angle = 2 * pi * (words & np.uint64(0xFFFFFFFF)) / 2.0**32
        expected += [radius * np.cos(angle), radius * np.sin(angle)]
    np.testing.assert_allclose(found, np.concatenate(expected)[:count], atol=2e-6)
    assert draws.random_raw() == other.random_raw()


def test_the_law_of_the_normal_numbers():
    values = normal_numbers(stream(16), (512 * 4000,)).astype(float)
    assert kstest(values, "norm").pvalue > 1e-3
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10_170)):
        assert abs((values**power).mean() - moment) < 4 * sqrt(variance / len(values))
    pairs = values.reshape(-1, 512)  # the two numbers of a word are independent, and so are their squares
    for left, right in ((pairs[:, :256], pairs[:, 256:]), (pairs[:, :-1], pairs[:, 1:])):
        for power in (1, 2):
            a, b = left**power - (power == 2), right**power - (power == 2)
            assert abs((a * b).mean()) < 4 * sqrt(power**2 / a.size)


def test_second_moments_of_the_grid_are_those_of_a_normal():
    values = on_grid(random(14), (10**6,)) / GRID
    assert abs(values.mean()) < 4e-3
    assert abs((values**2).mean() - 1) < 4 * sqrt(2e-6)
    assert abs((values**4).mean() - 3) < 4 * sqrt(96e-6)


def test_a_system_is_what_it_says():
    of = system("input_teacher", "relu", "linear", 40, 10, 3)
    assert isinstance(of, System)
    assert (of.B.shape, of.features.shape, of.dimension) == ((3, 40), (40, 10), 10)
    assert system("iid").dimension == 0
