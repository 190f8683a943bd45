"""The report: one well-formed page that needs nothing else and says what `dsm analyze` says."""

import base64
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import pytest
import xarray as xr
from test_analysis import configuration, filled, known, scan, write

from dsm_hpc import cli
from dsm_hpc.analysis.export import export
from dsm_hpc.analysis.output import check_output
from dsm_hpc.analysis.report import OF_EACH, page, report
from dsm_hpc.analysis.report_tables import mixing_table
from dsm_hpc.analysis.tables import analyze
from dsm_hpc.config import Config
from dsm_hpc.errors import InputError

VOID = {"meta", "img", "br"}
WICKED = """<script>alert("1")</script> & 'co' $x$"""


class Page(HTMLParser):
    """Checks that tags are balanced; collects tables (rows of cells), pictures, text, and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.rows: list[list[str]] = []
        self.facts: dict[str, str] = {}
        self.caption, self.words, self.texts = "", "", []
        self.pictures: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        told = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag == "img":
            self.pictures.append(told)
        if tag in VOID:
            return
        self.open.append(tag)
        self.words = ""
        if tag == "table":
            self.rows, self.caption = [], ""
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.rows[-1].append(self.words)
        if tag == "caption":
            self.caption = self.words
        if tag == "table" and self.caption:
            self.tables.setdefault(self.caption, self.rows)
        elif tag == "table":
            self.facts |= dict(self.rows)  # type: ignore[arg-type]

    def handle_data(self, data: str) -> None:
        self.words += data
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def tempered(**changes: Any) -> Config:
    return configuration(dynamics={"betas": [0.5, 8.0], "exchange_every": 2}, **changes)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of wicked names, all kinds of tables and few points."""
    config = configuration()
    path = tmp_path_factory.mktemp("report") / "a&b <i>.h5"
    write(path, config, known(config))
    with h5py.File(path, "r+") as file:
        file.attrs["config"] = f"name: {WICKED}\n</pre><script>"
        file.attrs["config_resolved"] = config.model_copy(update={"name": WICKED}).as_yaml()
    return path


@pytest.fixture(scope="module")
def written(source: Path) -> str:
    output = source.with_name("report.html")
    report([source], output)
    assert [path.name for path in source.parent.iterdir() if path.name.endswith(".tmp")] == []
    return output.read_text(encoding="utf-8")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are composed but not rendered, which takes a second each."""
    monkeypatch.setattr("dsm_hpc.analysis.report._source", lambda _: "data:image/png;base64,")


class TestOneFile:
    def test_needs_nothing_else(self, written: str) -> None:
        page = Page(written)
        assert not page.tags & {"script", "link", "iframe", "object"}
        assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
        assert "url(" not in written.partition("</style>")[0]
        assert len(written) < 3_000_000

    def test_text_of_users_is_escaped(self, written: str) -> None:
        page = Page(written)
        assert "<script" not in written
        assert WICKED in page.text
        assert "a&b <i>.h5" in page.text
        assert "</pre><script>" in page.text

    def test_tables_hold_the_numbers_of_analyze(self, source: Path, written: str) -> None:
        tables = Page(written).tables
        entry = analyze([source])[1]["files"][0]
        for start, numbers in entry["betas"][0]["starts"].items():
            head, *rows = tables[f"Profiles, {start} start"]
            assert len(rows) == entry["depth"]
            for title, name in {
                "q(l)": "teacher/q_aligned",
                "r(l)": "teacher/r_aligned",
                "r_test(l)": "teacher/r_test_aligned",
                "clones q(l)": "clones/q_aligned",
                "raw q(l)": "teacher/q",
                "acceptance": "acceptance",
            }.items():
                for layer, row in enumerate(rows):
                    mean, error = map(float, row[head.index(title)].split("±"))
                    assert mean == pytest.approx(numbers[name]["mean"][layer], abs=5.1e-5)
                    assert error == pytest.approx(numbers[name]["error"][layer], abs=5.1e-5)
        facts = Page(written).facts
        assert facts["N, c, L"].startswith("10, 5, 3")
        assert facts["averages over"] == "4 ≤ t ≤ 8 (3 measurements)"
        assert facts["E/(NM), planted start"].startswith("0.2000 ± ")
        assert facts["program"] == "test"

    def test_the_verdict_is_that_of_analyze(self, source: Path, written: str) -> None:
        found = analyze([source])[1]["files"][0]["equilibrium"]
        page = Page(written)
        assert f'class="verdict {found["verdict"].replace(" ", "-")}"' in written
        assert found["sentence"].removeprefix(f"{found['verdict']}: ") in page.text
        head, *rows = page.tables["Equilibrium, layer by layer"]
        for row, layer in zip(rows, found["betas"][0]["layers"], strict=True):
            assert row[head.index("verdict")].endswith(layer["verdict"])
            assert f"{layer['starts']['difference']:.4f}" in row[head.index("planted − random")]

    def test_figures_are_inside_with_captions(self, written: str) -> None:
        page = Page(written)
        kinds = [str(picture["alt"]).partition(":")[0] for picture in page.pictures]
        assert kinds == [
            "equilibration", "profile", "evolution", "relaxation", "distribution", "autocorrelation",
            "acceptance", "loops",
        ]  # fmt: skip
        for kind, picture in zip(kinds, page.pictures, strict=True):
            form, _, data = str(picture["src"]).partition(";base64,")
            content = base64.b64decode(data, validate=True)
            if form == "data:image/svg+xml":
                assert ElementTree.fromstring(content).tag.endswith("svg")
            else:
                assert content.startswith(b"\x89PNG")
            assert f"--kind {kind} -o {kind}.png" in page.text

    def test_the_command_is_quoted_for_a_shell(self, source: Path, written: str) -> None:
        assert f"dsm report '{source}' -o {source.with_name('report.html')}" in Page(written).text


@pytest.mark.usefixtures("undrawn")
def test_several_files_with_theory(tmp_path: Path) -> None:
    paths = scan(tmp_path, "network", "depth", [1, 2])
    text = page(paths, tmp_path / "r.html", ("cavity",))
    found = Page(text)
    head, *rows = found.tables["Summary"]
    assert [(row[0], row[1]) for row in rows] == [
        ("1", "planted"), ("1", "random"), ("2", "planted"), ("2", "random"),
    ]  # fmt: skip
    summary = analyze(paths)[1]["summary"]["rows"]
    for row, wanted in zip(rows, summary, strict=True):
        assert float(row[head.index("test error")].split("±")[0]) == pytest.approx(
            wanted["test_error"]["mean"], abs=5.1e-5
        )
    kinds = [str(picture["alt"]).partition(":")[0] for picture in found.pictures]
    assert kinds == ["generalization", "profile", "loops", *OF_EACH, *OF_EACH]
    assert "Theory of the dense limit, planted start" in found.tables
    assert re.search(r"dsm plot \S+ \S+ --kind generalization --theory cavity", found.text)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in found.addresses if address.startswith("#")} <= set(ids)


@pytest.mark.usefixtures("undrawn")
def test_a_tempered_run_shows_its_swaps(tmp_path: Path) -> None:
    config = tempered(network={"depth": 1})
    values = filled(config)
    for name in ("attempts", "accepts"):
        values[f"exchange/{name}"][...] = {"attempts": 8, "accepts": 2}[name]
    values["exchange/permutation"][...] = [0, 1]
    values["energy"] = values["energy"].round()
    path = write(tmp_path / "x.h5", config, values)
    found = Page(page([path], tmp_path / "r.html"))
    _, first, last = found.tables["Exchange of replicas, random start"]
    assert first[:3] == ["0.5", "0.2500±0.0000", "0"]
    assert last[:3] == ["8", "", "0.7500±0.0000"]
    assert len(found.tables["Temperatures"]) == 1 + 2 * 2
    assert "Free energy, planted start" in found.tables
    kinds = [str(picture["alt"]).partition(":")[0] for picture in found.pictures]
    assert kinds[-2:] == ["exchange", "free_energy"]


def test_mixing_leaves_out_what_there_is_not() -> None:
    def times(planted: float) -> dict[str, Any]:
        return {"planted": {"sweeps": planted, "effective": 12.0}, "random": None}

    spread = {"median": 1.01, "worst": 1.2345, "samples": 3}
    found = {
        "rhat": [
            {"layer": layer, "clones": {"planted": None, "random": spread}, "starts": None}
            for layer in (1, 2)
        ],
        "tau": {"layers": [times(3.0), times(40.04)]},
    }
    table = mixing_table({"starts": ["planted", "random"], "equilibrium": found})
    assert table is not None
    assert table.head == ["l", "R̂ of clones, random", "τ [sweeps], planted", "independent values, planted"]
    assert table.rows == [["1", "1.010 (1.234)", "3.0", "12.0"], ["2", "1.010 (1.234)", "40.0", "12.0"]]
    nothing = {"rhat": [{"layer": 1, "clones": {"random": None}, "starts": None}], "tau": {"layers": []}}
    assert mixing_table({"starts": ["random"], "equilibrium": nothing}) is None


def test_nothing_measured(tmp_path: Path) -> None:
    path = write(tmp_path / "new.h5", configuration(), {}, finished=False)
    found = Page(page([path], tmp_path / "r.html"))
    assert "nothing has been measured yet" in found.text
    assert found.pictures == []
    assert "in progress: 0 of 8 sweeps" in found.text


@pytest.mark.usefixtures("undrawn")
def test_one_sample_has_no_errors(tmp_path: Path) -> None:
    config = configuration(network={"depth": 1}, ensemble={"samples": 1, "clones": 1, "starts": ["random"]})
    path = write(tmp_path / "one.h5", config, filled(config))
    found = Page(page([path], tmp_path / "r.html"))
    assert "cannot be judged" in found.text or "not equilibrated" in found.text
    assert "±n/a" in found.tables["Profiles, random start"][1][1]
    kinds = [str(picture["alt"]).partition(":")[0] for picture in found.pictures]
    assert "distribution" not in kinds


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x.pdf", r"names that end in \.html"),
        ("x.h5", r"names that end in \.html"),
        ("nowhere/x.html", "there is no folder"),
    ],
)
def test_outputs_that_are_refused(source: Path, name: str, found: str) -> None:
    before = source.read_bytes()
    with pytest.raises(InputError, match=found):
        report([source], source.parent / name)
    assert source.read_bytes() == before


def test_what_is_no_results_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.h5").write_text("text")
    assert cli.main(["report", str(tmp_path / "x.h5"), "-o", str(tmp_path / "r.html")]) == 2
    assert "is not an HDF5 file" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
    check_output(tmp_path / "r.html")


def test_the_name_of_a_file_need_not_be_text(tmp_path: Path) -> None:
    path = write(
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.h5")), configuration(), known(configuration())
    )
    report([path], tmp_path / "page.html")
    assert "?.h5" in Page((tmp_path / "page.html").read_text()).facts["file"]
    export([path], tmp_path / "all.nc")
    with xr.open_dataset(tmp_path / "all.nc", engine="h5netcdf") as root:
        assert root.attrs["path"].endswith("\N{REPLACEMENT CHARACTER}.h5")
