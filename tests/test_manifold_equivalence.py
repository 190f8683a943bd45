"""The check of the Gaussian equivalence: it agrees where it must, and it can disagree."""

from dataclasses import replace

import numpy as np
import pytest

from dsm_hpc.manifold import system as system_module
from dsm_hpc.manifold.equivalence import HEADER, measure, table
from dsm_hpc.manifold.folding import Coefficients
from dsm_hpc.manifold.online import OnlineRun
from dsm_hpc.manifold.system import draw_student, draw_system


def stream(*key):
    return np.random.PCG64DXSM(np.random.SeedSequence(13, spawn_key=key))


def random(*key):
    return np.random.Generator(stream(*key))


def measured(scenario="latent_teacher", f="sgn", width=800, dimension=200, trained=0.0, inputs=40_000):
    of = draw_system(scenario, f, "erf", width, dimension, 2, random(1), random(2))
    run = OnlineRun(of, *draw_student(random(3), 2, width, 1.0, None), 0.2, False, stream(4))
    run.advance(round(trained * width))
    return measure(of, run.w, inputs, random(5), "trained" if trained else "independent")


@pytest.mark.parametrize("scenario", ["gaussian_equivalent", "iid"])
def test_gaussian_inputs_agree_at_any_size(scenario):
    found = measured(scenario, "relu", 40, 15)
    assert np.abs(found.z).max() < 4
    assert (np.abs(found.kurtosis) < 4 * found.kurtosis_error).all()
    assert (np.abs(found.mean) < 4 * found.mean_error).all()
    # Standard errors are what scatters: z of order 1.
    assert 0.3 < np.sqrt((found.z**2).mean()) < 2


@pytest.mark.parametrize("trained", [0.0, 5.0])
@pytest.mark.parametrize("f", ["sgn", "relu", "tanh"])
@pytest.mark.parametrize("scenario", ["latent_teacher", "input_teacher"])
def test_formulas_hold_on_large_manifolds(scenario, f, trained):
    """Up to 1 % of the fields' standard deviations and 4 standard errors."""
    found = measured(scenario, f, trained=trained, inputs=20_000)
    students = slice(0, 2)
    scale = np.sqrt(np.outer(np.diag(found.expected), np.diag(found.expected)))
    off = np.abs(found.covariance - found.expected)[students]
    assert (off < 4 * found.error[students] + 0.012 * scale[students]).all()


def test_deviation_and_kurtosis_fall_with_the_size():
    """From N = 60, D = 15 to N = 960, D = 240 (means over both students)."""
    small, large = measured(width=60, dimension=15), measured(width=960, dimension=240)
    assert small.deviation > 4 * small.noise
    assert small.deviation > 3 * large.deviation
    assert small.kurtosis[:2].mean() < -10 * small.kurtosis_error[:2].max()
    assert abs(small.kurtosis[:2].mean()) > 3 * abs(large.kurtosis[:2].mean())


@pytest.mark.parametrize("wrong", [{"b": 0.6}, {"a": 0.4}, {"c": 1.2}])
def test_wrong_moments_of_f_are_seen(wrong, monkeypatch):
    right = measured(inputs=20_000, trained=5)
    broken = replace(Coefficients(0.0, np.sqrt(2 / np.pi), 1.0), **wrong)
    monkeypatch.setattr(system_module, "coefficients", lambda f: broken)
    assert np.abs(measured(inputs=20_000, trained=5).z).max() > 2 * max(np.abs(right.z).max(), 4)


def test_table_has_a_row_for_each():
    rows = table([measured(inputs=10_000, width=50, dimension=10)])
    assert len(rows[0]) == len(HEADER)
    assert rows[0][:4] == ("sgn", "50", "10", "independent")
