"""The tree of plain values in a YAML text, and changes to it by key paths."""

import re
from pathlib import Path
from typing import Any

import yaml

from dsm_hpc.errors import InputError

MAX_INPUT_BYTES = 1 << 20
MAX_VALUES = 30_000
"""Values and keys in a YAML text; reading one takes about 0.1 ms.  The longest ladder has 10 000."""
MAX_NESTING = 32


def changed(text: str, overrides: tuple[str, ...], where: str, example: str) -> dict[str, Any]:
    """The tree of an input file, with its --set words `key.path=value` carried out.

    Raises InputError, naming the file or word and what is allowed; example : a word that would do.
    """
    tree = parse(text, where)
    if tree is None:
        raise InputError(f"{where}: is empty")
    if not isinstance(tree, dict):
        raise InputError(f"{where}: an input file is a mapping of keys to values, not a {_kind_of(tree)}")
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"--set {word}: give key=value, for example --set {example}")
        assign(tree, key, parse(value, f"--set {word}"), f"--set {word}")
    return tree


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


def parse(text: str, where: str) -> Any:
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


def read_text(path: Path) -> str:
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


def assign(tree: dict[str, Any], key: str, value: Any, where: str) -> None:
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


def copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    return [copied(value) for value in tree] if isinstance(tree, list) else tree
