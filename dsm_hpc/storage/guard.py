"""Does what the HDF5 library may not survive in a child process first.

A damaged file can make libhdf5 1.10 crash, loop, or ask for as much memory as a number in the file says.  The
child has limits of its own; what it read comes back, and where it dies the file is at fault, not the program.
"""

import contextlib
import faulthandler
import os
import pickle
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import psutil

from dsm_hpc.errors import InputError

SECONDS = 5
"""Processor time that the child may take."""

ROOM = 1 << 30
"""Bytes of address space that the child may take besides what this process has."""

Read = TypeVar("Read")


def guarded(read: Callable[[], Read], path: Path) -> Read:
    """What `read()` returns or raises.  Raises InputError if it crashes, loops or takes too much memory.

    `read` only reads `path`.  Forking is safe as long as MPI has not started: after that `read` runs here.
    """
    if "mpi4py.MPI" in sys.modules:
        return read()
    source, sink = os.pipe()
    try:
        with warnings.catch_warnings():  # Python 3.12 warns of BLAS' threads, which the child does not use
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
    except OSError:  # no more processes: nothing to guard with
        os.close(source)
        os.close(sink)
        return read()
    if child == 0:
        os.close(source)
        _in_child(read, sink)
    os.close(sink)
    with open(source, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    try:
        understood, value = pickle.loads(told)  # from our own child
    except Exception:
        raise InputError(f"{path}: damaged: the HDF5 library cannot read it") from None
    if not understood:
        raise InputError(value)
    return read() if value is None else value  # None: an error of this program, to be met here


def _in_child(read: Callable[[], object], sink: int) -> NoReturn:
    """Reads under limits, tells the result through `sink`, and ends this process."""
    with contextlib.suppress(BaseException):
        signal.set_wakeup_fd(-1)  # a request to stop is for the parent, and must not be told twice
        _limit()
        try:
            told = pickle.dumps((True, read()))
        except InputError as error:
            told = pickle.dumps((False, str(error)))
        except MemoryError:
            told = b""
        except Exception:
            told = pickle.dumps((True, None))
        with open(sink, "wb") as pipe:
            pipe.write(told)
    os._exit(0)


def _limit() -> None:
    """Little time, little memory, no core file, and no last words on the screen."""
    faulthandler.disable()
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    for kind, most in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, psutil.Process().memory_info().vms + ROOM),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
