MARCH: str
FLAGS: str
SIMD: str
AVAILABLE: tuple[str, ...]
COMPILER: str
