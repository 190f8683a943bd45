"""The verb `export`: results as netCDF, or as a table in CSV."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import xarray as xr

from dsm_hpc.analysis.opening import open_results
from dsm_hpc.analysis.output import check_output, in_one_step
from dsm_hpc.errors import InputError
from dsm_hpc.storage.layout import VARIABLES

NETCDF, CSV = ".nc", ".csv"

TABLES = {
    "energy": ("energy", "test_error"),
    "acceptance": ("acceptance",),
    **{
        group: tuple(v.name for v in VARIABLES if v.name.startswith(f"{group}/"))
        for group in ("teacher", "clones", "autocorrelation", "loops")
    },
    "swaps": ("exchange/attempts", "exchange/accepts"),
    "round_trips": ("exchange/round_trips",),
    "permutation": ("exchange/permutation",),
}
"""What a table in CSV holds: variables on the same axes, each a column."""

PLAIN_TABLE = "teacher"


def export(paths: Sequence[Path], output: Path, table: str | None = None, overwrite: bool = False) -> str:
    """Writes results files, joined if there are several (see `open_results`), and says what was written.

    NAME.nc : everything, as netCDF-4, with the groups of a results file.
    NAME.csv : one table in long form, a line for each sample, start, clone (or pair), beta, time and layer,
    with a column for each of its variables; lines without a value are left out.

    Raises InputError for unsuitable files, names and tables, or if `output` exists and may not be replaced.
    """
    kind = output.suffix.lower()
    if kind not in (NETCDF, CSV):
        raise InputError(f"{output}: unknown kind of file: allowed are names that end in {NETCDF}, {CSV}")
    if table is not None and kind != CSV:
        raise InputError(f"--table {table}: is for {CSV}; {NETCDF} holds everything")
    if table is not None and table not in TABLES:
        raise InputError(f"--table {table}: not a table: allowed are {', '.join(TABLES)}")
    check_output(output)
    if output.exists() and not overwrite:
        raise InputError(f"{output}: exists; give --overwrite, or another name")
    tree = open_results(paths)
    if kind == NETCDF:
        with in_one_step(output) as temporary:
            tree.to_netcdf(temporary, engine="h5netcdf")
        return f"{output}: everything, as netCDF"
    name = table or PLAIN_TABLE
    variables = _columns(tree, name)
    with in_one_step(output) as temporary:
        lines = _write(variables, temporary)
    others = [other for other in TABLES if other != name and _present(tree, other)]
    return f"{output}: table {name}, {lines} lines (other tables: {', '.join(others)})"


def _present(tree: xr.DataTree, table: str) -> list[str]:
    """The variables of a table that the results have."""
    split = [(path, *path.rpartition("/")[::2]) for path in TABLES[table]]
    groups = {"": tree, **tree.children}
    return [path for path, group, name in split if group in groups and name in groups[group].data_vars]


def _columns(tree: xr.DataTree, table: str) -> xr.Dataset:
    paths = _present(tree, table)
    if not paths:
        there = ", ".join(other for other in TABLES if _present(tree, other))
        raise InputError(f"--table {table}: these results have none; there are {there}")
    group = paths[0].rpartition("/")[0]
    return tree[f"/{group}"].to_dataset()[[path.rpartition("/")[2] for path in paths]]


def _write(variables: xr.Dataset, path: Path) -> int:
    """Writes a table block by block, so that it need not fit into memory; returns its number of lines."""
    widest = max((values.dims for values in variables.data_vars.values()), key=len)
    blocks = widest[: widest.index("sample") + 1]
    lines = 0
    with path.open("w", newline="") as file:
        for places in product(*(range(variables.sizes[axis]) for axis in blocks)):
            block = variables.isel({axis: [place] for axis, place in zip(blocks, places, strict=True)})
            frame = block.to_dataframe(dim_order=list(widest)).dropna(how="all", subset=list(variables))
            frame.to_csv(file, header=not file.tell(), lineterminator="\n")
            lines += len(frame)
    return lines
