"""Which move makes which sweep (PHYSICS section 1; docs/moves.md).

Each move leaves the equilibrium as it is, and so does any fixed order of them.  Whose turn it is follows
from the number of the sweep alone: a run that was interrupted, or cut at other times, makes the same moves.
"""

from collections.abc import Iterator
from itertools import accumulate

import numpy as np

from dsm_hpc.config import BilliardMove, Move
from dsm_hpc.kernels import Student

_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: its multiples, modulo 2^64, are spread more evenly than any others."""


def turns(moves: tuple[Move, ...], start: int, stop: int) -> Iterator[tuple[Move, int]]:
    """The moves of the sweeps start..stop - 1, and how many sweeps each makes at a time.

    Sweep t belongs to the move in whose part of 0..1 the fraction t/golden ratio lies; parts are as large as
    shares.
    """
    if len(moves) == 1:
        yield moves[0], stop - start
        return
    ends = list(accumulate(move.share for move in moves))
    for time in range(start, stop):
        place = (time * _GOLDEN % 2**64) / 2**64 * ends[-1]
        yield next(move for move, end in zip(moves, ends, strict=True) if place < end or end == ends[-1]), 1


WIDEST, REACH = 0.9, 3.0
"""Measured (docs/moves.md): solutions reach about c / M far, and what a visit costs grows with the walls
that are met on the way, about c for this many times the reach; beyond the widest angle nothing is won."""


def _angle(student: Student) -> float:
    """How far billiards turn if nobody says so."""
    _, _, fan_in, patterns = student.shape
    return min(WIDEST, REACH * fan_in / patterns)


def make(student: Student, stream: np.random.BitGenerator, move: Move, beta: float, sweeps: int) -> None:
    """Sweeps of one move."""
    if isinstance(move, BilliardMove):
        student.billiard(stream, beta, move.angle or _angle(student), sweeps)
    else:
        student.sweep(stream, beta, move.step, sweeps)
