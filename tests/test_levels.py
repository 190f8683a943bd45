"""Instruction sets: chosen when the program starts, the same bytes with each; what the kernels' memory is."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Made, datasets, dsm, small_config

from dsm_hpc import footprint
from dsm_hpc.kernels import Student, kernels_for
from dsm_hpc.kernels.levels import AVAILABLE, LEVELS
from dsm_hpc.machine.sample import draw_sample

MACHINES = {
    "words": {"network__width": 20, "network__fan_in": 20},
    "gather": {"network__width": 70, "network__fan_in": 5},
    "events": {"network__width": 140, "network__fan_in": 4},
    "bits": {"network__weights": "ising", "dynamics__betas": [0.5]},
}


@pytest.mark.parametrize("machine", MACHINES)
def test_every_level_gives_the_same_bytes(
    machine: str, make_input: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole run, results file and all, with each instruction set."""
    found = {}
    for level in AVAILABLE:
        monkeypatch.setenv("DSM_SIMD", level)
        out = tmp_path / f"{level}.h5"
        done = dsm("run", make_input(**MACHINES[machine], schedule__sweeps=5), "-o", out)
        assert done.returncode == 0, done.stderr
        found[level] = datasets(out)
        assert f"kernels: {level} " in dsm("--version").stdout
    assert all(one == found["generic"] for one in found.values())


@pytest.mark.parametrize("words", [["--version"], ["validate"], ["run", "-o", "out.h5"]])
def test_a_level_that_is_not_there_is_refused(
    words: list[str], make_input: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSM_SIMD", "sse9")
    done = dsm(*words, *([] if words[0] == "--version" else [make_input()]))
    assert done.returncode == 2
    assert done.stderr == f"dsm: DSM_SIMD=sse9: this processor and build have {', '.join(AVAILABLE)}\n"


def test_generic_is_always_there() -> None:
    assert AVAILABLE[-1] == "generic"
    assert [level for level in LEVELS if level in AVAILABLE] == list(AVAILABLE)


@pytest.mark.parametrize(
    ("width", "fan_in", "depth", "train"),
    [(20, 20, 10, 320), (100, 10, 10, 200), (100, 100, 3, 400), (500, 20, 3, 300), (300, 300, 2, 300)],
)
def test_announced_memory_is_what_the_kernels_take(width: int, fan_in: int, depth: int, train: int) -> None:
    """`dsm validate` announces memory by formula; the kernels count what they allocate."""
    config = small_config(
        network={"width": width, "depth": depth, "fan_in": fan_in},
        patterns={"train": train, "test": 10},
        schedule={"sweeps": 0},
    )
    sample = draw_sample(config, 0)
    inputs, targets = sample.teacher.train[0], sample.teacher.train[-1]
    weights = sample.teacher.weights
    for ising in False, True:
        for kernel in kernels_for(depth, width, fan_in, ising=ising):
            student = Student(
                sample.wiring, np.sign(weights) if ising else weights, inputs, targets, train, ising, kernel
            )
            formula = footprint.kernel_bytes(kernel, depth, width, fan_in, train, ising=ising)
            assert formula == pytest.approx(student.kernel_bytes, rel=0.03), kernel
    taken = Student(sample.wiring, weights, inputs, targets, train, False)
    assert footprint._kernel_bytes(config) >= 0.97 * taken.kernel_bytes
