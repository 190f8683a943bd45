"""Plain values -> configuration, and what is wrong with them in the words of the input file."""

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import ValidationError

from dsm_hpc.config import Config, Section
from dsm_hpc.errors import InputError


def validated(tree: Any, where: str) -> Config:
    """The configuration that a tree of plain values describes.

    Raises InputError with one line for each thing that is wrong, each beginning with `where`.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        errors = [dict(item) for item in error.errors()]
        # A list whose elements are refused is also called too short: that is no news.
        errors = [e for e in errors if e["type"] != "too_short" or not e["input"] or len(errors) == 1]
        lines = dict.fromkeys(explain(item) for item in errors)
        raise InputError("\n".join(f"{where}: {line}" for line in lines)) from None


def explain(error: dict[str, Any], root: type[Section] = Config) -> str:
    """One pydantic error in the words of the input file; root : the model that refused it."""
    path = [str(part) for part in error["loc"] if str(part) not in _KINDS]
    key = ".".join(path)
    match error["type"]:
        case "extra_forbidden":
            return _explain_unknown(path, root)
        case "missing":
            return f"{key}: required, but not given"
        case "value_error":
            return f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"])
        case "union_tag_not_found":
            chooser, kinds = _chooser(path, root)
            return f"{key}.{chooser}: required, but not given: allowed are {kinds}"
        case "union_tag_invalid":
            chooser, kinds = _chooser(path, root)
            return f"{key}.{chooser}: {error['ctx']['tag']!r} is not known: allowed are {kinds}"
    message = (
        error["msg"]
        .replace("Input should be", "must be")
        .replace("a valid tuple", "a list")
        .replace("a valid dictionary or instance of", "a mapping of keys, the section")
        .replace("Tuple", "the list")
    )
    if key == "network.fan_in":
        message = "must be an integer from 1 to width, or all"
    return f"{key}: {_shown(error['input'])} is not allowed: {message[0].lower()}{message[1:]}"


def _explain_unknown(path: list[str], root: type[Section]) -> str:
    known = _keys_at(path[:-1], root)
    close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    elsewhere = [where for where in _all_keys(root) if where.rpartition(".")[2] == path[-1]]
    if path[-1] in known:  # a key of another kind of the same section
        hint = f"the kind chosen here has no {path[-1]}"
    elif close:
        hint = f"did you mean {'.'.join([*path[:-1], close[0]])}?"
    elif elsewhere:
        hint = f"did you mean {elsewhere[0]}?"
    else:
        hint = f"allowed here are {', '.join(known)}"
    return f"{'.'.join(path)}: unknown key; {hint}"


def _models_at(path: list[str], root: type[Section]) -> list[type[Section]]:
    """The models that may stand at a key path (several where `kind` chooses)."""
    models = [root]
    for part in path:
        found: list[type[Section]] = []
        for model in models:
            if part in model.model_fields:
                found += _sections_in(model.model_fields[part].annotation)
        models = found or (models if part.isdigit() else [])
    return models


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections_in(part)]


def _keys_at(path: list[str], root: type[Section]) -> list[str]:
    keys = dict.fromkeys(key for model in _models_at(path, root) for key in model.model_fields)
    return [*keys, "scan"] if not path else list(keys)


def _all_keys(root: type[Section], path: tuple[str, ...] = ()) -> Iterator[str]:
    for key in _keys_at(list(path), root):
        yield ".".join([*path, key])
        if key != "scan":
            yield from _all_keys(root, (*path, key))


_KINDS = {"iid", "hidden_manifold", "file", "log", "linear", "list", "geometric", "adaptive"} | {
    "weight",
    "billiard",
    "int",
    "constrained-int",
    "literal['all']",
}
"""Words that pydantic puts into a location to say which member of a union it tried."""


def _chooser(path: list[str], root: type[Section]) -> tuple[str, str]:
    """The key that chooses among the models at a path, and what it may be."""
    models = _models_at(path, root)
    chooser = next(key for key in ("kind", "ladder") if key in models[0].model_fields)
    return chooser, ", ".join(get_args(model.model_fields[chooser].annotation)[0] for model in models)


def _shown(value: Any) -> str:
    text = repr(value)
    if value is None:
        return "an empty value"
    return text if len(text) <= 60 else text[:57] + "..."
