"""The pages of docs/ and the README against the program: inputs, commands, links, examples, references."""

import doctest
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest
import yaml

from dsm_hpc import cli, inputfile
from dsm_hpc.analysis.plots import KINDS
from dsm_hpc.config import Config
from dsm_hpc.footprint import HEADER_BYTES, file_bytes
from dsm_hpc.manifold.inputfile import validated as validated_manifold
from dsm_hpc.manifold.layout import EQUATIONS, SIMULATION
from dsm_hpc.storage.layout import VARIABLES, layout
from dsm_hpc.tree import parse
from dsm_hpc.validation import validated

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

sys.path.insert(0, str(ROOT / "docs"))
import reference  # noqa: E402

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _blocks(page: Path, *languages: str) -> Iterator[str]:
    """Fenced code with one of these info strings."""
    for language, code in re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        if language.strip() in languages:
            yield code


# ---------------------------------------------------------------------------------------------- inputs


@each_page
def test_yaml_is_an_input_or_a_section_of_one(page: Path) -> None:
    for code in _blocks(page, "yaml"):
        tree = parse(code, str(page))
        scan = tree.pop("scan", None)
        assert scan is None or scan
        base = reference.MANIFOLD_BASE if _is_manifold(tree) else reference.BASE
        whole = tree if base.keys() <= tree.keys() else base | tree
        (validated_manifold if _is_manifold(tree) else validated)(whole, str(page))


def _is_manifold(tree: dict[str, Any]) -> bool:
    return bool({"data", "networks", "learning", "ode", "gep"} & tree.keys()) or "t_max" in tree.get(
        "schedule", {}
    )


def test_the_input_of_the_tutorial_and_of_the_readme_is_the_quickstart() -> None:
    given = yaml.safe_load((ROOT / "inputs/quickstart.yaml").read_text())
    for page in (ROOT / "README.md", ROOT / "docs/tutorial.md"):
        shown = [validated(parse(code, "x"), "x") for code in _blocks(page, "yaml") if "name: quick" in code]
        assert shown == [validated(given, "quickstart")], page


def test_the_tutorial_shows_the_ladder_of_the_tempering_input() -> None:
    given = yaml.safe_load((ROOT / "inputs/tempering.yaml").read_text())["dynamics"]
    shown = [yaml.safe_load(code) for code in _blocks(ROOT / "docs/tutorial.md", "yaml")]
    assert given in [tree.get("dynamics") for tree in shown]


# ---------------------------------------------------------------------------------------------- commands


def _commands(page: Path) -> Iterator[list[str]]:
    """Words after `dsm` of every command line, as a shell would pass them."""
    for code in _blocks(page, "", "console", "bash"):
        for line in re.sub(r"\\\n", " ", code).splitlines():
            for part in re.split(r"\||&&", line):
                words = _words(part)
                at = next((n for n, word in enumerate(words) if word in ("dsm", ".venv/bin/dsm")), None)
                before = words[: at or 0]
                if at is not None and all(_launches(word) for word in before):
                    yield words[at + 1 :]


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # an apostrophe of a sentence
        return []


def _launches(word: str) -> bool:
    return re.fullmatch(r"mpirun|srun|-n|\d+|--?[a-z-]+=\S+|[A-Z_]+=\S*", word) is not None


@each_page
def test_command_lines_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in _commands(page):
        if "…" in words or not words or words[0].startswith(("run …", "[")):
            continue
        if words[0] in ("--version", "--help") or _is_outline(words):
            continue
        try:
            options = cli._parser().parse_args([word for word in words if word != "…"])
        except SystemExit:
            pytest.fail(f"{page.name}: dsm {shlex.join(words)}: {capsys.readouterr().err}")
        given = getattr(options, "input", None)
        if given is not None and given.parts[0] == "inputs":
            assert (ROOT / given).exists(), f"{page.name}: {given} is not there"


def _is_outline(words: list[str]) -> bool:
    """Whether a line shows a form, as `dsm run INPUT.yaml`, or is part of the program's own output."""
    return any(re.search(r"^\[|\]$|[|…]|^[A-Z]+(\.\w+)?$", word) for word in words) or words[0].endswith(":")


def test_there_are_many_command_lines() -> None:
    """Guards the search itself: a page without any would pass."""
    found = {page.name: len(list(_commands(page))) for page in PAGES}
    assert found["README.md"] >= 15, found
    assert found["tutorial.md"] >= 12, found
    assert found["cluster.md"] >= 5, found
    assert found["theory.md"] >= 3, found


def test_an_unknown_option_would_be_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("```\nmpirun -n 2 dsm run inputs/quickstart.yaml -o x.h5 --overwritten\n```\n")
    with pytest.raises(pytest.fail.Exception, match="overwritten"):
        test_command_lines_are_understood(page, capsys)


@each_page
def test_kinds_of_figures_exist(page: Path) -> None:
    for words in _commands(page):
        if "--kind" in words:
            kind = words[words.index("--kind") + 1]
            assert kind in KINDS or kind.isupper(), f"{page.name}: {kind}"


@each_page
def test_files_that_a_page_names_are_there(page: Path) -> None:
    for name in re.findall(r"(?<![\w/.])((?:inputs|jobs)/[\w/.-]*\w\.(?:yaml|sh))", page.read_text()):
        assert Path(name).stem.isupper() or (ROOT / name).exists(), f"{page.name}: {name}"


def test_arrays_have_as_many_jobs_as_the_scan_has_points() -> None:
    text = (ROOT / "docs/cluster.md").read_text()
    arrays = re.findall(r"--array=1-(\d+) .*jobs/slurm_array.sh (\S+)", text)
    assert arrays
    for count, path in arrays:
        assert int(count) == len(inputfile.load(ROOT / path).points)


def test_the_tutorial_announces_the_cost_that_validate_prints(capsys: pytest.CaptureFixture[str]) -> None:
    for page, arguments, first in (
        ("tutorial.md", "inputs/quickstart.yaml --ranks 2", "walkers:"),
        (
            "cluster.md",
            "inputs/paper_scale.yaml --ranks 256 --set 'scan={network.depth: [10]}' --set network.width=100",
            "walkers:",
        ),
    ):
        text = (ROOT / "docs" / page).read_text()
        assert f"dsm validate {arguments}" in text
        words = shlex.split(arguments)
        assert cli.main(["validate", str(ROOT / words[0]), *words[1:]]) == 0
        printed = capsys.readouterr().out
        assert printed[printed.index(first) :].strip() in text, page


# ---------------------------------------------------------------------------------------------- links


@each_page
def test_links_and_images_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = page.parent / name if name else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(found), f"{page.name}: {target}"


def _anchors(page: Path) -> set[str]:
    """Headings as GitHub and MyST turn them into anchors."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@each_page
def test_pages_name_nothing_outside_of_the_repository(page: Path) -> None:
    assert not re.search(r"(?<!\w)/(?:work|root|home|tmp)/|PHYSICS\b|DESIGN\b", page.read_text())


# ---------------------------------------------------------------------------------------------- references


def _keys(tree: dict[str, Any], defs: dict[str, Any], path: str = "") -> Iterator[str]:
    """Key paths of a JSON schema."""
    if "$ref" in tree:
        yield from _keys(defs[tree["$ref"].rpartition("/")[2]], defs, path)
    parts = [*tree.get("anyOf", []), *tree.get("oneOf", []), tree.get("items")]
    for part in filter(None, parts):
        yield from _keys(part, defs, path)
    for key, below in tree.get("properties", {}).items():
        yield f"{path}{key}"
        yield from _keys(below, defs, f"{path}{key}.")


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        (reference.input_reference(), inputfile.schema()),
        (reference.manifold_reference(), reference.ManifoldConfig.model_json_schema()),
    ],
    ids=["main", "manifold"],
)
def test_the_input_reference_has_every_key(text: str, schema: dict[str, Any]) -> None:
    keys = set(_keys(schema, schema["$defs"])) - {"scan"}
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*) \|$", text, re.MULTILINE))
    assert len(keys) > 25
    assert keys == rows.keys()
    assert all(row.rpartition("|")[2].strip() for row in rows.values()), "a key without a meaning"


def test_the_input_page_asks_for_both_references_and_tells_of_scans() -> None:
    text = (ROOT / "docs/input.md").read_text()
    assert {"input", "manifold_input"} <= set(re.findall(r"<!-- generated: (\w+) -->", text))
    assert "### `scan`" in text


@pytest.mark.parametrize(
    ("examples", "base", "check"),
    [
        (reference.EXAMPLES, reference.BASE, validated),
        (reference.MANIFOLD_EXAMPLES, reference.MANIFOLD_BASE, validated_manifold),
    ],
    ids=["main", "manifold"],
)
def test_examples_of_the_input_reference_are_accepted(examples: Any, base: Any, check: Any) -> None:
    for texts in examples.values():
        for text in texts:
            check(base | parse(text, text), text)


def test_every_section_has_an_example() -> None:
    for text in (reference.input_reference(), reference.manifold_reference()):
        sections = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
        assert all("```yaml" in section for section in sections), [
            section.splitlines()[0] for section in sections if "```yaml" not in section
        ]


def test_the_format_page_has_every_variable_and_attribute(tmp_path: Path) -> None:
    text = reference.filled((ROOT / "docs/file_format.md").read_text())
    rows = set(re.findall(r"^\| `([\w/]+)` \| ([^|]*) \|", text, re.MULTILINE))
    named = [*VARIABLES, *SIMULATION, *EQUATIONS]
    assert rows >= {(variable.name, ", ".join(variable.dimensions)) for variable in named}
    told = {name for name, _ in rows}
    path = tmp_path / "input.yaml"
    path.write_text(json.dumps(reference.BASE | {"schedule": {"sweeps": 1}, "ensemble": {"samples": 1}}))
    out = tmp_path / "out.h5"
    assert cli.main(["run", str(path), "-o", str(out)]) == 0
    with h5py.File(out) as file:
        assert set(file.attrs) <= told
        assert {name for name, item in file.items() if isinstance(item, h5py.Dataset)} <= told
        for beside in tmp_path.glob("out.h5.*"):
            assert beside.name.replace("out", "OUT") in text


@pytest.mark.parametrize("tempered", [False, True])
def test_the_formula_for_the_size_of_a_file(tempered: bool) -> None:
    """That of docs/file_format.md, counted here by hand."""
    S, s, k, L, w = 5, 2, 3, 4, 3
    tree = {
        "network": {"width": 9, "depth": L, "fan_in": 4},
        "patterns": {"train": 30},
        "ensemble": {"samples": S, "clones": k},
        "dynamics": {"betas": [0.5, 1.0, 2.0]} | ({"exchange_every": 2} if tempered else {}),
        "schedule": {"sweeps": 1000, "waiting_times": w},
    }
    config = Config.model_validate(tree)
    shape = layout(config)
    assert shape.size("waiting") == w
    T, B = shape.size("time"), 3
    W = S * s * k * B
    P = W * (k - 1) // 2
    E = S * s * k * T * (4 * B - 2) if tempered else 0
    count = W * T * (2 + 7 * L + 4 * w * L) + 6 * P * T * L + S * (3 * L + 1) + E
    assert file_bytes(config) == 8 * count + HEADER_BYTES
    assert HEADER_BYTES == 60 << 10


def test_the_verbs_page_has_every_verb_and_option() -> None:
    text = reference.filled((ROOT / "docs/verbs.md").read_text())
    verbs = next(action for action in cli._parser()._actions if isinstance(action.choices, dict)).choices
    assert verbs is not None
    sections = {part.split()[0]: part for part in text.split("## dsm ")[1:]}
    assert sections.keys() == verbs.keys()
    for name, parser in verbs.items():
        for option in re.findall(r"--[a-z-]+", parser.format_help()):
            assert option == "--help" or option in sections[name], (name, option)


def test_the_developer_page_has_every_point_of_a_fault() -> None:
    text = (ROOT / "docs/developer.md").read_text()
    sources = [path.read_text() for path in (ROOT / "dsm_hpc").rglob("*.py")]
    points = {name for source in sources for name in re.findall(r"\breached\(\"(\w+)\"", source)}
    assert points >= {"checkpoint", "finish"}
    assert points == set(re.findall(r"`(\w+)`", re.search(r"named points \(([^)]*)\)", text)[1]))  # type: ignore[index]


# ---------------------------------------------------------------------------------------------- examples


@each_page
def test_python_examples(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL | doctest.ELLIPSIS)
    for number, code in enumerate(_blocks(page, "{doctest}")):
        example = doctest.DocTestParser().get_doctest(code, names, f"{page.name}:{number}", None, None)
        told: list[str] = []
        runner.run(example, out=told.append, clear_globs=False)
        names = example.globs
        assert not runner.failures, "".join(told)


def test_the_citation_file_is_of_this_version() -> None:
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    import dsm_hpc

    assert told["cff-version"] == "1.2.0"
    assert told["version"] == dsm_hpc.__version__
    assert len({paper["doi"] for paper in told["references"]}) == 3
