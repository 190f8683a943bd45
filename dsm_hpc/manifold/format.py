"""How a results file of the hidden manifold model is told from others: verbs ask before they load more."""

from contextlib import suppress
from pathlib import Path

from dsm_hpc.errors import InputError
from dsm_hpc.storage.guard import guarded
from dsm_hpc.storage.reading import reading

FORMAT = "dsm-hpc-manifold"
FORMAT_VERSION = 1


def is_manifold(path: Path) -> bool:
    """Whether this is a file of the hidden manifold model, whatever its state."""

    def look() -> bool:
        with reading(path) as file:
            return bool(file.attrs.get("format") == FORMAT)

    with suppress(InputError):
        return path.is_file() and guarded(look, path)
    return False
