"""`open_results`, `export` and `to_inference_data` against the arrays in the files."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import arviz_stats
import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from test_analysis import ORIGIN, configuration, filled, scan, write

import dsm_hpc
from dsm_hpc import cli
from dsm_hpc.analysis import lazy
from dsm_hpc.analysis.export import TABLES, export
from dsm_hpc.errors import InputError
from dsm_hpc.storage.layout import VARIABLES, layout

GROUPS = {"teacher", "clones", "autocorrelation", "loops"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    config = configuration()
    return write(tmp_path / "known.h5", config, filled(config))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Whatever is read of the data from now on: (variable, number of values)."""
    found: list[Any] = []
    plain = lazy.part

    def counted(header: Any, variable: Any, key: Any) -> Any:
        values = plain(header, variable, key)
        found.append((variable.name, values.size))
        return values

    monkeypatch.setattr(lazy, "part", counted)
    return found


def stored(path: Path, name: str) -> Any:
    with h5py.File(path) as results:
        return results[name][()]


class TestOneFile:
    def test_every_variable_with_its_axes(self, file: Path) -> None:
        tree = dsm_hpc.open_results(file)
        assert set(tree.children) == GROUPS
        for variable in layout(configuration()).variables:
            values = tree[variable.name]
            assert values.dims == variable.dimensions
            np.testing.assert_array_equal(values, stored(file, variable.name))
            assert values.attrs == {"long_name": variable.meaning, "units": "1"}
            for axis in variable.dimensions:
                assert values[axis].attrs["long_name"]
        assert tree["time"].attrs["units"] == "sweeps"
        assert tree["teacher"].ds["waiting"].attrs["units"] == "sweeps"
        assert tree["start"].values.tolist() == ["planted", "random"]
        assert tree["teacher/q"].sel(start="random", layer=2, time=6).shape == (3, 2, 1)

    def test_attributes(self, file: Path) -> None:
        tree = dsm_hpc.open_results(str(file))
        assert (tree.attrs["name"], tree.attrs["finished"], tree.attrs["path"]) == ("hand-made", 1, str(file))
        assert json.loads(tree.attrs["provenance"]) == ORIGIN
        assert yaml.safe_load(tree.attrs["config_resolved"])["network"]["depth"] == 3

    def test_opening_reads_no_data(self, file: Path, reads: list[Any]) -> None:
        tree = dsm_hpc.open_results(file)
        repr(tree)
        chosen = tree["teacher/q_aligned"].sel(start="planted").isel(time=-1)
        assert reads == []
        chosen.mean("sample").load()
        assert reads == [("teacher/q_aligned", 3 * 2 * 1 * 3)]

    def test_a_part_takes_little_memory(self, tmp_path: Path) -> None:
        """One layer at one time out of 20 MB: what is not asked for does not pass through memory."""
        config = configuration(network={"depth": 50}, schedule={"sweeps": 2 * 4000, "waiting_times": 0})
        tree = dsm_hpc.open_results(write(tmp_path / "x.h5", config, {}))
        tree["teacher/q"].isel(time=-1, layer=3).load()  # loads what libraries load late
        assert tree["teacher/q"].nbytes > 19e6
        tracemalloc.start()
        tree["teacher/q"].isel(time=-1, layer=3).load()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1e6

    @pytest.mark.parametrize(
        "where",
        [
            {"sample": 1},
            {"time": slice(None, None, -2), "sample": [2, 0]},
            {"layer": [0, 2], "start": 1, "clone": slice(1, 2)},
            {"sample": xr.DataArray([0, 2], dims="walker"), "clone": xr.DataArray([1, 0], dims="walker")},
        ],
    )
    def test_parts(self, file: Path, where: dict[str, Any]) -> None:
        whole = xr.DataArray(
            stored(file, "teacher/r"), dims=("sample", "start", "clone", "beta", "time", "layer")
        )
        found = dsm_hpc.open_results(file)["teacher/r"].isel(where)
        np.testing.assert_array_equal(found.values, whole.isel(where).values)

    def test_a_running_file_is_read_anew(self, tmp_path: Path) -> None:
        """What has not been measured is NaN, and what is written later is seen."""
        config = configuration()
        path = write(tmp_path / "running.h5", config, {}, finished=False)
        tree = dsm_hpc.open_results(path)
        assert tree.attrs["finished"] == 0
        assert tree["energy"].isnull().all()
        with h5py.File(path, "r+") as results:
            results["energy"][..., 0] = 7
        assert (tree["energy"].isel(time=0) == 7).all()
        assert tree["energy"].isel(time=1).isnull().all()

    def test_a_file_that_was_replaced(self, tmp_path: Path) -> None:
        """As by `resume --sweeps`: the data of the new one stand elsewhere."""
        config = configuration()
        path = write(tmp_path / "x.h5", config, filled(config))
        tree = dsm_hpc.open_results(path)
        write(tmp_path / "new.h5", config, filled(config)).replace(path)
        with pytest.raises(InputError, match=r"x\.h5: was replaced after it had been opened"):
            tree["energy"].load()

    def test_a_file_that_was_cut(self, file: Path) -> None:
        tree = dsm_hpc.open_results(file)
        with file.open("r+b") as content:
            content.truncate(4096)
        with pytest.raises(InputError, match="truncated"):
            tree["teacher/r_test"].load()

    @pytest.mark.parametrize("paths", [[], ["nowhere.h5"]])
    def test_refused(self, paths: list[str]) -> None:
        with pytest.raises(InputError, match=r"at least one|No such file"):
            dsm_hpc.open_results(paths)

    def test_importing_the_package_loads_no_library(self) -> None:
        words = "import dsm_hpc, sys; print({'numpy', 'xarray', 'h5py'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"
        with pytest.raises(AttributeError, match="no attribute 'open_result'"):
            dsm_hpc.open_result  # noqa: B018


class TestJoined:
    def test_along_the_depth(self, tmp_path: Path) -> None:
        paths = scan(tmp_path, "network", "depth", [2, 4, 3])
        tree = dsm_hpc.open_results(paths)
        q = tree["teacher/q"]
        assert q.dims[0] == "depth"
        assert q["depth"].values.tolist() == [2, 4, 3]
        assert q["layer"].values.tolist() == [1, 2, 3, 4]
        for path, depth in zip(paths, (2, 4, 3), strict=True):
            np.testing.assert_array_equal(
                q.sel(depth=depth, layer=slice(1, depth)), stored(path, "teacher/q")
            )
            assert q.sel(depth=depth, layer=slice(depth + 1, None)).isnull().all()
        assert tree.attrs["path"] == [str(path) for path in paths]

    def test_parts_of_what_is_joined(self, tmp_path: Path, reads: list[Any]) -> None:
        paths = scan(tmp_path, "network", "depth", [2, 3])
        joined = dsm_hpc.open_results(paths)["teacher/q"]
        assert reads == []
        part = joined.isel(depth=1, layer=[2, 0], time=slice(None, None, -2), sample=2)
        expected = stored(paths[1], "teacher/q")[2][..., ::-2, :][..., [2, 0]]
        np.testing.assert_array_equal(part, expected)
        assert sum(size for _, size in reads) <= stored(paths[1], "teacher/q").size / 2
        assert joined.isel(depth=0, layer=2).isnull().all()

    def test_times_and_clones_that_differ(self, tmp_path: Path) -> None:
        """Values keep their coordinates; whatever one of the files lacks is NaN."""
        short = configuration(ensemble={"clones": 1}, schedule={"sweeps": 4})
        long = configuration(ensemble={"clones": 3}, schedule={"sweeps": 10}, patterns={"train": 30})
        paths = [
            write(tmp_path / f"{place}.h5", config, filled(config, place))
            for place, config in enumerate((short, long))
        ]
        tree = dsm_hpc.open_results(paths)
        energy = tree["energy"]
        assert energy.dims[0] == "point"
        assert energy["time"].values.tolist() == [0, 2, 4, 6, 8, 10]
        np.testing.assert_array_equal(
            energy.sel(point=0, clone=[0], time=slice(0, 4)), stored(paths[0], "energy")
        )
        np.testing.assert_array_equal(energy.sel(point=1), stored(paths[1], "energy"))
        assert energy.sel(point=0, time=slice(6, None)).isnull().all()
        assert energy.sel(point=0, clone=[1, 2]).isnull().all()
        assert tree["clones/q"].sel(point=0).isnull().all()
        np.testing.assert_array_equal(tree["clones/q"].sel(point=1), stored(paths[1], "clones/q"))
        assert tree["clones/q"]["train"].values.tolist() == [20, 30]
        # `clones` is a group already, so the key is spelt out.
        assert tree["energy"]["ensemble_clones"].values.tolist() == [1, 3]

    def test_parameters_that_are_not_numbers(self, tmp_path: Path) -> None:
        kinds = [{"kind": "hidden_manifold", "dimension": 5}, {"kind": "iid"}]
        tree = dsm_hpc.open_results(scan(tmp_path, "patterns", "inputs", kinds))
        assert tree["energy"]["inputs"].values.tolist() == ["kind=hidden_manifold dimension=5", "kind=iid"]

    def test_the_folder_of_a_scan(self, tmp_path: Path) -> None:
        source = tmp_path / "scan.yaml"
        tree = {
            "name": "scan",
            "network": {"width": 4, "fan_in": 2},
            "patterns": {"train": 4, "test": 4},
            "ensemble": {"samples": 2},
            "schedule": {"sweeps": 2},
            "scan": {"network.depth": [1, 2], "patterns.train": [4, 6]},
        }
        source.write_text(yaml.safe_dump(tree))
        assert cli.main(["run", str(source), "-o", str(tmp_path / "out")]) == 0
        energy = dsm_hpc.open_results(tmp_path / "out")["energy"]
        assert energy["depth"].values.tolist() == [1, 1, 2, 2]
        assert energy["train"].values.tolist() == [4, 6, 4, 6]
        assert energy.isel(time=-1).notnull().all()
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match=r"scan\.json: cannot be read"):
            dsm_hpc.open_results(tmp_path / "empty")

    def test_files_that_nothing_tells_apart(self, file: Path, tmp_path: Path) -> None:
        config = configuration(patterns={"train": 30})
        other = write(tmp_path / "other.h5", config, filled(config))
        with pytest.raises(InputError, match=r"known\.h5: cannot be joined with .*known\.h5: no parameter"):
            dsm_hpc.open_results([file, other, file])


class TestExport:
    @pytest.mark.parametrize("several", [False, True])
    def test_netcdf(self, file: Path, tmp_path: Path, several: bool) -> None:
        paths = scan(tmp_path, "network", "depth", [2, 3]) if several else [file]
        output = tmp_path / "x.nc"
        assert cli.main(["export", *map(str, paths), "-o", str(output)]) == 0
        with xr.open_datatree(output, engine="h5netcdf") as found:
            expected = dsm_hpc.open_results(paths)
            for variable in VARIABLES:
                if variable.name in {v.name for v in layout(configuration()).variables}:
                    xr.testing.assert_equal(found[variable.name], expected[variable.name].load())
            assert found["time"].attrs["units"] == "sweeps"
            assert len(np.atleast_1d(found.attrs["provenance"])) == len(paths)
        assert not list(tmp_path.glob(".*tmp"))

    def test_csv(self, file: Path, tmp_path: Path) -> None:
        output = tmp_path / "x.csv"
        with h5py.File(file, "r+") as results:
            for name in TABLES["teacher"]:
                results[name][..., 3:, :] = np.nan
        said = export([file], output)
        table = pd.read_csv(output)
        assert list(table.columns[:6]) == ["sample", "start", "clone", "beta", "time", "layer"]
        assert set(table.columns[6:]) == {name.split("/")[1] for name in TABLES["teacher"]}
        assert len(table) == 3 * 2 * 2 * 1 * 3 * 3
        assert f"table teacher, {len(table)} lines" in said
        row = table.query("sample == 2 and start == 'random' and clone == 1 and time == 4 and layer == 3")
        assert float(row["q"].item()) == pytest.approx(stored(file, "teacher/q")[2, 1, 1, 0, 2, 2])
        assert np.isinf(table["beta"]).all()

    @pytest.mark.parametrize("table", sorted(set(TABLES) - {"swaps", "round_trips", "permutation"}))
    def test_tables_hold_all_values(self, file: Path, tmp_path: Path, table: str) -> None:
        export([file], tmp_path / "x.csv", table)
        found = pd.read_csv(tmp_path / "x.csv")
        for name in TABLES[table]:
            column = found[name.split("/")[-1]]
            assert column.mean() == pytest.approx(stored(file, name).mean())

    def test_csv_of_a_scan(self, tmp_path: Path) -> None:
        paths = scan(tmp_path, "network", "depth", [2, 3])
        export(paths, tmp_path / "x.csv", "clones")
        found = pd.read_csv(tmp_path / "x.csv")
        assert found.columns[0] == "depth"
        assert found.groupby("depth")["layer"].max().tolist() == [2, 3]
        assert found.query("depth == 2")["q"].mean() == pytest.approx(stored(paths[0], "clones/q").mean())

    @pytest.mark.parametrize(
        ("name", "words", "found"),
        [
            ("x.txt", [], "names that end in .nc, .csv"),
            ("x.nc", ["--table", "teacher"], "holds everything"),
            ("x.csv", ["--table", "teachers"], "not a table: allowed are energy"),
            ("x.csv", ["--table", "swaps"], "these results have none; there are energy, acceptance, teacher"),
            ("old.csv", [], "exists; give --overwrite"),
            ("nowhere/x.nc", [], "there is no folder"),
        ],
    )
    def test_refused(
        self, file: Path, tmp_path: Path, capsys: Any, name: str, words: list[str], found: str
    ) -> None:
        (tmp_path / "old.csv").write_text("old")
        before = {path: path.stat().st_mtime for path in tmp_path.iterdir()}
        assert cli.main(["export", str(file), "-o", str(tmp_path / name), *words]) == 2
        assert found in " ".join(capsys.readouterr().err.split())
        assert {path: path.stat().st_mtime for path in tmp_path.iterdir()} == before

    def test_overwrite(self, file: Path, tmp_path: Path) -> None:
        output = tmp_path / "old.csv"
        output.write_text("old")
        assert cli.main(["export", str(file), "-o", str(output), "--overwrite"]) == 0
        assert output.read_text().startswith("sample,start")


class TestInferenceData:
    def test_chains_and_draws(self, file: Path) -> None:
        tree = dsm_hpc.to_inference_data(dsm_hpc.open_results(file))
        q = tree["posterior/q_aligned"]
        assert q.dims == ("chain", "draw", "sample", "beta", "layer")
        assert list(zip(q["start"].values, q["clone"].values, strict=True)) == [
            ("planted", 0),
            ("planted", 1),
            ("random", 0),
            ("random", 1),
        ]
        assert q["time"].values.tolist() == [4, 6, 8]
        values = stored(file, "teacher/q_aligned")
        np.testing.assert_array_equal(q.isel(chain=2), np.moveaxis(values[:, 1, 0, :, 2:], 2, 0))
        energy = tree["sample_stats/energy"]
        np.testing.assert_array_equal(
            energy.isel(chain=1, beta=0, draw=-1), stored(file, "energy")[:, 0, 1, 0, -1]
        )

    def test_arviz_takes_it(self, tmp_path: Path) -> None:
        """R-hat of ArviZ, sample by sample and layer by layer, from the tree and from its netCDF file."""
        config = configuration(schedule={"sweeps": 40})
        path = write(tmp_path / "x.h5", config, filled(config))
        tree = dsm_hpc.to_inference_data(dsm_hpc.open_results(path))
        found = arviz_stats.rhat(tree, var_names=["q_aligned"])["q_aligned"]
        assert found.dims == ("sample", "beta", "layer")
        assert ((found > 0.8) & (found < 1.6)).all()
        tree.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
        with xr.open_datatree(tmp_path / "x.nc", engine="h5netcdf") as again:
            xr.testing.assert_allclose(arviz_stats.rhat(again, var_names=["q_aligned"])["q_aligned"], found)
