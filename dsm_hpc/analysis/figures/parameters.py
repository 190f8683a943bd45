"""The physical parameters of runs, and how they are written."""

from collections.abc import Sequence
from typing import Any

from dsm_hpc.analysis.results import Results

SYMBOLS = {
    "width": "N",
    "fan_in": "c",
    "depth": "L",
    "train": "M",
    "alpha": r"\alpha",
    "dimension": "D",
    "weights": "",
}


def parameters(results: Results) -> dict[str, Any]:
    """What the state of the student depends on; None where there is no such thing."""
    network, patterns = results.config.network, results.config.patterns
    return {
        "width": network.width,
        "fan_in": network.inputs,
        "depth": network.depth,
        "train": patterns.train,
        "alpha": patterns.train / network.inputs,
        "dimension": getattr(patterns.inputs, "dimension", None),
        "weights": network.weights,
    }


def symbolic(name: str, value: Any) -> str:
    """A parameter in the symbols of the field."""
    return f"{value} weights" if isinstance(value, str) else f"${SYMBOLS[name]}={value:g}$"


def shared(files: Sequence[Results], *more: str) -> str:
    """A title for several runs: the parameters that all of them share."""
    values = [parameters(results) for results in files]
    common = [name for name in SYMBOLS if len({value[name] for value in values}) == 1]
    words = [symbolic(name, values[0][name]) for name in common if values[0][name] is not None]
    return ", ".join([*words, *more])
