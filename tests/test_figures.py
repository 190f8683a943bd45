"""What the figures draw, against numbers computed from the file's arrays without the code that draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import StepPatch
from test_analysis import configuration, filled, known, scan, write

from dsm_hpc.analysis.equilibrium import AGREE, DIFFER, EQUILIBRATED, NOT_EQUILIBRATED, UNRESOLVED
from dsm_hpc.analysis.figures.captions import CAPTIONS
from dsm_hpc.analysis.figures.distribution import MOST_BINS, bins, density
from dsm_hpc.analysis.figures.equilibration import outcome_table
from dsm_hpc.analysis.figures.evolution import MOST_TIMES, shown_times
from dsm_hpc.analysis.figures.parameters import names
from dsm_hpc.analysis.plots import KINDS, MANIFOLD, draw, plot
from dsm_hpc.analysis.results import load
from dsm_hpc.cli import _KINDS
from dsm_hpc.errors import InputError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    config = configuration()
    return write(tmp_path / "known.h5", config, known(config))


def data(path: Path, name: str) -> Any:
    with h5py.File(path) as results:
        return results[name][...]


def curves(axes: Axes) -> list[tuple[list[float], list[float], list[float]]]:
    """x, y and error of every curve with error bars."""
    found = []
    for container in axes.containers:
        assert isinstance(container, ErrorbarContainer)
        line, _, (bars, *_) = container.lines
        errors = [float(np.ptp(segment[:, 1])) / 2 for segment in bars.get_segments()]
        found.append((list(line.get_xdata()), list(line.get_ydata()), errors))
    return found


def mean_and_error(values: Any) -> tuple[Any, Any]:
    """Over samples, the first axis."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def test_every_kind_is_in_the_help_and_has_a_caption() -> None:
    assert set(_KINDS.split(", ")) == set(KINDS)
    assert set(CAPTIONS) == set(KINDS) - {MANIFOLD}


def test_profile_shows_what_alignment_makes(file: Path) -> None:
    """Dotted: random starts at t = 0, over samples, clones and temperatures."""
    figure = draw([load(file)], "profile")
    for panel, name in zip(figure.axes, ("q", "r", "r_test"), strict=False):
        dotted = [line for line in panel.lines if line.get_linestyle() == ":"]
        expected = data(file, f"teacher/{name}_aligned")[:, 1, :, :, 0].mean(axis=(0, 1, 2))
        np.testing.assert_allclose(dotted[0].get_ydata(), expected)
        assert len(dotted) == 1


class TestEvolution:
    def test_profiles_at_their_times(self, file: Path) -> None:
        figure = draw([load(file)], "evolution")
        *axes, bar = figure.axes
        assert len(axes) == 6
        for row, start in enumerate(("planted", "random")):
            for column, name in enumerate(("q", "r", "r_test")):
                values = data(file, f"teacher/{name}_aligned")[:, row, :, 0].mean(axis=1)
                drawn = curves(axes[3 * row + column])
                assert len(drawn) == 5
                for time, (x, y, error) in enumerate(drawn):
                    mean, wanted = mean_and_error(values[:, time])
                    assert x == [1, 2, 3]
                    np.testing.assert_allclose(y, mean)
                    np.testing.assert_allclose(error, wanted, atol=1e-12)
                assert start in axes[3 * row + column].get_ylabel()
        assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "2", "4", "6", "8"]

    def test_times_are_spread_in_log_time(self, tmp_path: Path) -> None:
        config = configuration(schedule={"sweeps": 10_000, "measurements": {"kind": "log", "count": 60}})
        results = load(write(tmp_path / "x.h5", config, {}))
        times = shown_times(results, 10_000)
        assert (times[0], times[1], times[-1], len(times)) == (0, 1, 10_000, MOST_TIMES)
        ratios = np.diff(np.log(times[1:]))
        assert ratios.max() < 1.6 * ratios.min()
        assert shown_times(results, 0) == [0]


class TestDistribution:
    def test_integral_is_one(self) -> None:
        random = np.random.default_rng(5)
        values = xr.DataArray(random.normal(0.4, 0.1, (4, 3, 50)), dims=("sample", "pair", "time"))
        values[1, 2] = np.nan
        edges = bins([values.values])
        p = density(values, edges)
        np.testing.assert_allclose(p.values @ np.diff(edges), 1)
        assert np.isnan(density(values.where(values["sample"] != 2), edges)[2]).all()

    def test_known_values(self) -> None:
        """A quarter of the values in the first of two bins of width 0.2."""
        values = xr.DataArray([[[0.1, 0.3, 0.3, 0.3]]], dims=("sample", "pair", "time"))
        p = density(values, np.array([0.0, 0.2, 0.4]))
        np.testing.assert_allclose(p, [[0.25 / 0.2, 0.75 / 0.2]])

    def test_moments_of_the_density_are_those_of_the_overlaps(self) -> None:
        random = np.random.default_rng(6)
        values = xr.DataArray(random.normal(0.3, 0.05, (3, 1, 4000)), dims=("sample", "pair", "time"))
        edges = bins([values.values])
        centres, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        p = density(values, edges).mean("sample").values
        assert (p * width) @ centres == pytest.approx(0.3, abs=5 * 0.05 / np.sqrt(12_000) + width[0] / 10)
        spread = np.sqrt((p * width) @ (centres - 0.3) ** 2)
        assert spread == pytest.approx(0.05, rel=0.05)

    def test_bins(self) -> None:
        """Frozen students have one value; many values do not make hundreds of bins; NaN makes none."""
        [low, high] = bins([np.full(9, 1.0)])
        assert low < 1 < high < 1.01
        many = np.concatenate([np.random.default_rng(1).normal(0, 0.01, 10**5), [1.0, np.nan]])
        assert len(bins([many])) == MOST_BINS + 1

    def test_steps_of_the_figure(self, file: Path) -> None:
        """Clones first: mean density over samples in the last half of the run, with its error as a band."""
        with h5py.File(file, "r+") as results:
            results["clones/q_aligned"][...] = np.random.default_rng(2).uniform(
                0.2, 0.6, results["clones/q_aligned"].shape
            )
        figure = draw([load(file)], "distribution")
        assert len(figure.axes) == 3
        q = data(file, "clones/q_aligned")[:, :, :, 0, 2:]
        for layer, panel in enumerate(figure.axes):
            steps = [patch for patch in panel.patches if isinstance(patch, StepPatch)]
            assert len(steps) == 6
            for start, (line, band) in enumerate((steps[0:2], steps[2:4])):
                p, edges, _ = line.get_data()
                by_sample = np.array(
                    [
                        np.histogram(sample.ravel(), edges, density=True)[0]
                        for sample in q[:, start, ..., layer]
                    ]
                )
                mean, error = mean_and_error(by_sample)
                np.testing.assert_allclose(p, mean)
                np.testing.assert_allclose(band.get_data().values, mean + error)
                assert p @ np.diff(edges) == pytest.approx(1)

    def test_one_clone_has_no_pairs(self, tmp_path: Path) -> None:
        config = configuration(ensemble={"clones": 1})
        path = write(tmp_path / "one.h5", config, filled(config))
        with pytest.raises(InputError, match=r"no pairs of clones \(ensemble.clones is 1\)"):
            plot([path], "distribution", tmp_path / "x.png")


class TestEquilibration:
    def test_differences(self, tmp_path: Path) -> None:
        """Planted minus random start, teacher-clone minus clone-clone, last half minus the quarter before."""
        config = configuration()
        values = known(config)
        values["energy"] = np.zeros_like(values["energy"])
        path = write(tmp_path / "x.h5", config, values)
        between, clones, windows, _ = draw([load(path)], "equilibration").axes
        q = data(path, "teacher/q_aligned")[:, :, :, 0]
        late = q[..., 2:, :].mean(axis=(2, 3))
        [(x, y, error)] = curves(between)
        mean, wanted = mean_and_error(late[:, 0] - late[:, 1])
        assert x == [1, 2, 3]
        np.testing.assert_allclose(y, mean)
        np.testing.assert_allclose(error, wanted)
        pairs = data(path, "clones/q_aligned")[:, :, :, 0, 2:].mean(axis=(2, 3))
        before = q[..., 1:2, :].mean(axis=(2, 3))
        for start in (0, 1):
            np.testing.assert_allclose(curves(clones)[start][1], (late - pairs)[:, start].mean(axis=0))
            np.testing.assert_allclose(curves(windows)[start][1], (late - before)[:, start].mean(axis=0))

    def test_students_with_errors_are_not_compared_with_clones(self, file: Path) -> None:
        clones = draw([load(file)], "equilibration").axes[1]
        assert curves(clones) == []
        assert "equality" in clones.texts[0].get_text()

    def test_outcomes(self) -> None:
        def layer(starts: str, drift: str, verdict: str) -> dict[str, Any]:
            return {
                "starts": {"outcome": starts},
                "clones": {"planted": None, "random": {"outcome": UNRESOLVED}},
                "windows": {name: {"drift": {"outcome": drift}} for name in ("planted", "random")},
                "verdict": verdict,
            }

        beta = {
            "beta": np.inf,
            "errors": {"planted": {"wrong": 0}, "random": {"wrong": 2}},
            "layers": [layer(AGREE, DIFFER, NOT_EQUILIBRATED), layer(DIFFER, AGREE, EQUILIBRATED)],
        }
        table = outcome_table(beta, ["planted", "random"])
        assert table["starts"] == [AGREE, DIFFER]
        assert table["clones, planted"] == [None, None]
        assert table["clones, random"] == [UNRESOLVED] * 2
        assert table["windows, random"] == [DIFFER, AGREE]
        assert table["$E=0$"] == [DIFFER] * 2
        assert table["verdict"] == [NOT_EQUILIBRATED, EQUILIBRATED]
        assert outcome_table(beta | {"beta": 2.0}, ["planted", "random"])["$E=0$"] == [None, None]

    def test_cells_carry_the_verdict(self, file: Path) -> None:
        outcomes = draw([load(file)], "equilibration").axes[3]
        assert [label.get_text() for label in outcomes.get_yticklabels()][-1] == "verdict"
        assert [text.get_text() for text in outcomes.texts][-3:] == ["✗"] * 3


class TestLoops:
    def test_counts_against_deviations(self, tmp_path: Path) -> None:
        """Two widths: a curve per layer and start through both, in the order of the loops."""
        paths = scan(tmp_path, "network", "width", [10, 20])
        left, right = draw([load(path) for path in paths], "loops", ("cavity",)).axes
        told = theory_q(left)
        share, read, deviation = [], [], []
        for path, width in zip(paths, (10, 20), strict=True):
            pairs = data(path, "loops/shared_pairs").mean(axis=0) / (width * (width - 1) / 2)
            source, inner = data(path, "loops/input_correlation"), data(path, "loops/correlation")
            share.append(pairs)
            read.append(np.concatenate([[source.mean()], inner.mean(axis=0)[:-1]]))
            late = data(path, "teacher/q_aligned")[:, :, :, 0, 2:]
            deviation.append(late.mean(axis=(0, 2, 3)))
        for panel, measure in ((left, np.array(share)), (right, np.array(read))):
            drawn = curves(panel)
            assert len(drawn) == 6
            for place, (x, y, _) in enumerate(drawn):
                layer, start = divmod(place, 2)
                order = np.argsort(measure[:, layer])
                np.testing.assert_allclose(x, measure[order, layer])
                np.testing.assert_allclose(
                    np.array(y) + told[layer], np.array(deviation)[order, start, layer]
                )

    def test_several_files_need_theory(self, file: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"shows one results file; 2 were given.* --theory"):
            plot([file, file], "loops", tmp_path / "x.png")


def theory_q(panel: Axes) -> Sequence[float]:
    """Of `cavity` at L = 3, alpha = 4 (the machine of these tests), from the solver itself."""
    from dsm_hpc.theory.prediction import predict

    assert "cavity" in panel.get_ylabel()
    return [float(q) for q in predict(3, 4.0, "cavity").q]


def test_generalization_with_theory(tmp_path: Path) -> None:
    """Test error in the last half of each run against L, and the theory's at the same L."""
    from dsm_hpc.theory.prediction import predict

    paths = scan(tmp_path, "network", "depth", [1, 2])
    [axes] = draw([load(path) for path in paths], "generalization", ("cavity",)).axes
    for start, (x, y, error) in enumerate(curves(axes)):
        means, errors = zip(
            *(mean_and_error(data(p, "test_error")[:, start, :, 0, 2:].mean(axis=(1, 2))) for p in paths),
            strict=True,
        )
        assert x == [1, 2]
        np.testing.assert_allclose(y, means)
        np.testing.assert_allclose(error, errors)
    theory = next(line for line in axes.lines if line.get_color() == "black")
    np.testing.assert_allclose(theory.get_ydata(), [predict(depth, 4.0).test_error for depth in (1, 2)])


def test_autocorrelation_starts_at_the_waiting_time(file: Path) -> None:
    """Of layer 2, planted start, second waiting time."""
    results = load(file)
    waiting = results.layout.coordinates["waiting"]
    panel = draw([results], "autocorrelation").axes[1]
    values = data(file, "autocorrelation/q_aligned")[:, 0, :, 0, 1, :, 1].mean(axis=1)
    times = results.layout.coordinates["time"]
    later = times >= waiting[1]
    x, y, _ = curves(panel)[2 if len(results.config.ensemble.starts) == 2 else 1]
    np.testing.assert_allclose(x, times[later] - waiting[1])
    np.testing.assert_allclose(y, values[:, later].mean(axis=0))


def test_names_of_files_are_symbols(tmp_path: Path) -> None:
    depths = [load(path) for path in scan(tmp_path, "network", "depth", [2, 3])]
    assert names(depths) == ["$L=2$", "$L=3$"]
    kinds = [{"kind": "hidden_manifold", "dimension": 5}, {"kind": "iid"}]
    inputs = [load(path) for path in scan(tmp_path, "patterns", "inputs", kinds)]
    assert names(inputs) == ["$D=5$", "iid inputs"]
    assert len(set(names([depths[0], depths[0]]))) == 1
