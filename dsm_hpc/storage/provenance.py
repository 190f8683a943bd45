"""Where a results file comes from: program, libraries, machine, time."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import uuid4

import h5py
import numpy as np

import dsm_hpc
from dsm_hpc.kernels import build

LIBRARIES = ("numpy", "scipy", "h5py", "mpi4py", "pydantic", "xarray")


MAX_HOST_BYTES, MAX_RESUMES = 32 << 10, 100
"""Names of hosts, and resumes, that are kept: an attribute of an HDF5 file has at most 64 KiB."""

ROOM = 64
"""Bytes that the record may grow by when the run ends."""


def provenance(hosts: list[str], mpi_library: str, seed: int, writer: str) -> dict[str, Any]:
    """What a reader needs to run it again; `hosts` has one entry per rank.

    run : identity of this very run, which its checkpoints carry too.
    """
    return {
        "run": uuid4().hex,
        "program": dsm_hpc.__version__,
        **_git(),
        "kernels": {
            "march": build.MARCH,
            "simd": build.SIMD,
            "flags": build.FLAGS,
            "compiler": build.COMPILER,
        },
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "hdf5": h5py.version.hdf5_version,
        "hdf5_mpi": bool(h5py.get_config().mpi),
        "mpi": mpi_library,
        "writer": writer,
        "ranks": len(hosts),
        "hosts": _named(sorted(set(hosts))),
        "seed": seed,
        "start": now(),
        "end": None,
        "resumes": [],
    }


def _named(hosts: list[str]) -> list[str]:
    """As many of the names as there is room for."""
    ends = np.cumsum([len(json.dumps(host)) + 2 for host in hosts])
    return hosts[: int(np.searchsorted(ends, MAX_HOST_BYTES, side="right"))]


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def resumed(origin: dict[str, Any], sweep: int, hosts: list[str]) -> dict[str, Any]:
    """The same run after one more resume, at `sweep`."""
    entry = {"at": now(), "sweep": sweep, "program": dsm_hpc.__version__, "ranks": len(hosts)}
    return origin | {"end": None, "resumes": [*origin["resumes"], entry][-MAX_RESUMES:]}


def as_text(origin: dict[str, Any]) -> np.bytes_:
    """JSON of fixed length, with room for the end of the run: it is changed in place."""
    text = json.dumps(origin)
    return np.bytes_(text.ljust(len(text) + ROOM))


def finished(text: bytes) -> np.bytes_:
    """The record with its end set to now, as long as before."""
    return np.bytes_(json.dumps({**json.loads(text), "end": now()}).ljust(len(text)))


def version_text() -> str:
    """What `dsm --version` prints."""
    git = _git()
    revision = (
        f" (git {git['git_revision'][:12]}{', with local changes' if git['git_dirty'] else ''})"
        if git["git_revision"]
        else ""
    )
    return "\n".join(
        [
            f"dsm_hpc {dsm_hpc.__version__}{revision}",
            f"kernels: {build.SIMD} (possible here: {', '.join(build.AVAILABLE)}; DSM_SIMD chooses)",
            f"the rest: march {build.MARCH} ({build.FLAGS}), compiler {build.COMPILER}",
            f"h5py {h5py.version.version}, HDF5 {h5py.version.hdf5_version}, "
            f"parallel: {'yes' if h5py.get_config().mpi else 'no (results are gathered on rank 0)'}",
            f"python {platform.python_version()}, mpi4py {_version('mpi4py')}, numpy {_version('numpy')}",
        ]
    )


def _git() -> dict[str, Any]:
    """Revision of the source tree the program runs from, if it is one."""
    folder = Path(dsm_hpc.__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return {"git_revision": None, "git_dirty": None}
    try:
        revision, status = (
            subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
            ).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return {"git_revision": None, "git_dirty": None}
    return {"git_revision": revision.strip(), "git_dirty": bool(status.strip())}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
