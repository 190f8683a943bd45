"""Means and standard errors.  The samples (wiring, teacher, data) are the independent units.

Clones or pairs of clones, and the measurement times of a window, are averaged within each sample first;
mean and standard error are then taken over samples.  NaN, what has not been measured yet, is left out: a
sample with nothing to show drops out.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from dsm_hpc.analysis.results import Results

WITHIN_SAMPLE = ("clone", "pair", "time")
ROUNDING = 1e-12
"""Overlaps that differ by less are the same number."""


@dataclass(frozen=True)
class Window:
    """Measurement times over which to average, in sweeps, both ends included."""

    first: int
    last: int
    measurements: int

    def of(self, values: xr.DataArray) -> xr.DataArray:
        """The values measured within the window."""
        return values.sel(time=slice(self.first, self.last))


@dataclass(frozen=True)
class Estimate:
    """Mean and standard error over samples, on the axes that are left.

    mean : NaN where no sample has a value.
    error : standard error, sqrt(sum (x - mean)^2 / (n (n - 1))); NaN for fewer than two samples.
    samples : n, the number of samples that went in.
    """

    mean: xr.DataArray
    error: xr.DataArray
    samples: xr.DataArray

    def sel(self, **where: object) -> "Estimate":
        """The estimate at given coordinates."""
        return Estimate(self.mean.sel(where), self.error.sel(where), self.samples.sel(where))


def window(results: Results) -> Window | None:
    """The last half of the times measured so far, t >= t_last / 2; None if nothing has been measured yet."""
    energy = results.variable("energy")
    times = energy["time"].values[energy.notnull().any(energy.dims[:-1]).values]
    if not len(times):
        return None
    kept = times[2 * times >= times[-1]]
    return Window(int(kept[0]), int(kept[-1]), len(kept))


def doublings(results: Results) -> list[Window]:
    """Windows that double in time, oldest first: ..., t/8 <= . < t/4, t/4 <= . < t/2, t/2 <= . <= t.

    t is the time of the last measurement; the last window is `window`.  They go back to the first one without
    a measurement, and leave out t = 0.
    """
    last = window(results)
    if last is None or last.last == 0:
        return [] if last is None else [last]
    found, times = [last], results.layout.coordinates["time"]
    while True:
        end = last.last / 2 ** len(found)
        kept = times[(times > 0) & (times >= end / 2) & (times < end)]
        if not len(kept):
            return found[::-1]
        found.append(Window(int(kept[0]), int(kept[-1]), len(kept)))


def per_sample(values: xr.DataArray, within: tuple[str, ...] = WITHIN_SAMPLE) -> xr.DataArray:
    """One value per sample: the mean over clones or pairs, and over times where there are any."""
    return values.mean([axis for axis in within if axis in values.dims], skipna=True)


def estimate(values: xr.DataArray) -> Estimate:
    """Mean and standard error over the axis `sample`."""
    samples = values.notnull().sum("sample")
    mean = values.mean("sample", skipna=True)
    squares = ((values - mean) ** 2).sum("sample", skipna=True)
    several = samples.where(samples > 1)
    return Estimate(mean, (squares / (several * (several - 1))) ** 0.5, samples)


def windowed(results: Results, name: str, times: Window) -> xr.DataArray:
    """One value per sample of a variable: its mean over clones or pairs and the times of a window."""
    return per_sample(times.of(results.variable(name)))


def course(results: Results, name: str) -> Estimate:
    """A variable against time: mean and standard error over samples at each measurement time."""
    return estimate(per_sample(results.variable(name), within=("clone", "pair")))


def unlearnt(results: Results, name: str) -> xr.DataArray | None:
    """One value per sample of a variable for students that have learnt nothing: random starts at t = 0, over
    clones and temperatures.  None for a run without them."""
    if "random" not in results.config.ensemble.starts:
        return None
    begin = results.variable(name).sel(start="random", drop=True).isel(time=0, drop=True)
    return per_sample(begin, within=("clone", "pair", "beta"))


def contrast(a: xr.DataArray, b: xr.DataArray) -> Estimate:
    """The paired difference a - b over samples; a sample that lacks either drops out."""
    return estimate(a - b)


def in_errors(difference: float, error: float) -> float:
    """A difference in standard errors: 0 where there is none but rounding, infinite where the error is 0."""
    if abs(difference) < ROUNDING:
        return 0.0
    return float(np.divide(difference, error)) if error else float(np.copysign(np.inf, difference))


def middle_layers(depth: int) -> list[int]:
    """The central layer, or the two central ones of an even number of layers."""
    return sorted({(depth + 1) // 2, depth // 2 + 1})


def middle(values: xr.DataArray) -> xr.DataArray:
    """The value in the central layer, or the mean over the two central layers."""
    return values.sel(layer=middle_layers(values.sizes["layer"])).mean("layer", skipna=False)


def ends_above_middle(q: xr.DataArray) -> dict[str, Estimate]:
    """Heterogeneity: q in the first and in the last layer minus q in the middle, paired over samples."""
    return {
        "first": contrast(q.isel(layer=0, drop=True), middle(q)),
        "last": contrast(q.isel(layer=-1, drop=True), middle(q)),
    }
