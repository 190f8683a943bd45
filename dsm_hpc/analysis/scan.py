"""In what several results files differ: the axes of a scan."""

from collections.abc import Sequence
from typing import Any

from dsm_hpc.analysis.results import Results
from dsm_hpc.presentation.wording import parameter

_NOT_PHYSICS = ("name", "output", "seed")


def varied(files: Sequence[Results]) -> dict[str, list[Any]]:
    """The parameters that tell the files apart, each with its value in every file.

    These are the keys that `scan:` set if they suffice, otherwise all configuration keys in which the files
    differ (None where a file lacks a key).
    """
    trees = [_flat(results.config.model_dump()) for results in files]
    scanned = [key for key in files[0].point if all(key in results.point for results in files)]
    columns = {key: [results.point[key] for results in files] for key in scanned}
    if columns and len({repr(values) for values in zip(*columns.values(), strict=True)}) == len(files):
        return columns
    keys = dict.fromkeys(key for tree in trees for key in tree if key.split(".")[0] not in _NOT_PHYSICS)
    columns = {key: [tree.get(key) for tree in trees] for key in keys}
    return {key: values for key, values in columns.items() if any(value != values[0] for value in values)}


def labels(files: Sequence[Results]) -> list[str]:
    """A short name for each file: its values of the varied parameters, or its file name if there are none."""
    columns = varied(files)
    if not columns:
        return [results.path.stem for results in files]
    return [
        ", ".join(f"{short(key)} = {parameter(values[place])}" for key, values in columns.items())
        for place in range(len(files))
    ]


def short(key: str) -> str:
    """The last part of a key path: `depth` for `network.depth`."""
    return key.rpartition(".")[2]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{a: {b: 1}} -> {"a.b": 1}; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
