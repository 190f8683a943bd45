"""`dsm theory` from options to text, numbers, file and figure; figures are drawn, not looked at."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from dsm_hpc.errors import InputError
from dsm_hpc.theory.command import Request, alphas, depths, theory


def test_the_bar_of_the_issue():
    text, numbers = theory(Request((2,), (4.0,)))
    for words in ("q = 0.6808 0.6808", "r = 0.6075", "q = 0.6039 0.6906", "r = 0.6245"):
        assert words in text
    json.dumps(numbers, allow_nan=False)
    point = numbers["rows"][1]["points"][0]
    assert point["coincide"]
    assert point["branches"]["informed"]["q"] == pytest.approx([0.6039, 0.6906], abs=1e-4)
    assert point["branches"]["informed"]["rhat"][-1] is None  # infinite: the output is known


def test_two_solutions_are_said():
    text, _ = theory(Request((5,), (30.0,), closures=("cavity",)))
    assert "informed branch, rules" in text
    assert "the informed one rules" in text
    text, numbers = theory(Request((5,), (30.0,), closures=("cavity",), branches=("uninformed",)))
    assert list(numbers["rows"][0]["points"][0]["branches"]) == ["uninformed"]


def test_file_and_figures(tmp_path: Path):
    output, figure = tmp_path / "t.h5", tmp_path / "t.png"
    request = Request((1, 2), (1.0, 2.0, 4.0), output=output, figure=figure, phase_diagram=True)
    _, numbers = theory(request)
    assert figure.read_bytes()[:4] == b"\x89PNG"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["t.h5", "t.png"]
    with h5py.File(output) as file:
        assert (file.attrs["format"], file.attrs["format_version"]) == ("dsm-hpc-theory", 1)
    with xr.open_dataset(output, engine="h5netcdf") as data:
        assert dict(data.sizes) == {"closure": 2, "depth": 2, "alpha": 3, "branch": 2, "layer": 2}
        q = data["q"].sel(closure="cavity", depth=2, alpha=4.0, branch="informed").values
        assert q == pytest.approx([0.6039, 0.6906], abs=1e-4)
        assert np.isnan(data["q"].sel(depth=1, layer=2)).all()
        assert data["converged"].values.min() == 1
        assert data["line_critical"].sel(closure="dense_limit", depth=2) == pytest.approx(np.pi**2 / 8)
    assert numbers["rows"][0]["lines"]["critical"] == 0


@pytest.mark.parametrize("values", [(2.0,), (1.0, 2.0, 3.0, 4.0, 5.0)])
def test_profiles_and_curves(tmp_path: Path, values: tuple[float, ...]):
    text, _ = theory(Request((3,), values, figure=tmp_path / "t.svg"))
    assert (tmp_path / "t.svg").stat().st_size > 1000
    assert ("f uninf." in text) == (len(values) > 4)


def test_ranges():
    assert depths(["1..3,7", "2"]) == (1, 2, 3, 7)
    assert alphas(["1..100x3", "4,2.5"]) == (1.0, 2.5, 4.0, 10.0, 100.0)


@pytest.mark.parametrize("words", ["", "a", "1..2..3", "-1", "1.5"])
def test_bad_depths(words):
    with pytest.raises(InputError, match="--depth"):
        depths([words])


@pytest.mark.parametrize("words", ["", "a", "1..2", "1..2xb", "0..2x3"])
def test_bad_alphas(words):
    with pytest.raises(InputError, match="--alpha"):
        alphas([words])


@pytest.mark.parametrize(
    "request_",
    [
        Request((2,), (-1.0,)),
        Request((0,), (1.0,)),
        Request((2,), (float("nan"),)),
        Request((2,), (1.0,), closures=("annealed",)),
        Request((2,), (1.0,), prior="laplace"),
        Request((2,), (1.0,), output=Path("/no/such/folder/t.h5")),
        Request((2,), (1.0,), figure=Path("t.gif")),
        Request((2,), (1.0,), phase_diagram=True),
    ],
)
def test_bad_requests(request_):
    with pytest.raises(InputError):
        theory(request_)
