"""Autocorrelation times, R-hat, jackknife and bootstrap against closed forms."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm, rankdata

from dsm_hpc.analysis.derived import derived, estimated, jackknife
from dsm_hpc.analysis.mixing import LONG_ENOUGH, autocorrelation_time, r_hat

EVERY = 10
PHI = 0.8
TAU = (1 + PHI) / (1 - PHI)
"""Of an AR(1) series x_t = PHI x_{t-1} + noise, whose autocorrelation is PHI^k; in units of the spacing."""


def autoregressive(walkers: int, length: int, phi: float = PHI, seed: int = 1) -> Any:
    """Stationary series about a mean of their own, (walker, time)."""
    noise = np.random.default_rng(seed).normal(size=(walkers, length)) * np.sqrt(1 - phi**2)
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0] / np.sqrt(1 - phi**2)
    for time in range(1, length):
        series[:, time] = phi * series[:, time - 1] + noise[:, time]
    return series + 10 * np.arange(walkers)[:, None]


def walkers(series: Any, times: Any = None) -> xr.DataArray:
    """Series (walker, time) as two clones of each sample."""
    times = EVERY * np.arange(series.shape[1]) if times is None else times
    return xr.DataArray(series.reshape(-1, 2, series.shape[1]), {"time": times}, ("sample", "clone", "time"))


class TestAutocorrelationTime:
    def test_of_an_autoregressive_series(self) -> None:
        """The error of tau is tau sqrt((4 W + 2) / n), W = 5 tau, n values in all (Sokal)."""
        count, length = 16, 4000
        found = autocorrelation_time(walkers(autoregressive(count, length)), EVERY)
        assert found is not None
        error = np.sqrt((20 * TAU + 2) / (count * length))
        assert found["sweeps"] == pytest.approx(EVERY * TAU, rel=3 * error)
        assert found["effective"] == pytest.approx(count * length / TAU, rel=3 * error)
        assert found["windows"] == pytest.approx(length / TAU, rel=3 * error)
        assert (found["enough"], found["walkers"], found["still"]) == (True, count, 0)

    def test_of_independent_values(self) -> None:
        found = autocorrelation_time(walkers(autoregressive(16, 2000, phi=0.0)), EVERY)
        assert found is not None
        assert found["sweeps"] == pytest.approx(EVERY, rel=0.05)

    def test_a_short_window_is_named(self) -> None:
        length = int(TAU * LONG_ENOUGH / 3)
        found = autocorrelation_time(walkers(autoregressive(8, length)), EVERY)
        assert found is not None
        assert found["enough"] is False

    def test_what_never_moves_is_counted(self) -> None:
        series = autoregressive(4, 3000)
        still = series.copy()
        still[0] = 0.5
        moving, found = (autocorrelation_time(walkers(one), EVERY) for one in (series[1:3], still))
        assert moving is not None
        assert found is not None
        assert (found["walkers"], found["still"]) == (4, 1)
        assert np.isfinite(found["sweeps"])
        nothing = autocorrelation_time(walkers(np.ones((2, 20))), EVERY)
        assert nothing is not None
        assert np.isnan(nothing["sweeps"])
        assert (nothing["still"], nothing["enough"]) == (2, False)

    def test_walkers_that_are_not_measured_throughout_are_left_out(self) -> None:
        series = autoregressive(4, 500)
        lagging = series.copy()
        lagging[3, -1] = np.nan
        found = autocorrelation_time(walkers(lagging), EVERY)
        assert found is not None
        assert found["walkers"] == 3
        assert autocorrelation_time(walkers(np.full((2, 20), np.nan)), EVERY) is None

    def test_the_end_of_a_run_between_two_measurements_is_left_out(self) -> None:
        series = autoregressive(4, 300)
        longer = np.concatenate([series, np.full((4, 1), 1e6)], axis=1)
        times = np.append(EVERY * np.arange(300), EVERY * 299 + 3)
        assert autocorrelation_time(walkers(longer, times), EVERY) == autocorrelation_time(
            walkers(series), EVERY
        )


def split_r_hat(chains: Any) -> float:
    """R-hat of normalised ranks as written in Vehtari et al., equations (1) to (5) and (14), by loops."""

    def plain(values: list[list[float]]) -> float:
        length, means = len(values[0]), [sum(chain) / len(chain) for chain in values]
        grand = sum(means) / len(means)
        between = length / (len(means) - 1) * sum((mean - grand) ** 2 for mean in means)
        within = sum(
            sum((x - mean) ** 2 for x in chain) / (length - 1)
            for chain, mean in zip(values, means, strict=True)
        ) / len(means)
        return float(np.sqrt(((length - 1) / length * within + between / length) / within))

    def normal(values: Any) -> Any:
        ranks = rankdata(values, axis=None).reshape(np.shape(values))
        return norm.ppf((ranks - 3 / 8) / (np.size(values) + 1 / 4)).tolist()

    half = chains.shape[1] // 2
    halves = np.concatenate([chains[:, :half], chains[:, -half:]])
    return max(plain(normal(halves)), plain(normal(np.abs(halves - np.median(halves)))))


class TestRHat:
    @staticmethod
    def chains(values: Any) -> xr.DataArray:
        return xr.DataArray(values, dims=("sample", "chain", "time"))

    def test_by_hand(self) -> None:
        values = np.random.default_rng(2).normal(size=(3, 2, 8)) + np.array([0.0, 1.0])[None, :, None]
        found = r_hat(self.chains(values))
        expected = [split_r_hat(sample) for sample in values]
        assert found is not None
        assert found["median"] == pytest.approx(np.median(expected))
        assert found["worst"] == pytest.approx(max(expected))
        assert found["samples"] == 3

    def test_chains_that_agree_and_chains_that_do_not(self) -> None:
        """The same distribution, and means that are three standard deviations apart."""
        values = np.random.default_rng(3).normal(size=(1, 2, 2000))
        together, apart = r_hat(self.chains(values)), r_hat(self.chains(values + np.array([[0.0], [3.0]])))
        assert together is not None
        assert together["worst"] < 1.01
        assert apart is not None
        assert apart["worst"] > 1.5

    def test_what_cannot_be_had(self) -> None:
        values = np.random.default_rng(4).normal(size=(2, 2, 8))
        assert r_hat(self.chains(values[:, :1])) is None
        assert r_hat(self.chains(values[..., :3])) is None
        assert r_hat(self.chains(np.ones((2, 2, 8)))) is None
        values[0, 1, 3] = np.nan
        found = r_hat(self.chains(values))
        assert found is not None
        assert found["samples"] == 1

    def test_chains_that_stand_still_apart(self) -> None:
        found = r_hat(self.chains(np.ones((1, 2, 8)) * np.array([1.0, 2.0])[None, :, None]))
        assert found is not None
        assert found["worst"] == np.inf


class TestJackknife:
    def test_of_the_mean_is_the_standard_error(self) -> None:
        values = np.random.default_rng(5).normal(size=(9, 3))
        error = jackknife(values, lambda profile: profile[..., 1])
        assert error == pytest.approx(values[:, 1].std(ddof=1) / 3, rel=1e-12)

    def test_of_a_ratio(self) -> None:
        """Var(x/y) = (s_xx - 2 R s_xy + R^2 s_yy) / (n y^2), R = x/y, for n samples to order 1/n."""
        count = 400
        random = np.random.default_rng(6)
        y = 2 + 0.3 * random.normal(size=count)
        x = 0.5 * y + 0.2 * random.normal(size=count)
        ratio, cov = x.mean() / y.mean(), np.cov(x, y)
        expected = np.sqrt((cov[0, 0] - 2 * ratio * cov[0, 1] + ratio**2 * cov[1, 1]) / count) / y.mean()
        found = jackknife(np.stack([x, y], axis=1), lambda profile: profile[..., 0] / profile[..., 1])
        assert found == pytest.approx(expected, rel=0.01)

    def test_one_sample_has_no_error(self) -> None:
        assert np.isnan(jackknife(np.ones((1, 3)), lambda profile: profile[..., 0]))

    def test_bootstrap_of_the_mean(self) -> None:
        """The 95 % interval of a mean is 1.96 standard errors to either side; the ends scatter by 5 %."""
        values = np.random.default_rng(7).normal(size=(500, 2))
        found = estimated(xr.DataArray(values, dims=("sample", "layer")), lambda profile: profile[..., 0])
        assert found["high"] - found["mean"] == pytest.approx(1.96 * found["error"], rel=0.15)
        assert found["mean"] - found["low"] == pytest.approx(1.96 * found["error"], rel=0.15)

    def test_bootstrap_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """How many draws are in memory at a time changes nothing."""
        profile = xr.DataArray(np.random.default_rng(8).random((30, 4)), dims=("sample", "layer"))
        whole = derived(profile, profile)
        monkeypatch.setattr("dsm_hpc.analysis.derived.MOST_AT_ONCE", 7 * profile.size)
        assert derived(profile, profile) == whole

    def test_derived_quantities(self) -> None:
        q = np.array([[0.9, 0.3, 0.2, 0.7], [0.7, 0.5, 0.4, 0.9], [np.nan, 0.1, 0.1, 0.1]])
        r_test = np.array([[0.8, 0.6, 0.5, 0.4], [0.8, 0.6, 0.5, 0.6], [0.8, 0.6, 0.5, 0.8]])
        found = derived(*(xr.DataArray(profile, dims=("sample", "layer")) for profile in (q, r_test)))
        assert found["eps_g"]["mean"] == pytest.approx((1 - 0.6) / 2)
        assert found["eps_g"]["error"] == pytest.approx(0.1 / np.sqrt(3))
        assert found["valley"]["mean"] == pytest.approx(0.8 - 0.3)
        assert found["valley_layer"]["mean"] == 3
        assert found["middle_to_ends"]["mean"] == pytest.approx(0.35 / 0.8)
        # Two samples: half the difference of f without the one and without the other.
        assert found["middle_to_ends"]["error"] == pytest.approx(abs(0.45 - 0.25) / 0.8 / 2)
        assert [found[name]["samples"] for name in ("eps_g", "valley")] == [3, 2]

    def test_two_layers_have_no_valley(self) -> None:
        profile = xr.DataArray(np.full((3, 2), 0.5), dims=("sample", "layer"))
        assert list(derived(profile, profile)) == ["eps_g"]
