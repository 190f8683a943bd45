"""The hidden manifold model: online SGD against a NumPy loop, PyTorch and the arithmetic; its equations."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from math import sqrt
from statistics import median

import numpy as np
from scipy.special import erf

from benchmarks.timing import print_head, print_row, timed
from dsm_hpc.manifold.grid import on_grid, panels_of
from dsm_hpc.manifold.inputs import BLOCK, InputSource
from dsm_hpc.manifold.learning import descend, normals, signs
from dsm_hpc.manifold.modes import modes_of
from dsm_hpc.manifold.ode import solve
from dsm_hpc.manifold.online import OnlineRun
from dsm_hpc.manifold.system import System, draw_student, draw_system

WIDTH, DIMENSION, UNITS, ETA = 2000, 200, 2, 0.2
REPEATS = 7

PUBLISHED_SGD, PUBLISHED_ODE, PUBLISHED_STEPS = 30.0, 1.0, 400_000
"""CPU seconds of a published C++ program: N = 2000, D = 200, t = 200, and its equations (issue 8)."""


def report() -> None:
    """Prints the tables."""
    of, w, v = _draw(WIDTH, DIMENSION)
    _check_baseline(of, w, v)
    steps_table(of, w, v)
    arithmetic_table(of)
    equations_table()
    print(f"\nPeak memory of a run of its own, with imports: {_memory():.0f} MB (published program: 490 MB)")


def steps_table(of: System, w: np.ndarray, v: np.ndarray) -> None:
    """Time per update, data included."""
    print(f"\n## Online SGD: N = {WIDTH}, D = {DIMENSION}, K = M = {UNITS}, f = sgn, g = erf; CPU time\n")
    print_head("program", "us per update", "updates per second", "times slower", "400 000 updates [s]")
    run = OnlineRun(of, w, v, ETA, False, np.random.PCG64DXSM(4))
    ours = _median(lambda: run.advance(20 * BLOCK), 20 * BLOCK)
    rows = [
        ("dsm_hpc", ours),
        ("NumPy, one input at a time", _median(lambda: numpy_loop(of, w, v, 200), 200)),
    ]
    if find_spec("torch"):
        rows.append(("PyTorch, one input at a time", _median(lambda: torch_loop(of, w, v, 200), 200)))
    rows.append(("published C++ program (as given)", PUBLISHED_SGD * 1e6 / PUBLISHED_STEPS))
    for name, time in rows:
        print_row(name, f"{time:.2f}", f"{1e6 / time:.0f}", f"{time / ours:.1f}", f"{time * 0.4:.1f}")
    if not find_spec("torch"):
        print("\nPyTorch: not installed, not compared.")


def arithmetic_table(of: System) -> None:
    """Parts of an update, and multiply-adds per second against BLAS."""
    random = np.random.Generator(np.random.PCG64DXSM(5))
    source, v = InputSource(of), np.ones(UNITS)
    w = np.zeros((UNITS, source.columns))
    block, labels = source.draw(random.bit_generator), np.zeros(BLOCK)
    latent, panels = on_grid(random, (BLOCK, DIMENSION)), panels_of(of.integers)
    signed = np.empty((BLOCK, source.columns), np.float32)
    numbers = np.empty(BLOCK * DIMENSION, np.float32)
    parts: list[tuple[str, Callable[[], object], float]] = [
        ("F C and sgn (int16)", lambda: signs(panels, latent, signed), WIDTH * DIMENSION),
        ("C ~ N(0, 1)", lambda: normals(random.bit_generator, numbers), 0),
        ("block of inputs and labels (all)", lambda: source.draw(random.bit_generator), WIDTH * DIMENSION),
        (
            "updates in sequence",
            lambda: descend(w, v, block.inputs, labels, WIDTH, 1e-3, of.g, False),
            2 * UNITS * WIDTH,
        ),
    ]
    for kind, name in ((np.float32, "sgemm"), (np.float64, "dgemm")):
        F, C = of.features.T.astype(kind), random.standard_normal((BLOCK, DIMENSION)).astype(kind)
        out = np.empty((BLOCK, WIDTH), kind)
        call = lambda C=C, F=F, out=out: np.matmul(C, F, out=out)  # noqa: E731
        parts.append((f"for comparison: F C by BLAS, {name}", call, WIDTH * DIMENSION))
    print("\n## Arithmetic: N D multiply-adds for F C, 2 K N for the update\n")
    print_head("part", "us per update", "10^9 multiply-adds per second")
    for name, work, count in parts:
        time = _median(work, BLOCK)
        print_row(name, f"{time:.2f}", f"{count / time / 1e3:.1f}" if count else "")


def equations_table() -> None:
    """Time of the equations, and of their start."""
    print("\n## Equations of motion: K = M = 2, t = 200, 60 times; CPU s\n")
    print_head("N", "D", "eigenvalues and projections", "integration", "evaluations", "published")
    times = np.append(0, np.geomspace(0.01, 200, 60))
    for width, dimension, published in ((2000, 200, f"{PUBLISHED_ODE}"), (10_000, 1000, "")):
        of, w, v = _draw(width, dimension)
        start, modes = timed(lambda of=of, w=w, v=v: modes_of(of, w, v))
        found = [timed(lambda modes=modes: solve(modes, "erf", ETA, False, times)) for _ in range(REPEATS)]
        print_row(
            str(width),
            str(dimension),
            f"{start / 1e9:.3f}",
            f"{median(time for time, _ in found) / 1e9:.3f}",
            str(found[0][1].evaluations),
            published,
        )


def numpy_loop(of: System, w: np.ndarray, v: np.ndarray, steps: int) -> np.ndarray:
    """What one would write first; float64, one input at a time."""
    w, random = w.copy(), np.random.Generator(np.random.PCG64DXSM(6))
    F, N, D = of.features, of.width, of.dimension
    for _ in range(steps):
        C = random.standard_normal(D)
        x = np.sign(F @ C / sqrt(D))
        fields, labels = w @ x / sqrt(N), of.B @ C / sqrt(D)
        delta = v @ erf(fields / sqrt(2)) - of.A @ erf(labels / sqrt(2))
        slope = sqrt(2 / np.pi) * np.exp(-(fields**2) / 2)
        w -= ETA / sqrt(N) * delta * np.outer(v * slope, x)
    return w


def torch_loop(of: System, w: np.ndarray, v: np.ndarray, steps: int) -> object:
    """The same in PyTorch with autograd and torch.optim.SGD, float32, one thread."""
    import torch

    torch.set_num_threads(1)
    F, B = (torch.tensor(part, dtype=torch.float32) for part in (of.features, of.B))
    weights = torch.nn.Parameter(torch.tensor(w, dtype=torch.float32))
    second = torch.tensor(v, dtype=torch.float32)
    optimizer = torch.optim.SGD([weights], lr=ETA)
    N, D = of.width, of.dimension
    for _ in range(steps):
        C = torch.randn(D)
        x = torch.sign(F @ C / sqrt(D))
        y = torch.erf(B @ C / sqrt(2 * D)).sum()
        loss = (second @ torch.erf(weights @ x / sqrt(2 * N)) - y) ** 2 / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weights


def _draw(width: int, dimension: int) -> tuple[System, np.ndarray, np.ndarray]:
    manifold, teacher, student = (np.random.Generator(np.random.PCG64DXSM(k)) for k in (1, 2, 3))
    of = draw_system("latent_teacher", "sgn", "erf", width, dimension, UNITS, manifold, teacher)
    return of, *draw_student(student, UNITS, width, 1.0, None)


def _check_baseline(of: System, w: np.ndarray, v: np.ndarray) -> None:
    """The loop learns as we do: eps_g after t = 2, up to the noise of different inputs."""
    run = OnlineRun(of, w, v, ETA, False, np.random.PCG64DXSM(4))
    run.advance(2 * WIDTH)
    theirs = of.closed_error(numpy_loop(of, w, v, 2 * WIDTH), v)
    assert abs(theirs / run.closed_error() - 1) < 0.15, "the baseline learns something else"


def _median(work: Callable[[], object], updates: int) -> float:
    """CPU us per update."""
    work()
    return median(timed(work)[0] for _ in range(REPEATS)) / updates / 1e3


def _memory() -> float:
    """Peak memory in MB of a process that does t = 5 of the run and its equations."""
    code = (
        "import numpy as np; from benchmarks.manifold import *; from benchmarks.manifold import _draw\n"
        "of, w, v = _draw(WIDTH, DIMENSION); run = OnlineRun(of, w, v, ETA, False, np.random.PCG64DXSM(4))\n"
        "run.advance(5 * WIDTH); run.closed_error(); solve(modes_of(of, w, v), 'erf', ETA, False, [0, 200])\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout) / 1024
