"""Measurement times, the spread of walkers over ranks, and the boxes of rows that a rank writes."""

from itertools import combinations, pairwise

import numpy as np
from conftest import small_config
from hypothesis import given, settings
from hypothesis import strategies as st

from dsm_hpc.ensemble import pairs, walkers
from dsm_hpc.parallel.decomposition import decompose, split
from dsm_hpc.sampling.schedule import measurement_times, waiting_times
from dsm_hpc.storage.boxes import boxes


def schedule(**changes: object) -> object:
    return small_config(**{f"schedule__{key}": value for key, value in changes.items()}).schedule


@given(sweeps=st.integers(0, 10**9), count=st.integers(1, 60), waits=st.integers(0, 9))
@settings(deadline=None)
def test_log_times_start_at_zero_end_with_the_run_and_ascend(sweeps: int, count: int, waits: int) -> None:
    plan = schedule(sweeps=sweeps, measurements={"kind": "log", "count": count}, waiting_times=waits)
    times = measurement_times(plan)
    assert times[0] == 0
    assert times[-1] == sweeps
    assert (np.diff(times) > 0).all()
    assert len(times) <= count + 1
    waiting = waiting_times(plan)
    assert len(waiting) <= waits
    assert set(waiting) <= set(times[:-1])


def test_linear_times_include_the_end() -> None:
    plan = schedule(sweeps=25, measurements={"kind": "linear", "every": 10})
    assert measurement_times(plan).tolist() == [0, 10, 20, 25]


def test_log_times_grow_by_a_constant_factor() -> None:
    times = measurement_times(schedule(sweeps=10_000, measurements={"kind": "log", "count": 5}))
    assert times.tolist() == [0, 1, 10, 100, 1000, 10_000]


def largest_by_trying(costs: list[float], ranks: int) -> float:
    """The best possible largest sum of contiguous pieces, by trying every set of borders."""
    best = float("inf")
    for cuts in combinations(range(1, len(costs)), min(ranks, len(costs)) - 1):
        borders = [0, *cuts, len(costs)]
        best = min(best, max(sum(costs[a:b]) for a, b in pairwise(borders)))
    return best


@given(st.lists(st.sampled_from([1.0, 5.0, 2.5]), min_size=1, max_size=9), st.integers(1, 6))
@settings(deadline=None)
def test_split_is_the_best_contiguous_one_and_leaves_no_rank_idle(costs: list[float], ranks: int) -> None:
    borders = split(costs, ranks)
    assert borders[0] == 0
    assert borders[-1] == len(costs)
    assert len(borders) == ranks + 1
    sizes = np.diff(borders)
    assert (sizes >= 0).all()
    assert (sizes > 0).sum() == min(ranks, len(costs))
    assert max(sum(costs[a:b]) for a, b in pairwise(borders)) <= largest_by_trying(costs, ranks) * (1 + 1e-9)


def test_every_walker_has_one_owner() -> None:
    config = small_config(dynamics__betas=[float("inf"), 1.0])
    spread = decompose(config, 5)
    assert list(spread.owners()) == walkers(config)
    assert sorted(walkers(config)) == walkers(config)
    assert list(spread.owners().values()) == sorted(spread.owners().values())
    assert len(pairs(config)) == 3 * 2 * 3 * 2


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
@settings(deadline=None)
def test_boxes_cover_the_rows_in_their_order(sizes: list[int], data: st.DataObject) -> None:
    shape = tuple(sizes)
    total = int(np.prod(shape))
    rows = sorted(data.draw(st.sets(st.integers(0, total - 1))))
    numbers = np.arange(total).reshape(shape)
    covered = [number for box in boxes(rows, shape) for number in numbers[box].ravel().tolist()]
    assert covered == rows


def test_a_contiguous_run_needs_few_boxes() -> None:
    """At most two partial slabs per axis below the first, and one box of whole slabs."""
    assert len(list(boxes(range(7, 9_990), (10, 10, 10, 10)))) <= 7


def test_ladders_stay_whole_where_it_costs_little() -> None:
    """20 ladders of 3 on 5 ranks are cut between ladders; 2 ladders on 3 ranks must be cut within."""
    ladder = {"betas": [2.0, 1.0, 0.5], "exchange_every": 1}
    ensemble = {"samples": 20, "clones": 1, "starts": ["random"]}
    spread = decompose(small_config(dynamics=ladder, ensemble=ensemble), 5)
    assert all(border % 3 == 0 for border in spread.first)
    spread = decompose(small_config(dynamics=ladder, ensemble=ensemble | {"samples": 2}), 3)
    assert spread.first == (0, 2, 4, 6)
