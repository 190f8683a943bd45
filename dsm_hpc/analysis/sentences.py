"""The statements of `dsm analyze` in words."""

from math import isinf
from typing import Any

from dsm_hpc.presentation.wording import column, in_words, item, number, table, with_error


def statements(beta: dict[str, Any]) -> list[str]:
    """What is said about one temperature: heterogeneity, merging of the starts, teacher against clones."""
    starts = beta["starts"].items()
    return [
        *(_heterogeneity(start, n["heterogeneity"]) for start, n in starts if "heterogeneity" in n),
        *([_merging(beta["merging"])] if "merging" in beta else []),
        *(_exchangeability(start, n, beta["beta"]) for start, n in starts if "exchangeability" in n),
    ]


def loops(counts: dict[str, Any]) -> str:
    """Loop counts and correlations, layer by layer."""
    shared, expected = counts["shared_pairs"], counts["shared_pairs_expected"]
    correlation, source = counts["correlation"], counts["input_correlation"]
    squared = column([source["mean"], *correlation["mean"]], [source["error"], *correlation["error"]])
    rows = [["0", "", "", squared[0]]]
    for layer, words in enumerate(squared[1:]):
        pairs = with_error(shared["mean"][layer], shared["error"][layer], "±", decimals=2)
        rows.append([str(layer + 1), pairs, number(expected["mean"][layer], decimals=2), words])
    heading = item(
        "Loops: pairs of perceptrons of one layer that share two or more inputs, against the mean for random "
        "wiring; mean squared correlation of distinct neurons of the teacher, less 1/M (l = 0: the inputs)."
    )
    return f"{heading}\n{table(['l', 'shared pairs', 'expected', 'squared correlation'], rows, '  ')}"


def _heterogeneity(start: str, statement: dict[str, Any]) -> str:
    return item(
        f"Heterogeneity, {start} start: {statement['verdict']}. Aligned q, paired over samples: "
        f"first layer minus middle {in_words(statement['first'])}, "
        f"last layer minus middle {in_words(statement['last'])}."
    )


def _merging(statement: dict[str, Any]) -> str:
    """The verdict and the difference in every layer."""
    verdict = f"Planted against random start in this window: {statement['verdict']}."
    largest = statement["largest"]
    if largest is not None:
        verdict += f" Aligned q, largest difference at l = {largest['layer']}: {in_words(largest, 'joint ')}."
    layers = statement["layers"]
    differences = column([row["difference"] for row in layers], [row["error"] for row in layers])
    rows = [
        [str(row["layer"]), words, number(row["in_errors"], 1)]
        for row, words in zip(layers, differences, strict=True)
    ]
    return f"{item(verdict)}\n{table(['l', 'planted - random', 'in joint standard errors'], rows, '  ')}"


def _exchangeability(start: str, numbers: dict[str, Any], beta: float) -> str:
    statement = numbers["exchangeability"]
    words = f"Teacher-clone minus clone-clone overlap, {start} start: {statement['verdict']}."
    largest = statement["largest"]
    if largest is not None:
        words += f" Aligned q, paired over samples, largest at l = {largest['layer']}: {in_words(largest)}."
    return item(f"{words} {_expectation(numbers['training_error']['mean'], beta)}")


def _expectation(training_error: float, beta: float) -> str:
    """Whether teacher and student are exchangeable in this ensemble."""
    equal = "Equality is expected in equilibrium at E = 0 (beta = inf, as the labels have no noise)"
    if not isinf(beta):
        return f"{equal}, not at this temperature."
    if training_error > 0:
        return f"{equal}; these students still make errors, so they are not there."
    return f"{equal}; it is necessary, not sufficient."
