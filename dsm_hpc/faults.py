"""Places where a test can kill this process: DSM_FAULT=point:count[:rank] in the environment, SIGKILL.

`count` is the how-manieth time that the place is reached (from 1); without `rank` every rank is killed.
Nothing happens where the variable is not set, and users never set it.
"""

import os
import signal

_ARMED = os.environ.get("DSM_FAULT", "")
_seen = 0


def reached(point: str, rank: int) -> None:
    """The run is at `point`."""
    global _seen
    if not _ARMED.startswith(point + ":"):
        return
    count, _, chosen = _ARMED.partition(":")[2].partition(":")
    _seen += 1
    if _seen == int(count) and chosen in ("", str(rank)):
        os.kill(os.getpid(), signal.SIGKILL)
