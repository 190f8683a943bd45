"""Analysis against results files whose numbers are known."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from dsm_hpc import inputfile
from dsm_hpc.analysis.plots import KINDS, ONE_FILE, SUFFIXES, plot
from dsm_hpc.analysis.results import load
from dsm_hpc.analysis.scan import varied
from dsm_hpc.analysis.statements import exchangeability, heterogeneity, merging
from dsm_hpc.analysis.statistics import contrast, estimate, in_errors, middle_layers, window, windowed
from dsm_hpc.analysis.tables import analyze
from dsm_hpc.config import Config
from dsm_hpc.errors import InputError
from dsm_hpc.inputfile import parse_resolved
from dsm_hpc.storage import scan_list
from dsm_hpc.storage.layout import FORMAT_VERSION, layout
from dsm_hpc.storage.results import attributes, create

NETWORK = {"width": 10, "depth": 3, "fan_in": 5}
SCHEDULE = {"sweeps": 8, "measurements": {"kind": "linear", "every": 2}, "waiting_times": 2}
TIMES = [0, 2, 4, 6, 8]
IN_WINDOW = 3
PROFILE = np.array([[0.9, 0.5, 0.7], [0.8, 0.5, 0.8], [1.0, 0.2, 0.6]])
"""Aligned q by (sample, layer)."""
# The window holds t = 4, 6, 8; this averages to 0 there, and so does +-0.02 over two clones.
RIPPLE = np.array([5.0, 5.0, 0.03, -0.01, -0.02])


def configuration(**changes: dict[str, Any]) -> Config:
    tree: dict[str, Any] = {
        "name": "hand-made",
        "network": NETWORK,
        "patterns": {"train": 20, "test": 50},
        "ensemble": {"samples": 3, "clones": 2},
        "schedule": SCHEDULE,
    }
    for section, values in changes.items():
        tree[section] = {**tree.get(section, {}), **values}
    return parse_resolved(json.dumps(tree), "test")


ORIGIN = {"program": "test", "resumes": []}


def write(
    path: Path,
    config: Config,
    values: dict[str, Any],
    finished: bool = True,
    point: dict[str, Any] | None = None,
) -> Path:
    """A results file as `dsm run` creates it, with `values` written into it; the rest stays NaN."""
    create(path, layout(config), attributes("", (), config.as_yaml(), point or {}, ORIGIN, None))
    with h5py.File(path, "r+") as file:
        for name, array in values.items():
            file[name][...] = array
        file.attrs["finished"] = int(finished)
    return path


def filled(config: Config, seed: int = 1) -> dict[str, Any]:
    """Random numbers for every variable."""
    random, shape = np.random.default_rng(seed), layout(config)
    return {v.name: random.uniform(0.1, 0.9, shape.shape(v.dimensions)) for v in shape.variables}


def known(config: Config) -> dict[str, Any]:
    """A file whose planted aligned q averages to PROFILE in the window; random start: 0.1 everywhere."""
    values = filled(config)
    q = np.full_like(values["teacher/q_aligned"], 0.1)
    clone = np.array([0.02, -0.02])[None, :, None, None, None]
    q[:, 0] = PROFILE[:, None, None, None, :] + clone + RIPPLE[None, None, None, :, None]
    values["teacher/q_aligned"] = q
    values["clones/q_aligned"] = np.full_like(values["clones/q_aligned"], 0.5)
    values["energy"] = np.broadcast_to(
        np.array([20.0, 40.0, 60.0])[:, None, None, None, None], values["energy"].shape
    )
    return values


@pytest.fixture
def file(tmp_path: Path) -> Path:
    config = configuration()
    return write(tmp_path / "known.h5", config, known(config))


def standard_error(values: Any) -> Any:
    values = np.asarray(values)
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


class TestStatistics:
    def test_mean_and_error_over_samples(self, file: Path) -> None:
        results = load(file)
        times = window(results)
        assert times is not None
        assert (times.first, times.last, times.measurements) == (4, 8, IN_WINDOW)
        q = estimate(windowed(results, "teacher/q_aligned", times).sel(start="planted").isel(beta=0))
        np.testing.assert_allclose(q.mean, PROFILE.mean(axis=0))
        np.testing.assert_allclose(q.error, standard_error(PROFILE))
        assert q.samples.values.tolist() == [3, 3, 3]

    def test_clones_and_times_do_not_count_as_samples(self, file: Path) -> None:
        """Four times the clones must not halve the error."""
        results = load(file)
        energy = windowed(results, "energy", window(results)).sel(start="random").isel(beta=0)
        assert float(estimate(energy).error) == pytest.approx(20 / np.sqrt(3))

    def test_what_is_not_measured_is_left_out(self) -> None:
        values = xr.DataArray([[1.0, np.nan], [3.0, 5.0], [np.nan, np.nan]], dims=("sample", "layer"))
        result = estimate(values)
        assert result.mean.values.tolist() == [2.0, 5.0]
        assert result.samples.values.tolist() == [2, 1]
        assert float(result.error[0]) == pytest.approx(1.0)
        assert np.isnan(result.error[1])

    def test_no_sample_at_all(self) -> None:
        result = estimate(xr.DataArray([np.nan, np.nan], dims="sample"))
        assert np.isnan(result.mean)
        assert np.isnan(result.error)

    def test_window_of_a_run_in_progress(self, tmp_path: Path) -> None:
        config = configuration()
        values = known(config)
        for name, array in values.items():
            if "loops" not in name:
                times = layout(config).variables[[v.name for v in layout(config).variables].index(name)]
                array = np.array(array)
                array[(*[slice(None)] * times.dimensions.index("time"), slice(3, None))] = np.nan
                values[name] = array
        # One sample has nothing yet, and one clone lags behind.
        values["energy"][0] = np.nan
        values["energy"][1, 0, 0, 0, 2] = np.nan
        results = load(write(tmp_path / "running.h5", config, values, finished=False))
        times = window(results)
        assert times is not None
        assert (times.first, times.last, times.measurements) == (2, 4, 2)
        energy = estimate(windowed(results, "energy", times).sel(start="planted").isel(beta=0))
        assert float(energy.mean) == 50
        assert int(energy.samples) == 2
        text, numbers = analyze([results.path])
        assert "in progress, t = 4 of 8 sweeps" in text
        assert numbers["files"][0]["finished"] is False

    def test_contrast_is_paired(self) -> None:
        samples = xr.DataArray([0.0, 10.0, 20.0], dims="sample")
        result = contrast(samples + 1, samples)
        assert (float(result.mean), float(result.error)) == (1.0, 0.0)
        lacking = contrast(samples, xr.DataArray([1.0, np.nan, 18.0], dims="sample"))
        assert int(lacking.samples) == 2
        assert float(lacking.mean) == pytest.approx(0.5)

    def test_difference_in_errors(self) -> None:
        assert in_errors(3.0, 1.5) == 2.0
        assert in_errors(1e-16, 1e-17) == 0.0
        assert in_errors(-1.0, 0.0) == -np.inf
        assert np.isnan(in_errors(1.0, np.nan))

    @pytest.mark.parametrize(("depth", "middle"), [(1, [1]), (3, [2]), (4, [2, 3]), (5, [3]), (6, [3, 4])])
    def test_middle(self, depth: int, middle: list[int]) -> None:
        assert middle_layers(depth) == middle


class TestStatements:
    @staticmethod
    def profile(values: Any) -> xr.DataArray:
        values = np.asarray(values, dtype=float)
        return xr.DataArray(values, {"layer": np.arange(1, values.shape[1] + 1)}, ("sample", "layer"))

    def test_heterogeneity(self) -> None:
        statement = heterogeneity(self.profile(PROFILE), None)
        first = PROFILE[:, 0] - PROFILE[:, 1]
        assert statement["first"]["difference"] == pytest.approx(first.mean())
        assert statement["first"]["error"] == pytest.approx(standard_error(first))
        assert statement["verdict"] == "both ends above the middle"

    def test_heterogeneity_less_alignment(self) -> None:
        """A first layer that only alignment lifts is level with the middle; raw numbers are kept."""
        unlearnt = self.profile([[0.31, 0.1, 0.0], [0.33, 0.1, 0.0], [0.29, 0.1, 0.0]])
        q = unlearnt + self.profile([[0.0, 0.01, 0.3], [0.02, 0.0, 0.31], [0.0, 0.01, 0.29]])
        statement = heterogeneity(q, unlearnt)
        assert statement["verdict"] == "the first layer level with, the last layer above the middle"
        assert statement["learnt"]["first"]["difference"] == pytest.approx(0.0, abs=1e-12)
        assert statement["first"]["difference"] == pytest.approx(0.21)
        assert heterogeneity(q, None)["verdict"] == "both ends above the middle"
        assert heterogeneity(q, None)["learnt"] is None

    def test_heterogeneity_of_an_even_network(self) -> None:
        statement = heterogeneity(self.profile([[1.0, 0.2, 0.4, 0.3], [1.1, 0.2, 0.4, 0.3]]), None)
        assert statement["first"]["difference"] == pytest.approx(0.75)
        assert statement["last"]["in_errors"] == 0.0
        assert statement["verdict"] == "the first layer above, the last layer level with the middle"

    def test_merging(self) -> None:
        """Two layers, three samples: Student's t with 2 degrees of freedom exceeds 6.2053 with 2 x 1.25 %."""
        planted = self.profile([[0.5, 0.9], [0.7, 0.8], [0.6, 0.7]])
        scatter = self.profile([[-0.01, 0.01], [0.01, 0.0], [0.0, -0.01]])
        error = 0.01 / np.sqrt(3)
        assert merging(planted, planted + scatter + 6.1 * error)["merged"] is True
        statement = merging(planted, planted + scatter - 6.3 * error)
        assert statement["merged"] is False
        assert statement["largest"]["in_errors"] == pytest.approx(6.3)

    def test_exchangeability_is_paired(self) -> None:
        teacher = self.profile([[0.5, 0.9], [0.7, 0.8], [0.6, 0.7]])
        clones = teacher - self.profile([[0.018, 0.0], [0.02, 0.0], [0.022, 0.0]])
        statement = exchangeability(teacher, clones)
        assert statement["equal"] is False
        assert statement["largest"]["layer"] == 1
        assert statement["largest"]["in_errors"] == pytest.approx(0.02 / (0.002 / np.sqrt(3)))

    def test_one_sample_decides_nothing(self) -> None:
        one = self.profile([[0.5, 0.9, 0.5]])
        assert merging(one, one - 0.4)["merged"] is None
        assert exchangeability(one, one)["equal"] is None
        assert "cannot be judged" in heterogeneity(one, None)["verdict"]


class TestTables:
    def test_numbers(self, file: Path) -> None:
        text, numbers = analyze([file])
        entry = numbers["files"][0]
        planted = entry["betas"][0]["starts"]["planted"]
        np.testing.assert_allclose(planted["teacher/q_aligned"]["mean"], PROFILE.mean(axis=0))
        assert planted["training_error"]["mean"] == pytest.approx(40 / (10 * 20))
        assert (entry["alpha"], entry["betas"][0]["beta"]) == (4.0, "inf")
        for word in (
            "finished",
            "N = 10, c = 5, L = 3",
            "alpha = M/c = 4",
            "4 <= t <= 8",
            "both ends above",
            "aligned",
        ):
            assert word in text
        for mean, error in zip(PROFILE.mean(axis=0), standard_error(PROFILE), strict=True):
            assert f"{mean:.4f}±{error:.4f}" in text
        assert "have not merged" in text
        assert max(map(len, text.splitlines())) <= 100

    def test_raw_overlaps_are_in_the_numbers(self, file: Path) -> None:
        planted = analyze([file])[1]["files"][0]["betas"][0]["starts"]["planted"]
        assert {"teacher/q", "teacher/r", "teacher/r_test", "clones/q", "clones/r"} <= set(planted)

    def test_one_sample_has_no_error(self, tmp_path: Path) -> None:
        config = configuration(ensemble={"samples": 1, "clones": 1})
        text, numbers = analyze([write(tmp_path / "one.h5", config, filled(config))])
        assert "±n/a" in text
        assert "cannot be judged" in text
        json.dumps(numbers, allow_nan=False)
        assert numbers["files"][0]["betas"][0]["starts"]["planted"]["test_error"]["error"] is None

    def test_several_betas(self, tmp_path: Path) -> None:
        config = configuration(dynamics={"betas": [0.5, 2.0]})
        text, numbers = analyze([write(tmp_path / "betas.h5", config, filled(config))])
        assert [beta["beta"] for beta in numbers["files"][0]["betas"]] == [0.5, 2.0]
        assert "not at this temperature" in text

    def test_nothing_measured(self, tmp_path: Path) -> None:
        text, numbers = analyze([write(tmp_path / "new.h5", configuration(), {}, finished=False)])
        assert "nothing has been measured yet" in text
        json.dumps(numbers, allow_nan=False)

    def test_a_point_that_has_just_begun_is_not_in_the_summary(self, tmp_path: Path) -> None:
        begun = write(tmp_path / "new.h5", configuration(), {}, finished=False)
        _, later = scan(tmp_path, "network", "depth", [2, 4])
        text, numbers = analyze([begun, later])
        assert {row["path"] for row in numbers["summary"]["rows"]} == {str(later)}
        assert "Summary" in text
        text, numbers = analyze([begun, begun])
        assert numbers["summary"]["rows"] == []
        assert "Summary" not in text

    def test_single_layer_single_start(self, tmp_path: Path) -> None:
        config = configuration(network={"depth": 1}, ensemble={"starts": ["random"]})
        text, _ = analyze([write(tmp_path / "perceptron.h5", config, filled(config))])
        assert "Heterogeneity" not in text
        assert "merged" not in text

    def test_summary_of_a_scan(self, tmp_path: Path) -> None:
        paths = scan(tmp_path, "network", "depth", [2, 3, 4])
        text, numbers = analyze(paths)
        assert numbers["summary"]["parameters"] == ["network.depth"]
        rows = numbers["summary"]["rows"]
        assert [(row["network.depth"], row["start"]) for row in rows] == [
            (depth, start) for depth in (2, 3, 4) for start in ("planted", "random")
        ]
        assert rows[2]["q_middle"] == numbers["files"][1]["betas"][0]["starts"]["planted"]["q_middle"]
        assert "Summary" in text
        json.dumps(numbers, allow_nan=False)

    def test_the_folder_of_a_scan(self, tmp_path: Path) -> None:
        """It stands for its points; those that have not begun, or measured, are left out of figures."""
        job = inputfile.load(Path("inputs/depth_scan.yaml"), ("scan={network.depth: [2, 3, 4, 5]}",))
        scan_list.write(tmp_path, job, (), overwrite=False)
        for point, count in zip(job.points[:3], (1, 1, 0), strict=True):
            depth = point.values["network.depth"]
            config = configuration(network={"depth": depth})
            arrays = filled(config) if count else {}
            write(tmp_path / f"{point.name}.h5", config, arrays, point=dict(point.values))
        _, numbers = analyze([tmp_path])
        assert [entry["depth"] for entry in numbers["files"]] == [2, 3, 4]
        plot([tmp_path], "profile", tmp_path / "profile.svg")
        text = (tmp_path / "profile.svg").read_text()
        assert "L=2" in text
        assert "L=4" not in text
        with pytest.raises(InputError, match="--kind relaxation: shows one results file; 3 were given"):
            plot([tmp_path], "relaxation", tmp_path / "relaxation.svg")
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="empty"):
            analyze([tmp_path / "empty"])

    def test_files_that_differ_in_their_configuration(self, tmp_path: Path) -> None:
        files = []
        for train in (10, 20):
            config = configuration(patterns={"train": train})
            files.append(load(write(tmp_path / f"{train}.h5", config, filled(config))))
        assert varied(files) == {"patterns.train": [10, 20]}


def scan(folder: Path, section: str, key: str, values: list[Any]) -> list[Path]:
    """The files of a scan over one parameter."""
    paths = []
    for value in values:
        config = configuration(**{section: {key: value}})
        paths.append(
            write(folder / f"{key}={value}.h5", config, filled(config), point={f"{section}.{key}": value})
        )
    return paths


class TestOpening:
    def test_variable(self, file: Path) -> None:
        results = load(file)
        values = results.variable("autocorrelation/q")
        assert values.dims == ("sample", "start", "clone", "beta", "waiting", "time", "layer")
        assert values["start"].values.tolist() == ["planted", "random"]
        assert values["time"].values.tolist() == TIMES
        assert values["layer"].values.tolist() == [1, 2, 3]
        assert results.variable("clones/q")["pair"].values.tolist() == ["0-1"]
        assert "weight overlap" in values.attrs["long_name"]
        assert (results.finished, results.point, results.provenance) == (True, {}, ORIGIN)
        assert results.config == configuration()
        with pytest.raises(InputError, match="has no variable teacher/s"):
            results.variable("teacher/s")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"nowhere\.h5: cannot be read: No such file"):
            load(tmp_path / "nowhere.h5")
        with pytest.raises(InputError, match="Is a directory"):
            load(tmp_path)

    @pytest.mark.parametrize(("content", "found"), [(b"", "is empty"), (b"name: x\n", "is not an HDF5 file")])
    def test_not_hdf5(self, tmp_path: Path, content: bytes, found: str) -> None:
        path = tmp_path / "x.h5"
        path.write_bytes(content)
        with pytest.raises(InputError, match=found):
            load(path)

    @pytest.mark.parametrize("part", [0.001, 0.3, 0.99])
    def test_truncated(self, file: Path, part: float) -> None:
        content = file.read_bytes()
        file.write_bytes(content[: int(part * len(content))])
        with pytest.raises(InputError, match=r"known\.h5: the HDF5 file is (truncated|damaged)") as error:
            load(file)
        assert len(str(error.value).splitlines()) == 1

    def test_foreign(self, tmp_path: Path) -> None:
        path = tmp_path / "foreign.h5"
        with h5py.File(path, "w") as foreign:
            foreign["x"] = [1, 2]
        with pytest.raises(InputError, match="no attribute `format`"):
            load(path)

    @pytest.mark.parametrize(
        ("name", "value", "found"),
        [
            ("format", "other", "'other', so not of `dsm run`"),
            ("format_version", FORMAT_VERSION + 1, f"reads up to {FORMAT_VERSION}"),
            ("format_version", "one", "is not a number"),
            ("config_resolved", "network: {widht: 3}", "unknown key"),
            ("config_resolved", 3, "is not text"),
            ("point", "[", "is not a JSON object"),
        ],
    )
    def test_attributes(self, file: Path, name: str, value: Any, found: str) -> None:
        with h5py.File(file, "r+") as results:
            results.attrs[name] = value
        with pytest.raises(InputError, match=found):
            load(file)

    def test_part_of_a_variable(self, file: Path) -> None:
        results = load(file)
        whole = results.variable("teacher/q_aligned").isel(beta=0, time=-2, drop=True)
        xr.testing.assert_identical(results.variable("teacher/q_aligned", beta=0, time=-2), whole)

    @pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
    def test_impossible_numbers(self, file: Path, value: float) -> None:
        with h5py.File(file, "r+") as hdf5:
            hdf5["teacher/q_aligned"][1, 0, 0, 0, 2, 1] = value
        with pytest.raises(InputError, match="damaged: teacher/q_aligned holds"):
            analyze([file])

    def test_missing_dataset(self, file: Path) -> None:
        with h5py.File(file, "r+") as results:
            del results["teacher/r"]
        with pytest.raises(InputError, match="the dataset teacher/r is missing"):
            load(file)

    def test_a_size_that_is_only_announced(self, file: Path) -> None:
        """A few bytes that promise 8 TB must be refused before anything is read."""
        with h5py.File(file, "r+") as results:
            del results["energy"]
            results.create_dataset("energy", (3, 2, 2, 1, 10**11), "f8")
        with pytest.raises(InputError, match="announces"):
            load(file)

    def test_a_configuration_of_another_size(self, file: Path) -> None:
        """Nor may a configuration make the reader build axes of its size."""
        huge = configuration(ensemble={"samples": 200_000, "clones": 2})
        with h5py.File(file, "r+") as results:
            results.attrs["config_resolved"] = huge.as_yaml()
        with pytest.raises(InputError, match="the axis sample has 3 values, the configuration 200000"):
            load(file)


PLAIN = sorted(set(KINDS) - {"generalization", "exchange", "free_energy", "manifold"})
"""Kinds of figures that any results file has."""


class TestPlots:
    @pytest.mark.parametrize("kind", PLAIN)
    def test_kinds(self, file: Path, tmp_path: Path, kind: str) -> None:
        output = tmp_path / f"{kind}.png"
        plot([file], kind, output)
        assert output.read_bytes().startswith(b"\x89PNG")
        assert output.stat().st_size > 10_000
        assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []

    @pytest.mark.parametrize("kind", sorted({*PLAIN} - {"distribution"}))
    def test_kinds_of_a_small_run(self, tmp_path: Path, kind: str) -> None:
        """One layer, one sample, one clone, one start, half measured."""
        config = configuration(
            network={"depth": 1}, ensemble={"samples": 1, "clones": 1, "starts": ["random"]}
        )
        values = filled(config)
        values["energy"][..., 2:] = np.nan
        output = tmp_path / "small.svg"
        plot([write(tmp_path / "small.h5", config, values, finished=False)], kind, output)
        assert "<svg" in output.read_text()

    @pytest.mark.parametrize(
        ("section", "key", "values"),
        [
            ("network", "depth", [2, 3, 4]),
            ("network", "width", [10, 20]),
            ("patterns", "train", [10, 20, 200]),
            (
                "patterns",
                "inputs",
                [{"kind": "hidden_manifold", "dimension": d} for d in (2, 5)] + [{"kind": "iid"}],
            ),
        ],
    )
    def test_generalization(self, tmp_path: Path, section: str, key: str, values: list[Any]) -> None:
        output = tmp_path / "error.pdf"
        plot(scan(tmp_path, section, key, values), "generalization", output)
        assert output.read_bytes().startswith(b"%PDF")

    def test_profile_of_several_files(self, tmp_path: Path) -> None:
        plot(scan(tmp_path, "network", "depth", [2, 3]), "profile", tmp_path / "profile.png")
        assert (tmp_path / "profile.png").stat().st_size > 10_000

    def test_an_older_figure_is_replaced(self, file: Path, tmp_path: Path) -> None:
        output = tmp_path / "figure.png"
        output.write_text("old")
        plot([file], "loops", output)
        assert output.read_bytes().startswith(b"\x89PNG")

    @pytest.mark.parametrize(
        ("kind", "name", "found"),
        [
            ("profil", "x.png", "allowed are profile"),
            ("profile", "x.jpg", r"\.png, \.pdf, \.svg"),
            ("profile", "x", "unknown kind of file"),
            ("profile", "nowhere/x.png", "there is no folder"),
            ("profile", "folder.png", "is a folder"),
            ("generalization", "x.png", "needs files that differ"),
        ],
    )
    def test_refused(self, file: Path, tmp_path: Path, kind: str, name: str, found: str) -> None:
        (tmp_path / "folder.png").mkdir()
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InputError, match=found):
            plot([file], kind, tmp_path / name)
        assert sorted(tmp_path.iterdir()) == before

    @pytest.mark.parametrize("kind", sorted(ONE_FILE))
    def test_one_file_only(self, file: Path, tmp_path: Path, kind: str) -> None:
        with pytest.raises(InputError, match="shows one results file; 2 were given"):
            plot([file, file], kind, tmp_path / "x.png")

    def test_nothing_measured(self, tmp_path: Path) -> None:
        path = write(tmp_path / "new.h5", configuration(), {}, finished=False)
        with pytest.raises(InputError, match="nothing has been measured yet"):
            plot([path], "relaxation", tmp_path / "x.png")

    def test_no_waiting_times(self, tmp_path: Path) -> None:
        config = configuration(schedule={"waiting_times": 0})
        path = write(tmp_path / "x.h5", config, filled(config))
        with pytest.raises(InputError, match="no autocorrelation was measured"):
            plot([path], "autocorrelation", tmp_path / f"x.{SUFFIXES[0]}")
