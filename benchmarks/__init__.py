"""Benchmarks, `python -m benchmarks [NAME]`.  They print times and ratios, and assert correctness only.

The kernel: `kernel` against Numba and NumPy, `roofline` against the processor, `sizes`, `ising`, `processes`
side by side; its history: test_history.py.  The rest of the program: `observables`, `ranks`, `scaling`,
`calibration`, `exchange`, `manifold`, `moves`, `checkpoints`, `theory`, `threads`.
"""

import os

# Before NumPy is loaded: thread CPU time would not see BLAS' other threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
