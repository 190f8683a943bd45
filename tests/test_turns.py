"""Mixtures of moves: whose turn it is, presets, and what weights allow."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import Made, small_config
from test_config import refusal

from dsm_hpc.config import FAST, PAPER, BilliardMove, WeightMove
from dsm_hpc.ensemble import WalkerKey
from dsm_hpc.machine.sample import draw_sample
from dsm_hpc.sampling.turns import turns
from dsm_hpc.sampling.walker import Walker

MIXED = (
    BilliardMove(kind="billiard", share=3.0),
    WeightMove(kind="weight", step=0.3),
    WeightMove(kind="weight", step=0.6),
)


@pytest.mark.parametrize("start", [0, 10**14])
def test_moves_make_sweeps_in_proportion_to_their_shares(start: int) -> None:
    """3 : 1 : 1, in any stretch of time within two sweeps."""
    made = [move for move, sweeps in turns(MIXED, start, start + 500) for _ in range(sweeps)]
    assert len(made) == 500
    for first in range(0, 400, 37):
        for move, share in zip(MIXED, (0.6, 0.2, 0.2), strict=True):
            assert abs(made[first : first + 100].count(move) - 100 * share) < 4


@pytest.mark.parametrize("stops", [[7], [1, 2, 3, 50], [25, 26]])
def test_turns_do_not_depend_on_where_time_is_cut(stops: list[int]) -> None:
    times = [0, *stops, 60]
    cut = [(move, n) for a, b in pairwise(times) for move, n in turns(MIXED, a, b)]
    assert cut == list(turns(MIXED, 0, 60))


def test_one_move_makes_all_sweeps_at_once() -> None:
    assert list(turns(PAPER, 3, 10)) == [(PAPER[0], 7)]


def test_presets() -> None:
    assert (
        small_config(dynamics__moves="paper").dynamics.moves
        == PAPER
        == (WeightMove(kind="weight", step=0.5),)
    )
    assert small_config(dynamics__moves="fast").dynamics.moves == FAST == small_config().dynamics.moves
    assert small_config(network__weights="ising").dynamics.moves == PAPER
    assert small_config(network__weights="ising", dynamics={"betas": [1.0]}).dynamics.moves == PAPER


def test_the_published_dynamics_are_sweeps_of_single_weights() -> None:
    """`paper` makes the same decisions as Student.sweep with step 0.5, bit for bit."""
    config = small_config(dynamics__moves="paper")
    sample = draw_sample(config, 0)
    walker, other = (Walker(WalkerKey(0, 1, 0, 0), sample, config) for _ in range(2))
    walker.advance(0, 20)
    other.student.sweep(other.moves, np.inf, 0.5, 20)
    assert walker.student.same_state(other.student)


@pytest.mark.parametrize(("train", "angle"), [(3, 0.9), (48, 0.25)])
def test_an_angle_that_nobody_gives(train: int, angle: float) -> None:
    """3 c / M, here with c = 4, and 0.9 at most."""
    config = small_config(network__fan_in=4, patterns__train=train, dynamics__moves=[{"kind": "billiard"}])
    sample = draw_sample(config, 0)
    walker, other = (Walker(WalkerKey(0, 1, 0, 0), sample, config) for _ in range(2))
    walker.advance(0, 3)
    other.student.billiard(other.moves, np.inf, angle, 3)
    assert walker.student.same_state(other.student)


def test_the_default_is_not_the_published_dynamics() -> None:
    config = small_config()
    walker = Walker(WalkerKey(0, 1, 0, 0), draw_sample(config, 0), config)
    before = walker.student.weights.copy()
    walker.advance(0, 1)
    changed = (walker.student.weights != before).reshape(-1, walker.student.weights.shape[-1])
    assert set(changed.sum(axis=1)) == {0, changed.shape[1]}  # whole perceptrons


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        ("papr", "dynamics.moves: 'papr': allowed are paper, fast and a list of moves"),
        ([], "dynamics.moves"),
        ([{"kind": "flip"}], "dynamics.moves.0.kind: 'flip' is not known: allowed are weight, billiard"),
        ([{"kind": "billiard", "step": 0.1}], "the kind chosen here has no step"),
        ([{"kind": "billiard", "angle": 3.2}], "dynamics.moves.0.angle: 3.2 is not allowed"),
        ([{"kind": "weight", "share": 0.0}], "dynamics.moves.0.share: 0.0 is not allowed"),
    ],
)
def test_bad_moves_are_named(make_input: Made, moves: object, message: str) -> None:
    assert message in refusal(make_input(dynamics__moves=moves))


def test_a_billiard_does_not_move_ising_weights(make_input: Made) -> None:
    told = refusal(make_input(network__weights="ising", dynamics__moves="fast"))
    assert (
        "dynamics.moves: a billiard moves Gaussian weights; with network.weights = ising give paper" in told
    )
