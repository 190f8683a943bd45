"""Fuzzing of everything that the program reads: only a result or an InputError, in little time and memory.

    yaml        inputs: text and key trees, as `dsm validate` reads them
    results     results files: bytes and structures, as `dsm status`, `dsm resume`, `dsm analyze` read them
    figures     results files with strange numbers in them: `dsm analyze` and `dsm plot --kind profile`
    checkpoint  checkpoints; where the structure is changed the digest is made right again
    sign        OUT.h5.progress, as `dsm status` reads it
    scan        scan.json, as `dsm status` and `dsm resume` read it

Cases run in child processes: what kills the child, takes more than SECONDS of processor time, needs more than
ROOM bytes, or ends in anything but a result or an InputError, is an offending case.  A case is a function of
(kind, seed, number).  For speed, results files are read there without dsm_hpc.storage.guard; a case in which
the library then dies is done again with it.
"""

import contextlib
import copy
import faulthandler
import functools
import json
import os
import random
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import psutil
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsm_hpc import footprint, inputfile, restoring, status
from dsm_hpc.analysis.plots import plot
from dsm_hpc.analysis.results import load
from dsm_hpc.analysis.tables import analyze
from dsm_hpc.burn_in import BurnIn
from dsm_hpc.config import Config
from dsm_hpc.ensemble import LadderKey, WalkerKey, walkers
from dsm_hpc.errors import InputError
from dsm_hpc.machine.inputs import check_inputs
from dsm_hpc.storage import checkpoint, guard, reading, results, scan_list, sign_of_life
from dsm_hpc.storage.layout import layout
from dsm_hpc.storage.provenance import as_text, resumed
from dsm_hpc.validation import _all_keys

SECONDS = 10
"""Processor time of one case."""

ROOM = 1 << 30
"""Bytes of address space that a child may take besides what it was born with."""

HASTY = 1
"""The same of the HDF5 library without the guard, before the case is done again with it; and of the guard."""

STUCK = 180
"""Wall time of one case, on however busy a machine."""

CASES_PER_CHILD = 500

SHARES = {
    "yaml": 0.12,
    "results": 0.1,
    "figures": 0.0005,
    "checkpoint": 0.35,
    "sign": 0.25,
    "scan": 0.1795,
}
"""How a campaign is split."""

INPUTS = Path(__file__).parents[2] / "inputs"
NAMES = ("quickstart", "tempering", "depth_scan", "width_scan", "effective_dimension", "paper_scale")

PLAIN = """name: small
seed: 3
network: {width: 5, depth: 2, fan_in: 3}
patterns: {train: 10, test: 10}
ensemble: {samples: 2, clones: 2}
schedule: {sweeps: 4, measurements: {kind: linear, every: 2}, waiting_times: 1}
"""
TEMPERED = PLAIN + "dynamics: {betas: [0.5, .inf], exchange_every: 2}\n"
TUNED = PLAIN + "dynamics: {betas: {ladder: adaptive, hot: 0.2, count: 3, burn_in: 8}, exchange_every: 2}\n"
SCAN = PLAIN + "scan: {network.depth: [1, 2, 3], seed: [5, 6]}\n"

RUN = "0123456789abcdef"
FILE = Path("case.h5")
"""Where a case stands, in the folder of its child."""


@dataclass
class Counts:
    """What a campaign found.

    caught : cases in which the HDF5 library crashed, looped or wanted too much memory, which the guard turned
    into an InputError; offending : one line for each offending case, with what reproduces it.
    """

    cases: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    caught: dict[str, int] = field(default_factory=dict)
    offending: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.cases.values())


class Outcome(NamedTuple):
    """What became of a case: `accepted`, `refused`, or what was wrong."""

    word: str
    detail: str

    @property
    def fine(self) -> bool:
        return self.word in ("accepted", "refused")


def campaign(seed: int, cases: int, shares: dict[str, float] | None = None) -> Counts:
    """Does `cases` cases in all; the same ones for the same seed."""
    counts = Counts()
    with _folder() as folder:
        for kind, share in (shares or SHARES).items():
            began = time.monotonic()
            for number, outcome in _outcomes(kind, seed, range(round(share * cases)), folder):
                _count(counts, kind, seed, number, outcome, folder)
            counts.seconds[kind] = time.monotonic() - began
    return counts


def _count(counts: Counts, kind: str, seed: int, number: int, outcome: Outcome, folder: Path) -> None:
    counts.cases[kind] = counts.cases.get(kind, 0) + 1
    if not outcome.fine and kind in ("results", "figures"):
        guarded = next(_outcomes(kind, seed, range(number, number + 1), folder, guarded=True))[1]
        if guarded.fine:
            counts.caught[outcome.word] = counts.caught.get(outcome.word, 0) + 1
        outcome = guarded
    if outcome.fine:
        tally = counts.refused if outcome.word == "refused" else counts.accepted
        tally[kind] = tally.get(kind, 0) + 1
    else:
        counts.offending.append(
            f"{kind} seed {seed} number {number}: {outcome.word}: {outcome.detail}; "
            f"python -m faults.fuzz {kind} {seed} {number}"
        )


def reproduce(kind: str, seed: int, number: int, guarded: bool = False) -> tuple[str, Outcome]:
    """One case again: what was changed, and what became of it."""
    with _folder() as folder:
        outcome = next(_outcomes(kind, seed, range(number, number + 1), folder, guarded))[1]
        return (folder / "what").read_text(), outcome


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dsm-fuzz-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# ---------------------------------------------------------------------------------------------- children


def _outcomes(
    kind: str, seed: int, numbers: range, folder: Path, guarded: bool = False
) -> Iterator[tuple[int, Outcome]]:
    """The outcomes of cases, in children that are replaced when they die."""
    materials()
    while numbers:
        child = _Child(kind, seed, numbers[:CASES_PER_CHILD], folder, guarded)
        done = 0
        for number, outcome in child.outcomes():
            yield number, outcome
            done += 1
        numbers = numbers[done:]


class _Child:
    """A process that does some cases, and tells before and after each of them."""

    def __init__(self, kind: str, seed: int, numbers: range, folder: Path, guarded: bool) -> None:
        self._numbers, self._told = numbers, b""
        self._most = HASTY if kind == "results" and not guarded else SECONDS
        self._source, sink = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._source)
                _work(kind, seed, numbers, folder, guarded, sink)
            finally:
                os._exit(0)
        os.close(sink)

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Ends with the first case that the child does not survive."""
        try:
            for number in self._numbers:
                told = self._line()
                if told is None:
                    os.kill(self._pid, signal.SIGKILL)
                    yield number, Outcome("time", f"more than {self._most} s")
                    break
                if not told:
                    ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
                    yield number, Outcome("crash", f"signal or status {ended.si_status}")
                    break
                yield number, Outcome(*json.loads(told))
        finally:
            os.close(self._source)
            os.waitpid(self._pid, 0)

    def _line(self) -> bytes | None:
        """The next line, empty where the child has died; None if it takes too long."""
        began, used = time.monotonic(), self._used()
        while b"\n" not in self._told:
            if select.select([self._source], [], [], 0.2)[0]:
                piece = os.read(self._source, 1 << 16)
                if not piece:
                    return b""
                self._told += piece
            elif self._used() - used > self._most or time.monotonic() - began > STUCK:
                return None
        line, _, self._told = self._told.partition(b"\n")
        return line

    def _used(self) -> float:
        """Processor time of the child and its children."""
        try:
            times = psutil.Process(self._pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system + times.children_user + times.children_system)


def _work(kind: str, seed: int, numbers: range, folder: Path, guarded: bool, sink: int) -> None:
    """What a child does."""
    os.chdir(folder)
    faulthandler.disable()
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    warnings.simplefilter("ignore")
    sys.modules.pop("mpi4py.MPI", None)  # another test may have started it; here it is not used
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + ROOM, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    guard.SECONDS = HASTY
    if not guarded:
        reading.guarded = lambda read, path: read()
        _remember_configurations()
    for number in numbers:
        outcome = _outcome(kind, random.Random(f"{kind} {seed} {number}"))
        os.write(sink, json.dumps(outcome).encode() + b"\n")


def _remember_configurations() -> None:
    """Reading YAML takes longer than all the rest, and most cases have the same."""
    remembered = functools.lru_cache(64)(inputfile.parse_resolved)
    for module in (reading, checkpoint, scan_list):
        module.parse_resolved = remembered


def _outcome(kind: str, chance: random.Random) -> Outcome:
    """Does one case."""
    for path in Path().iterdir():
        path.unlink()
    try:
        Path("what").write_text(_BUILD[kind](chance), errors="backslashreplace")
        _USE[kind](chance)
    except InputError as error:
        message = str(error)
        try:
            fine = bool(message) and message.encode() != b""
        except UnicodeEncodeError:
            fine = False
        return Outcome("refused", message[:300]) if fine else Outcome("message", ascii(message)[:300])
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-3:]
        places = " < ".join(f"{Path(place.filename).name}:{place.lineno}" for place in reversed(where))
        return Outcome("traceback", ascii(f"{type(error).__name__}: {error!s:.150}; {places}")[1:-1])
    if Path("PWNED").exists():
        return Outcome("code", "the file made the program do something")
    return Outcome("accepted", "")


# ---------------------------------------------------------------------------------------------- what there is


@dataclass(frozen=True)
class Material:
    """Valid files of one run, as bytes, and what is in them."""

    config: Config
    results: bytes
    metadata: tuple[tuple[int, int], ...]
    checkpoint: bytes
    sign: bytes
    header: reading.Header


@functools.cache
def materials() -> tuple[Material, ...]:
    """A plain run, a tempered one, and one whose ladder is being tuned; all unfinished."""
    with _folder() as folder:
        return tuple(_material(text, folder) for text in (PLAIN, TEMPERED, TUNED))


def _material(text: str, folder: Path) -> Material:
    config = inputfile.parse_resolved(text, "material")
    path = folder / FILE
    origin = {"run": RUN, "program": "0", "hosts": ["here"], "end": None, "resumes": []}
    about = {
        "config": text,
        "config_overrides": json.dumps([]),
        "config_resolved": config.as_yaml(),
        "point": json.dumps({"network.depth": 2}),
        "provenance": as_text(origin),
    }
    if config.dynamics.tempered:
        rounds = [{"betas": ["0.5", "inf"], "rejection": [0.25]}]
        about["ladder_tuning"] = json.dumps({"burn_in": 8, "rounds": rounds})
    results.create(path, layout(config), about)
    numbers = np.random.default_rng(1)
    with h5py.File(path, "r+", locking=False) as file:
        for variable in layout(config).variables:
            file[variable.name][...] = numbers.random(file[variable.name].shape).round(2)
    header = _as_case(reading._read_header(path))
    tuning = config.dynamics.ladder if text == TUNED else None
    told = BurnIn(tuning, np.zeros((2, len(tuning) - 1), np.int64)).as_json() if tuning else None
    moment = checkpoint.Moment(RUN, config.as_yaml(), 2, 2, 0 if told else 1, told)
    checkpoint.save(path, moment, config, _records(config, moment, numbers), "gather", _Alone())
    sign = sign_of_life.SignOfLife(
        RUN, "running", "", 2, 4, "", 1, 1e3, {"planted": 0.0, "random": 0.25}, "elsewhere", 7, 1e9
    )
    return Material(
        config,
        path.read_bytes(),
        tuple(_metadata(path)),
        checkpoint.newest(path).read_bytes(),
        json.dumps(asdict(sign)).encode(),
        header,
    )


class _Alone:
    """A single rank, without MPI: what `checkpoint.save` needs of a World."""

    is_root, rank, size = True, 0, 1

    def barrier(self) -> None: ...


def _records(
    config: Config, moment: checkpoint.Moment, numbers: np.random.Generator
) -> list[tuple[WalkerKey | LadderKey, dict[str, Any]]]:
    keys = walkers(config)
    fields = checkpoint.walker_fields(config, moment.remembered)
    ladder = checkpoint.ladder_fields(config)
    return [(key, _state(fields, numbers)) for key in keys] + [
        (key, _state(ladder, numbers)) for key in dict.fromkeys(key.ladder for key in keys)
    ]


def _state(fields: list[checkpoint.Field], numbers: np.random.Generator) -> dict[str, Any]:
    return {field.name: numbers.integers(0, 2, field.shape).astype(field.kind) for field in fields}


def _as_case(header: reading.Header) -> reading.Header:
    return reading.Header(**{**vars(header), "path": FILE})


def _metadata(path: Path) -> Iterator[tuple[int, int]]:
    """Stretches of a results file between its data, where damage meets the library."""
    taken: list[tuple[int, int]] = []

    def note(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.id.get_offset() is not None:
            taken.append((item.id.get_offset(), item.id.get_storage_size()))

    with h5py.File(path, "r") as file:
        file.visititems(note)
    place = 0
    for first, size in [*sorted(taken), (path.stat().st_size, 0)]:
        if first > place:
            yield place, first
        place = max(place, first + size)


# ---------------------------------------------------------------------------------------------- bytes


def _damaged(data: bytes, chance: random.Random, places: tuple[tuple[int, int], ...] = ()) -> bytes:
    """One to three changes of bytes; mostly within `places`, if there are any."""
    raw = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if raw:
            _damage(raw, _place(len(raw), chance, places), chance)
    return bytes(raw)


def _place(size: int, chance: random.Random, places: tuple[tuple[int, int], ...]) -> int:
    if places and chance.random() < 0.85:
        first, last = chance.choice(places)
        return min(chance.randrange(first, last), size - 1)
    return chance.randrange(size)


_INTEGERS = (0, 1, 2, 0x7F, 0xFF, 2**15, 2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)


def _damage(raw: bytearray, at: int, chance: random.Random) -> None:
    """Flips, numbers, zeroed, random, moved, swapped, left out and repeated blocks, truncation."""
    length = min(chance.choice((1, 2, 4, 8, 16, 64, 512, 4096)), len(raw) - at)
    other = chance.randrange(len(raw) - length + 1)
    match chance.randrange(11):
        case 0 | 1:
            raw[at] ^= 1 << chance.randrange(8)
        case 2:
            raw[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        case 3 | 4:
            size = chance.choice((1, 2, 4, 8))
            number = (chance.choice(_INTEGERS) % 256**size).to_bytes(size, "little")
            raw[at : at + size] = number[: len(raw) - at]
        case 5:
            raw[at : at + length] = bytes(length)
        case 6:
            raw[at : at + length] = chance.randbytes(length)
        case 7:
            raw[at : at + length], raw[other : other + length] = (
                raw[other : other + length],
                raw[at : at + length],
            )
        case 8:
            del raw[at : at + length]
        case 9:
            raw[at:at] = raw[other : other + length]
        case 10:
            del raw[at:]


# ---------------------------------------------------------------------------------------------- trees

_KEYS = sorted(_all_keys(Config))
_NAMES = sorted({word for key in _KEYS for word in key.split(".")} | {"from", "Width", "", "é", "0"})

# fmt: off
_VALUES: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 10, 64, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000,
    10**9, 10**12, 10**15, 2**31, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400,
    0.0, -0.0, 0.5, 1.0, 1e-300, 5e-324, 1e17, 1e300, 1.8e308, float("inf"), float("-inf"), float("nan"),
    None, True, False, "", "all", "iid", "file", "hidden_manifold", "log", "linear", "geometric",
    "adaptive", "planted", "random", "ising", "gaussian", "weight", "mpio", "gather", "10 min", "0 s",
    "9" * 400 + " d", "0.0000001 ms", "99999999999999 d", "1e5 s", "\0", "\ud800", "\x1b[2J", "a\nb", "²",
    "!!python/object/apply:os.mkdir [PWNED]", "x" * 5000, "/dev/null", "/", "..", "case.npy", "case.h5",
    [], {}, [[]], [{}], {"": None}, [0.5, 1.0], [1, 1], [None], [float("nan")], [[1, 2], [3, 4]],
    {"kind": "iid"}, {"kind": "linear", "every": 1}, {"kind": "log", "count": 100_000}, {"kind": "x"},
    {"kind": "hidden_manifold", "dimension": 5},
    {"kind": "file", "path": "case.npy"},
    {"kind": "file", "path": "case.h5", "dataset": "energy"},
    {"ladder": "geometric", "hot": 1e-300, "cold": 1e8, "count": 10_000},
    {"ladder": "adaptive", "hot": 0, "count": 100},
    {"ladder": "x"},
    {"from": 0.1, "to": 10.0, "sweeps": 10},
    {"network.depth": [1, 2]},
    {"seed": list(range(30)), "ensemble.samples": [1, 10]},
    {"dynamics.moves.0.step": [0.1], "dynamics.moves.²": [1]},
    {"a": {"a": {"a": {"a": [[[[0]]]]}}}},
)
# fmt: on


def _value(chance: random.Random) -> Any:
    value = copy.deepcopy(chance.choice(_VALUES))
    if chance.random() < 0.1:
        value = chance.randrange(-5, 3000)
    if chance.random() < 0.03:
        value = [value] * chance.choice((1, 2, 1000))
    if chance.random() < 0.03:
        for _ in range(chance.choice((5, 40, 100))):
            value = [value]
    return value


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything in a tree but its root."""
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in parts:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _changed(tree: Any, chance: random.Random, names: list[str] = _NAMES) -> Any:
    """A copy of a tree with one to three of its values changed, removed, renamed, moved or added."""
    tree = json.loads(json.dumps(tree))
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return _value(chance)
        *parents, last = chance.choice(places)
        section = functools.reduce(lambda item, key: item[key], parents, tree)
        match chance.randrange(8):
            case 0:
                del section[last]
            case 1 if isinstance(section, dict):
                section[chance.choice(names)] = section.pop(last)
            case 2 if isinstance(section, dict):
                section[chance.choice(names)] = _value(chance)
            case 3:
                *parents, other = chance.choice(places)
                with contextlib.suppress(LookupError, TypeError):
                    found = functools.reduce(lambda item, key: item[key], parents, tree)[other]
                    section[last] = json.loads(json.dumps(found))
            case 4 if isinstance(section[last], int | float):
                section[last] = chance.choice((-1, 0, 2, 10, 1000, 10**6)) * section[last] + chance.choice(
                    (-1, 0, 1)
                )
            case _:
                section[last] = _value(chance)
    return tree


def _with_keys(tree: Any, chance: random.Random) -> Any:
    """A tree with one or two known keys set to something."""
    for _ in range(chance.choice((1, 1, 2))):
        *parents, last = chance.choice(_KEYS).split(".")
        section = tree
        for part in parents:
            if not isinstance(section.get(part), dict):
                section[part] = {}
            section = section[part]
        section[last] = _value(chance)
    return tree


_plain = st.sampled_from([v for v in _VALUES if not isinstance(v, dict | list)]) | st.integers(-3, 300)
_some = _plain | st.floats() | st.text(max_size=8) | st.lists(_plain, max_size=4)
_wild = st.recursive(_some, lambda part: st.dictionaries(st.sampled_from(_NAMES), part, max_size=4))
_small = st.integers(1, 40)


def _section(**likely: Any) -> Any:
    """A section whose keys are mostly there and mostly right."""
    return st.fixed_dictionaries(
        {},
        optional={name: st.one_of(value, value, value, value, _wild) for name, value in likely.items()},
    )


_trees = _section(
    name=st.text(max_size=10),
    seed=st.integers(),
    network=_section(width=_small, depth=_small, fan_in=_small | st.just("all"), weights=st.just("ising")),
    patterns=_section(train=_small, test=_small, inputs=_section(kind=st.just("iid"), dimension=_small)),
    ensemble=_section(samples=_small, clones=_small, starts=st.lists(st.sampled_from(["planted", "random"]))),
    dynamics=_section(
        moves=st.lists(_section(kind=st.just("weight"), step=st.floats()), max_size=2),
        betas=st.lists(st.floats(0), max_size=5)
        | _section(
            ladder=st.sampled_from(["adaptive", "geometric"]),
            hot=st.floats(),
            cold=st.floats(),
            count=_small,
            burn_in=st.integers(),
        ),
        exchange_every=st.integers(),
        anneal=_section(to=st.floats(), sweeps=_small),
    ),
    schedule=_section(
        sweeps=st.integers(0),
        measurements=_section(kind=st.sampled_from(["log", "linear"]), count=_small, every=st.integers(1)),
        waiting_times=_small,
        extended_from=st.lists(st.integers(0)),
    ),
    output=_section(mode=st.just("gather"), checkpoint_every=st.from_regex(r"[0-9.]{1,20} ?[a-z]{1,3}\Z")),
    scan=st.dictionaries(st.sampled_from(sorted(_all_keys(Config))), st.lists(_some, max_size=4), max_size=3),
)
_generated: list[Any] = []


@settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(_trees)
def _generate(tree: Any) -> None:
    _generated.append(tree)


# ---------------------------------------------------------------------------------------------- YAML

# fmt: off
_WORDS = (
    "!!python/object/apply:os.mkdir [PWNED]", "!!python/name:os.system", "!!int 0x" + "f" * 5000,
    "!!binary AA==", "!!set {a}", "!!timestamp 2026-99-99", "!!int ''", "!!bool x", "!!float 1:30", "! x",
    "!<tag:x> y", "&a [*a]", "&a", "*a", "<<: *a", "<<: {a: 1}", "<<", "=", "- ", "? ", ": ", "{", "}", "[",
    "]", "|", ">", "|9", "---\n", "...\n", "%YAML 9.9\n", "%TAG ! x\n", "\0", "\ufeff", "\x85", "\u2028",
    "\t", "\r", "#", "'", '"', '"\\ud800"', '"\\x00"', '"\\U00110000"', "1e999", ".nan", "-.inf", "1_0",
    "0x10", "010", "1:30", "1:30.5", "~", "9" * 5000, "-" + "9" * 30, "2026-11-22", "yes", "null",
    "[" * 3000, "{a: " * 500, "- " * 3000, "? " * 900,
    "\nseed: 1\n", "\nscan: {seed: [1, 2]}\n",
)
_LONG = (
    "[" + "1," * 60_000 + "1]", "- 1\n" * 250_000, "a: b\n  b\n" * 100_000, "[[" * 500_000, "\n" * 1_040_000,
    "a" * 1_040_000,
)
"""Texts that take seconds to read, or to refuse."""
# fmt: on
_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "utf-7", "cp037")


@functools.cache
def _texts() -> tuple[str, ...]:
    return (*((INPUTS / f"{name}.yaml").read_text() for name in NAMES), PLAIN, TEMPERED, TUNED, SCAN)


def _changed_text(text: str, chance: random.Random) -> str:
    """One to three words put in or in place of others, lines left out, repeated or moved."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(text) + 1)
        end = min(len(text), at + chance.choice((0, 0, 1, 3, 10)))
        lines = text.splitlines(keepends=True)
        match chance.randrange(5):
            case 0 if lines:
                line = chance.choice(lines)
                lines.insert(chance.randrange(len(lines)), line)
                text = "".join(lines)
            case 1 if lines:
                del lines[chance.randrange(len(lines))]
                text = "".join(lines)
            case 2:
                text = text[:at] + chance.choice(" \n\t:,[]{}-#&*!|>'\"%@`0123456789.eE_aé") + text[end:]
            case _:
                text = text[:at] + chance.choice(_WORDS) + text[end:]
    return text


def _build_yaml(chance: random.Random) -> str:
    text, way = chance.choice(_texts()), chance.randrange(10)
    if chance.random() < 0.001:
        raw, what = (text + "x: " + chance.choice(_LONG)).encode(), "long"
    elif way < 3:
        raw = _changed_text(text, chance).encode()
        what = "text"
    elif way == 3:
        raw, what = _damaged(text.encode(), chance), "bytes"
        if chance.random() < 0.2:
            encoding = chance.choice(_ENCODINGS)
            raw, what = text.encode(encoding, errors="replace"), encoding
    elif way < 7:
        tree = yaml.load(text, yaml.CSafeLoader)
        tree = _changed(tree, chance) if chance.random() < 0.5 else _with_keys(tree, chance)
        raw, what = _as_yaml(tree), "tree"
    else:
        _generated.clear()
        _generate.hypothesis.fuzz_one_input(chance.randbytes(4000))
        tree = _generated[-1] if _generated else _changed(yaml.load(text, yaml.CSafeLoader), chance)
        raw, what = _as_yaml(tree), "hypothesis"
    Path("case.yaml").write_bytes(raw)
    return f"{what}\n{raw[:4000].decode(errors='replace')}"


def _as_yaml(tree: Any) -> bytes:
    try:
        return str(yaml.dump(tree, Dumper=yaml.CSafeDumper)).encode()
    except UnicodeEncodeError:  # the Python one escapes what is no character
        return str(yaml.safe_dump(tree)).encode()


def _use_yaml(chance: random.Random) -> None:
    """What `dsm validate` does; what it accepts must be read back from a results file as it was."""
    job = inputfile.load(Path("case.yaml"))
    for point in job.points:
        check_inputs(point.config)
    footprint.describe(job, 1).encode()
    for point in job.points[:3]:
        try:
            again = inputfile.parse_resolved(point.config.as_yaml(), "resolved")
        except InputError as error:
            raise AssertionError("the resolved configuration is refused") from error
        if again.model_dump_json() != point.config.model_dump_json():
            raise AssertionError("the resolved configuration is not the configuration")


# ---------------------------------------------------------------------------------------------- results files


def _build_results(chance: random.Random) -> str:
    material = chance.choice(materials())
    if chance.random() < 0.6:
        FILE.write_bytes(_damaged(material.results, chance, material.metadata))
        return "bytes"
    FILE.write_bytes(material.results)
    change = chance.choice(_STRUCTURES)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RuntimeError):  # of h5py: also a case
        change(chance)
    return change.__name__


def _edit() -> h5py.File:
    return h5py.File(FILE, "r+", locking=False)


def _dataset_name(file: h5py.File, chance: random.Random) -> str:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return chance.choice(names)


def _remove_dataset(chance: random.Random) -> None:
    with _edit() as file:
        del file[chance.choice([_dataset_name(file, chance), "teacher", "loops"])]


def _replace_dataset(chance: random.Random) -> None:
    """Another shape or type, chunks, filters, storage elsewhere, huge announced sizes."""
    with _edit() as file:
        name = _dataset_name(file, chance)
        shape = file[name].shape
        huge = tuple(chance.choice((2**20, 2**40, 2**60 // max(1, len(shape)))) for _ in shape)
        kind = chance.choice(
            (
                "f8",
                "f8",
                "f8",
                "f4",
                ">f8",
                "f2",
                "i8",
                "u8",
                "i1",
                "S8",
                "S",
                "?",
                "c16",
                "V8",
                "ref",
                "text",
            )
        )
        dtype = {"ref": h5py.ref_dtype, "text": h5py.string_dtype(), "S": np.dtype("S1")}.get(kind, kind)
        rank = max(1, len(shape))
        options: dict[str, Any] = chance.choice(
            (
                {"shape": shape},
                {"shape": (*shape, 1)},
                {"shape": shape[::-1]},
                {"shape": ()},
                {"shape": tuple(n + 1 for n in shape)},
                {"shape": tuple(0 for _ in shape)},
                {"shape": None},
                {"shape": shape or (1,), "chunks": True},
                {"shape": shape or (1,), "chunks": True, "compression": "gzip"},
                {"shape": shape or (1,), "chunks": True, "fletcher32": True, "shuffle": True},
                {"shape": shape or (1,), "maxshape": (None,) * rank},
                {"shape": shape, "external": [("other.raw", 0, h5py.h5f.UNLIMITED)]},
                {"shape": shape, "external": [("/dev/zero", 0, h5py.h5f.UNLIMITED)]},
                {"shape": huge},
                {"shape": huge or (1,), "chunks": (1,) * rank},
            )
        )
        del file[name]
        file.create_dataset(name, dtype=dtype, **options)


def _replace_by_link(chance: random.Random) -> None:
    """Links to elsewhere, to nothing, to themselves; groups and virtual datasets."""
    with h5py.File("other.h5", "w") as other:
        other["energy"] = np.zeros(3)
    os.mkfifo("fifo.h5")
    with _edit() as file:
        name = _dataset_name(file, chance)
        shape = file[name].shape
        source = h5py.VirtualSource("other.h5", "energy", shape=shape)
        virtual = h5py.VirtualLayout(shape, "f8")
        del file[name]
        match chance.randrange(9):
            case 0:
                file[name] = h5py.SoftLink("/" + chance.choice(("time", "nothing", name, "/")))
            case 1 | 2:
                target = chance.choice(("other.h5", "nothing.h5", "fifo.h5", "case.h5", "/dev/zero", "/"))
                file[name] = h5py.ExternalLink(target, chance.choice(("energy", name, "/")))
            case 3:
                file.create_group(name)
            case 4:
                file[name] = file["time"]
            case 5:
                file[name] = np.dtype("f8")
            case 6:
                virtual[...] = source
                file.create_virtual_dataset(name, virtual)
            case 7:
                del file["teacher"]
                file["teacher"] = h5py.ExternalLink("fifo.h5", "/")
            case 8:
                del file["teacher"]
                file["teacher"] = file["/"]


def _change_axis(chance: random.Random) -> None:
    with _edit() as file:
        name = chance.choice(("sample", "start", "clone", "pair", "beta", "layer", "time", "waiting"))
        old = file[name]
        if old.dtype.kind in "if":
            values = old[()].astype("f8" if chance.random() < 0.2 else old.dtype)
            at = chance.randrange(len(values))
            values[at] = chance.choice((-1, 0, 1, 5, 100, 2**62, -(2**63), values[0]))
            values = chance.choice((values, values[::-1], values + 1, values * 0))
        else:
            values = np.array([chance.choice(("", "x", "planted", "\0", "é" * 99)) for _ in old], dtype="S")
        if values.dtype == old.dtype:
            old[...] = values
        else:
            del file[name]
            file[name] = values


def _change_attribute(chance: random.Random) -> None:
    """Other types, sizes and texts of the attributes that the program reads."""
    with _edit() as file:
        name = chance.choice([*file.attrs, "ladder_tuning"])
        old = file.attrs.get(name, "{}")
        text = old.decode() if isinstance(old, bytes) else str(old)
        way = chance.randrange(8)
        if way == 0:
            file.attrs.pop(name, None)
        elif way < 3:
            file.attrs[name] = _changed_text(text, chance).replace("\0", "")
        elif way < 6 and text[:1] in "[{":
            file.attrs[name] = json.dumps(_changed(json.loads(text), chance, list(_ABOUT)))
        elif way < 6 and name.startswith("config"):
            tree = _changed(yaml.load(text, yaml.CSafeLoader), chance)
            file.attrs[name] = _as_yaml(tree).decode(errors="replace").replace("\0", "")
        else:
            file.attrs[name] = chance.choice(_ATTRIBUTES)


_ABOUT = ("run", "resumes", "hosts", "end", "rounds", "betas", "rejection", "burn_in", "network.depth", "")
# fmt: off
_ATTRIBUTES: tuple[Any, ...] = (
    0, 1, 2, -1, 2**62, np.uint64(2**64 - 1), 1.5, np.nan, True, "", "dsm-hpc", "netcdf", b"\xff\xfe",
    np.zeros(3), np.zeros((0,)), np.zeros(7000), np.array(["a", "b"], dtype=object), h5py.Empty("f8"),
    h5py.Empty("S1"), np.bytes_(b"x" * 60_000), "[" * 5000, "{}", "[]", "null", "[1]", "1e999",
    "x" * (2 << 20), "9" * 5000, '{"a": ' * 5000, np.zeros(2, "i4,f8"), np.bool_(False),
)
# fmt: on


def _strange_numbers(chance: random.Random) -> None:
    with _edit() as file:
        for _ in range(chance.choice((1, 3, 20))):
            dataset = file[_dataset_name(file, chance)]
            if dataset.dtype == np.float64 and dataset.size:
                values = dataset[()]
                part = chance.choice(
                    (values[...], values[:1], values[-1:]) if values.ndim else (values[...],)
                )
                part[...] = chance.choice(
                    (np.nan, np.inf, -np.inf, 0, -1, 1, 1e308, -1e308, 5e-324, 0.5, 1e9, 2**63)
                )
                dataset[...] = values


def _other_program(chance: random.Random) -> None:
    """Files that are not ours, or not where they seem to be."""
    data = FILE.read_bytes()
    match chance.randrange(8):
        case 0:
            with h5py.File(FILE, "w", libver=chance.choice(("earliest", "latest"))) as file:
                file["x"] = np.zeros(3)
        case 1:
            with h5py.File(FILE, "w", userblock_size=512) as file:
                file.attrs["format"] = "dsm-hpc"
        case 2:
            FILE.write_bytes(bytes(512) + data)
        case 3:
            FILE.write_bytes(data[: chance.choice((0, 1, 7, 8, 9, 48, 96, 511, 2048))])
        case 4:
            FILE.write_bytes(b"\x89HDF\r\n\x1a\n" + chance.randbytes(chance.choice((0, 40, 5000))))
        case 5:
            FILE.write_bytes(b"\x93NUMPY" + chance.randbytes(100))
        case 6:
            with h5py.File(FILE, "w") as file:
                file.attrs.update({"format": "dsm-hpc", "format_version": chance.choice((0, 1, 2, 10**9))})
        case 7:
            with _edit() as file:
                file.attrs["format_version"] = chance.choice((0, 2, -1, 2**62, 1.0, "1", np.array([1, 1])))


_STRUCTURES = (
    _remove_dataset,
    _replace_dataset,
    _replace_dataset,
    _replace_by_link,
    _change_axis,
    _change_attribute,
    _change_attribute,
    _strange_numbers,
    _other_program,
)


def _use_results(chance: random.Random) -> None:
    """All that is ever read of a results file; some also as `dsm status` and `dsm resume` do."""
    found = load(FILE)
    for variable in found.layout.variables:
        reading.values(found.header, variable)
    resumed(found.provenance, 0, ["here"])
    json.dumps([found.point, found.tuning])
    if chance.random() < 0.1:
        for state in status.found([FILE]):
            status.in_words(state).encode()
            json.dumps(state.as_json())


def _build_figures(chance: random.Random) -> str:
    material = chance.choice(materials()[:2])
    FILE.write_bytes(material.results)
    _strange_numbers(chance)
    if chance.random() < 0.2:
        _change_attribute(chance)
    return "numbers"


def _use_figures(chance: random.Random) -> None:

    text, numbers = analyze([FILE])
    text.encode()
    json.dumps(numbers, allow_nan=False)
    if chance.random() < 0.2:
        plot([FILE], "profile", Path("figure.svg"))


# ---------------------------------------------------------------------------------------------- checkpoints

_MAGIC = len(checkpoint.MAGIC)


def _build_checkpoint(chance: random.Random) -> str:
    material = chance.choice(materials())
    data = material.checkpoint
    (length,) = struct.unpack_from("<Q", data, _MAGIC)
    start = checkpoint._PREFIX + length
    header, records = data[checkpoint._PREFIX : start], data[start:]
    match chance.randrange(6):
        case 0 | 1:
            what, data = "bytes", _damaged(data, chance, ((0, start),))
        case 2:
            what, data = "header bytes", _sealed(_damaged(header, chance), records)
        case 3:
            tree = json.loads(header)
            text = yaml.load(tree["config"], yaml.CSafeLoader)
            tree["config"] = _as_yaml(_changed(text, chance)).decode(errors="replace")
            what, data = "configuration", _sealed(json.dumps(tree).encode(), records)
        case 4:
            tree = _changed(json.loads(header), chance, list(_MOMENT))
            what, data = "header", _sealed(json.dumps(tree).encode(), records)
        case _:
            what, data = "records", data[:start] + _damaged(records, chance)
    checkpoint.newest(FILE).write_bytes(data)
    return what


_MOMENT = ("run", "config", "sweep", "measured", "remembered", "burn_in", "format_version", "rounds", "betas")


def _sealed(header: bytes, records: bytes) -> bytes:
    length = struct.pack("<Q", len(header))
    return checkpoint.MAGIC + length + checkpoint._digest(header) + header + records


def _use_checkpoint(chance: random.Random) -> None:
    """What `dsm status` and `dsm resume` read."""
    found = checkpoint.Checkpoint(checkpoint.newest(FILE))
    json.dumps(asdict(found.moment))
    if found.moment.burn_in is not None:
        BurnIn.from_json(found.moment.burn_in)
    keys = walkers(found.config)
    for key in keys:
        found.read(key)
    for ladder in dict.fromkeys(key.ladder for key in keys):
        found.read(ladder)
    same = [m.header for m in materials() if m.config.dynamics == found.config.dynamics] or [
        materials()[0].header
    ]
    restoring.check_belongs(found, same[0], same[0].config)


# ---------------------------------------------------------------------------------------------- small files


def _build_sign(chance: random.Random) -> str:
    told = materials()[0].sign
    way = chance.randrange(4)
    if way == 0:
        raw = _damaged(told, chance)
    elif way == 1:
        raw = _changed_text(told.decode(), chance).encode(errors="replace")
    else:
        tree = json.loads(told)
        names = [*tree, "planted", "x"]
        raw = json.dumps(_changed(tree, chance, names)).encode()
    Path("case.h5.progress").write_bytes(raw)
    return raw[:2000].decode(errors="replace")


def _use_sign(chance: random.Random) -> None:
    """What `dsm status` says of a run whose results file is right."""
    status.read_header = lambda path: materials()[0].header
    state = status.of(FILE)
    status.in_words(state).encode()
    json.dumps(state.as_json(), allow_nan=False)


@functools.cache
def _scan_told() -> str:
    with _folder() as folder:
        (folder / "scan.yaml").write_text(SCAN)
        scan_list.write(folder, inputfile.load(folder / "scan.yaml"), ("seed=1",), True)
        return (folder / scan_list.NAME).read_text()


def _build_scan(chance: random.Random) -> str:
    text = _scan_told()
    way = chance.randrange(4)
    if way == 0:
        raw = _damaged(text.encode(), chance)
    elif way == 1:
        raw = _changed_text(text, chance).encode(errors="replace")
    else:
        tree = json.loads(text)
        if way == 2:
            tree = _changed(tree, chance, [*tree, "values", "config", "network.depth", "../x", "a\0"])
        else:
            point = chance.choice(tree["points"])
            point["config"] = _as_yaml(
                _changed(yaml.load(point["config"], yaml.CSafeLoader), chance)
            ).decode()
        raw = json.dumps(tree).encode()
    Path(scan_list.NAME).write_bytes(raw)
    return raw[:4000].decode(errors="replace")


def _use_scan(chance: random.Random) -> None:
    """What `dsm status` and `dsm resume` read of a folder."""
    job, overrides = scan_list.read(Path())
    assert job.is_scan
    assert all(isinstance(word, str) for word in overrides)
    for point in job.points:
        assert "/" not in point.name
    for state in status.found([Path()]):
        status.in_words(state).encode()
        json.dumps(state.as_json(), allow_nan=False)


_BUILD = {
    "yaml": _build_yaml,
    "results": _build_results,
    "figures": _build_figures,
    "checkpoint": _build_checkpoint,
    "sign": _build_sign,
    "scan": _build_scan,
}
_USE = {
    "yaml": _use_yaml,
    "results": _use_results,
    "figures": _use_figures,
    "checkpoint": _use_checkpoint,
    "sign": _use_sign,
    "scan": _use_scan,
}


def in_words(counts: Counts) -> str:
    """What a campaign prints."""
    lines = [
        f"{kind:10}  {cases:6} cases: {counts.refused.get(kind, 0):6} refused, "
        f"{counts.accepted.get(kind, 0):6} accepted, {cases / counts.seconds[kind]:4.0f} per second"
        for kind, cases in counts.cases.items()
    ]
    died = ", ".join(f"{number} x {word}" for word, number in counts.caught.items()) or "never"
    lines.append(f"fuzzing     {counts.total:6} cases: {len(counts.offending)} offending")
    lines.append(f"the HDF5 library failed alone: {died}; with the guard each was a clear message")
    return "\n".join([*lines, *counts.offending])


if __name__ == "__main__":
    if len(sys.argv) == 4:
        for word in reproduce(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])):
            print(word)
    else:
        print(in_words(campaign(*map(int, sys.argv[1:]))))
