"""Simulation laid over theory: `dsm analyze --theory`, `dsm plot --theory`, and the verb `theory`."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from conftest import small_config
from test_analysis import filled, write

from dsm_hpc import cli
from dsm_hpc.analysis.closures import against_theory
from dsm_hpc.analysis.figures import generalization, profile
from dsm_hpc.analysis.results import load
from dsm_hpc.errors import InputError

BOTH = ("cavity", "dense_limit")
# L = 2, alpha = 4 (PHYSICS section 2; the bar), from a solver that shares no code with this one
# (tests/test_theory_saddle.py).
Q = {"cavity": np.array([0.6039, 0.6906]), "dense_limit": np.array([0.6808, 0.6808])}
R = {"cavity": np.array([0.6245, 1.0]), "dense_limit": np.array([0.6075, 1.0])}
SHIFT = 0.02
SPREAD = np.array([[-0.03, 0.0], [0.0, -0.03], [0.03, 0.03]])  # of three samples, in both layers


def simulated(path: Path, closure: str = "cavity", **changes: Any) -> Path:
    """A run at L = 2, alpha = 4 whose three samples scatter by SPREAD around a closure, shifted by SHIFT."""
    shape: dict[str, Any] = {"network__depth": 2, "network__width": 20, "network__fan_in": 10}
    data: dict[str, Any] = {"patterns__train": 40, "ensemble__starts": ["planted"]}
    config = small_config(**(shape | data | changes))
    values = filled(config)
    for name, told in (("q", Q[closure]), ("r", R[closure])):
        size = values[f"teacher/{name}_aligned"].shape
        around = (told + SHIFT)[None, None, None, None, None, :] + SPREAD[:, None, None, None, None, :]
        values[f"teacher/{name}_aligned"] = np.broadcast_to(around, size)
    return write(path, config, values)


def test_deviations_are_measured_less_predicted_in_standard_errors(tmp_path: Path) -> None:
    found = against_theory(load(simulated(tmp_path / "x.h5")), BOTH)
    assert found is not None
    error = np.std(SPREAD, axis=0, ddof=1) / np.sqrt(3)
    for closure in BOTH:
        rows = found["starts"]["planted"][closure]["q"]
        wanted = Q["cavity"] + SHIFT - Q[closure]
        assert [row["layer"] for row in rows] == [1, 2]
        assert np.allclose([row["predicted"] for row in rows], Q[closure], atol=6e-5)
        assert np.allclose([row["difference"] for row in rows], wanted, atol=6e-5)
        assert np.allclose([row["in_errors"] for row in rows], wanted / error, atol=6e-5 / error[0])
        slope = found["starts"]["planted"][closure]["last_minus_first"]
        assert np.isclose(slope["predicted"], np.diff(Q[closure])[0], atol=1.2e-4)
        assert np.isclose(slope["measured"], np.diff(Q["cavity"])[0], atol=1.2e-4)


@pytest.mark.parametrize("closure", BOTH)
def test_the_closure_that_made_the_data_is_supported(tmp_path: Path, closure: str) -> None:
    found = against_theory(load(simulated(tmp_path / "x.h5", closure)), BOTH)
    assert found is not None
    assert found["supports"] == {"planted": closure}


def test_analyze_prints_the_deviations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = simulated(tmp_path / "x.h5")
    assert cli.main(["analyze", str(path), "--theory", "cavity,dense_limit"]) == 0
    text = capsys.readouterr().out
    assert "planted start, supports cavity" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 110
    assert cli.main(["analyze", str(path), "--theory", "cavity", "--json", "-"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert list(numbers["files"][0]["theory"]["starts"]["planted"]) == ["cavity"]
    assert cli.main(["analyze", str(path)]) == 0
    assert "cavity" not in capsys.readouterr().out


def test_theory_is_not_of_finite_temperature(tmp_path: Path) -> None:
    path = simulated(tmp_path / "x.h5", dynamics={"betas": [2.0]})
    with pytest.raises(InputError, match=r"is of students with E = 0; .* ends at beta = 2"):
        against_theory(load(path), BOTH)


def test_the_profile_shows_the_predictions(tmp_path: Path) -> None:
    results = load(simulated(tmp_path / "x.h5"))
    figure = profile.draw([results], BOTH)
    lines = [line.get_ydata() for line in figure.axes[0].get_lines() if line.get_color() == "black"]
    assert len(lines) == 2
    for line, closure in zip(lines, BOTH, strict=True):
        assert np.allclose(line, Q[closure], atol=6e-5)


def test_generalization_shows_the_predictions(tmp_path: Path) -> None:
    """forward: r_test(l) = (2/pi) asin(q_l r_test(l - 1)), error (1 - r_test(L)) / 2."""
    files = [load(simulated(tmp_path / f"{train}.h5", patterns__train=train)) for train in (40, 80)]
    figure = generalization.draw(files, ("cavity",))
    line = next(line for line in figure.axes[0].get_lines() if line.get_color() == "black")
    first = 2 / np.pi * np.arcsin(Q["cavity"][0])
    error = (1 - 2 / np.pi * np.arcsin(Q["cavity"][1] * first)) / 2
    assert line.get_xdata().tolist() == [4.0, 8.0]
    assert np.isclose(line.get_ydata()[0], error, atol=1e-4)
    assert line.get_ydata()[1] < error - 0.05


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["plot", "x.h5", "--kind", "exchange", "-o", "x.png", "--theory", "cavity"],
            "shown by --kind profile",
        ),
        (["analyze", "x.h5", "--theory", "mean_field"], "allowed are cavity, dense_limit"),
        (["theory", "--depth", "0", "--alpha", "4"], "0"),
        (["theory", "--depth", "2", "--alpha", "-1"], "-1"),
        (["theory", "--depth", "two", "--alpha", "4"], "two"),
    ],
)
def test_impossible_requests(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    simulated(tmp_path / "x.h5")
    try:
        code = cli.main(words)
    except SystemExit as exit:
        code = int(str(exit.code))
    assert code == 2
    assert message in capsys.readouterr().err


def test_the_verb_theory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The issue's bar, the JSON, the file and the figure."""
    files = [
        "-o",
        str(tmp_path / "t.h5"),
        "--figure",
        str(tmp_path / "t.png"),
        "--json",
        str(tmp_path / "t.json"),
    ]
    assert cli.main(["theory", "--depth", "2", "--alpha", "4", *files]) == 0
    text = capsys.readouterr().out
    for wanted in ("q = 0.6808 0.6808", "r = 0.6075", "q = 0.6039 0.6906", "r = 0.6245"):
        assert wanted in text
    numbers = json.loads((tmp_path / "t.json").read_text())
    assert {row["closure"] for row in numbers["rows"]} == set(BOTH)
    with h5py.File(tmp_path / "t.h5") as file:
        assert file.attrs["format"] == "dsm-hpc-theory"
    with xr.open_dataset(tmp_path / "t.h5", engine="h5netcdf") as solutions:
        q = solutions["q"].sel(closure="cavity", depth=2, alpha=4.0, branch="informed", layer=[1, 2])
        assert np.allclose(q, Q["cavity"], atol=6e-5)
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
