"""Files that the verbs write: checked before any work is done, and in their place in a single step."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsm_hpc.errors import InputError


def check_output(output: Path, what: str = "file") -> None:
    """Raises InputError if `output` cannot be written; what : the kind of file, for the message."""
    if output.is_dir():
        raise InputError(f"{output}: is a folder; give the name of a {what}")
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no folder {output.parent}")
    if not os.access(output.parent, os.W_OK):
        raise InputError(f"{output}: no permission to write into {output.parent}")


@contextmanager
def in_one_step(output: Path) -> Iterator[Path]:
    """A temporary file that takes its name when it is complete: a reader sees the old one or the new one."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(output)
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)
