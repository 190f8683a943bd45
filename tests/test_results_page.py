"""docs/results.md says what its numbers say, its inputs are valid, and its figures are there."""

import copy
import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Made, dsm

from dsm_hpc.analysis.plots import KINDS
from dsm_hpc.inputfile import load

TOP = Path(__file__).resolve().parent.parent
MOST_BYTES = 150_000


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results_page", TOP / "tools/results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


results = tool()


@pytest.fixture
def numbers() -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(results.NUMBERS.read_text())
    return tree


@pytest.fixture
def page() -> str:
    return str(results.PAGE.read_text())


@pytest.fixture
def profile(make_input: Made, tmp_path: Path) -> Path:
    """A small run from both starts with four layers."""
    path = tmp_path / "profile.h5"
    given = make_input(network={"width": 6, "depth": 4, "fan_in": 3}, ensemble={"samples": 4, "clones": 2})
    done = dsm("run", given, "-o", path)
    assert done.returncode == 0, done.stderr
    return path


def section(page: str, letter: str) -> str:
    return re.split(r"^## ", page, flags=re.M)[1 + "abcde".index(letter)]


# ---------------------------------------------------------------------------------------------- what is there


@pytest.mark.parametrize("run", results.RUN.values(), ids=results.RUN)
def test_every_input_is_valid_and_named_in_the_page(run: Any, page: str) -> None:
    job = load(TOP / run.input, run.changes)
    assert job.is_scan != run.output.endswith(".h5")
    assert len(run.files()) == len(job.points)
    assert f"{run.command}\n" in page


def test_no_input_of_the_page_is_left_unused() -> None:
    there = {path.relative_to(TOP).as_posix() for path in (TOP / "inputs/results").iterdir()}
    assert there <= {run.input for run in results.RUN.values()}


def test_make_runs_what_the_page_says() -> None:
    lines = (TOP / "Makefile").read_text().splitlines()
    outputs = next(line for line in lines if line.startswith("CLAIMS :="))
    assert sorted(outputs.split()[2:]) == sorted(run.output for run in results.RUN.values())
    for run in results.RUN.values():
        target = f"{results.RUNS}/{run.output}.done:"
        changes = [
            f"{target} CHANGES := {' '.join(f'--set {shlex.quote(change)}' for change in run.changes)}"
        ]
        said = [line for line in lines if line.startswith(target)]
        assert said == [f"{target} {run.input}", *(changes if run.changes else [])]


def test_every_figure_is_there_and_small(page: str) -> None:
    named = [results.PAGE.parent / path for path in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)]
    assert sorted(named) == sorted((TOP / "docs/figures").glob("results_*.png"))
    assert sorted(named) == sorted(map(results.figure, results.DRAWINGS))
    for path in named:
        assert path.stat().st_size < MOST_BYTES, path


def test_every_figure_has_its_command(page: str) -> None:
    commands = [shlex.split(line) for line in page.splitlines() if line.startswith("dsm plot")]
    for words in commands:
        assert words[words.index("--kind") + 1] in KINDS
        assert words[words.index("-o") + 1].startswith("docs/figures/results_")
    shown = {words[words.index("-o") + 1] for words in commands}
    assert shown == {path.relative_to(TOP).as_posix() for path in map(results.figure, results.DRAWINGS)}


# ---------------------------------------------------------------------------------------------- what is said


def test_the_page_is_that_of_its_numbers(numbers: dict[str, Any], page: str) -> None:
    assert results.page(numbers) == page


def test_numbers_are_of_the_inputs_as_they_are(numbers: dict[str, Any]) -> None:
    for name, run in results.RUN.items():
        points = load(TOP / run.input, run.changes).points
        if name == "unlearnt":
            continue
        assert len(numbers["files"][name]) == len(points)
        for entry, point in zip(numbers["files"][name], points, strict=True):
            config = point.config
            assert entry["finished"]
            assert entry["sweeps"] == config.schedule.sweeps
            assert (entry["width"], entry["fan_in"]) == (config.network.width, config.network.inputs)
            assert (entry["depth"], entry["train"]) == (config.network.depth, config.patterns.train)
            assert (entry["samples"], entry["clones"]) == (config.ensemble.samples, config.ensemble.clones)
            assert entry["inputs"] == config.patterns.inputs.model_dump()


def by_hand(ratios: list[float]) -> str:
    if min(ratios) > 2:
        return "supported"
    return "not supported" if min(ratios) < -2 else "cannot be judged"


def test_claim_a_is_what_the_contrasts_say(numbers: dict[str, Any], page: str) -> None:
    (entry,) = numbers["files"]["profile"]
    contrasts = [
        entry["starts"][s][e] for s in ("planted", "random") for e in ("first_learnt", "last_learnt")
    ]
    said = by_hand([one["difference"] / one["error"] for one in contrasts])
    assert f"this is\n**{said}**" in section(page, "a")


@pytest.mark.parametrize("width", [10, 20])
def test_claim_b_is_what_the_test_errors_say(numbers: dict[str, Any], page: str, width: int) -> None:
    errors = [
        entry["starts"][start]["eps_g"]
        for entry in numbers["files"]["depth"]
        for start in ("planted", "random")
        if entry["width"] == width
    ]
    said = by_hand([(0.5 - error["mean"]) / error["error"] for error in errors])
    assert re.search(rf"At N = {width}\s+(this|it)\s+is\s+\*\*{said}\*\*", section(page, "b"))


@pytest.mark.parametrize(("name", "word"), [("width", "width"), ("dimension", "dimension")])
def test_claim_c_is_what_the_test_errors_say(
    numbers: dict[str, Any], page: str, name: str, word: str
) -> None:
    small, *_, large = (
        [entry["starts"][start]["eps_g"] for start in ("planted", "random")]
        for entry in numbers["files"][name]
    )
    pairs = [(0, 0), (1, 1), (0, 1)]
    ratios = [
        (large[i]["mean"] - small[j]["mean"]) / np.hypot(large[i]["error"], small[j]["error"])
        for i, j in pairs
    ]
    assert f"For the {word}: **{by_hand(ratios)}**" in section(page, "c").replace("\n", " ")


def test_claim_d_is_the_verdict_of_analyze(numbers: dict[str, Any], page: str) -> None:
    long, short = (numbers["files"][name][0] for name in ("merging", "short"))
    assert long["verdict"] == "equilibrated"
    assert short["verdict"] == "not equilibrated"
    assert long["sentence"] in page
    assert short["sentence"] in page
    assert "this is **supported**" in section(page, "d")


def test_a_contrast_that_turns_round_turns_the_words_round(numbers: dict[str, Any]) -> None:
    other = copy.deepcopy(numbers)
    contrast = other["files"]["profile"][0]["starts"]["random"]["first_learnt"]
    contrast["difference"] = -5 * contrast["error"]
    assert "this is\n**not supported**" in section(results.page(other), "a")
    contrast["difference"] = 1.9 * contrast["error"]
    assert "this is\n**cannot be judged**" in section(results.page(other), "a")
    other["files"]["merging"][0]["verdict"] = "not equilibrated"
    assert "this is **not supported**" in section(results.page(other), "d")


# ---------------------------------------------------------------------------------------------- numbers


def late(path: Path, name: str, start: int) -> Any:
    """Means over clones and the last half of the run, from the arrays: (sample, layer)."""
    with h5py.File(path) as file:
        times, values = file["time"][:], file[name][:]
    return values[:, start, :, 0][:, :, times > times[-1] / 2].mean(axis=(1, 2))


def test_ends_are_counted_from_students_that_have_learnt_nothing(profile: Path) -> None:
    with h5py.File(profile) as file:
        base = file["teacher/q_aligned"][:, 1, :, 0, 0].mean(axis=1)
    entry = results._entry(profile, (), profile)
    np.testing.assert_allclose(entry["unlearnt"]["mean"], base.mean(axis=0))
    for place, start in enumerate(("planted", "random")):
        learnt = late(profile, "teacher/q_aligned", place) - base
        for end, layer in (("first", 0), ("last", 3)):
            difference = learnt[:, layer] - learnt[:, 1:3].mean(axis=1)
            told = entry["starts"][start][f"{end}_learnt"]
            assert told["difference"] == pytest.approx(difference.mean())
            assert told["error"] == pytest.approx(difference.std(ddof=1) / 2)


def test_rise_is_that_of_the_test_overlap(profile: Path) -> None:
    entry = results._entry(profile, (), profile)
    for place, start in enumerate(("planted", "random")):
        overlap = late(profile, "teacher/r_test_aligned", place)
        rise = overlap[:, 3] - overlap[:, 1:3].mean(axis=1)
        assert entry["starts"][start]["rise"]["difference"] == pytest.approx(rise.mean())
        assert entry["starts"][start]["rise"]["error"] == pytest.approx(rise.std(ddof=1) / 2)


def test_a_figure_keeps_its_size_when_it_is_made_small(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "figure.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(path)
    before = path.stat().st_size
    results._shrink(path)
    with Image.open(path) as picture:
        assert picture.size == (30, 40)
    assert path.stat().st_size < before
