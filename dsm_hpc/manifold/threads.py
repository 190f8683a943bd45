"""One thread for BLAS and LAPACK: sums in another order would have other last bits, and ranks fill the cores.

The program has loaded NumPy before it knows the verb: environment variables would come too late.
"""

import ctypes
from pathlib import Path

_NAMES = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)
_MAPS = Path("/proc/self/maps")


def single() -> None:
    """Tells every OpenBLAS that is loaded, those of wheels included; elsewhere the environment has to."""
    lines = _MAPS.read_text().splitlines() if _MAPS.exists() else []
    for path in {line.split()[-1] for line in lines if "openblas" in line}:
        library = ctypes.CDLL(path)
        for name in _NAMES:
            if hasattr(library, name):
                getattr(library, name)(1)
