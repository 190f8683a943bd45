"""The ranks of a job, or one process alone where there is no MPI."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.errors import EXIT_FAILED, InputError, RunError, Stopped

Result = TypeVar("Result")

_LAUNCHED_RANKS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
_LAUNCHED_RANK = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")


def launched_rank() -> int:
    """This process' rank as its launcher tells it, before MPI starts; 0 without a launcher."""
    return next((int(os.environ[name]) for name in _LAUNCHED_RANK if os.environ.get(name, "").isdigit()), 0)


class World:
    """All ranks of the job.  Every method is collective unless it says otherwise."""

    def __init__(self) -> None:
        """Starts MPI if mpi4py can be used; otherwise this process is the world."""
        self.comm: Any = None
        self._subsets: list[Any] = []
        self.rank, self.size, self.mpi_library = 0, 1, "none"
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            ranks = next((os.environ[name] for name in _LAUNCHED_RANKS if name in os.environ), "1")
            if ranks != "1":
                raise InputError(
                    f"started on {ranks} ranks, but mpi4py cannot be used ({error}): "
                    "install mpi4py for this MPI library, or start one process"
                ) from None
            return
        self.comm = MPI.COMM_WORLD
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.mpi_library = MPI.Get_library_version().split("\0")[0].split(",")[0].strip()

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    @property
    def host(self) -> str:
        """Name of the machine that this rank runs on."""
        return socket.gethostname()

    def broadcast(self, value: Result) -> Result:
        """Rank 0's value."""
        return value if self.size == 1 else self.comm.bcast(value)

    def gather(self, value: Result) -> list[Result] | None:
        """Everyone's value in rank order on rank 0, None elsewhere."""
        return [value] if self.size == 1 else self.comm.gather(value)

    def one_by_one(self, value: Result) -> Iterator[Result]:
        """Everyone's value in rank order on rank 0, which holds one at a time; nothing elsewhere."""
        if not self.is_root:
            self.comm.send(value, dest=0)
            return
        yield value
        for rank in range(1, self.size):
            yield self.comm.recv(source=rank)

    def share(self, value: Result) -> list[Result]:
        """Everyone's value in rank order, on all ranks."""
        return [value] if self.size == 1 else self.comm.allgather(value)

    def largest(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest of everyone's values, element by element, on all ranks."""
        if self.size == 1:
            return values
        from mpi4py import MPI

        found = np.empty_like(values)
        self.comm.Allreduce(values, found, op=MPI.MAX)
        return found

    def subset(self, ranks: list[int]) -> Any:
        """A communicator of some ranks, until `release`; collective among these only."""
        comm = self.comm.Create_group(self.comm.Get_group().Incl(ranks))
        self._subsets.append(comm)
        return comm

    def release(self) -> None:
        """Gives back all subsets, of which MPI has a limited number; collective among each."""
        while self._subsets:
            self._subsets.pop(0).Free()

    def on_root(self, action: Callable[[], Result]) -> Result:
        """Runs `action` on rank 0; its result, or its InputError, reaches all ranks."""
        outcome: tuple[Any, Exception | None] = (None, None)
        if self.is_root:
            try:
                outcome = (action(), None)
            except InputError as error:
                outcome = (None, error)
        result, refusal = self.broadcast(outcome)
        if refusal is not None:
            raise refusal
        return result  # type: ignore[no-any-return]

    def together(self, action: Callable[[], Result]) -> Result:
        """Runs `action` on every rank; an InputError on any rank is raised on all of them."""
        result, refusal = None, None
        try:
            result = action()
        except InputError as error:
            refusal = error
        for found in self.share(refusal):
            if found is not None:
                raise found
        return result  # type: ignore[return-value]

    def barrier(self) -> None:
        if self.size > 1:
            self.comm.Barrier()

    def send(self, array: NDArray[Any], to: int) -> Any:
        """Starts sending; not collective.  The array must stay as it is until `finish`."""
        return self.comm.Isend(array, dest=to)

    def receive(self, like: NDArray[Any], source: int) -> NDArray[Any]:
        """Waits for an array of this shape and type; not collective.  One source's messages come in order."""
        array = np.empty_like(like)
        self.comm.Recv(array, source=source)
        return array

    def finish(self, sent: list[Any]) -> None:
        """Waits until all started sends are done; not collective."""
        for request in sent:
            request.Wait()

    def abort_on_error(self) -> "_AbortOnError":
        """A context in which an exception on one rank ends all ranks, instead of leaving them waiting."""
        return _AbortOnError(self)


class _AbortOnError:
    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All ranks have agreed on these two: they leave by themselves.
        if error is None or isinstance(error, (InputError, Stopped)) or self._world.size == 1:
            return
        if isinstance(error, RunError):
            print(f"dsm: {error}", file=sys.stderr)
        else:
            sys.excepthook(type(error), error, trace)
        print(f"dsm: rank {self._world.rank} failed; all ranks stop", file=sys.stderr, flush=True)
        self._world.comm.Abort(EXIT_FAILED)
