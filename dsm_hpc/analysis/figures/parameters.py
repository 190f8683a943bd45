"""The physical parameters of runs, and how they are written."""

from collections.abc import Sequence
from typing import Any

from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.scan import labels
from dsm_hpc.presentation.style import escaped

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


def names(files: Sequence[Results]) -> list[str]:
    """A short name for each file in the symbols of the field, as far as these tell the files apart."""
    values = [parameters(results) for results in files]
    varied = [name for name in SYMBOLS if name != "alpha" and len({value[name] for value in values}) > 1]
    words = [
        ", ".join("iid inputs" if value[name] is None else symbolic(name, value[name]) for name in varied)
        for value in values
    ]
    return words if len(set(words)) == len(files) else [escaped(label) for label in labels(files)]
