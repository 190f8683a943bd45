"""Results in ArviZ's form."""

import numpy as np
import xarray as xr

POSTERIOR = ("q", "r", "r_test", "q_aligned", "r_aligned", "r_test_aligned")
SAMPLE_STATS = ("energy", "test_error", "acceptance")


def to_inference_data(results: xr.DataTree) -> xr.DataTree:
    """What `open_results` returned, as ArviZ 1.0 and later take it: a tree of groups with chains and draws.

    An older ArviZ takes it as `arviz.from_datatree(tree)`.

    `posterior` holds the overlaps of student and teacher, `sample_stats` energy, test error and acceptance.
    A chain is one start and clone (coordinates `start` and `clone` say which); draws are the measurements of
    the last half of the times measured so far (coordinate `time`, in sweeps).  Samples, temperatures and
    layers stay axes of each variable, so that diagnostics come out sample by sample.  Draws are equally
    spaced in time only if the measurements are (`measurements: {kind: linear, every: ...}`); effective
    sample sizes mean something for these only.
    """
    return xr.DataTree.from_dict(
        {
            "posterior": _chains(results["teacher"].to_dataset()[list(POSTERIOR)], results),
            "sample_stats": _chains(results.to_dataset()[list(SAMPLE_STATS)], results),
        }
    )


def _chains(variables: xr.Dataset, results: xr.DataTree) -> xr.Dataset:
    """Variables on the axes chain and draw first."""
    times = _window(results)
    chosen = variables.isel(time=times).stack(chain=("start", "clone"), create_index=False)
    chosen = chosen.rename_dims(time="draw").drop_indexes("time")
    chosen = chosen.assign_coords(
        chain=np.arange(chosen.sizes["chain"]), draw=np.arange(chosen.sizes["draw"])
    )
    used = {axis for variable in chosen.data_vars.values() for axis in variable.dims}
    others = [name for name, values in chosen.coords.items() if not set(values.dims) <= used]
    chosen = chosen.drop_vars(others).transpose("chain", "draw", ...)
    return chosen.assign_attrs(results.attrs)


def _window(results: xr.DataTree) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Positions of the last half of the times measured so far."""
    energy = results.to_dataset()["energy"]
    times = energy["time"].values
    measured = energy.notnull().any([axis for axis in energy.dims if axis != "time"]).values
    last = times[measured].max(initial=0)
    return np.flatnonzero((2 * times >= last) & (times <= last))
