"""The input file: YAML -> the points of a job, each with its configuration."""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsm_hpc.config import MAX_WALKERS, Config, first_repeated
from dsm_hpc.ensemble import walker_count
from dsm_hpc.errors import InputError
from dsm_hpc.tree import assign, changed, copied, parse, read_text
from dsm_hpc.validation import validated

MAX_POINTS = 10_000
MAX_SCAN_WALKERS = 2 * MAX_WALKERS
"""Over all points: each is checked before the first one starts, which takes about 2 us per walker."""
MAX_NAME = 200


@dataclass(frozen=True)
class Point:
    """One parameter set of a scan: the values that were set, and the configuration that came out."""

    values: dict[str, Any]
    config: Config

    @property
    def name(self) -> str:
        """File name of the point, without suffix: `depth=2,width=20`."""
        parts = [f"{key.rpartition('.')[2]}={_file_word(value)}" for key, value in self.values.items()]
        return ",".join(parts)


@dataclass(frozen=True)
class Job:
    """An input file: its text and its points (exactly one, with no values, where nothing is scanned)."""

    text: str
    points: tuple[Point, ...]

    @property
    def is_scan(self) -> bool:
        return bool(self.points[0].values)


def load(path: Path, overrides: tuple[str, ...] = ()) -> Job:
    """Reads an input file; `overrides` are `key.path=value` words as given to --set.

    Raises InputError, naming the file or key, the value and what is allowed.
    """
    text = read_text(path)
    tree = changed(text, overrides, str(path), "network.depth=8")
    scan = tree.pop("scan", None)
    points = tuple(_points(tree, scan, path))
    names = [point.name for point in points]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: scan: two points would have the same file name {first_repeated(names)!r}")
    if max(map(len, names)) > MAX_NAME:
        raise InputError(
            f"{path}: scan: file names would be longer than {MAX_NAME} characters; scan fewer keys"
        )
    if sum(walker_count(point.config) for point in points) > MAX_SCAN_WALKERS:
        raise InputError(
            f"{path}: scan: its points have more than {MAX_SCAN_WALKERS} walkers in all; make several of it"
        )
    return Job(text, points)


def parse_resolved(text: str, where: str) -> Config:
    """The configuration of a results file from its `config_resolved` attribute."""
    return validated(parse(text, where), where)


def schema() -> dict[str, Any]:
    """JSON schema of the input file, the scan included."""
    tree = Config.model_json_schema()
    tree["properties"]["scan"] = {
        "type": "object",
        "description": "key paths and the list of values each takes; several keys: their product",
        "additionalProperties": {"type": "array", "minItems": 1},
    }
    return tree


# ---------------------------------------------------------------------------------------------- scan


def _points(tree: dict[str, Any], scan: Any, path: Path) -> Iterator[Point]:
    if scan is None:
        yield Point({}, validated(_anchored(tree, path.parent), str(path)))
        return
    if not isinstance(scan, dict) or not scan:
        raise InputError(f"{path}: scan: give key paths and lists, for example {{network.depth: [2, 4]}}")
    for key, values in scan.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: scan.{key}: {values!r:.60} is not a list of values")
    if math.prod(len(values) for values in scan.values()) > MAX_POINTS:
        raise InputError(f"{path}: scan: more than {MAX_POINTS} points")
    for combination in itertools.product(*scan.values()):
        values = dict(zip(scan, combination, strict=True))
        point = copied(tree)
        for key, value in values.items():
            assign(point, key, value, f"{path}: scan")
        chosen = ", ".join(f"{key} = {value!s:.60}" for key, value in values.items())
        yield Point(values, validated(_anchored(point, path.parent), f"{path} at {chosen}"))


def _anchored(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tree with the path of the user's inputs taken from the folder of the input file."""
    match tree:
        case {"patterns": {"inputs": {"path": str(path)} as inputs} as patterns}:
            return tree | {"patterns": patterns | {"inputs": inputs | {"path": str(folder / path)}}}
    return tree


def _file_word(value: Any) -> str:
    """A scanned value as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", str(value)).strip("-")
