"""From the runs of `make results` to the page docs/results.md, its figures, and docs/results_numbers.json.

    .venv/bin/python tools/results.py          # all three, from results/claims/
    .venv/bin/python tools/results.py page     # the page alone, from the numbers of last time

The text of the page stands in tools/results_page.md; every number and verdict in it is put in from here.
"""

import json
import os
import re
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from shlex import quote
from typing import Any

TOP = Path(__file__).resolve().parent.parent
TEMPLATE, PAGE = TOP / "tools/results_page.md", TOP / "docs/results.md"
NUMBERS, FIGURES_FOLDER = TOP / "docs/results_numbers.json", TOP / "docs/figures"
RUNS = Path("results/claims")
"""From the top folder, as in the commands that the page shows."""

THEORY = ("cavity", "dense_limit")
SIGNIFICANT = 2.0
"""Standard errors that every difference of a claim has to exceed."""
COLOURS = 96
"""Of a figure in the repository; enough for lines and text, at a quarter of the bytes."""

Tree = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One command: an input, where its results go, and what is changed in the input."""

    input: str
    output: str
    changes: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        changes = "".join(f" --set {quote(change)}" for change in self.changes)
        return f"mpirun -n 2 dsm run {self.input} -o {RUNS}/{self.output}{changes}"

    def files(self) -> list[Path]:
        """The results file, or those of the scan in the order of its points."""
        if self.output.endswith(".h5"):
            return [RUNS / self.output]
        return [RUNS / self.output / f"{name}.h5" for name in _points(TOP / self.input)]


RUN = {
    "profile": Run("inputs/results/profile.yaml", "profile.h5"),
    "unlearnt": Run(
        "inputs/results/profile.yaml",
        "profile_unlearnt.h5",
        ("schedule.sweeps=0", "ensemble.clones=20", "ensemble.starts=[random]"),
    ),
    "merging": Run("inputs/results/merging.yaml", "merging.h5"),
    "short": Run("inputs/results/merging.yaml", "merging_short.h5", ("schedule.sweeps=500",)),
    "depth": Run("inputs/depth_scan.yaml", "depth_scan"),
    "width": Run("inputs/width_scan.yaml", "width_scan"),
    "dimension": Run("inputs/effective_dimension.yaml", "effective_dimension"),
    "theory": Run("inputs/results/theory.yaml", "theory"),
}


@dataclass(frozen=True)
class Drawing:
    """One figure: a kind of `dsm plot` of the files of a run, or of those of them that are named."""

    kind: str
    run: str
    only: str = "*"
    theory: bool = False

    def files(self) -> list[Path]:
        return [path for path in RUN[self.run].files() if path.match(f"{self.only}.h5")]

    def command(self, name: str) -> str:
        run = RUN[self.run]
        paths = f"{RUNS}/{run.output}"
        if self.only != "*":
            paths += f"/{self.only}.h5"
        theory = f" --theory {','.join(THEORY)}" if self.theory else ""
        return f"dsm plot {paths} --kind {self.kind}{theory} -o {figure(name).relative_to(TOP)}"


DRAWINGS = {
    "profile": Drawing("profile", "profile"),
    "depth": Drawing("generalization", "depth", theory=True),
    "width": Drawing("generalization", "width"),
    "width_profile": Drawing("profile", "width"),
    "dimension": Drawing("generalization", "dimension"),
    "dimension_profile": Drawing("profile", "dimension"),
    "merging": Drawing("relaxation", "merging"),
    "equilibration": Drawing("equilibration", "merging"),
    "equilibration_short": Drawing("equilibration", "short"),
    "theory": Drawing("profile", "theory", only="depth=2,train=20", theory=True),
    "theory_deep": Drawing("profile", "theory", only="depth=3,train=30", theory=True),
}


def figure(name: str) -> Path:
    return FIGURES_FOLDER / f"results_{name}.png"


def _points(path: Path) -> list[str]:
    """Names of the points of a scan."""
    from dsm_hpc.inputfile import load

    return [point.name for point in load(path).points]


# ---------------------------------------------------------------------------------------------- numbers


def collect() -> Tree:
    """What the page needs of every run: from `dsm analyze`, and the rise of r_test from the samples."""
    numbers: Tree = {"runs": {}, "files": {}}
    for name, run in RUN.items():
        numbers["runs"][name] = _run(run)
        if name != "unlearnt":
            closures = THEORY if name in ("depth", "theory") else ()
            numbers["files"][name] = [_entry(path, closures, _base(name, path)) for path in run.files()]
    return numbers


def _run(run: Run) -> Tree:
    """How long a run took, by the clock, and on how many ranks."""
    from dsm_hpc.analysis.results import load

    made = [load(path).provenance for path in run.files()]
    return {"points": len(made), "ranks": made[0]["ranks"], "seconds": sum(map(_seconds, made))}


def _seconds(provenance: Tree) -> float:
    from datetime import datetime

    start, end = (datetime.fromisoformat(provenance[key]) for key in ("start", "end"))
    return (end - start).total_seconds()


def _base(name: str, path: Path) -> Path:
    """The file with the students that have learnt nothing: of the profile there is one with many."""
    return RUN["unlearnt"].files()[0] if name == "profile" else path


def _entry(path: Path, closures: tuple[str, ...], base: Path) -> Tree:
    """One file, as far as the page needs it.  base : where q of students that have learnt nothing is taken
    from."""
    from dsm_hpc.analysis.tables import analyze

    _, numbers = analyze([path], closures)
    told = numbers["files"][0]
    beta, equilibrium = told["betas"][0], told["equilibrium"]
    kept = ("width", "fan_in", "depth", "train", "alpha", "inputs", "samples", "clones", "sweeps", "finished")
    entry = {key: told[key] for key in kept}
    entry |= {"verdict": equilibrium["verdict"], "sentence": equilibrium["sentence"]}
    entry["between_starts"] = [layer["starts"] for layer in equilibrium["betas"][0]["layers"]]
    entry["unlearnt"] = _unlearnt(base)
    entry["starts"] = {
        start: _start(path, base, start, of, equilibrium["betas"][0]["errors"][start])
        for start, of in beta["starts"].items()
    }
    if closures:
        entry["theory"] = {
            closure: _predicted(told["theory"]["starts"]["random"][closure]) for closure in closures
        }
    return entry


def _predicted(told: Tree) -> Tree:
    """A closure's overlaps and test error, and the slope that was measured, of the random start."""
    return {
        "q": [row["predicted"] for row in told["q"]],
        "test_error": told["test_error"],
        "last_minus_first": told["last_minus_first"],
    }


def _start(path: Path, base: Path, start: str, told: Tree, errors: Tree) -> Tree:
    contrasts = {key: told["heterogeneity"][key] for key in ("first", "last") if "heterogeneity" in told}
    contrasts |= {f"{key}_learnt": value for key, value in _learnt_ends(path, base, start).items()}
    return {
        "q": told["teacher/q_aligned"],
        "eps_g": told["test_error"],
        "wrong": errors["wrong"],
        "students": errors["students"],
        "rise": _rise(path, start),
        **contrasts,
    }


def _unlearnt(path: Path) -> Tree:
    from dsm_hpc.analysis.results import load
    from dsm_hpc.analysis.statistics import estimate, unlearnt

    value = estimate(unlearnt(load(path), "teacher/q_aligned"))
    return {"mean": value.mean.values.tolist(), "error": value.error.values.tolist()}


def _learnt_ends(path: Path, base: Path, start: str) -> Tree:
    """The ends minus the middle, of q less what alignment alone gives."""
    from dsm_hpc.analysis.measured import measured_window
    from dsm_hpc.analysis.results import load
    from dsm_hpc.analysis.statistics import ends_above_middle, unlearnt, windowed

    results = load(path)
    overlap = windowed(results, "teacher/q_aligned", measured_window(results)).isel(beta=0).sel(start=start)
    if overlap.sizes["layer"] < 3:
        return {}
    ends = ends_above_middle(overlap - unlearnt(load(base), "teacher/q_aligned"))
    return {end: {"difference": float(of.mean), "error": float(of.error)} for end, of in ends.items()}


def _rise(path: Path, start: str) -> Tree | None:
    """r_test in the last layer minus the middle, paired over samples: above 0 where it rises again."""
    from dsm_hpc.analysis.measured import measured_window
    from dsm_hpc.analysis.results import load
    from dsm_hpc.analysis.statistics import contrast, middle, windowed

    results = load(path)
    overlap = (
        windowed(results, "teacher/r_test_aligned", measured_window(results)).isel(beta=0).sel(start=start)
    )
    if overlap.sizes["layer"] < 3:
        return None
    rise = contrast(overlap.isel(layer=-1, drop=True), middle(overlap))
    return {"difference": float(rise.mean), "error": float(rise.error)}


# ---------------------------------------------------------------------------------------------- claims


@dataclass(frozen=True)
class Difference:
    """One of the differences that a claim says to be positive."""

    what: str
    value: float
    error: float

    @property
    def in_errors(self) -> float:
        return self.value / self.error if self.error else float("nan")


def claims(numbers: Tree) -> dict[str, list[Difference]]:
    """The differences that each claim says to be positive."""
    files = numbers["files"]
    return {
        "a": _ends(files["profile"][0]),
        "b_narrow": _below_half([entry for entry in files["depth"] if entry["width"] == 10]),
        "b_wide": _below_half([entry for entry in files["depth"] if entry["width"] == 20]),
        "c_width": _gain(files["width"], "width"),
        "c_dimension": _gain(files["dimension"], "dimension"),
        "c_rise_width": _rises(files["width"][:1]),
        "c_rise_dimension": _rises(files["dimension"][:1]),
        "e": [_slope(entry) for entry in files["theory"]],
    }


def verdict(differences: Sequence[Difference]) -> str:
    """In one word: supported if all differences are positive by SIGNIFICANT standard errors."""
    sizes = [difference.in_errors for difference in differences]
    if any(size < -SIGNIFICANT for size in sizes):
        return "not supported"
    if all(size > SIGNIFICANT for size in sizes):
        return "supported"
    return "cannot be judged"


def _ends(entry: Tree) -> list[Difference]:
    """Of q less what alignment alone gives."""
    return [
        Difference(f"{start} start: {end} layer minus middle", of["difference"], of["error"])
        for start, told in entry["starts"].items()
        for end in ("first", "last")
        if (of := told[f"{end}_learnt"])
    ]


def _below_half(entries: list[Tree]) -> list[Difference]:
    return [
        Difference(
            f"L = {entry['depth']}, {start} start: 1/2 minus eps_g",
            0.5 - told["eps_g"]["mean"],
            told["eps_g"]["error"],
        )
        for entry in entries
        for start, told in entry["starts"].items()
    ]


def _gain(entries: list[Tree], name: str) -> list[Difference]:
    """eps_g at the largest size minus that at the smallest, for each pair of starts: the two starts enclose
    the equilibrium value where they have not met."""
    small, large = entries[0], entries[-1]
    return [
        Difference(
            f"{_value(large, name)}, {of_large} start, minus {_value(small, name)}, {of_small} start",
            large["starts"][of_large]["eps_g"]["mean"] - small["starts"][of_small]["eps_g"]["mean"],
            _joint(large["starts"][of_large]["eps_g"], small["starts"][of_small]["eps_g"]),
        )
        for of_large, of_small in (("planted", "planted"), ("random", "random"), ("planted", "random"))
    ]


def _rises(entries: list[Tree]) -> list[Difference]:
    return [
        Difference(
            f"{_size(entry)}, {start} start: r_test(L) minus middle", rise["difference"], rise["error"]
        )
        for entry in entries
        for start, told in entry["starts"].items()
        if (rise := told["rise"])
    ]


def _slope(entry: Tree) -> Difference:
    """q(L) - q(1): 0 in dense_limit.  Alignment adds to q(1) and nothing to q(L), so this is too small if
    anything."""
    slope = _closure(entry, "cavity")["last_minus_first"]
    what = f"L = {entry['depth']}, α = {entry['alpha']:g}: q(L) minus q(1)"
    return Difference(what, slope["measured"], slope["error"])


def _joint(a: Tree, b: Tree) -> float:
    return float((a["error"] ** 2 + b["error"] ** 2) ** 0.5)


def _size(entry: Tree) -> str:
    return (
        f"N = {entry['width']}, {_inputs(entry)}"
        if entry["inputs"]["kind"] != "iid"
        else f"N = {entry['width']}"
    )


def _inputs(entry: Tree) -> str:
    return "independent" if entry["inputs"]["kind"] == "iid" else f"D = {entry['inputs']['dimension']}"


def _value(entry: Tree, name: str) -> str:
    return f"N = {entry['width']}" if name == "width" else _inputs(entry)


# ---------------------------------------------------------------------------------------------- page


def page(numbers: Tree) -> str:
    """docs/results.md.  Raises KeyError for a placeholder in the template that has no words."""
    words = placeholders(numbers)
    return re.sub(r"\{\{(\w+)\}\}", lambda match: words[match[1]], TEMPLATE.read_text(encoding="utf-8"))


def placeholders(numbers: Tree) -> dict[str, str]:
    """What stands for {{name}} in the template."""
    files, made = numbers["files"], claims(numbers)
    words = {f"run_{name}": run.command for name, run in RUN.items()}
    words |= {f"plot_{name}": drawing.command(name) for name, drawing in DRAWINGS.items()}
    words |= {f"figure_{name}": os.path.relpath(figure(name), PAGE.parent) for name in DRAWINGS}
    words |= {f"verdict_{name}": f"**{verdict(made[name])}**" for name in made}
    words |= {f"worst_{name}": _worst(made[name]) for name in made}
    words |= {f"table_{name}": _differences(made[name]) for name in ("a", "c_width", "c_dimension")}
    words |= {
        f"sentence_{name}": f"“{files[name][0]['sentence']}”" for name in ("profile", "merging", "short")
    }
    words["table_profile"] = _profile(files["profile"][0])
    words["plain_a"] = _plain(files["profile"][0])
    words["first_d"] = _first(files["merging"][0])
    words["table_depth"] = _errors_table(files["depth"], [("N", "width"), ("L", "depth")], theory=True)
    words["table_width"] = _errors_table(files["width"], [("N", "width")], rise=True)
    words["table_dimension"] = _errors_table(files["dimension"], [("D", "dimension")], rise=True)
    words["table_theory"] = _theory(files["theory"])
    words["table_merging"] = _merging(files["merging"][0], files["short"][0])
    words["verdict_d"] = f"**{_merged(files['merging'][0], files['short'][0])}**"
    words["verdict_e_values"] = f"**{_agreement(files['theory'])}**"
    words["reached"] = _reached(files["theory"])
    words["runs"] = _runs_table(numbers["runs"])
    return words


def _merged(long: Tree, short: Tree) -> str:
    """Claim (d): the long run is in equilibrium and the short one is not."""
    told = (long["verdict"], short["verdict"])
    if told == ("equilibrated", "not equilibrated"):
        return "supported"
    return "not supported" if long["verdict"] == "not equilibrated" else "cannot be judged"


def _agreement(entries: list[Tree]) -> str:
    """Claim (e) in numbers: one closure is within reach in every layer of every point."""
    reached = [[one for entry in entries for one in _within(entry, closure)] for closure in THEORY]
    return "supported" if any(map(all, reached)) else "not supported"


def _within(entry: Tree, closure: str) -> list[bool]:
    """Per layer, whether the prediction lies between q - q₀ of the lower start and q of the higher one, or
    less than SIGNIFICANT standard errors outside."""
    starts = (_pairs(entry["starts"][start]["q"]) for start in ("planted", "random"))
    layers = zip(_closure(entry, closure)["q"], *starts, _pairs(entry["unlearnt"]), strict=True)
    return [
        min(q - max(base, 0.0) - SIGNIFICANT * (error**2 + of_base**2) ** 0.5 for q, error in measured)
        <= value
        <= max(q + SIGNIFICANT * error for q, error in measured)
        for value, *measured, (base, of_base) in layers
    ]


def _reached(entries: list[Tree]) -> str:
    """In how many layers each closure is within reach."""
    words = []
    for closure in THEORY:
        inside = [one for entry in entries for one in _within(entry, closure)]
        words.append(f"`{closure}` in {sum(inside)} of {len(inside)}")
    return ", ".join(words)


def _closure(entry: Tree, closure: str) -> Tree:
    told: Tree = entry["theory"][closure]
    return told


def _worst(differences: Sequence[Difference]) -> str:
    """The difference that speaks least for the claim."""
    least = min(differences, key=lambda difference: difference.in_errors)
    return f"{_number(least.value, least.error)} ({least.in_errors:+.1f} standard errors; {least.what})"


def _differences(differences: Sequence[Difference]) -> str:
    rows = [[d.what, _number(d.value, d.error), f"{d.in_errors:+.1f}"] for d in differences]
    return _table(["difference", "value", "in standard errors"], rows)


def _profile(entry: Tree) -> str:
    """q(l) of both starts, and what alignment alone gives."""
    planted, random = (_pairs(entry["starts"][start]["q"]) for start in ("planted", "random"))
    columns = zip(planted, random, _pairs(entry["unlearnt"]), strict=True)
    rows = [[str(layer), *(_number(*pair) for pair in pairs)] for layer, pairs in enumerate(columns, 1)]
    return _table(["l", "q planted", "q random", "q₀"], rows)


def _plain(entry: Tree) -> str:
    """The differences of (a) as `dsm analyze` prints them, q₀ included."""
    words = [
        f"{start} start {_signed(told['first'])} and {_signed(told['last'])}"
        for start, told in entry["starts"].items()
    ]
    return "; ".join(words)


def _first(entry: Tree) -> str:
    """First layer minus middle of q less what alignment alone gives."""
    return ", ".join(f"{_signed(told['first_learnt'])} ({start})" for start, told in entry["starts"].items())


def _errors_table(
    entries: list[Tree], keys: list[tuple[str, str]], theory: bool = False, rise: bool = False
) -> str:
    """eps_g of both starts, in standard errors from 1/2, and the verdict on equilibrium."""
    titles = [title for title, _ in keys] + ["ε_g planted", "ε_g random"]
    titles += ["(1/2 − ε_g) / error", *THEORY] if theory else []
    titles += ["r_test(L) − middle, planted", "random"] if rise else []
    rows = []
    for entry in entries:
        told = entry["starts"]
        errors = [told[start]["eps_g"] for start in ("planted", "random")]
        row = [_inputs(entry) if key == "dimension" else str(entry[key]) for _, key in keys]
        row += [_number(error["mean"], error["error"]) for error in errors]
        if theory:
            row.append(", ".join(f"{(0.5 - error['mean']) / error['error']:.1f}" for error in errors))
            row += [f"{_closure(entry, closure)['test_error']:.3f}" for closure in THEORY]
        if rise:
            row += [_signed(told[start]["rise"]) for start in ("planted", "random")]
        rows.append([*row, _verdict(entry)])
    return _table([*titles, "verdict"], rows)


def _verdict(entry: Tree) -> str:
    """With the number of students of the random start that still make errors, if any."""
    random = entry["starts"]["random"]
    errors = f" ({random['wrong']}/{random['students']} with E > 0)" if random["wrong"] else ""
    return f"{entry['verdict']}{errors}"


def _signed(difference: Tree) -> str:
    size = difference["difference"] / difference["error"] if difference["error"] else float("nan")
    return f"{_number(difference['difference'], difference['error'])} ({size:+.1f})"


def _theory(entries: list[Tree]) -> str:
    """q of both starts, what alignment alone gives, and both closures, marked where they are within reach."""
    rows = []
    for entry in entries:
        starts = (_pairs(entry["starts"][start]["q"]) for start in ("planted", "random"))
        closures = ([*_told(entry, closure)] for closure in THEORY)
        layers = zip(*starts, _pairs(entry["unlearnt"]), *closures, strict=True)
        for layer, (planted, random, base, *told) in enumerate(layers, 1):
            first = layer == 1
            head = [f"{entry['depth']}", f"{entry['alpha']:g}"] if first else ["", ""]
            measured = [_number(*pair) for pair in (planted, random, base)]
            rows.append([*head, str(layer), *measured, *told, _verdict(entry) if first else ""])
    return _table(["L", "α", "l", "q planted", "q random", "q₀", *THEORY, "verdict"], rows)


def _told(entry: Tree, closure: str) -> Iterator[str]:
    """The prediction in every layer, with a mark where it is within reach."""
    for value, inside in zip(_closure(entry, closure)["q"], _within(entry, closure), strict=True):
        yield f"{value:.3f}" + (" ✓" if inside else "")


def _merging(long: Tree, short: Tree) -> str:
    """Planted minus random in every layer, of the long run and of the one that was cut short."""
    rows = [
        [str(layer + 1), *(_signed(entry["between_starts"][layer]) for entry in (short, long))]
        for layer in range(long["depth"])
    ]
    return _table(["l", f"t ≤ {short['sweeps']}", f"t ≤ {long['sweeps']}"], rows)


def _runs_table(made: Tree) -> str:
    rows = [
        [f"`{RUN[name].output}`", str(told["points"]), str(told["ranks"]), f"{told['seconds'] / 60:.1f} min"]
        for name, told in made.items()
    ]
    return _table(["results", "points", "ranks", "time"], rows)


def _pairs(estimate: Tree) -> list[tuple[float, float]]:
    return list(zip(estimate["mean"], estimate["error"], strict=True))


def _number(mean: float, error: float) -> str:
    """Three decimals, or four for small errors."""
    decimals = 3 if isnan(error) or error >= 0.002 else 4
    return f"{mean:z.{decimals}f} ± {error:.{decimals}f}"


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ---------------------------------------------------------------------------------------------- command


def draw() -> None:
    """All figures, with few colours so that they stay small."""
    from dsm_hpc.analysis.plots import plot

    for name, drawing in DRAWINGS.items():
        plot(drawing.files(), drawing.kind, figure(name), THEORY if drawing.theory else ())
        _shrink(figure(name))


def _shrink(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="all", choices=("all", "page"))
    os.chdir(TOP)
    if parser.parse_args().what == "all":
        NUMBERS.write_text(json.dumps(collect(), indent=1) + "\n", encoding="utf-8")
        draw()
    PAGE.write_text(page(json.loads(NUMBERS.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"{PAGE.relative_to(TOP)}: written")


if __name__ == "__main__":
    main()
