"""The verb `analyze`: tables and statements of one or several results files."""

from pathlib import Path
from typing import Any

from dsm_hpc.analysis.closures import against_theory, closures_text
from dsm_hpc.analysis.exchange import exchange_text
from dsm_hpc.analysis.free_energy import free_energy_text
from dsm_hpc.analysis.numbers import file_numbers, plain
from dsm_hpc.analysis.results import Results, files_of, load
from dsm_hpc.analysis.scan import short, varied
from dsm_hpc.analysis.sentences import equilibrium, loops, statements
from dsm_hpc.presentation.wording import WIDTH, column, counted, inputs, parameter, table, with_error

_PROFILE_COLUMNS = {
    "q": "teacher/q_aligned",
    "r": "teacher/r_aligned",
    "r_test": "teacher/r_test_aligned",
    "clones q": "clones/q_aligned",
    "clones r": "clones/r_aligned",
    "acceptance": "acceptance",
}
_SUMMARY_COLUMNS = {
    "E/(NM)": "training_error",
    "test error": "test_error",
    "q first": "q_first",
    "q middle": "q_middle",
    "q last": "q_last",
}


def analyze(paths: list[Path], closures: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    """Tables with error bars, and every number in them as strict JSON values.

    closures : of the theory that the data are compared with.
    Raises InputError if a file is not a results file, or theory does not describe it.
    """
    files = [load(path) for path in files_of(paths)]
    numbers: dict[str, Any] = {"files": [_numbers(results, closures) for results in files]}
    text = [_file(entry) for entry in numbers["files"]]
    if len(files) > 1:
        numbers["summary"] = _summary(files, numbers["files"])
        if numbers["summary"]["rows"]:
            text.append(_summary_table(numbers["summary"]))
    return "\n\n".join(text), plain(numbers)


def _numbers(results: Results, closures: tuple[str, ...]) -> dict[str, Any]:
    theory = {"theory": against_theory(results, closures)} if closures else {}
    return {**file_numbers(results), **theory}


# ---------------------------------------------------------------------------------------------- one file


def _file(entry: dict[str, Any]) -> str:
    if not entry["betas"]:
        return "\n".join([*_heading(entry), "  nothing has been measured yet"])
    blocks = ["\n".join([*_heading(entry), "", equilibrium(entry["equilibrium"])])]
    blocks += [_beta(entry, beta) for beta in entry["betas"]]
    if "exchange" in entry:
        blocks += [exchange_text(entry["exchange"]), free_energy_text(entry["free_energy"])]
    if entry.get("theory"):
        blocks.append(closures_text(entry["theory"]))
    return "\n\n".join([*blocks, loops(entry["loops"])])


def _heading(entry: dict[str, Any]) -> list[str]:
    title = f"{entry['name']} ({entry['path']})"
    return [
        title,
        "=" * min(len(title), WIDTH),
        f"  {_progress(entry)}; {counted(entry['samples'], 'sample')} x {counted(entry['clones'], 'clone')}",
        f"  N = {entry['width']}, c = {entry['fan_in']}, L = {entry['depth']}, {entry['weights']} weights; "
        f"M = {entry['train']}, alpha = M/c = {entry['alpha']:g}, {inputs(entry['inputs'])}",
    ]


def _progress(entry: dict[str, Any]) -> str:
    if entry["finished"]:
        return f"finished, t = {entry['sweeps']} sweeps"
    return f"in progress, t = {entry['time'] or 0} of {entry['sweeps']} sweeps"


def _beta(entry: dict[str, Any], beta: dict[str, Any]) -> str:
    """Everything about one temperature of one file."""
    times = entry["window"]
    heading = [
        *_heading(entry),
        f"  beta = {beta['beta']:g}; averages over {times['first']} <= t <= {times['last']} "
        f"({counted(times['measurements'], 'measurement')}), then over samples: mean ± standard error",
    ]
    tables = [_start_table(start, numbers) for start, numbers in beta["starts"].items()]
    return "\n".join([*heading, "", *tables, *statements(beta)])


def _start_table(start: str, numbers: dict[str, Any]) -> str:
    """Errors of one start, and its profiles layer by layer."""
    profiles = {title: numbers[name] for title, name in _PROFILE_COLUMNS.items() if name in numbers}
    layers = [str(layer + 1) for layer in range(len(numbers["acceptance"]["mean"]))]
    columns = [layers, *(column(profile["mean"], profile["error"]) for profile in profiles.values())]
    errors, test = numbers["training_error"], numbers["test_error"]
    return "\n".join(
        [
            f"{start} start ({counted(errors['samples'], 'sample')}): training error E/(NM) = "
            f"{with_error(errors['mean'], errors['error'])}, "
            f"test error = {with_error(test['mean'], test['error'])}",
            "aligned overlaps of student and teacher" + (", of two clones" if "clones q" in profiles else ""),
            table(["l", *profiles], _lines(columns)),
            "",
        ]
    )


# ---------------------------------------------------------------------------------------------- several files


def _summary(files: list[Results], entries: list[dict[str, Any]]) -> dict[str, Any]:
    """One row per file, temperature and start; none for a file in which nothing has been measured yet."""
    parameters = varied(files)
    rows = [
        {
            "path": entry["path"],
            **{key: values[place] for key, values in parameters.items()},
            "beta": beta["beta"],
            "start": start,
            **{name: numbers[name] for name in _SUMMARY_COLUMNS.values()},
            "verdict": verdict["verdict"],
        }
        for place, entry in enumerate(entries)
        if entry["betas"]
        for beta, verdict in zip(entry["betas"], entry["equilibrium"]["betas"], strict=True)
        for start, numbers in beta["starts"].items()
    ]
    return {"parameters": list(parameters), "rows": rows}


def _summary_table(summary: dict[str, Any]) -> str:
    keys = summary["parameters"] or ["path"]
    if len({row["beta"] for row in summary["rows"]}) > 1:
        keys = [*keys, "beta"]
    columns = [[parameter(row[key]) for row in summary["rows"]] for key in [*keys, "start"]]
    for name in _SUMMARY_COLUMNS.values():
        values = [row[name] for row in summary["rows"]]
        columns.append(column([value["mean"] for value in values], [value["error"] for value in values]))
    columns.append([row["verdict"] for row in summary["rows"]])
    title = "Summary: aligned q of student and teacher in the first, middle and last layer"
    titles = [*map(short, keys), "start", *_SUMMARY_COLUMNS, "verdict"]
    return "\n".join([title, "=" * len(title), table(titles, _lines(columns))])


def _lines(columns: list[list[str]]) -> list[list[str]]:
    """Columns of a table as its lines."""
    return [list(line) for line in zip(*columns, strict=True)]
