"""What a figure shows of a run: the window in which something has been measured, the coldest temperature."""

import numpy as np

from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import Window, window
from dsm_hpc.errors import InputError


def measured_window(results: Results) -> Window:
    """The window of averages; raises InputError if nothing has been measured yet."""
    times = window(results)
    if times is None:
        raise InputError(f"{results.path}: nothing has been measured yet, so there is nothing to draw")
    return times


def coldest(results: Results) -> int:
    """Position of the largest inverse temperature, where the students come closest to E = 0."""
    return int(np.argmax(results.layout.coordinates["beta"]))
