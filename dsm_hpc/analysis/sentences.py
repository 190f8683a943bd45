"""The statements of `dsm analyze` in words."""

import textwrap
from math import isinf, isnan
from typing import Any

from dsm_hpc.presentation.wording import MISSING, WIDTH, column, in_words, item, number, table, with_error


def statements(beta: dict[str, Any]) -> list[str]:
    """What is said about one temperature: heterogeneity, merging of the starts, teacher against clones."""
    starts = beta["starts"].items()
    return [
        *(_derived(start, n["derived"]) for start, n in starts),
        *(_heterogeneity(start, n["heterogeneity"]) for start, n in starts if "heterogeneity" in n),
        *([_merging(beta["merging"])] if "merging" in beta else []),
        *(_exchangeability(start, n, beta["beta"]) for start, n in starts if "exchangeability" in n),
    ]


def equilibrium(tree: dict[str, Any]) -> str:
    """The verdict with its reasons, the three criteria layer by layer, and remarks on tau and R-hat."""
    beta = tree["betas"][tree["coldest"]]
    titles = ["l", "starts", "clones", "windows", "R-hat", "tau", "verdict"]
    criteria = [
        _worse([[layer["starts"]] for layer in beta["layers"]]),
        _worse([list(layer["clones"].values()) for layer in beta["layers"]]),
        _worse([[window["drift"] for window in layer["windows"].values()] for layer in beta["layers"]]),
    ]
    mixing = [_rhat(row) for row in tree["rhat"]], [_tau(row) for row in tree["tau"]["layers"]]
    rows = [
        [
            str(layer["layer"]),
            *(words[place] for words in criteria),
            mixing[0][place],
            mixing[1][place] if mixing[1] else MISSING,
            layer["verdict"],
        ]
        for place, layer in enumerate(beta["layers"])
    ]
    legend = (
        "Differences of aligned q, paired over samples; of two starts, the one that is further off. "
        "starts: planted minus random. clones: teacher-clone minus clone-clone, at E = 0. "
        "windows: the last half of the run minus the quarter before it. "
        f"!: they differ (at the level of {100 * tree['level']:g} % for all together); "
        f"?: not resolved (error above {tree['resolution']:g}, or difference above {tree['tolerance']:g}). "
        "R-hat: of the chains of all starts, median over samples. "
        "tau: autocorrelation time of q in sweeps, the longer one of the starts."
    )
    return "\n".join(
        [
            item(f"Equilibrium at beta = {beta['beta']:g}: {tree['sentence']}."),
            table(titles, rows, "  "),
            textwrap.fill(legend, WIDTH, initial_indent="  ", subsequent_indent="  "),
            *_alone(beta),
            *_other_temperatures(tree),
            *map(item, tree["remarks"]),
        ]
    )


def _worse(comparisons: list[list[dict[str, Any] | None]]) -> list[str]:
    """For each layer the comparison that is furthest off, as a column with its mark."""
    worst = [
        max((one for one in layer if one is not None), key=_badness, default=None) for layer in comparisons
    ]
    known = [one for one in worst if one is not None]
    words = iter(column([one["difference"] for one in known], [one["error"] for one in known]))
    return [MISSING if one is None else next(words) + _MARKS[one["outcome"]] for one in worst]


_MARKS = {"agree": " ", "unresolved": "?", "differ": "!"}


def _badness(comparison: dict[str, Any]) -> tuple[int, float]:
    size = abs(comparison["in_errors"])
    return list(_MARKS).index(comparison["outcome"]), 0.0 if isnan(size) else size


def _rhat(row: dict[str, Any]) -> str:
    found = [row["starts"]] if row["starts"] else [one for one in row["clones"].values() if one]
    return number(found[0]["median"], 3) if found else MISSING


def _tau(row: dict[str, Any]) -> str:
    """The longest time, marked where the window is too short for it."""
    found = [one for key, one in row.items() if key != "layer" and one and not isnan(one["sweeps"])]
    if not found:
        return MISSING
    longest = max(found, key=lambda one: float(one["sweeps"]))
    return f"{'' if longest['enough'] else '>'}{longest['sweeps']:.4g}"


def _alone(beta: dict[str, Any]) -> list[str]:
    """What each of two starts is by itself, where that says more than the verdict."""
    starts = beta["alone"]
    if len(starts) < 2 or set(starts.values()) <= {beta["verdict"]}:
        return []
    words = "; ".join(f"{start} start: {verdict}" for start, verdict in starts.items())
    return [item(f"Each start by itself, by its clones and windows only: {words}.")]


def _other_temperatures(tree: dict[str, Any]) -> list[str]:
    """The verdicts on the other temperatures."""
    betas: dict[str, list[str]] = {}
    for place, beta in enumerate(tree["betas"]):
        if place != tree["coldest"]:
            betas.setdefault(beta["verdict"], []).append(f"{beta['beta']:.4g}")
    if not betas:
        return []
    words = "; ".join(f"{verdict} at beta = {', '.join(values)}" for verdict, values in betas.items())
    return [item(f"The other temperatures: {words}.")]


def _derived(start: str, numbers: dict[str, Any]) -> str:
    """Quantities with the jackknife's error and the bootstrap's interval."""
    names = {
        "eps_g": "eps_g = (1 - r_test(L))/2",
        "valley": "depth of the valley, ends minus lowest q",
        "middle_to_ends": "q of the middle / q of the ends",
    }
    words = [
        f"{words} = {with_error(one['mean'], one['error'])} [{number(one['low'])}, {number(one['high'])}]"
        for name, words in names.items()
        if (one := numbers.get(name))
    ]
    return item(f"Derived, {start} start (jackknife error, 95 % bootstrap interval): {'; '.join(words)}.")


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
    return item(f"Heterogeneity, {start} start: {ends_in_words(statement)}")


def ends_in_words(statement: dict[str, Any]) -> str:
    """The verdict on heterogeneity and what it rests on."""
    as_it_stands, learnt = _both_ends(statement), statement["learnt"]
    if learnt is None:
        return (
            f"{statement['verdict']}. Aligned q, paired over samples: {as_it_stands}. Alignment alone lifts "
            "the first layers: without a random start in the run it is not known by how much."
        )
    return (
        f"{statement['verdict']}. Aligned q less that of students that have learnt nothing (random start at "
        f"t = 0, lifted by alignment alone), paired over samples: {_both_ends(learnt)}. Aligned q as it "
        f"stands: {as_it_stands}."
    )


def _both_ends(ends: dict[str, Any]) -> str:
    first, last = in_words(ends["first"]), in_words(ends["last"])
    return f"first layer minus middle {first}, last layer minus middle {last}"


def _merging(statement: dict[str, Any]) -> str:
    """The verdict and the difference in every layer."""
    verdict = f"Planted against random start in this window: {statement['verdict']}."
    largest = statement["largest"]
    if largest is not None:
        words = in_words(largest)
        verdict += f" Aligned q, paired over samples, largest at l = {largest['layer']}: {words}."
    layers = statement["layers"]
    differences = column([row["difference"] for row in layers], [row["error"] for row in layers])
    rows = [
        [str(row["layer"]), words, number(row["in_errors"], 1)]
        for row, words in zip(layers, differences, strict=True)
    ]
    return f"{item(verdict)}\n{table(['l', 'planted - random', 'in standard errors'], rows, '  ')}"


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
