"""The verb `plot`: kinds of figures, and writing one in a single step."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from dsm_hpc.analysis.figures import (
    acceptance,
    autocorrelation,
    distribution,
    equilibration,
    evolution,
    exchange,
    free_energy,
    generalization,
    loops,
    profile,
    relaxation,
)
from dsm_hpc.analysis.output import check_output, in_one_step
from dsm_hpc.analysis.results import Results, files_of, load
from dsm_hpc.analysis.statistics import window
from dsm_hpc.errors import InputError
from dsm_hpc.presentation.style import RC

ONE_FILE: dict[str, Callable[[Results], Figure]] = {
    "evolution": evolution.draw,
    "relaxation": relaxation.draw,
    "equilibration": equilibration.draw,
    "distribution": distribution.draw,
    "autocorrelation": autocorrelation.draw,
    "acceptance": acceptance.draw,
    "exchange": exchange.draw,
    "free_energy": free_energy.draw,
}
SEVERAL_FILES: dict[str, Callable[[Sequence[Results], Sequence[str]], Figure]] = {
    "profile": profile.draw,
    "generalization": generalization.draw,
    "loops": loops.draw,
}
"""These show theory as well."""
MANIFOLD = "manifold"
"""Of files of another kind; what they hold says which figure it is."""
KINDS = (*SEVERAL_FILES, *ONE_FILE, MANIFOLD)
SUFFIXES = ("png", "pdf", "svg")


def plot(paths: list[Path], kind: str, output: Path, closures: Sequence[str] = ()) -> None:
    """Draws a figure of results files and writes it, replacing an older one.

    closures : of the theory to be laid over the data.
    Raises InputError for an unknown kind or suffix, an output that cannot be written, or unsuitable files.
    """
    if kind not in KINDS:
        raise InputError(f"--kind {kind}: not a kind of figure: allowed are {', '.join(KINDS)}")
    suffix = output.suffix.removeprefix(".").lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{output}: unknown kind of file: allowed are names that end in .{', .'.join(SUFFIXES)}"
        )
    if kind not in SEVERAL_FILES and closures:
        raise InputError(f"--theory: is shown by --kind {', '.join(SEVERAL_FILES)} only, not by {kind}")
    check_output(output, "figure")
    with rc_context(RC):
        figure = _manifold(paths) if kind == MANIFOLD else draw(_loaded(paths, kind), kind, closures)
        picture = BytesIO()
        figure.savefig(picture, format=suffix)
    with in_one_step(output) as temporary:
        temporary.write_bytes(picture.getvalue())


def _loaded(paths: list[Path], kind: str) -> list[Results]:
    """The files to draw.  Of several, those in which nothing has been measured yet are left out: the next
    point of a running scan."""
    files = [load(path) for path in files_of(paths)]
    if kind in ONE_FILE and len(files) > 1:
        raise InputError(f"--kind {kind}: shows one results file; {len(files)} were given")
    if len(files) == 1:
        return files
    return [results for results in files if window(results) is not None] or files[:1]


def draw(files: Sequence[Results], kind: str, closures: Sequence[str] = ()) -> Figure:
    """A figure of any kind but MANIFOLD.  To be called, and saved, within the look `rc_context(RC)`."""
    return ONE_FILE[kind](files[0]) if kind in ONE_FILE else SEVERAL_FILES[kind](files, closures)


def _manifold(paths: list[Path]) -> Figure:
    """Prints how far simulation and equations are apart, too."""
    from dsm_hpc.manifold import plotting

    figure, sentences = plotting.draw(paths)
    print("\n".join(sentences))
    return figure
