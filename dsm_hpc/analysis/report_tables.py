"""The tables of a report, from the numbers of `dsm analyze`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from dsm_hpc.analysis.derived import CONFIDENCE
from dsm_hpc.analysis.figures.equilibration import outcome_table, sign
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.scan import short, varied
from dsm_hpc.analysis.sentences import ends_in_words
from dsm_hpc.presentation.wording import column, counted, in_words, inputs, number, parameter, with_error

Tree = dict[str, Any]

_PROFILES = {
    "q(l)": "teacher/q_aligned",
    "r(l)": "teacher/r_aligned",
    "r_test(l)": "teacher/r_test_aligned",
    "clones q(l)": "clones/q_aligned",
    "clones r(l)": "clones/r_aligned",
    "raw q(l)": "teacher/q",
    "acceptance": "acceptance",
}
_ERRORS = {"E/(NM)": "training_error", "test error": "test_error"}
_PLACES = {"q(1)": "q_first", "q middle": "q_middle", "q(L)": "q_last"}
_DERIVED = {
    "valley": "depth of the valley of q(l) below its ends",
    "middle_to_ends": "q middle over the mean of q(1) and q(L)",
}
_IN_WORDS = ("start", "verdict", "because", "verdict on the run", "path")


@dataclass(frozen=True)
class Table:
    """One table: words only, so that the page has nothing to compute."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def words(self, column: int) -> bool:
        """Whether a column holds text, to be set to the left and broken into lines."""
        return self.head[column] in _IN_WORDS


def key_numbers(entry: Tree) -> list[tuple[str, str]]:
    """What was run, and what came out at the coldest temperature."""
    rows = [
        ("N, c, L", f"{entry['width']}, {entry['fan_in']}, {entry['depth']}; {entry['weights']} weights"),
        ("M, α = M/c", f"{entry['train']}, {entry['alpha']:g}; {inputs(entry['inputs'])}"),
        (
            "ensemble",
            f"{counted(entry['samples'], 'sample')} × {counted(entry['clones'], 'clone')}, "
            f"{' and '.join(entry['starts'])} start",
        ),
        ("time", _progress(entry)),
    ]
    beta = _coldest(entry)
    if beta is None:
        return rows
    times = entry["window"]
    rows.append(("temperature", f"β = {_beta(beta['beta'])}" + _coldest_of(entry)))
    rows.append(
        (
            "averages over",
            f"{times['first']} ≤ t ≤ {times['last']} ({counted(times['measurements'], 'measurement')})",
        )
    )
    for title, name in (_ERRORS | _PLACES).items():
        for start, numbers in beta["starts"].items():
            rows.append((f"{title}, {start} start", _estimate(numbers[name])))
    for name, title in _DERIVED.items():
        for start, numbers in beta["starts"].items():
            if name in numbers["derived"]:
                rows.append((f"{title}, {start} start", _interval(numbers["derived"][name])))
    return rows


def equilibrium_table(entry: Tree) -> Table | None:
    """Outcome of each criterion and the verdict, layer by layer, with the differences."""
    found = entry["equilibrium"]
    if not found:
        return None
    beta = found["betas"][found["coldest"]]
    starts = list(entry["starts"])
    table = outcome_table(beta, starts)
    criteria: dict[str, list[Any]] = {"planted − random": [layer["starts"] for layer in beta["layers"]]}
    for start in starts:
        criteria[f"teacher-clone − clone-clone, {start}"] = [
            layer["clones"][start] for layer in beta["layers"]
        ]
    for start in starts:
        criteria[f"last two windows, {start}"] = [
            layer["windows"][start]["drift"] for layer in beta["layers"]
        ]
    kept = {title: row for title, row in criteria.items() if any(row)}
    rows = [
        [
            str(layer["layer"]),
            *(_compared(row[place]) for row in kept.values()),
            f"{sign(table['verdict'][place])} {layer['verdict']}",
            "; ".join(layer["reasons"]),
        ]
        for place, layer in enumerate(beta["layers"])
    ]
    note = (
        "Differences in aligned q with standard errors. ✓ agree: within the tolerance "
        f"{found['tolerance']:g}, with an error of at most {found['resolution']:g}; ✗ differ: at the level "
        f"{found['level']:g} of all comparisons together; ? not resolved. " + " ".join(found["remarks"])
    )
    return Table("Equilibrium, layer by layer", ["l", *kept, "verdict", "because"], rows, note)


def mixing_table(entry: Tree) -> Table | None:
    """R-hat and autocorrelation times of every layer, as far as there are any."""
    found = entry["equilibrium"]
    if not found:
        return None
    starts = list(entry["starts"])
    rows = found["rhat"]
    columns = {f"R̂ of clones, {start}": [_spread(row["clones"][start]) for row in rows] for start in starts}
    columns["R̂ of both starts"] = [_spread(row["starts"]) for row in rows]
    times = found["tau"]["layers"]
    for start in starts if times else ():
        columns[f"τ [sweeps], {start}"] = [_time(row[start], "sweeps") for row in times]
        columns[f"independent values, {start}"] = [_time(row[start], "effective") for row in times]
    kept = {title: column for title, column in columns.items() if any(column)}
    if not kept:
        return None
    return Table(
        "Mixing of q(l)",
        ["l", *kept],
        _lines([[str(row["layer"]) for row in rows], *kept.values()]),
        "R̂: median over samples, and the worst in parentheses. τ: integrated autocorrelation time.",
    )


def profile_tables(entry: Tree) -> Iterator[Table]:
    """Overlaps and acceptance of every start at the coldest temperature, layer by layer."""
    beta = _coldest(entry)
    for start, numbers in (beta["starts"] if beta else {}).items():
        profiles = {title: numbers[name] for title, name in _PROFILES.items() if name in numbers}
        errors = ", ".join(f"{title} = {_estimate(numbers[name])}" for title, name in _ERRORS.items())
        columns = [_layers(len(numbers["acceptance"]["mean"])), *map(_column, profiles.values())]
        yield Table(
            f"Profiles, {start} start",
            ["l", *profiles],
            _lines(columns),
            f"{errors}. Overlaps have the symmetries undone (aligned), except where they are called raw.",
        )


def statements(entry: Tree) -> list[str]:
    """Heterogeneity, merging of the starts and exchangeability at the coldest temperature, in words."""
    beta = _coldest(entry)
    if beta is None:
        return []
    words = []
    for start, numbers in beta["starts"].items():
        if "heterogeneity" in numbers:
            words.append(f"Heterogeneity, {start} start: {ends_in_words(numbers['heterogeneity'])}")
    if "merging" in beta:
        words.append(
            f"Planted against random start: {beta['merging']['verdict']}." + _largest(beta["merging"])
        )
    for start, numbers in beta["starts"].items():
        if "exchangeability" in numbers:
            found = numbers["exchangeability"]
            words.append(
                f"Teacher-clone minus clone-clone, {start} start: {found['verdict']}." + _largest(found)
            )
    return words


def ladder_tables(entry: Tree) -> Iterator[Table]:
    """Every temperature; swaps and free energy of a tempered run."""
    if len(entry["betas"]) > 1:
        yield _temperatures(entry)
    if "exchange" not in entry:
        return
    for start, values in entry["exchange"]["starts"].items():
        yield _exchange(entry["exchange"], start, values)
    if entry.get("free_energy"):
        for start, values in entry["free_energy"]["starts"].items():
            yield _free_energy(entry["free_energy"], start, values)


def theory_tables(entry: Tree) -> Iterator[Table]:
    """Deviations from each closure, layer by layer."""
    theory = entry.get("theory")
    if not theory:
        return
    for start, closures in theory["starts"].items():
        head, columns = ["l"], [[str(row["layer"]) for row in next(iter(closures.values()))["q"]]]
        for closure, numbers in closures.items():
            for name in ("q", "r"):
                rows = numbers[name]
                head += [f"{name}, {closure}", "measured less that"]
                columns.append([number(row["predicted"]) for row in rows])
                columns.append([f"{_off(row)} ({number(row['in_errors'], 1)})" for row in rows])
        supported = theory["supports"][start]
        slopes = "; ".join(
            f"{closure} predicts {number(numbers['last_minus_first']['predicted'])}, measured less that "
            f"{in_words(numbers['last_minus_first'])}"
            for closure, numbers in closures.items()
        )
        support = f"The slope supports {supported}. " if supported else ""
        yield Table(
            f"Theory of the dense limit, {start} start",
            head,
            _lines(columns),
            f"{support}q(L) − q(1): {slopes}. In parentheses: in standard errors.",
        )


def loops_table(entry: Tree) -> Table:
    """Loop counts and correlations; l = 0 is the input."""
    loops = entry["loops"]
    pairs, source = loops["shared_pairs"], loops["input_correlation"]
    squared = loops["correlation"]
    columns = [
        _layers(len(pairs["mean"]), first=0),
        ["", *(with_error(*pair, "±", 2) for pair in zip(pairs["mean"], pairs["error"], strict=True))],
        ["", *(number(mean, decimals=2) for mean in loops["shared_pairs_expected"]["mean"])],
        column([source["mean"], *squared["mean"]], [source["error"], *squared["error"]]),
    ]
    return Table(
        "Loops",
        ["l", "pairs with ≥ 2 common inputs", "mean for random wiring", "squared correlation − 1/M"],
        _lines(columns),
    )


def summary_table(files: Sequence[Results], entries: Sequence[Tree]) -> Table:
    """One row per file and start, at the coldest temperature of each."""
    varying = varied(files) or {"path": [str(results.path) for results in files]}
    rows = [
        (place, entry, start, beta["starts"][start])
        for place, entry in enumerate(entries)
        if (beta := _coldest(entry))
        for start in beta["starts"]
    ]
    columns = [[parameter(values[place]) for place, *_ in rows] for values in varying.values()]
    columns.append([start for _, _, start, _ in rows])
    columns += [_column_of([n[name] for *_, n in rows]) for name in (_ERRORS | _PLACES).values()]
    columns.append([verdict(entry) for _, entry, *_ in rows])
    head = [*map(short, varying), "start", *_ERRORS, *_PLACES, "verdict on the run"]
    return Table("Summary", head, _lines(columns))


def verdict(entry: Tree) -> str:
    """The verdict on the run at its coldest temperature."""
    found = entry["equilibrium"]
    return str(found["verdict"]) if found else "nothing has been measured yet"


def because(entry: Tree) -> str:
    """What the verdict rests on."""
    found = entry["equilibrium"]
    return str(found["sentence"]).removeprefix(f"{found['verdict']}: ") if found else ""


# ---------------------------------------------------------------------------------------------- parts


def _temperatures(entry: Tree) -> Table:
    """Errors and overlaps at every temperature."""
    rows = [(beta["beta"], start, n) for beta in entry["betas"] for start, n in beta["starts"].items()]
    columns = [[_beta(beta) for beta, _, _ in rows], [start for _, start, _ in rows]]
    columns += [_column_of([n[name] for _, _, n in rows]) for name in (_ERRORS | _PLACES).values()]
    return Table("Temperatures", ["β", "start", *_ERRORS, *_PLACES], _lines(columns))


def _exchange(exchange: Tree, start: str, values: Tree) -> Table:
    columns = [
        [_beta(beta) for beta in exchange["betas"]],
        [*_column(values["acceptance"]), ""],
        ["0", *_column(values["barrier"])],
        _column(values["round_trips"]),
    ]
    total = with_error(values["barrier"]["mean"][-1], values["barrier"]["error"][-1])
    never = [
        f"Bottleneck between β = {_beta(edge['betas'][0])} and {_beta(edge['betas'][1])}: no swap was "
        f"{edge['never']} in {edge['ladders']} of {counted(edge['of'], 'ladder')}."
        for edge in values["bottlenecks"]
    ]
    note = (
        f"All swaps up to t = {exchange['time']}. Barrier Λ = {total}: about "
        f"{number(values['temperatures'], 0)} temperatures are suggested. Round trips per replica in "
        f"1000 sweeps: {with_error(*(1000 * values['rate'][part] for part in ('mean', 'error')))}."
    )
    return Table(
        f"Exchange of replicas, {start} start",
        ["β", "accepted with next", "Λ(β)", "round trips from here"],
        _lines(columns),
        " ".join([note, *never]),
    )


def _free_energy(numbers: Tree, start: str, values: Tree) -> Table:
    columns = [
        [_beta(beta) for beta in numbers["betas"]],
        *(_column(values[name]) for name in ("energy", "integration", "mbar", "difference")),
    ]
    return Table(
        f"Free energy, {start} start",
        ["β", "E/(NM)", "integration", "MBAR", "difference"],
        _lines(columns),
        f"ln[Z(β)/Z({numbers['reference']:.3g})]/(NcL); both ways hold in equilibrium only.",
    )


def _coldest(entry: Tree) -> Tree | None:
    found: Tree | None = max(entry["betas"], key=lambda beta: float(beta["beta"]), default=None)
    return found


def _coldest_of(entry: Tree) -> str:
    return f", the coldest of {len(entry['betas'])}" if len(entry["betas"]) > 1 else ""


def _progress(entry: Tree) -> str:
    if entry["finished"]:
        return f"{entry['sweeps']} sweeps, finished"
    return f"in progress: {entry['time'] or 0} of {entry['sweeps']} sweeps"


def _compared(one: Tree | None) -> str:
    return "" if one is None else f"{sign(one['outcome'])} {_off(one)}"


def _off(difference: Tree) -> str:
    return with_error(difference["difference"], difference["error"])


def _spread(spread: Tree | None) -> str:
    return "" if spread is None else f"{number(spread['median'], 3)} ({number(spread['worst'], 3)})"


def _time(time: Tree | None, name: str) -> str:
    return "" if time is None else number(time[name], 1)


def _largest(statement: Tree) -> str:
    largest = statement["largest"]
    return f" Largest at l = {largest['layer']}: {in_words(largest)}." if largest else ""


def _beta(beta: float) -> str:
    return "∞" if beta == inf else f"{beta:.4g}"


def _estimate(value: Tree) -> str:
    return with_error(value["mean"], value["error"])


def _interval(value: Tree) -> str:
    """With the error of the jackknife and the interval of the bootstrap."""
    return f"{_estimate(value)}, {CONFIDENCE:.0%} in {number(value['low'])} to {number(value['high'])}"


def _column(values: Tree) -> list[str]:
    return column(values["mean"], values["error"])


def _column_of(values: Sequence[Tree]) -> list[str]:
    return column(*([value[part] for value in values] for part in ("mean", "error")))


def _layers(depth: int, first: int = 1) -> list[str]:
    return [str(layer) for layer in range(first, depth + 1)]


def _lines(columns: Sequence[Sequence[str]]) -> list[list[str]]:
    return [list(line) for line in zip(*columns, strict=True)]
