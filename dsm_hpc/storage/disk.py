"""Bringing what was written to disk, so that it survives a crash of the machine."""

import os
from pathlib import Path


def bring_to_disk(path: Path) -> None:
    """The contents of a file; of a folder: the names in it, after one was created or renamed."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
