LEVELS: tuple[str, ...]
AVAILABLE: tuple[str, ...]
SIMD: str
OPENMP: bool
