"""`dsm watch`: one frame holds the right numbers, at any width; it ends when the run does."""

import json
import math
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from rich.console import Console
from test_analysis import ORIGIN, configuration, filled, known, write

from dsm_hpc import cli, live
from dsm_hpc.errors import InputError
from dsm_hpc.live import bars, frame, measured, watch
from dsm_hpc.storage.sign_of_life import SignOfLife, give

RUN = "abc"


def running(folder: Path, **changes: Any) -> Path:
    """A file that looks as while a job writes it: measured up to t = 4 of 8; the job is on sweep 5."""
    config = configuration(**changes)
    values = known(config) if config.network.depth == 3 else filled(config)
    for name in ("energy", "teacher/q_aligned"):
        array = np.array(values[name], dtype=float)
        array[:, :, :, :, 3:] = np.nan
        values[name] = array
    path = write(folder / "x.h5", config, values, finished=False)
    with h5py.File(path, "r+") as file:
        file.attrs["provenance"] = json.dumps(ORIGIN | {"run": RUN})
    about = {
        "run": RUN,
        "state": "running",
        "reason": "",
        "phase": "",
        "ranks": 4,
        "rate": 720.0,
        "errors": {},
    }
    give(path, SignOfLife(**about, sweep=5, sweeps=8, host="node7", at=time.time() - 3))
    return path


def shown(path: Path, width: int = 100) -> str:
    """One frame as text."""
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(frame(path)[0])
    return capture.get()


def test_numbers_of_a_running_job(tmp_path: Path) -> None:
    path = running(tmp_path)
    text = shown(path)
    assert "N = 10, c = 5, L = 3, M = 20" in text
    assert "running on node7, 4 ranks" in text
    assert "sweep 5 of 8 (62.5%), 720 proposals/s" in text
    # 3 samples x 2 starts x 2 clones x 150 weights x 3 sweeps at 720 proposals per second
    assert f"00:00:{round(12 * 150 * 3 / 720):02d} left" in text
    assert "last sign of life 3 s ago" in text
    assert "t = 4, beta = inf: training error E/(NM) planted 0.2000, random 0.2000" in text
    assert not frame(path)[1]


def test_what_is_shown_is_the_last_time_of_all_walkers(tmp_path: Path) -> None:
    path = running(tmp_path)
    with h5py.File(path, "r+") as file:
        file["energy"][2, 1, 1, 0, 2] = np.nan  # one walker has not got to t = 4
        wanted = file["teacher/q_aligned"][:, 0, :, 0, 1].mean(axis=(0, 1))
    latest = measured(live.load(path))
    assert latest is not None
    assert latest.time == 2
    np.testing.assert_allclose(latest.profiles["planted"], wanted)
    with h5py.File(path, "r+") as file:
        file["energy"][...] = np.nan
    assert measured(live.load(path)) is None
    assert "nothing has been measured yet" in shown(path)


@pytest.mark.parametrize("width", [30, 50, 79, 100, 200])
def test_lines_fit(tmp_path: Path, width: int) -> None:
    text = shown(running(tmp_path, network={"depth": 20}), width)
    assert max(map(len, text.splitlines())) <= width
    assert "q(l), planted" in text
    assert "q(l), random" in text


class TestBars:
    @staticmethod
    def drawn(values: list[float], width: int = 60, encoding: str = "utf-8") -> list[str]:
        chosen = Console(width=width).options.copy()
        chosen.encoding = encoding
        return bars(values, width, chosen)

    def test_heights(self) -> None:
        """Full, half, a sixth and an eighth of a line more than a sixth, nothing, less than nothing."""
        lines = self.drawn([1.0, 0.5, 1 / 6 + 1 / 48, 0.0, -0.3, math.nan])
        rows = [line[5:].ljust(30) for line in lines[:6]]
        columns = [[row[5 * place] for row in rows] for place in range(6)]
        assert columns[0] == ["█"] * 6
        assert columns[1] == [" "] * 3 + ["█"] * 3
        assert columns[2] == [" "] * 4 + ["▁", "█"]
        assert columns[3] == columns[4] == columns[5] == [" "] * 6
        assert lines[0].startswith("1.0 |")
        assert lines[5].startswith("0.0 |")
        assert lines[6].split() == ["l", "1", "2", "3", "4", "5", "6"]
        assert lines[7].split() == ["q", "1.00", "0.50", "0.19", "0.00", "-0.30", "n/a"]

    def test_labels_stand_under_their_bars(self) -> None:
        lines = self.drawn([0.9] * 12, width=30)
        for found in range(5, len(lines[6])):
            if lines[6][found] != " " and lines[6][found - 1] == " ":
                assert lines[5][found] == "█"

    def test_many_layers_in_little_room(self) -> None:
        lines = self.drawn([0.5] * 100, width=45)
        assert lines[5].count("█") == 20
        assert max(map(len, lines)) <= 45
        assert lines[6].split()[1] == "1"

    def test_plain_characters(self) -> None:
        lines = self.drawn([0.3, 0.7], encoding="ascii")
        assert all(line.isascii() for line in lines)
        assert "#" in lines[5]


class TestVerb:
    def test_one_frame_where_there_is_no_terminal(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = running(tmp_path)
        assert cli.main(["watch", str(path)]) == 0
        told = capsys.readouterr().out
        assert told.count("sweep 5 of 8") == 1
        assert "\x1b" not in told

    def test_ends_with_the_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = running(tmp_path)
        waits = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                with h5py.File(path, "r+") as file:
                    file.attrs["finished"] = 1

        monkeypatch.setattr(live.sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr(live.time, "sleep", wait)
        watch(path, every=7.0)
        assert waits == [7.0, 7.0]
        assert "sweep 8 of 8 (100.0%)" in capsys.readouterr().out

    def test_interrupt_is_no_failure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def wait(_: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(live.sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr(live.time, "sleep", wait)
        assert cli.main(["watch", str(running(tmp_path))]) == 0

    def test_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["watch", str(tmp_path / "nowhere.h5")]) == 2
        assert "cannot be read: No such file" in capsys.readouterr().err
        path = running(tmp_path)
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(InputError, match=r"truncated|damaged"):
            watch(path)
        with pytest.raises(SystemExit):
            cli.main(["watch", str(path), "--every", "3"])
        assert "'3' is not a duration" in capsys.readouterr().err


def test_a_run_without_sign_is_not_called_running(tmp_path: Path) -> None:
    path = running(tmp_path)
    (tmp_path / "x.h5.progress").unlink()
    text = shown(path)
    assert "no sign of life" in text
    assert "proposals/s" not in text


def test_points_of_a_scan(tmp_path: Path, make_input: Any, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_input(scan={"network.depth": [1, 2]}, network={"width": 5, "depth": 1, "fan_in": 3})
    assert cli.main(["run", str(source), "-o", str(tmp_path / "scan"), "--point", "2"]) == 0
    for width in (60, 120):
        first, second, last = shown(tmp_path / "scan", width).splitlines()
        assert first.split()[:2] == ["depth=1", "waiting"]
        assert "0.0%" in first
        assert second.split()[:2] == ["depth=2", "finished"]
        assert "100.0%" in second
        assert last.strip() == "1 of 2 points finished"
    assert not frame(tmp_path / "scan")[1]
