"""Benchmarks of the kernel against Numba and NumPy, of the measurements, and of ranks.

`python -m benchmarks [kernel|observables|ranks]`.  They print times and ratios, and assert correctness only.
"""

import os

# Before NumPy is loaded: thread CPU time would not see BLAS' other threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
