"""The verb `theory`: from options to a table, numbers, a file and a figure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from dsm_hpc.errors import InputError
from dsm_hpc.presentation.wording import item, table
from dsm_hpc.theory.closures import CLOSURES, closure_named
from dsm_hpc.theory.continuation import Point, follow
from dsm_hpc.theory.phase_diagram import Lines, PhaseDiagram, lines_of
from dsm_hpc.theory.priors import prior_named
from dsm_hpc.theory.solver import BRANCHES, Branch, Solution, check
from dsm_hpc.theory.storage import Key, write

FULL_TABLES = 4
"""Layer by layer for at most so many α; of more, one line for each."""
SUFFIXES = ("png", "pdf", "svg")


@dataclass(frozen=True)
class Request:
    """What is asked for; the options of the verb.

    depths, alphas : ascending, each once.  closures, prior : names.  branches : those shown.
    output : HDF5 file; overwrite : whether one that is there may be replaced.
    figure : profiles (one α), curves (several), or the phase diagram.
    phase_diagram : whether the lines of transitions are located, which takes a few times longer.
    """

    depths: tuple[int, ...]
    alphas: tuple[float, ...]
    closures: tuple[str, ...] = field(default=tuple(CLOSURES))
    prior: str = "gaussian"
    branches: tuple[Branch, ...] = BRANCHES
    output: Path | None = None
    overwrite: bool = False
    figure: Path | None = None
    phase_diagram: bool = False


def theory(request: Request) -> tuple[str, dict[str, Any]]:
    """Solves; writes the files asked for; returns the text and every number in it.

    Raises InputError for impossible options before anything is computed.
    """
    _check(request)
    rows = {
        (closure, depth): follow(closure, depth, request.alphas, request.prior)
        for depth in request.depths
        for closure in request.closures
    }
    lines = {key: lines_of(points) for key, points in rows.items()} if request.phase_diagram else {}
    if request.output is not None:
        write(request.output, request.prior, _solutions(request, rows), lines)
    if request.figure is not None:
        _draw(request, rows, lines)
    blocks = [_row_text(request, points, lines.get(key)) for key, points in rows.items()]
    numbers = {
        "prior": request.prior,
        "rows": [_row_numbers(request, points, lines.get(key)) for key, points in rows.items()],
    }
    return "\n\n".join([*blocks, *_assumptions()]), numbers


def depths(words: Sequence[str]) -> tuple[int, ...]:
    """Depths as given: `6`, `2,4,6`, `1..20`, or several of these.  Raises InputError."""
    found: set[int] = set()
    for word in ",".join(words).split(","):
        ends = word.split("..")
        if not all(end.strip().isdigit() for end in ends) or len(ends) > 2:
            raise InputError(f"--depth {word}: allowed are whole numbers from 1, or ranges like 1..20")
        found |= set(range(int(ends[0]), min(int(ends[-1]), 10**4) + 1))
    if not found:
        raise InputError(f"--depth {' '.join(words)}: there is no depth in this")
    return tuple(sorted(found))


def alphas(words: Sequence[str]) -> tuple[float, ...]:
    """Values of α as given: numbers, lists with commas, or `1..200x40`, 40 of them evenly in ln α.

    Raises InputError.
    """
    found: set[float] = set()
    for word in ",".join(words).split(","):
        try:
            if ".." in word:
                ends, _, count = word.partition("x")
                low, high = (float(end) for end in ends.split(".."))
                found |= {float(f"{a:.6g}") for a in np.geomspace(low, high, min(int(count), 10**4))}
            else:
                found.add(float(word))
        except ValueError:
            allowed = "allowed are numbers above 0, or ranges like 1..200x40"
            raise InputError(f"--alpha {word}: {allowed}") from None
    if not found:
        raise InputError(f"--alpha {' '.join(words)}: there is no number in this")
    return tuple(sorted(found))


def _check(request: Request) -> None:
    prior_named(request.prior)
    for closure in request.closures:
        closure_named(closure)
    for depth in request.depths:
        for alpha in request.alphas:
            check(depth, alpha)
    for path in filter(None, (request.output, request.figure)):
        if path.is_dir() or not path.parent.is_dir():
            raise InputError(f"{path}: allowed is the name of a file in a folder that exists")
    if request.output is not None and request.output.exists() and not request.overwrite:
        raise InputError(f"{request.output}: exists already; give --overwrite to replace it")
    if request.figure is not None and request.figure.suffix.removeprefix(".").lower() not in SUFFIXES:
        raise InputError(f"{request.figure}: unknown kind of file: allowed are .{', .'.join(SUFFIXES)}")
    if request.phase_diagram and len(request.alphas) < 2:
        raise InputError("--phase-diagram: needs two or more values of --alpha, such as 1..200x40")
    if request.figure is not None and not request.phase_diagram and len(request.depths) > 1:
        raise InputError("--figure: of several depths there is a figure with --phase-diagram only")


# ---------------------------------------------------------------------------------------------- files


def _solutions(request: Request, rows: dict[tuple[str, int], list[Point]]) -> dict[Key, Solution]:
    return {
        (closure, depth, p.alpha, branch): p.branch(branch)
        for (closure, depth), points in rows.items()
        for p in points
        for branch in request.branches
    }


def _draw(
    request: Request, rows: dict[tuple[str, int], list[Point]], lines: dict[tuple[str, int], Lines]
) -> None:
    """The figure that fits what was asked for, in a single step."""
    from matplotlib import rc_context

    from dsm_hpc.presentation.style import RC
    from dsm_hpc.theory.figures import draw_curves, draw_phase_diagram, draw_profiles

    assert request.figure is not None
    with rc_context(RC):
        if request.phase_diagram:
            diagrams = [_diagram(request, closure, rows, lines) for closure in request.closures]
            figure = draw_phase_diagram(diagrams)
        elif len(request.alphas) == 1:
            figure = draw_profiles([points[0] for points in rows.values()])
        else:
            figure = draw_curves(list(rows.values()))
        picture = BytesIO()
        figure.savefig(picture, format=request.figure.suffix.removeprefix(".").lower())
    temporary = request.figure.with_name(f".{request.figure.name}.tmp")
    try:
        temporary.write_bytes(picture.getvalue())
        temporary.replace(request.figure)
    except OSError as error:
        raise InputError(f"{request.figure}: cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _diagram(
    request: Request,
    closure: str,
    rows: dict[tuple[str, int], list[Point]],
    lines: dict[tuple[str, int], Lines],
) -> PhaseDiagram:
    keys = [(closure, depth) for depth in request.depths]
    return PhaseDiagram(
        closure,
        request.prior,
        request.depths,
        request.alphas,
        [rows[key] for key in keys],
        [lines[key] for key in keys],
    )


# ---------------------------------------------------------------------------------------------- numbers


def _row_numbers(request: Request, points: Sequence[Point], lines: Lines | None) -> dict[str, Any]:
    one = points[0].uninformed
    numbers: dict[str, Any] = {
        "closure": one.closure,
        "depth": one.depth,
        "points": [_point_numbers(request, p) for p in points],
    }
    if lines is not None:
        numbers["lines"] = {name: _plain(value) for name, value in vars(lines).items()}
    return numbers


def _point_numbers(request: Request, p: Point) -> dict[str, Any]:
    return {
        "alpha": p.alpha,
        "coincide": p.coincide,
        "rules": p.ruling.branch,
        "branches": {branch: _solution_numbers(p.branch(branch)) for branch in request.branches},
    }


def _solution_numbers(solution: Solution) -> dict[str, Any]:
    test = solution.generalization
    return {
        "q": solution.q.tolist(),
        "r": solution.r.tolist(),
        "qhat": [_plain(value) for value in solution.qhat],
        "rhat": [_plain(value) for value in solution.rhat],
        "r_test_forward": test.forward.tolist(),
        "r_test_saddle": [_plain(value) for value in test.saddle],
        "test_error_forward": test.forward_error,
        "test_error_saddle": _plain(test.saddle_error),
        "free_entropy": solution.free_entropy,
        "residual": solution.residual,
        "iterations": solution.iterations,
        "converged": bool(solution.converged),
        "growth": solution.growth,
    }


def _plain(value: float) -> float | None:
    """A number of strict JSON; what is NaN or infinite is null."""
    return float(value) if np.isfinite(value) else None


# ---------------------------------------------------------------------------------------------- text


def _row_text(request: Request, points: Sequence[Point], lines: Lines | None) -> str:
    one = points[0].uninformed
    title = f"{one.closure}, {one.prior} weights, L = {one.depth}"
    parts = [title, "=" * len(title)]
    if len(points) <= FULL_TABLES:
        parts += [text for p in points for text in _point_text(request, p)]
    else:
        parts.append(_curve_table(points))
    if lines is not None:
        parts += _lines_text(lines)
    return "\n".join(parts)


def _point_text(request: Request, p: Point) -> list[str]:
    """Layer by layer, one table per solution."""
    shown = [p.branch(branch) for branch in request.branches]
    if p.coincide and p.converged:
        return [_solution_text(shown[0], "one solution")]
    texts = [_solution_text(s, f"{s.branch} branch" + (", rules" if s is p.ruling else "")) for s in shown]
    if not p.converged:
        return [*texts, item("A branch did not converge: which one rules is not known.")]
    difference = p.informed.free_entropy - p.uninformed.free_entropy
    return [
        *texts,
        item(
            f"Two solutions: the {p.ruling.branch} one rules (free entropy, informed less uninformed: "
            f"{difference:+.6g})."
        ),
    ]


def _solution_text(solution: Solution, which: str) -> str:
    test = solution.generalization
    columns = [solution.q, solution.r, test.forward, test.saddle]
    rows = [[str(layer + 1), *(f"{c[layer]:.4f}" for c in columns)] for layer in range(solution.depth)]
    return "\n".join(
        [
            f"alpha = {solution.alpha:g}: {which}",
            "  q = " + " ".join(f"{q:.4f}" for q in solution.q),
            "  r = " + " ".join(f"{r:.4f}" for r in solution.r[:-1]),
            table(["l", "q", "r", "r_test forward", "r_test saddle"], rows, "  "),
            f"  test error: {_small(test.forward_error)} forward, {_small(test.saddle_error)} saddle; "
            f"free entropy {solution.free_entropy:.6f}",
            f"  {_convergence(solution)}",
        ]
    )


def _curve_table(points: Sequence[Point]) -> str:
    overlaps, errors = ["q first", "q middle", "q last"], ["forward", "saddle"]
    titles = ["alpha", "rules", *overlaps, *errors, "f uninf.", "f inf.", "residual"]
    rows = []
    for p in points:
        s = p.ruling
        rows.append(
            [
                f"{p.alpha:.5g}",
                "not solved" if not p.converged else "one" if p.coincide else s.branch,
                *(f"{s.q[place]:.4f}" for place in (0, (s.depth - 1) // 2, -1)),
                _small(s.generalization.forward_error),
                _small(s.generalization.saddle_error),
                f"{p.uninformed.free_entropy:.4f}",
                f"{p.informed.free_entropy:.4f}",
                f"{max(p.uninformed.residual, p.informed.residual):.0e}",
            ]
        )
    return table(titles, rows, "  ")


def _lines_text(lines: Lines) -> list[str]:
    words = [f"Knowing nothing is unstable above alpha = {lines.critical:.6g}."]
    if np.isnan(lines.informed_from):
        words.append("One solution at every alpha of the grid.")
    else:
        low = "below the grid" if lines.informed_from == 0 else f"alpha = {lines.informed_from:.5g}"
        high = "above the grid" if np.isinf(lines.uninformed_to) else f"alpha = {lines.uninformed_to:.5g}"
        words.append(f"Two solutions from {low} to {high}.")
        if np.isnan(lines.rules_from):
            words.append("The informed one rules nowhere on the grid.")
        else:
            words.append(f"The informed one rules from alpha = {lines.rules_from:.5g}.")
    return [item(" ".join(words))]


def _small(error: float) -> str:
    """An error: fixed decimals, or an exponent where these would show nothing."""
    return "n/a" if np.isnan(error) else f"{error:.4f}" if error == 0 or error >= 1e-3 else f"{error:.2e}"


def _convergence(solution: Solution) -> str:
    if solution.converged:
        return f"residual {solution.residual:.0e} after {solution.iterations} iterations"
    return f"NOT CONVERGED: residual {solution.residual:.0e} after {solution.iterations} iterations"


def _assumptions() -> list[str]:
    return [
        "\n".join(
            [
                item(
                    "dense_limit: our reconstruction of the saddle point of arXiv:2302.07419 and "
                    "arXiv:1910.09918. cavity: each hidden spin keeps its own perceptron's message; exact on "
                    "a tree-like network."
                ),
                item(
                    "forward: test error of a signal that only runs forward. saddle: the test pattern as one "
                    "more pattern of the closure's own saddle point, its output free; in cavity this is "
                    "forward."
                ),
            ]
        )
    ]
