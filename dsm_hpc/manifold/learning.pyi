import numpy as np
from numpy.typing import NDArray

OUTPUTS: dict[str, int]

def signs(panels: NDArray[np.int16], latent: NDArray[np.int16], out: NDArray[np.float32]) -> None: ...
def preactivations(
    panels: NDArray[np.int16], latent: NDArray[np.int16], scale: float, out: NDArray[np.float32]
) -> None: ...
def normals(bit_generator: np.random.BitGenerator, out: NDArray[np.float32]) -> None: ...
def projections(
    inputs: NDArray[np.float32], vectors: NDArray[np.float64], out: NDArray[np.float64]
) -> None: ...
def descend(
    w: NDArray[np.float64],
    v: NDArray[np.float64],
    inputs: NDArray[np.float32],
    labels: NDArray[np.float64],
    width: int,
    eta: float,
    g: str,
    second_layer: bool,
) -> None: ...
