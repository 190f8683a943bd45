"""Threads within a walker: the same bits for any number of them, and refused where they cannot be had."""

import os
from itertools import product
from math import inf
from pathlib import Path

import numpy as np
import oracle
import pytest
from conftest import Made, datasets, dsm, small_config

from dsm_hpc import footprint
from dsm_hpc.kernels import Student, kernels_for
from dsm_hpc.kernels.levels import AVAILABLE, OPENMP
from dsm_hpc.machine.sample import draw_sample

pytestmark = pytest.mark.skipif(not OPENMP, reason="built without OpenMP")

MACHINES = {
    "links": (140, 3, 3, 2200),
    "columns": (129, 9, 2, 2100),
    "dense": (33, 33, 2, 2049),
    "fewer words than threads": (150, 3, 4, 65),
}
"""N, c, L, M: scans and commits are shared from 2048 patterns on."""

SHARED = {"events", "dense"}
STARTS = ("planted", "random")
BETAS = {"greedy": inf, "hot": 0.4}


def draw(name: str, start: str) -> tuple[np.ndarray, ...]:
    """Wiring, weights, sign words of inputs and targets."""
    width, fan_in, depth, patterns = MACHINES[name]
    rng = np.random.default_rng(5)
    wiring = oracle.draw_wiring(rng, depth, width, fan_in, "full" if fan_in == width else "sparse")
    teacher = oracle.draw_weights(rng, wiring.shape, False)
    inputs = oracle.draw_signs(rng, patterns, width)
    targets = oracle.forward(wiring, oracle.integers_of(teacher, False), inputs)[-1]
    weights = teacher if start == "planted" else oracle.draw_weights(rng, wiring.shape, False)
    return wiring, weights, oracle.words_of(inputs), oracle.words_of(targets)


@pytest.mark.parametrize("level", AVAILABLE)
@pytest.mark.parametrize(("name", "start", "beta"), [*product(MACHINES, STARTS, BETAS)])
def test_same_bits_for_any_number_of_threads(name: str, start: str, beta: str, level: str) -> None:
    """Every decision, and all that is kept, with each kernel that can be shared; after a billiard."""
    width, fan_in, depth, patterns = MACHINES[name]
    machine = draw(name, start)
    for kernel in SHARED & {*kernels_for(depth, width, fan_in, level)}:
        found = []
        for threads in (1, 2, 3) if level == AVAILABLE[0] else (1, 2):
            student = Student(*machine, patterns, False, kernel, level, threads=threads)
            trace = np.empty(student.weights.size, np.uint8)
            stream = np.random.PCG64(7)
            student.billiard(stream, BETAS[beta], 0.1, 1)
            student.sweep(stream, BETAS[beta], 0.5, 1, trace)
            assert student.same_state(student.recomputed())
            found.append((trace, student))
        for trace, student in found[1:]:
            np.testing.assert_array_equal(trace, found[0][0])
            np.testing.assert_array_equal(student.weights, found[0][1].weights)
            assert student.same_state(found[0][1])


@pytest.mark.parametrize(("start", "beta"), [*product(STARTS, BETAS.values())])
def test_against_the_oracle(start: str, beta: float) -> None:
    rng = np.random.default_rng(11)
    wiring = oracle.draw_wiring(rng, 3, 130, 2, "sparse")
    teacher = oracle.draw_weights(rng, wiring.shape, False)
    inputs = oracle.draw_signs(rng, 100, 130)
    targets = oracle.forward(wiring, oracle.integers_of(teacher, False), inputs)[-1]
    weights = teacher if start == "planted" else oracle.draw_weights(rng, wiring.shape, False)
    student = Student(
        wiring, weights, oracle.words_of(inputs), oracle.words_of(targets), len(inputs), False, threads=2
    )
    machine = oracle.Machine(wiring, weights, inputs, targets, False)
    trace = np.empty(weights.size, np.uint8)
    student.sweep(np.random.PCG64(3), beta, 0.5, 1, trace)
    np.testing.assert_array_equal(trace, machine.sweep(np.random.Generator(np.random.PCG64(3)), beta, 0.5))
    np.testing.assert_array_equal(student.weights, machine.weights)
    assert student.energy == machine.energy


@pytest.mark.parametrize("kernel", ["words", "gather"])
def test_other_kernels_run_on_one_thread(kernel: str) -> None:
    wiring = np.array([[[0], [1], [2]]])
    inputs = np.zeros((3, 1), np.uint64)
    level = "avx512" if kernel == "gather" else None
    if level in (None, *AVAILABLE):
        with pytest.raises(ValueError, match=f"threads = 2 with kernel '{kernel}': it runs on one thread"):
            Student(wiring, np.ones((1, 3, 1)), inputs, inputs, 1, False, kernel, level, threads=2)


def test_ising_weights_get_a_kernel_that_threads_share() -> None:
    wiring, weights, *signs = draw("dense", "planted")
    assert Student(wiring, np.sign(weights), *signs, 2049, True, threads=2).kernel in SHARED


LARGE = {
    "dynamics__moves": "paper",
    "network__width": 1000,
    "network__fan_in": 20,
    "network__depth": 2,
    "patterns__train": 2000,
    "ensemble__samples": 1,
}
ENOUGH_CORES = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@ENOUGH_CORES
def test_a_run_has_the_same_bytes(make_input: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results file and all; also where OpenMP gives fewer threads than it is asked for."""
    found = []
    for threads, limit in ((1, "9"), (2, "9"), (2, "1")):
        monkeypatch.setenv("OMP_THREAD_LIMIT", limit)
        out = tmp_path / f"{threads}-{limit}.h5"
        done = dsm("run", make_input(**LARGE, schedule__sweeps=3, dynamics__threads=threads), "-o", out)
        assert done.returncode == 0, done.stderr
        found.append(datasets(out))
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_small_machines_are_refused(make_input: Made) -> None:
    done = dsm("validate", make_input(dynamics__moves="paper", dynamics__threads=2))
    assert done.returncode == 2
    assert "dynamics.threads = 2 with network.width = 9 and patterns.train = 70: allowed is 1" in done.stderr


@pytest.mark.parametrize(
    ("width", "fan_in", "train", "status"),
    [
        (1000, 20, 2000, 0),
        (1000, 19, 2000, 2),
        (999, 20, 20_000, 2),
        (100, "all", 20_000, 0),
        (100, 99, 20_000, 2),
        (64, "all", 40_000, 2),
    ],
)
def test_where_threads_are_offered(
    make_input: Made, width: int, fan_in: int | str, train: int, status: int
) -> None:
    size = {"network__width": width, "network__fan_in": fan_in, "patterns__train": train}
    done = dsm("validate", make_input(**LARGE | size, dynamics__threads=2))
    assert done.returncode == status, done.stderr


def test_threads_that_would_wait_for_billiards_are_refused(make_input: Made) -> None:
    done = dsm("validate", make_input(**LARGE | {"dynamics__moves": "fast"}, dynamics__threads=2))
    assert done.returncode == 2
    assert "dynamics.threads = 2: a billiard runs on one thread" in done.stderr
    assert "give moves: paper" in done.stderr


def test_a_billiard_may_take_turns_with_weights(make_input: Made) -> None:
    moves = [{"kind": "billiard"}, {"kind": "weight"}]
    done = dsm("validate", make_input(**LARGE | {"dynamics__moves": moves}, dynamics__threads=2))
    assert done.returncode == 0, done.stderr


def test_more_threads_than_cores_are_refused(make_input: Made, tmp_path: Path) -> None:
    threads = len(os.sched_getaffinity(0)) + 1
    done = dsm("run", make_input(**LARGE, dynamics__threads=threads), "-o", tmp_path / "out.h5")
    assert done.returncode == 2
    assert f"dynamics.threads = {threads}: " in done.stderr
    assert f"--cpus-per-task={threads}" in done.stderr
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(("width", "fan_in"), [(2000, 10), (1000, 100)])
def test_announced_memory_counts_the_threads(width: int, fan_in: int) -> None:
    config = small_config(
        network={"width": width, "depth": 2, "fan_in": fan_in},
        patterns={"train": 64, "test": 10},
        schedule={"sweeps": 0},
    )
    sample = draw_sample(config, 0)
    inputs, targets = sample.teacher.train[0], sample.teacher.train[-1]
    taken = [
        Student(
            sample.wiring, sample.teacher.weights, inputs, targets, 64, False, threads=threads
        ).kernel_bytes
        for threads in (1, 16)
    ]
    formula = [footprint.kernel_bytes("events", 2, width, fan_in, 64, threads) for threads in (1, 16)]
    assert formula == pytest.approx(taken, rel=0.03)
