"""The input file: YAML -> the points of a job, each with its configuration."""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dsm_hpc.config import MAX_WALKERS, Config, first_repeated
from dsm_hpc.ensemble import walker_count
from dsm_hpc.errors import InputError
from dsm_hpc.validation import validated

MAX_INPUT_BYTES = 1 << 20
MAX_POINTS = 10_000
MAX_SCAN_WALKERS = 2 * MAX_WALKERS
"""Over all points: each is checked before the first one starts, which takes about 2 us per walker."""
MAX_NAME = 200
MAX_VALUES = 30_000
"""Values and keys in a YAML text; reading one takes about 0.1 ms.  The longest ladder has 10 000."""
MAX_NESTING = 32


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
    text = _read_text(path)
    tree = _parse(text, str(path))
    if tree is None:
        raise InputError(f"{path}: is empty")
    if not isinstance(tree, dict):
        raise InputError(f"{path}: an input file is a mapping of keys to values, not a {_kind_of(tree)}")
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"--set {word}: give key=value, for example --set network.depth=8")
        _assign(tree, key, _parse(value, f"--set {word}"), f"--set {word}")
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
    return validated(_parse(text, where), where)


def schema() -> dict[str, Any]:
    """JSON schema of the input file, the scan included."""
    tree = Config.model_json_schema()
    tree["properties"]["scan"] = {
        "type": "object",
        "description": "key paths and the list of values each takes; several keys: their product",
        "additionalProperties": {"type": "array", "minItems": 1},
    }
    return tree


# ---------------------------------------------------------------------------------------------- YAML


class _Loader(yaml.SafeLoader):
    """Safe YAML without its traps: repeated keys, 1e-3 and 1.0e8 read as text, 010 read as 8, tags, and
    aliases, which can blow up a small file into a huge tree."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._nesting = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(
                f"tags are not allowed, as {event.tag!r} in line {event.start_mark.line + 1}"
            )
        self._values += 1
        if self._values > MAX_VALUES:
            raise yaml.YAMLError(f"more than {MAX_VALUES} values")
        if self._nesting > MAX_NESTING:
            raise yaml.YAMLError(f"nested more than {MAX_NESTING} deep")
        self._nesting += 1
        node = super().compose_node(parent, index)
        self._nesting -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.YAMLError(f"key {key!r} in line {key_node.start_mark.line + 1} is not a word")
            if key in seen:
                raise yaml.YAMLError(
                    f"key {key!r} appears twice, again in line {key_node.start_mark.line + 1}"
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 1:30 as 90 and 2026-11-22 as a date; here they are text.
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$") if tag.endswith(":int") else pattern)
        for tag, pattern in resolvers
        if not tag.endswith(":timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def _parse(text: str, where: str) -> Any:
    try:
        tree = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(f"{where}: not readable as YAML: {' '.join(str(error).split())}") from None
    _check_values(tree, where)
    return tree


def _check_values(tree: Any, where: str) -> None:
    """Raises InputError for a number that no array can hold, and for text that cannot be printed."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            _check_values(key, where)
            _check_values(value, f"{where}: {key}")
    elif isinstance(tree, list):
        for value in tree:
            _check_values(value, where)
    elif isinstance(tree, int) and abs(tree) >= 2**63:
        raise InputError(f"{where}: an integer of {tree.bit_length()} bits: allowed are less than 2^63")
    elif isinstance(tree, str) and not is_text(tree):
        raise InputError(f"{where}: {tree!a:.60} is not text: it has characters that are none")


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8: an escape such as `\\ud800` is no character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_INPUT_BYTES:
        raise InputError(f"{path}: larger than {MAX_INPUT_BYTES} bytes, so not an input file")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file (UTF-8)") from None


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
        point = _copy(tree)
        for key, value in values.items():
            _assign(point, key, value, f"{path}: scan")
        chosen = ", ".join(f"{key} = {value!s:.60}" for key, value in values.items())
        yield Point(values, validated(_anchored(point, path.parent), f"{path} at {chosen}"))


def _anchored(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tree with the path of the user's inputs taken from the folder of the input file."""
    match tree:
        case {"patterns": {"inputs": {"path": str(path)} as inputs} as patterns}:
            return tree | {"patterns": patterns | {"inputs": inputs | {"path": str(folder / path)}}}
    return tree


def _assign(tree: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Sets tree[a][b]... for key = 'a.b...'; numbers count list elements from 0."""
    if key.startswith("scan."):  # what is scanned is named by a path of its own
        parents, last = ["scan"], key.removeprefix("scan.")
    else:
        *parents, last = key.split(".")
    place: Any = tree
    for part, parent in zip(parents, ["", *parents], strict=False):
        place = _inside(place, part, {}, f"{where}: {key}: {parent}")
    if isinstance(place, list):
        place[_index(place, last, f"{where}: {key}")] = value
    else:
        place[last] = value


def _inside(place: Any, part: str, default: Any, where: str) -> Any:
    """The mapping or list that stands at `part` of a mapping or list."""
    found = place[_index(place, part, where)] if isinstance(place, list) else place.setdefault(part, default)
    if not isinstance(found, (dict, list)):
        raise InputError(f"{where} {part} is a {_kind_of(found)}, so it has no keys")
    return found


def _index(place: list[Any], part: str, where: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", part) or int(part) >= len(place):
        raise InputError(
            f"{where}: {part} is not the number of a list element: allowed are 0..{len(place) - 1}"
        )
    return int(part)


def _kind_of(value: Any) -> str:
    return {dict: "mapping", list: "list", str: "text", type(None): "empty value"}.get(
        type(value), "single value"
    )


def _file_word(value: Any) -> str:
    """A scanned value as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", str(value)).strip("-")


def _copy(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copy(value) for key, value in tree.items()}
    return [_copy(value) for value in tree] if isinstance(tree, list) else tree
