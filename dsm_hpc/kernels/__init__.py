"""Cython kernels: state of one student, sweeps, forward pass.  No MPI, no I/O, no YAML."""

from dsm_hpc.kernels import build  # first: refuses a processor that the other modules would crash on
from dsm_hpc.kernels.signs import (
    cross_overlaps,
    forward,
    pack,
    quantise,
    sign_overlaps,
    squared_correlations,
    unpack,
    weight_overlaps,
)
from dsm_hpc.kernels.student import SHARED, Student, WeightOverflow, kernels_for

__all__ = [
    "SHARED",
    "Student",
    "WeightOverflow",
    "build",
    "cross_overlaps",
    "forward",
    "kernels_for",
    "pack",
    "quantise",
    "sign_overlaps",
    "squared_correlations",
    "unpack",
    "weight_overlaps",
]
