"""The verdict on equilibrium: synthetic files in which it is known, and short and long runs."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_analysis import write

from dsm_hpc import cli
from dsm_hpc.analysis.equilibrium import LEVEL, RESOLUTION, TOLERANCE, equilibrium, numbered
from dsm_hpc.analysis.results import load
from dsm_hpc.analysis.statistics import doublings
from dsm_hpc.analysis.tables import analyze
from dsm_hpc.config import Config
from dsm_hpc.inputfile import parse_resolved
from dsm_hpc.storage.layout import layout

LAYERS, SAMPLES = 3, 12
NOISE = 0.02
"""Of every walker in each of the windows; smaller than what counts, larger than nothing."""
EVERY = 10
LAST, BEFORE = slice(4, None), slice(2, 4)
"""Times 0, 10, 20, ..., 80: positions of the last half, 40 to 80, and of the quarter before it, 20 and 30."""


def configuration(**changes: Any) -> Config:
    tree: dict[str, Any] = {
        "name": "synthetic",
        "network": {"width": 6, "depth": LAYERS, "fan_in": 3},
        "patterns": {"train": 20, "test": 20},
        "ensemble": {"samples": SAMPLES, "clones": 2},
        "schedule": {"sweeps": 80, "measurements": {"kind": "linear", "every": EVERY}},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        tree.setdefault(section, {})[name] = value
    return parse_resolved(yaml.safe_dump(tree), "test")


def equilibrated(config: Config, seed: int = 1, noise: float = NOISE) -> dict[str, Any]:
    """Every overlap has the same mean in all windows, starts, and between clones; E = 0."""
    random, shape = np.random.default_rng(seed), layout(config)
    values: dict[str, Any] = {v.name: np.zeros(shape.shape(v.dimensions)) for v in shape.variables}
    base = random.uniform(0.3, 0.8, (config.ensemble.samples, 1, 1, 1, 1, config.network.depth))
    for name in ("teacher/q_aligned", "clones/q_aligned"):
        if name in values:
            values[name] = base + noise * random.normal(size=values[name].shape)
    return values


def judged(path: Path, config: Config, values: dict[str, Any]) -> dict[str, Any]:
    found = equilibrium(load(write(path / "x.h5", config, values)))
    assert found is not None
    return found


def verdicts(found: dict[str, Any]) -> list[str]:
    return [layer["verdict"] for layer in found["betas"][found["coldest"]]["layers"]]


class TestSynthetic:
    def test_in_equilibrium(self, tmp_path: Path) -> None:
        found = judged(tmp_path, configuration(), equilibrated(configuration()))
        assert verdicts(found) == ["equilibrated"] * LAYERS
        assert found["verdict"] == "equilibrated"
        assert found["sentence"].startswith("equilibrated: the starts agree")
        assert [tuple(window.values()) for window in found["windows"]] == [
            (10, 10, 1),
            (20, 30, 2),
            (40, 80, 5),
        ]

    @pytest.mark.parametrize("layer", range(LAYERS))
    def test_starts_that_differ_in_one_layer(self, tmp_path: Path, layer: int) -> None:
        values = equilibrated(configuration())
        # The random start throughout, and its clones with it, so that no other criterion sees it.
        for name in ("teacher/q_aligned", "clones/q_aligned"):
            values[name][:, 1, ..., layer] -= 0.08
        found = judged(tmp_path, configuration(), values)
        expected = ["equilibrated"] * LAYERS
        expected[layer] = "not equilibrated"
        assert verdicts(found) == expected
        assert found["verdict"] == "not equilibrated"
        assert found["sentence"] == (f"not equilibrated: planted and random start differ at l = {layer + 1}")
        starts = found["betas"][0]["layers"][layer]["starts"]
        assert starts["difference"] == pytest.approx(0.08, abs=4 * NOISE / np.sqrt(5 * SAMPLES))
        assert starts["outcome"] == "differ"
        assert found["betas"][0]["alone"] == {"planted": "equilibrated", "random": "equilibrated"}

    @pytest.mark.parametrize("start", [0, 1])
    def test_clones_that_differ_from_the_teacher(self, tmp_path: Path, start: int) -> None:
        values = equilibrated(configuration())
        values["clones/q_aligned"][:, start, ..., 1] += 0.07
        found = judged(tmp_path, configuration(), values)
        assert verdicts(found) == ["equilibrated", "not equilibrated", "equilibrated"]
        reasons = found["betas"][0]["layers"][1]["reasons"]
        assert reasons == [
            f"teacher-clone and clone-clone overlap ({['planted', 'random'][start]} start) differ"
        ]

    def test_a_drift_of_both_starts(self, tmp_path: Path) -> None:
        """Together, so that only the windows can tell."""
        values = equilibrated(configuration())
        values["teacher/q_aligned"][..., BEFORE, 2] += 0.06
        found = judged(tmp_path, configuration(), values)
        assert verdicts(found) == ["equilibrated", "equilibrated", "not equilibrated"]
        windows = found["betas"][0]["layers"][2]["windows"]
        for start in ("planted", "random"):
            drift = windows[start]["drift"]
            assert drift["difference"] == pytest.approx(-0.06, abs=0.02)
            means = windows[start]["means"]
            assert drift["difference"] == pytest.approx(means[-1] - means[-2])

    def test_drift_long_ago_does_not_count(self, tmp_path: Path) -> None:
        values = equilibrated(configuration())
        values["teacher/q_aligned"][..., :2, :] = 1.0
        assert judged(tmp_path, configuration(), values)["verdict"] == "equilibrated"

    def test_students_that_make_errors(self, tmp_path: Path) -> None:
        values = equilibrated(configuration())
        values["energy"][3, 1, 0, 0, :] = 1
        found = judged(tmp_path, configuration(), values)
        assert verdicts(found) == ["not equilibrated"] * LAYERS
        assert found["sentence"] == (
            f"not equilibrated: 1 of {2 * SAMPLES} students of the random start make errors"
        )
        assert found["betas"][0]["alone"] == {"planted": "equilibrated", "random": "not equilibrated"}
        # Teacher and student are not exchangeable in a start that makes errors.
        assert found["betas"][0]["layers"][0]["clones"]["random"] is None
        assert found["betas"][0]["layers"][0]["clones"]["planted"] is not None

    def test_large_errors_are_no_evidence(self, tmp_path: Path) -> None:
        """Layer 2 of the random start is 0.3 too high in one half of the samples and too low in the other: no
        difference on average, with an error of 0.3 / sqrt(11)."""
        values = equilibrated(configuration())
        scatter = 0.3 * (-1.0) ** np.arange(SAMPLES)
        values["teacher/q_aligned"][:, 1, ..., LAST, 1] += scatter[:, None, None, None]
        found = judged(tmp_path, configuration(), values)
        assert verdicts(found) == ["equilibrated", "cannot be judged", "equilibrated"]
        assert found["verdict"] == "cannot be judged"
        assert "too few samples at l = 2" in found["sentence"]
        starts = found["betas"][0]["layers"][1]["starts"]
        assert abs(starts["difference"]) < TOLERANCE
        assert starts["error"] > RESOLUTION
        assert starts["error"] == pytest.approx(0.3 / np.sqrt(11), rel=0.2)

    def test_a_large_difference_within_its_error_is_not_agreement(self, tmp_path: Path) -> None:
        config = configuration(ensemble__samples=2)
        values = equilibrated(config)
        values["teacher/q_aligned"][:, 1] -= 1.2 * TOLERANCE
        # Two samples: Student's t with one degree of freedom finds little significant.
        values["teacher/q_aligned"][:, 1] += np.array([-0.04, 0.04])[:, None, None, None, None]
        assert judged(tmp_path, config, values)["verdict"] == "cannot be judged"

    def test_one_sample(self, tmp_path: Path) -> None:
        config = configuration(ensemble__samples=1)
        assert judged(tmp_path, config, equilibrated(config))["verdict"] == "cannot be judged"

    @pytest.mark.parametrize(
        ("ensemble", "verdict"),
        [
            ({"starts": ["planted"], "clones": 1}, "cannot be judged"),
            ({"starts": ["planted"], "clones": 2}, "equilibrated"),
            ({"starts": ["planted", "random"], "clones": 1}, "equilibrated"),
        ],
    )
    def test_what_a_verdict_needs(self, tmp_path: Path, ensemble: dict[str, Any], verdict: str) -> None:
        config = configuration(**{f"ensemble__{key}": value for key, value in ensemble.items()})
        assert judged(tmp_path, config, equilibrated(config))["verdict"] == verdict

    def test_at_finite_temperature_clones_are_not_asked(self, tmp_path: Path) -> None:
        config = configuration(dynamics__betas=[1.0])
        values = equilibrated(config)
        values["clones/q_aligned"] += 0.5
        values["energy"] += 3
        found = judged(tmp_path, config, values)
        assert found["verdict"] == "equilibrated"
        assert all(
            clones is None for layer in found["betas"][0]["layers"] for clones in layer["clones"].values()
        )

    def test_only_the_first_measurement(self, tmp_path: Path) -> None:
        values = equilibrated(configuration())
        for array in values.values():
            if array.ndim > 4:
                axis = 4
                array[(*[slice(None)] * axis, slice(1, None))] = np.nan
        found = judged(tmp_path, configuration(), values)
        assert found["verdict"] == "cannot be judged"
        assert "have not been measured" in found["sentence"]

    def test_nothing_measured(self, tmp_path: Path) -> None:
        assert equilibrium(load(write(tmp_path / "x.h5", configuration(), {}))) is None

    def test_false_alarms(self, tmp_path: Path) -> None:
        """Of 400 temperatures in equilibrium about LEVEL are called out of it: each is judged on its own."""
        betas = np.linspace(0.1, 5, 400).tolist()
        config = configuration(
            dynamics__betas=betas,
            ensemble__samples=6,
            schedule__sweeps=40,
            schedule__measurements={"kind": "linear", "every": 20},
        )
        found = judged(tmp_path, config, equilibrated(config, seed=7))
        alarms = sum(beta["verdict"] == "not equilibrated" for beta in found["betas"])
        expected = LEVEL * len(betas)
        scatter = np.sqrt(expected * (1 - LEVEL))
        assert expected - 3 * scatter < alarms < expected + 3 * scatter

    def test_each_temperature_has_its_verdict(self, tmp_path: Path) -> None:
        config = configuration(dynamics__betas=[0.5, float("inf")])
        values = equilibrated(config)
        for name in ("teacher/q_aligned", "clones/q_aligned"):
            values[name][:, 1, :, 0] -= 0.2
        found = judged(tmp_path, config, values)
        assert [beta["verdict"] for beta in found["betas"]] == ["not equilibrated", "equilibrated"]
        assert (found["coldest"], found["verdict"]) == (1, "equilibrated")


class TestMixing:
    def test_tau_and_r_hat_in_the_window(self, tmp_path: Path) -> None:
        """White noise: tau is the spacing, and R-hat is close to 1."""
        config = configuration(
            schedule__sweeps=4000, ensemble__samples=4, patterns__train=5, patterns__test=5, network__depth=2
        )
        found = judged(tmp_path, config, equilibrated(config))
        for row in found["tau"]["layers"]:
            assert row["planted"]["sweeps"] == pytest.approx(EVERY, rel=0.15)
            assert row["planted"]["enough"] is True
        assert np.isnan(found["tau"]["energy"]["random"]["sweeps"])
        for row in found["rhat"]:
            assert row["starts"]["median"] < 1.02
            assert row["clones"]["planted"]["samples"] == 4
        assert found["remarks"] == []

    def test_log_spaced_times_have_no_tau(self, tmp_path: Path) -> None:
        config = configuration(schedule__measurements={"kind": "log", "count": 6})
        found = judged(tmp_path, config, equilibrated(config))
        assert found["tau"] == {"every": None, "layers": [], "energy": {}}
        assert any("kind: linear" in remark for remark in found["remarks"])

    def test_doubling_windows(self, tmp_path: Path) -> None:
        config = configuration(schedule__measurements={"kind": "log", "count": 8})
        results = load(write(tmp_path / "x.h5", config, equilibrated(config)))
        times = results.layout.coordinates["time"]
        windows = doublings(results)
        assert windows[-1].last == times[-1]
        assert sum(window.measurements for window in windows) <= len(times) - 1
        for window, later in pairwise(windows):
            assert window.last < later.first
            assert window.last < 2 * window.first

    def test_windows_of_a_very_long_run(self, tmp_path: Path) -> None:
        """Times of 10^15 sweeps, doubled as often as they go back to 1, are beyond 64 bits."""
        config = configuration(schedule__sweeps=10**15, schedule__measurements={"kind": "log", "count": 100})
        windows = doublings(load(write(tmp_path / "x.h5", config, equilibrated(config))))
        assert windows[0].first == 1
        assert all(window.last < 2 * window.first for window in windows[:-1])
        assert all(window.last < later.first for window, later in pairwise(windows))


class TestAnnealed:
    """Temperatures are compared with themselves only."""

    @staticmethod
    def found(path: Path, cooled: int) -> dict[str, Any]:
        config = configuration(dynamics__anneal={"from": 0.5, "to": 2.0, "sweeps": cooled})
        return judged(path, config, equilibrated(config))

    def test_cooled_before_the_windows(self, tmp_path: Path) -> None:
        found = self.found(tmp_path, 20)
        assert found["verdict"] == "equilibrated"
        assert [window["first"] for window in found["windows"]] == [20, 40]

    def test_cooled_within_the_window_before_the_last(self, tmp_path: Path) -> None:
        found = self.found(tmp_path, 21)
        assert found["verdict"] == "cannot be judged"
        assert [window["first"] for window in found["windows"]] == [40]

    def test_cooled_within_the_last_half(self, tmp_path: Path) -> None:
        found = self.found(tmp_path, 80)
        assert found["verdict"] == "cannot be judged"
        assert "cooled until t = 80" in found["sentence"]
        assert set(found["betas"][0]["alone"].values()) == {"cannot be judged"}


class TestText:
    def test_the_verdict_comes_first(self, tmp_path: Path) -> None:
        values = equilibrated(configuration())
        for name in ("teacher/q_aligned", "clones/q_aligned"):
            values[name][:, 1, ..., 1] -= 0.08
        text, numbers = analyze([write(tmp_path / "x.h5", configuration(), values)])
        lines = text.splitlines()
        start = next(
            place for place, line in enumerate(lines) if line.startswith("* Equilibrium at beta = inf")
        )
        assert "not equilibrated: planted and random start differ at l = 2" in lines[start]
        row = next(line for line in lines[start:] if line.split()[:1] == ["2"])
        difference = numbers["files"][0]["equilibrium"]["betas"][0]["layers"][1]["starts"]["difference"]
        assert f"{difference:.4f}" in row
        assert row.rstrip().endswith("not equilibrated")
        assert "!" in row
        assert max(map(len, lines)) <= 100
        json.dumps(numbers, allow_nan=False)

    def test_several_temperatures_and_files(self, tmp_path: Path) -> None:
        config = configuration(dynamics__betas=[0.5, float("inf")])
        path = write(tmp_path / "x.h5", config, equilibrated(config))
        text, numbers = analyze([path, path])
        assert "The other temperatures: equilibrated at beta = 0.5." in text
        assert [row["verdict"] for row in numbers["summary"]["rows"]] == ["equilibrated"] * 8

    def test_layers_in_words(self) -> None:
        assert numbered([1, 2, 3, 5, 7, 8]) == "1-3, 5, 7-8"


TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 2,
    "network": {"width": 5, "depth": 3, "fan_in": 3},
    "patterns": {"train": 4, "test": 20},
    "ensemble": {"samples": 32, "clones": 2},
}


@pytest.mark.parametrize(
    ("sweeps", "verdict"), [(8, "not equilibrated"), (1500, "equilibrated")], ids=["cut short", "long"]
)
def test_a_real_run(tmp_path: Path, sweeps: int, verdict: str) -> None:
    """Greedy dynamics from both starts: a machine so small that it reaches E = 0 and forgets its start."""
    source, output = tmp_path / "tiny.yaml", tmp_path / "tiny.h5"
    schedule = {"sweeps": sweeps, "measurements": {"kind": "log", "count": 20}}
    source.write_text(yaml.safe_dump({**TINY, "schedule": schedule}))
    assert cli.main(["run", str(source), "-o", str(output)]) == 0
    found = equilibrium(load(output))
    assert found is not None
    assert found["verdict"] == verdict
    layers = found["betas"][0]["layers"]
    assert [layer["verdict"] for layer in layers] == [verdict] * 3
    if verdict == "not equilibrated":  # by the students alone, too: no layer hides behind the errors
        assert all(layer["starts"]["outcome"] == "differ" for layer in layers)
        assert found["betas"][0]["errors"]["random"]["wrong"] > 0
