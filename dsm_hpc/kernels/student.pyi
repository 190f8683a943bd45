import numpy as np
from numpy.typing import NDArray

NARROW: int
WIDE: int

SHARED: tuple[str, ...]

class WeightOverflow(ArithmeticError): ...

def kernels_for(depth: int, width: int, fan_in: int, level: str = ..., ising: bool = ...) -> list[str]: ...

class Student:
    ising: bool
    kernel: str
    level: str
    energy: int
    kernel_bytes: int
    wiring: NDArray[np.int32]
    weights: NDArray[np.float64]
    signs: NDArray[np.uint64]
    targets: NDArray[np.uint64]
    proposed: NDArray[np.int64]
    accepted: NDArray[np.int64]
    def __init__(
        self,
        wiring: NDArray[np.int32],
        weights: NDArray[np.float64],
        inputs: NDArray[np.uint64],
        targets: NDArray[np.uint64],
        patterns: int,
        ising: bool,
        kernel: str | None = None,
        level: str | None = None,
        threads: int = 1,
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    def sweep(
        self,
        bit_generator: np.random.BitGenerator,
        beta: float,
        step: float,
        sweeps: int,
        trace: NDArray[np.uint8] | None = None,
    ) -> None: ...
    def billiard(
        self, bit_generator: np.random.BitGenerator, beta: float, angle: float, sweeps: int
    ) -> None: ...
    def reset_counters(self) -> None: ...
    def recomputed(self) -> Student: ...
    def same_state(self, other: Student) -> bool: ...
