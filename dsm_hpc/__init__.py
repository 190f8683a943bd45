"""dsm_hpc: Monte Carlo and theory of learning in deep perceptron networks.

In Python: `dsm_hpc.open_results(path)` opens results files as xarray, `dsm_hpc.to_inference_data(results)`
hands them to ArviZ.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; `import dsm_hpc` itself loads no library
    from dsm_hpc.analysis.inference_data import to_inference_data
    from dsm_hpc.analysis.opening import open_results

__all__ = ["open_results", "to_inference_data"]
__version__ = "0.1.0"

_HOMES = {"open_results": "opening", "to_inference_data": "inference_data"}


def __getattr__(name: str) -> Any:
    """Loads what is offered here when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"dsm_hpc.analysis.{_HOMES[name]}"), name)
