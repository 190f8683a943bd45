MARCH: str
FLAGS: str
LANES: str
COMPILER: str
