"""One-pass SGD of a two-layer student (PHYSICS section 4; HMM, «online learning»)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.manifold.activations import activate
from dsm_hpc.manifold.inputs import BLOCK, Block, InputSource, widened
from dsm_hpc.manifold.learning import descend
from dsm_hpc.manifold.system import System

Array = NDArray[np.float64]


@dataclass(frozen=True)
class OnlineState:
    """All that a run needs to go on, besides its system and learning rate.

    w : (K, N); v : (K,); steps : since the start; stream : state of the bit generator at the beginning of the
    block of inputs that the next step belongs to (`bit_generator.state`).
    """

    w: Array
    v: Array
    steps: int
    stream: Mapping[str, Any]


class OnlineRun:
    """One student that learns from one pass over fresh inputs.

    Inputs come in blocks of BLOCK steps counted from step 0, whenever one looks at the run, and each step is
    one update of the weights: results do not depend, by a single bit, on how `advance` is divided, nor on
    interruptions.  Time is t = steps / N.
    """

    def __init__(
        self,
        system: System,
        w: Array,
        v: Array,
        eta: float,
        second_layer: bool,
        stream: np.random.BitGenerator,
    ) -> None:
        """w : (K, N), v : (K,) at t = 0, copied; second_layer : whether v learns; stream : of the inputs."""
        self.system, self.eta, self.second_layer = system, eta, second_layer
        self._source = InputSource(system)
        self._w, self._v = widened(w, self._source.columns), np.array(v, dtype=np.float64)
        self._stream = stream
        self._block_start: Mapping[str, Any] = stream.state
        self._block: Block | None = None
        self._labels = np.empty(BLOCK)
        self.steps = 0

    @classmethod
    def restored(
        cls,
        system: System,
        state: OnlineState,
        eta: float,
        second_layer: bool,
        stream: np.random.BitGenerator,
    ) -> "OnlineRun":
        """The run in the state that `state()` returned; stream : of the same kind, in any state."""
        stream.state = state.stream
        run = cls(system, state.w, state.v, eta, second_layer, stream)
        run.steps = state.steps
        return run

    def state(self) -> OnlineState:
        """A copy of the state; after a whole block the stream stands where the next one begins."""
        start = self._block_start if self.steps % BLOCK else self._stream.state
        return OnlineState(self.w.copy(), self._v.copy(), self.steps, start)

    @property
    def w(self) -> Array:
        """First layer, (K, N); a view."""
        return self._w[:, : self.system.width]

    @property
    def v(self) -> Array:
        """Second layer, (K,); a view."""
        return self._v

    def advance(self, steps: int) -> None:
        """So many steps of SGD."""
        end = self.steps + steps
        while self.steps < end:
            place = self.steps % BLOCK
            block = self._block
            if block is None or place == 0:
                block = self._next_block()
            last = min(BLOCK, place + end - self.steps)
            descend(
                self._w,
                self._v,
                block.inputs[place:last],
                self._labels[place:last],
                self.system.width,
                self.eta,
                self.system.g,
                self.second_layer,
            )
            self.steps += last - place

    def _next_block(self) -> Block:
        self._block_start = self._stream.state
        block = self._block = self._source.draw(self._stream)
        np.matmul(activate(self.system.g, block.fields), self.system.A, out=self._labels)
        return block

    def closed_error(self) -> float:
        """eps_g from the order parameters."""
        return self.system.closed_error(self.w, self._v)


def evolve(run: OnlineRun, times: NDArray[np.int64], see: Callable[[OnlineRun], None]) -> None:
    """Advances a run to each of these ascending step counts and shows it there."""
    for steps in times:
        run.advance(int(steps) - run.steps)
        see(run)


@dataclass(frozen=True)
class MeasuredError:
    """Mean and standard error of (y_student - y)^2 / 2 over fresh inputs."""

    mean: float
    error: float


def measured_error(
    system: System, w: Array, v: Array, inputs: int, random: np.random.Generator
) -> MeasuredError:
    """eps_g measured on fresh inputs, generated block by block and thrown away.

    inputs : how many, rounded up to whole blocks; random : their stream.
    """
    source = InputSource(system)
    wide, scale = widened(w, source.columns).astype(np.float32), np.float32(1 / sqrt(system.width))
    count, total, squares = 0, 0.0, 0.0
    for _ in range(-(-inputs // BLOCK)):
        block = source.draw(random.bit_generator)
        fields = ((block.inputs @ wide.T) * scale).astype(np.float64)
        wrong = activate(system.g, fields) @ v - activate(system.g, block.fields) @ system.A
        losses = wrong**2 / 2
        count, total, squares = count + BLOCK, total + float(losses.sum()), squares + float(losses @ losses)
    mean = total / count
    return MeasuredError(mean, sqrt(max(squares / count - mean**2, 0.0) / (count - 1)))
