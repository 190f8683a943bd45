"""`dsm validate --calibrate`: how long a run will take."""

from pathlib import Path

import pytest

from dsm_hpc import calibration
from dsm_hpc.calibration import Calibration, Pace, calibrate, span
from dsm_hpc.cli import main
from dsm_hpc.config import Config
from dsm_hpc.ensemble import walkers
from dsm_hpc.errors import EXIT_BAD_INPUT, EXIT_DONE
from dsm_hpc.sampling.walker import Walker


def machine(**changes: object) -> Config:
    return Config.model_validate(
        {
            "network": {"width": 5, "depth": 3, "fan_in": 3},
            "patterns": {"train": 8, "test": 20},
            "ensemble": {"samples": 4, "starts": ["planted", "random"], "clones": 2},
            "schedule": {"sweeps": 50},
        }
        | changes
    )


class Clock:
    """Work takes as long as it says, whatever the machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(calibration, "thread_time", lambda: self.now)

    def spend(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Student:
    """Stands for a walker: sweeps take `slow` seconds until `solved`, then `fast`."""

    energy = 0

    def __init__(self, clock: Clock, slow: float, fast: float, solved: int) -> None:
        self.clock, self.slow, self.fast, self.solved, self.now = clock, slow, fast, solved, 0

    def advance(self, start: int, stop: int) -> None:
        assert start == self.now
        self.clock.spend(sum(self.slow if time < self.solved else self.fast for time in range(start, stop)))
        self.now = stop


def test_a_steady_walker_is_announced_exactly(clock: Clock) -> None:
    config = machine(schedule={"sweeps": 1000})
    pace = calibration._pace(Student(clock, 0.5, 0.5, 0), config, budget=10.0)  # type: ignore[arg-type]
    assert pace.sweep == pytest.approx(0.5)
    assert pace.sweeps == pytest.approx(500.0)
    assert clock.now <= 10.0


def test_what_is_left_goes_at_the_last_speed(clock: Clock) -> None:
    """Ten slow sweeps, then fast ones: 10 x 1 s + 990 x 0.01 s."""
    config = machine(schedule={"sweeps": 1000})
    pace = calibration._pace(Student(clock, 1.0, 0.01, 10), config, budget=17.0)  # type: ignore[arg-type]
    assert pace.sweeps == pytest.approx(10 + 990 * 0.01, rel=0.01)


def test_a_short_run_is_made_to_its_end(clock: Clock) -> None:
    student = Student(clock, 2.0, 1.0, 3)
    pace = calibration._pace(student, machine(schedule={"sweeps": 7}), budget=1e6)  # type: ignore[arg-type]
    assert student.now == pace.sweeps_made == 7
    assert pace.sweeps == pytest.approx(3 * 2.0 + 4 * 1.0)


class Cooled(Student):
    """A sweep takes as long as the temperature is high, down to `fast` from time `solved` on."""

    def advance(self, start: int, stop: int) -> None:
        left = ((self.solved - time) / self.solved for time in range(start, stop))
        self.clock.spend(sum(self.fast + (self.slow - self.fast) * max(part, 0.0) for part in left))


@pytest.mark.parametrize("sweeps", [1000, 5000])
def test_a_cooled_walker_becomes_faster(clock: Clock, sweeps: int) -> None:
    """Cooled to t = 1000: on the average at the mean of both speeds, afterwards at the last."""
    config = machine(schedule={"sweeps": sweeps}, dynamics={"anneal": {"from": 0.2, "sweeps": 1000}})
    pace = calibration._pace(Cooled(clock, 3.0, 1.0, 1000), config, budget=100.0)  # type: ignore[arg-type]
    assert pace.sweeps == pytest.approx(1000 * 2.0 + (sweeps - 1000) * 1.0, rel=0.02)
    assert pace.sweep == pytest.approx(1.0, rel=0.01)
    assert clock.now <= 100.0


def test_a_sweep_longer_than_the_budget_is_made_once(clock: Clock) -> None:
    config = machine(schedule={"sweeps": 1000})
    pace = calibration._pace(Student(clock, 300.0, 300.0, 0), config, budget=1.0)  # type: ignore[arg-type]
    assert pace.sweeps_made == 1
    assert pace.sweeps == pytest.approx(300_000.0)


def test_no_sweeps(clock: Clock) -> None:
    for dynamics in ({}, {"anneal": {"from": 0.2, "sweeps": 10}}):
        config = machine(schedule={"sweeps": 0}, dynamics=dynamics)
        pace = calibration._pace(Student(clock, 1.0, 1.0, 0), config, budget=1.0)  # type: ignore[arg-type]
        assert pace.sweeps == 0


def test_of_a_long_ladder_some_temperatures_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def pace(walker: Walker, config: Config, budget: float) -> Pace:
        measured.append(walker.temperature)
        return Pace(1.0, 10.0 + walker.temperature, 1, 0)

    monkeypatch.setattr(calibration, "_pace", pace)
    betas = [0.1 * (1 + place) for place in range(22)]
    found = calibrate(machine(dynamics={"betas": betas}), ranks=1)
    assert measured == 2 * [0, 3, 6, 9, 12, 15, 18, 21]
    assert [found.paces[1, beta].sweeps for beta in (0, 1, 2, 3, 20, 21)] == [10, 10, 13, 13, 31, 31]


def test_burn_in_is_counted(clock: Clock) -> None:
    ladder = {"ladder": "adaptive", "hot": 0.2, "count": 4, "burn_in": 300}
    config = machine(dynamics={"betas": ladder, "exchange_every": 5}, schedule={"sweeps": 200})
    pace = calibration._pace(Student(clock, 1.0, 1.0, 0), config, budget=20.0)  # type: ignore[arg-type]
    assert pace.sweeps == pytest.approx(500.0)


def test_the_slowest_rank_counts(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every walker on a rank of its own: the time of the slowest kind; one rank: the sum."""
    paces = [Pace(0.0, 3.0, 1, 0), Pace(0.0, 7.0, 1, 0)]
    monkeypatch.setattr(calibration, "_pace", lambda walker, *_: paces[walker.key.start])
    monkeypatch.setattr(calibration, "_measuring", lambda *_: 0.25)
    config = machine()
    assert calibrate(config, ranks=16).slowest == pytest.approx(7.25)
    alone = calibrate(config, ranks=1)
    assert alone.slowest == pytest.approx(8 * 3.0 + 8 * 7.0 + 16 * 0.25)
    assert alone.paces == {(0, 0): paces[0], (1, 0): paces[1]}
    keys, kinds = tuple(walkers(config)), {(0, 0): paces[0], (1, 0): paces[1]}
    assert calibration._rank(keys, kinds, drawing=0.5, measuring=0.0) == pytest.approx(80.0 + 4 * 0.5)


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input.yaml"
    path.write_text(machine().as_yaml())
    assert main(["validate", str(path), "--calibrate", "--ranks", "2"]) == EXIT_DONE
    text = capsys.readouterr().out
    assert "planted start, beta = inf" in text
    assert "after 50 sweeps" in text
    assert "time of the run:" in text
    assert "on 2 ranks" in text


def test_a_scan_adds_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input.yaml"
    path.write_text(machine().as_yaml() + "scan: {network.depth: [1, 2]}\n")
    assert main(["validate", str(path), "--calibrate"]) == EXIT_DONE
    text = capsys.readouterr().out
    assert text.count("time of the run:") == 2
    assert "time of all points:" in text


def test_not_for_the_manifold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "inputs/manifold_quickstart.yaml", "--calibrate"]) == EXIT_BAD_INPUT
    assert "--calibrate" in capsys.readouterr().err


def test_spans() -> None:
    assert [span(t) for t in (3e-9, 2.5e-5, 0.5, 90.0, 7200.0, 1.5 * 86400)] == [
        "3 ns",
        "25 us",
        "500 ms",
        "1.5 min",
        "2 h",
        "1.5 d",
    ]
    assert Calibration({}, 0.0, 0.0, 1, 5.0, 0.0).total == 5.0 + calibration.START_UP
