"""Numbers and parameters as text."""

import textwrap
from math import floor, isfinite, isnan, log10
from typing import Any

WIDTH = 100
MISSING = "n/a"
DECIMALS = 4
MOST_DECIMALS = 8


def number(value: float, decimals: int = DECIMALS) -> str:
    """A number with fixed decimals, without a negative zero; n/a if there is none."""
    return MISSING if isnan(value) else f"{value:z.{decimals}f}"


def with_error(mean: float, error: float, between: str = " ± ", decimals: int | None = None) -> str:
    """Mean and standard error, two digits of the error (at least four decimals) unless told otherwise."""
    if decimals is None:
        decimals = _decimals(error)
    return MISSING if isnan(mean) else f"{number(mean, decimals)}{between}{number(error, decimals)}"


def column(means: list[float], errors: list[float]) -> list[str]:
    """Means with errors for a column of a table: the same number of decimals in every line."""
    decimals = min((_decimals(error) for error in errors if error > 0), default=DECIMALS)
    return [with_error(*pair, "±", min(decimals, 5)) for pair in zip(means, errors, strict=True)]


def _decimals(error: float) -> int:
    """Decimals that show two digits of an error."""
    if not isfinite(error) or error == 0:
        return DECIMALS
    return max(DECIMALS, min(1 - floor(log10(error)), MOST_DECIMALS))


def in_words(difference: dict[str, Any]) -> str:
    """A difference with its error and in standard errors."""
    errors = difference["in_errors"]
    relative = f" ({errors:+z.1f} standard errors)" if not isnan(errors) else ""
    return with_error(difference["difference"], difference["error"]) + relative


def inputs(kind: dict[str, Any]) -> str:
    """How the inputs are drawn."""
    match kind["kind"]:
        case "hidden_manifold":
            return f"hidden manifold inputs, D = {kind['dimension']}"
        case "file":
            return f"inputs from {kind['path']}"
    return "iid inputs"


def parameter(value: Any) -> str:
    """The value of a scanned parameter."""
    if isinstance(value, dict):
        return " ".join(f"{key}={parameter(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(parameter(part) for part in value) + "]"
    return "-" if value is None else str(value)


def counted(count: int, what: str) -> str:
    """1 sample, 2 samples."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def table(titles: list[str], rows: list[list[str]], indent: str = "") -> str:
    """Columns aligned to the right, two blanks apart, or one to fit the width."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) <= WIDTH else " "
    lines = [titles, ["-" * width for width in widths], *rows]
    words = ([word.rjust(width) for word, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(indent + gap.join(line).rstrip() for line in words)


def item(words: str) -> str:
    """A paragraph of a list, broken into lines."""
    return textwrap.fill(words, WIDTH, initial_indent="* ", subsequent_indent="  ")
