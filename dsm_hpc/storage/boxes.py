"""Contiguous runs of rows as the fewest boxes of a multi-dimensional index."""

from collections.abc import Iterator, Sequence
from math import prod

Box = tuple[slice, ...]


def boxes(rows: Sequence[int], shape: tuple[int, ...]) -> Iterator[Box]:
    """Covers ascending flat row numbers of an array of `shape` by boxes, in the order of the rows."""
    first = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place] != rows[place - 1] + 1:
            yield from _run(rows[first], rows[place - 1] + 1, shape)
            first = place


def _run(start: int, stop: int, shape: tuple[int, ...]) -> Iterator[Box]:
    """Rows start..stop - 1: whole slabs of the first axis in the middle, partial slabs at both ends."""
    if len(shape) == 1:
        yield (slice(start, stop),)
        return
    slab = prod(shape[1:])
    whole_from, whole_to = -(-start // slab), stop // slab
    if whole_from > whole_to:  # inside one slab
        yield from _in_slab(whole_to, start - whole_to * slab, stop - whole_to * slab, shape)
        return
    if start < whole_from * slab:
        yield from _in_slab(whole_from - 1, start - (whole_from - 1) * slab, slab, shape)
    if whole_from < whole_to:
        yield (slice(whole_from, whole_to), *(slice(0, size) for size in shape[1:]))
    if whole_to * slab < stop:
        yield from _in_slab(whole_to, 0, stop - whole_to * slab, shape)


def _in_slab(index: int, start: int, stop: int, shape: tuple[int, ...]) -> Iterator[Box]:
    for box in _run(start, stop, shape[1:]):
        yield (slice(index, index + 1), *box)
