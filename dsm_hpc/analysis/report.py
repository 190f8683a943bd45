"""The verb `report`: one self-contained HTML page of results files."""

import shlex
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure

import dsm_hpc
from dsm_hpc.analysis import report_tables as tables
from dsm_hpc.analysis.closures import against_theory
from dsm_hpc.analysis.exchange import is_tempered
from dsm_hpc.analysis.figures.captions import CAPTIONS
from dsm_hpc.analysis.figures.parameters import parameters
from dsm_hpc.analysis.numbers import file_numbers
from dsm_hpc.analysis.output import check_output, in_one_step
from dsm_hpc.analysis.plots import SEVERAL_FILES, draw
from dsm_hpc.analysis.report_tables import Table
from dsm_hpc.analysis.results import Results, files_of, load
from dsm_hpc.analysis.scan import labels
from dsm_hpc.analysis.statistics import window
from dsm_hpc.errors import InputError
from dsm_hpc.presentation.style import RC
from dsm_hpc.storage.provenance import now

SUFFIX = ".html"
MOST_SVG_BYTES = 250_000
"""A larger drawing goes into the page as pixels."""
DPI = 150

OF_EACH = ("equilibration", "relaxation")
"""Figures of every run where there are several."""


@dataclass(frozen=True)
class Picture:
    """A figure in the page.  source : its data as a URI.  command : that draws it alone."""

    place: str
    kind: str
    source: str
    caption: str
    command: str


@dataclass(frozen=True)
class Section:
    """What the page says of one results file."""

    place: str
    heading: str
    verdict: str
    because: str
    facts: list[tuple[str, str]]
    tables: list[Table]
    statements: list[str]
    figures: list[Picture]
    more: list[Table]
    given: str
    resolved: str
    again: str
    provenance: list[tuple[str, str]]


def report(paths: list[Path], output: Path, closures: tuple[str, ...] = ()) -> None:
    """Writes the page, replacing an older one in a single step.

    closures : of the theory that the data are compared with.
    Raises InputError if a file is not a results file, theory does not describe it, or the page cannot be
    written.
    """
    if output.suffix.lower() != SUFFIX:
        raise InputError(f"{output}: unknown kind of file: allowed are names that end in {SUFFIX}")
    check_output(output, "page")
    text = page(paths, output, closures)
    with in_one_step(output) as temporary:
        temporary.write_bytes(text.encode(errors="replace"))  # the name of a file need not be text


def page(paths: list[Path], output: Path, closures: tuple[str, ...] = ()) -> str:
    """The page as text; `output` is its name in the command that makes it again."""
    files = [load(path) for path in files_of(paths)]
    entries = [_numbers(results, closures) for results in files]
    several = len(files) > 1
    headings = labels(files) if several else [files[0].config.name]
    sections = [
        _section(results, entry, closures, f"run-{place}", heading, several)
        for place, (results, entry, heading) in enumerate(zip(files, entries, headings, strict=True), start=1)
    ]
    names = list(dict.fromkeys(results.config.name for results in files))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        package_files("dsm_hpc.analysis").joinpath("report.html").read_text(encoding="utf-8")
    )
    return template.render(
        title=", ".join(names),
        made=f"dsm_hpc {dsm_hpc.__version__}, {now()},",
        command=_command("report", files, closures, output),
        runs=sections,
        summary=tables.summary_table(files, entries),
        figures=list(_figures_of_all(files, closures)) if several else [],
    )


def _numbers(results: Results, closures: tuple[str, ...]) -> dict[str, Any]:
    theory = against_theory(results, closures) if closures else None
    return {**file_numbers(results), "theory": theory}


def _section(
    results: Results,
    entry: dict[str, Any],
    closures: tuple[str, ...],
    place: str,
    heading: str,
    several: bool,
) -> Section:
    judged = [tables.equilibrium_table(entry), tables.mixing_table(entry)]
    kinds = [kind for kind in _kinds(results) if kind in OF_EACH or not several]
    return Section(
        place,
        heading,
        tables.verdict(entry),
        tables.because(entry),
        [("file", str(results.path)), *tables.key_numbers(entry)],
        [
            *(table for table in judged if table is not None),
            *tables.profile_tables(entry),
        ],
        tables.statements(entry),
        [_picture([results], kind, closures, f"{place}-{kind}") for kind in kinds],
        [*tables.theory_tables(entry), *tables.ladder_tables(entry), tables.loops_table(entry)],
        results.header.text + "".join(f"\n# --set {word}" for word in results.header.overrides),
        results.config.as_yaml(),
        "dsm run INPUT.yaml -o OUT.h5",
        list(_told(results.provenance)),
    )


def _kinds(results: Results) -> Iterator[str]:
    """The figures that a run has."""
    if window(results) is None:
        return
    yield from ("equilibration", "profile", "evolution", "relaxation")
    if results.has("clones/q_aligned"):
        yield "distribution"
    if results.has("autocorrelation/q_aligned"):
        yield "autocorrelation"
    yield from ("acceptance", "loops")
    if is_tempered(results):
        yield from ("exchange", "free_energy")


def _figures_of_all(files: Sequence[Results], closures: tuple[str, ...]) -> Iterator[Picture]:
    """Figures that show several runs together."""
    measured = [results for results in files if window(results) is not None]
    if len(measured) < 2:
        return
    scanned = ("depth", "width", "dimension", "alpha")
    if any(len({parameters(results)[name] for results in measured} - {None}) > 1 for name in scanned):
        yield _picture(measured, "generalization", closures, "scan-generalization")
    yield _picture(measured, "profile", closures, "scan-profile")
    if closures:
        yield _picture(measured, "loops", closures, "scan-loops")


def _picture(files: Sequence[Results], kind: str, closures: tuple[str, ...], place: str) -> Picture:
    shown = closures if kind in SEVERAL_FILES and not (kind == "loops" and len(files) == 1) else ()
    with rc_context(RC | {"svg.fonttype": "path"}):
        source = _source(draw(files, kind, shown))
    name = Path(f"{kind}.png")
    return Picture(place, kind, source, CAPTIONS[kind], _command("plot", files, shown, name, kind))


def _source(figure: Figure) -> str:
    """The figure as a URI that holds it: lines where they are short to tell, pixels otherwise."""
    drawing = BytesIO()
    figure.savefig(drawing, format="svg", metadata={"Date": None})
    if drawing.tell() <= MOST_SVG_BYTES:
        return f"data:image/svg+xml;base64,{b64encode(drawing.getvalue()).decode()}"
    pixels = BytesIO()
    figure.savefig(pixels, format="png", dpi=DPI)
    return f"data:image/png;base64,{b64encode(pixels.getvalue()).decode()}"


def _command(
    verb: str, files: Sequence[Results], closures: tuple[str, ...], output: Path, kind: str = ""
) -> str:
    """As it is typed."""
    words = ["dsm", verb, *(str(results.path) for results in files)]
    words += ["--kind", kind] if kind else []
    words += ["--theory", ",".join(closures)] if closures else []
    return shlex.join([*words, "-o", str(output)])


def _told(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Provenance as names and values, nested names joined by dots."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _told(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", ", ".join(map(_word, value)) or "none"
        else:
            yield f"{prefix}{name}", _word(value)


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_word(part)}" for key, part in value.items())
    return "–" if value is None else str(value)
