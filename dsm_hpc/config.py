"""YAML input -> validated, immutable configuration.

The models below are the reference of the input file: every key has a default or is required by name,
unknown keys are refused, and `dsm validate --schema` exports them as JSON schema.
"""

import difflib
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dsm_hpc.errors import InputError
from dsm_hpc.kernels.grid import MAX_FAN_IN

MAX_INPUT_BYTES = 1 << 20
MAX_POINTS = 10_000
MAX_MEASUREMENTS = 1_000_000

Start = Literal["planted", "random"]
STARTS: tuple[Start, ...] = get_args(Start)


def _as_tuple(value: Any) -> Any:
    """YAML lists become tuples (immutable); anything else is left to be refused."""
    return tuple(value) if isinstance(value, list) else value


def _refuse_repeated(key: str, values: tuple[Any, ...]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"{key}: {_first_repeated(list(values))} is given twice")


def _first_repeated(values: list[Any]) -> Any:
    return next(value for value in values if values.count(value) > 1)


class Section(BaseModel):
    """A part of the input file: immutable, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=True)


class Network(Section):
    """The machine: L layers of N perceptrons with c inputs each."""

    width: int = Field(ge=1, le=100_000, description="N, perceptrons per layer (and bits of input)")
    depth: int = Field(ge=1, le=1_000, description="L, layers")
    fan_in: Annotated[int, Field(ge=1, le=MAX_FAN_IN)] | Literal["all"] = Field(
        description="c, inputs of each perceptron, drawn without repetition; `all`: fully connected"
    )
    weights: Literal["gaussian", "ising"] = Field(
        "gaussian", description="prior of the weights: N(0, 1) or +-1"
    )

    @model_validator(mode="after")
    def _fan_in_fits(self) -> "Network":
        if self.fan_in != "all" and self.fan_in > self.width:
            raise ValueError(
                f"fan_in = {self.fan_in} is more than width = {self.width}: allowed are 1..{self.width}, all"
            )
        if self.fan_in == "all" and self.width > MAX_FAN_IN:
            raise ValueError(
                f"fan_in = all with width = {self.width}: at most {MAX_FAN_IN} inputs are possible"
            )
        return self

    @property
    def inputs(self) -> int:
        """c as a number."""
        return self.width if self.fan_in == "all" else self.fan_in

    @property
    def weight_count(self) -> int:
        """Weights of one student = proposals of one sweep, N c L."""
        return self.width * self.inputs * self.depth


class IidInputs(Section):
    """Independent, unbiased input bits."""

    kind: Literal["iid"]


class HiddenManifoldInputs(Section):
    """Inputs of effective dimension D: S_0i = sgn(sum_d F_di C_d / sqrt(D))."""

    kind: Literal["hidden_manifold"]
    dimension: int = Field(ge=1, le=1_000_000, description="D, dimension of the manifold")


class FileInputs(Section):
    """The user's own inputs, an array of +-1 of shape (patterns, N); rows are drawn anew for each sample."""

    kind: Literal["file"]
    path: str = Field(description=".npy or HDF5 file; relative paths start at the input file's folder")
    dataset: str | None = Field(
        None, description="name of the dataset in an HDF5 file; needed if it has several"
    )


class Patterns(Section):
    """Training and test set; the teacher's outputs are the labels."""

    train: int = Field(ge=1, le=10_000_000, description="M, training patterns")
    test: int = Field(1000, ge=1, le=10_000_000, description="fresh patterns for the test error")
    inputs: IidInputs | HiddenManifoldInputs | FileInputs = Field(
        IidInputs(kind="iid"), discriminator="kind", description="how inputs are drawn"
    )


class Ensemble(Section):
    """Independent samples (wiring, teacher, data) and the students of each."""

    samples: int = Field(8, ge=1, le=1_000_000, description="independent samples")
    starts: Annotated[tuple[Start, ...], BeforeValidator(_as_tuple)] = Field(
        STARTS,
        min_length=1,
        description="`planted`: the student starts as its teacher; `random`: from the prior",
    )
    clones: int = Field(2, ge=1, le=10_000, description="independent students of each sample and start")

    @model_validator(mode="after")
    def _distinct(self) -> "Ensemble":
        _refuse_repeated("starts", self.starts)
        return self


class WeightMove(Section):
    """One weight at a time: J' = (J + step x) / sqrt(1 + step^2), x ~ N(0, 1); Ising: J' = -J."""

    kind: Literal["weight"]
    step: float = Field(0.5, gt=0, lt=1e6, description="delta, size of the step (Gaussian weights)")


class Dynamics(Section):
    """Monte Carlo dynamics."""

    moves: Annotated[tuple[WeightMove, ...], BeforeValidator(_as_tuple)] = Field(
        (WeightMove(kind="weight"),),
        min_length=1,
        max_length=1,
        description="the move of a sweep (exactly one kind)",
    )
    betas: Annotated[tuple[float, ...], BeforeValidator(_as_tuple)] = Field(
        (math.inf,), min_length=1, max_length=10_000, description="inverse temperatures; .inf is greedy"
    )
    exchange_every: Annotated[int, Field(ge=1)] | None = Field(
        None, description="sweeps between exchanges of neighbouring betas; without effect for a single beta"
    )

    @model_validator(mode="after")
    def _ladder(self) -> "Dynamics":
        for beta in self.betas:
            if not beta >= 0:
                raise ValueError(
                    f"betas: {beta} is not an inverse temperature: allowed are numbers >= 0 and .inf"
                )
        _refuse_repeated("betas", self.betas)
        if len(self.betas) > 1 and self.exchange_every is not None:
            raise ValueError(
                "exchange_every: replica exchange is not available in this version; leave the key out "
                "to run the betas independently of each other"
            )
        return self


class LogTimes(Section):
    """Measurements at t = 0 and at times that grow by a constant factor."""

    kind: Literal["log"]
    count: int = Field(
        40, ge=1, le=100_000, description="measurements after t = 0 (fewer where times coincide)"
    )


class LinearTimes(Section):
    """Measurements at t = 0 and every so many sweeps."""

    kind: Literal["linear"]
    every: int = Field(ge=1, description="sweeps between measurements")


class Schedule(Section):
    """How long, and when to measure."""

    sweeps: int = Field(ge=0, le=10**15, description="length of the run; one sweep = N c L proposals")
    measurements: LogTimes | LinearTimes = Field(LogTimes(kind="log"), discriminator="kind")
    waiting_times: int = Field(
        4, ge=0, le=1000, description="number of log-spaced waiting times of the autocorrelation (0: none)"
    )

    @model_validator(mode="after")
    def _not_too_many(self) -> "Schedule":
        if isinstance(self.measurements, LinearTimes):
            count = self.sweeps // self.measurements.every
            if count > MAX_MEASUREMENTS:
                raise ValueError(
                    f"measurements.every = {self.measurements.every} gives {count} measurements: "
                    f"at most {MAX_MEASUREMENTS} are allowed"
                )
        return self


class Output(Section):
    """The results file."""

    mode: Literal["auto", "mpio", "gather"] = Field(
        "auto",
        description="mpio: collective parallel HDF5; gather: through rank 0; auto: mpio where h5py has it",
    )


class Config(Section):
    """One run: one parameter set."""

    name: str = Field("run", max_length=200, description="a title for tables and figures")
    seed: int = Field(1, ge=0, lt=2**63, description="everything random follows from it")
    network: Network
    patterns: Patterns
    ensemble: Ensemble = Ensemble()
    dynamics: Dynamics = Dynamics()
    schedule: Schedule
    output: Output = Output()

    @property
    def ising(self) -> bool:
        return self.network.weights == "ising"

    @property
    def move(self) -> WeightMove:
        """The move of a sweep."""
        return self.dynamics.moves[0]

    def as_yaml(self) -> str:
        """The resolved configuration as YAML text."""
        return yaml.safe_dump(_plain(self.model_dump()), sort_keys=False)


@dataclass(frozen=True)
class Point:
    """One parameter set of a scan: the values that were set, and the configuration that came out."""

    values: dict[str, Any]
    config: Config

    @property
    def name(self) -> str:
        """File name of the point, without suffix: `depth=2,width=20`."""
        parts = [f"{key.rpartition('.')[2]}={_file_word(value)}" for key, value in self.values.items()]
        return ",".join(parts)


@dataclass(frozen=True)
class Job:
    """An input file: its text and its points (exactly one, with no values, where nothing is scanned)."""

    text: str
    points: tuple[Point, ...]

    @property
    def is_scan(self) -> bool:
        return bool(self.points[0].values)


def load(path: Path, overrides: tuple[str, ...] = ()) -> Job:
    """Reads an input file; `overrides` are `key.path=value` words as given to --set.

    Raises InputError, naming the file or key, the value and what is allowed.
    """
    text = _read_text(path)
    tree = _parse(text, str(path))
    if not isinstance(tree, dict):
        raise InputError(f"{path}: an input file is a mapping of keys to values, not a {_kind_of(tree)}")
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"--set {word}: give key=value, for example --set network.depth=8")
        _assign(tree, key, _parse(value, f"--set {word}"), f"--set {word}")
    scan = tree.pop("scan", None)
    points = tuple(_points(tree, scan, path))
    names = [point.name for point in points]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: scan: two points would have the same file name {_first_repeated(names)!r}")
    return Job(text, points)


def parse_resolved(text: str, where: str) -> Config:
    """The configuration of a results file from its `config_resolved` attribute."""
    return _validate(_parse(text, where), where)


def schema() -> dict[str, Any]:
    """JSON schema of the input file, the scan included."""
    tree = Config.model_json_schema()
    tree["properties"]["scan"] = {
        "type": "object",
        "description": "key paths and the list of values each takes; several keys: their product",
        "additionalProperties": {"type": "array", "minItems": 1},
    }
    return tree


# ---------------------------------------------------------------------------------------------- YAML


class _Loader(yaml.SafeLoader):
    """Safe YAML without its traps: repeated keys, 1e-3 read as a string, and aliases, which can blow up a
    small file into a huge tree."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.YAMLError(f"key {key!r} in line {key_node.start_mark.line + 1} is not a word")
            if key in seen:
                raise yaml.YAMLError(
                    f"key {key!r} appears twice, again in line {key_node.start_mark.line + 1}"
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: not readable as YAML: {' '.join(str(error).split())}") from None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_INPUT_BYTES:
        raise InputError(f"{path}: larger than {MAX_INPUT_BYTES} bytes, so not an input file")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file (UTF-8)") from None


# ---------------------------------------------------------------------------------------------- scan


def _points(tree: dict[str, Any], scan: Any, path: Path) -> Iterator[Point]:
    if scan is None:
        yield Point({}, _validate(_anchored(tree, path.parent), str(path)))
        return
    if not isinstance(scan, dict) or not scan:
        raise InputError(f"{path}: scan: give key paths and lists, for example {{network.depth: [2, 4]}}")
    for key, values in scan.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: scan.{key}: {values!r} is not a list of values")
    if math.prod(len(values) for values in scan.values()) > MAX_POINTS:
        raise InputError(f"{path}: scan: more than {MAX_POINTS} points")
    for combination in itertools.product(*scan.values()):
        values = dict(zip(scan, combination, strict=True))
        point = _copy(tree)
        for key, value in values.items():
            _assign(point, key, value, f"{path}: scan")
        chosen = ", ".join(f"{key} = {value}" for key, value in values.items())
        yield Point(values, _validate(_anchored(point, path.parent), f"{path} at {chosen}"))


def _anchored(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tree with the path of the user's inputs taken from the folder of the input file."""
    match tree:
        case {"patterns": {"inputs": {"path": str(path)} as inputs} as patterns}:
            return tree | {"patterns": patterns | {"inputs": inputs | {"path": str(folder / path)}}}
    return tree


def _assign(tree: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Sets tree[a][b]... for key = 'a.b...'."""
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise InputError(f"{where}: {key}: {parent} is a {_kind_of(tree)}, so it has no keys")
    tree[last] = value


# ---------------------------------------------------------------------------------------------- errors


def _validate(tree: Any, where: str) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = dict.fromkeys(_explain(dict(item)) for item in error.errors())
        raise InputError("\n".join(f"{where}: {line}" for line in lines)) from None


def _explain(error: dict[str, Any]) -> str:
    """One pydantic error in the words of the input file."""
    path = [str(part) for part in error["loc"] if str(part) not in _KINDS]
    key = ".".join(path)
    match error["type"]:
        case "extra_forbidden":
            return _explain_unknown(path)
        case "missing":
            return f"{key}: required, but not given"
        case "value_error":
            return f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"])
        case "union_tag_not_found":
            return f"{key}.kind: required, but not given: allowed are {_kinds_of(path)}"
        case "union_tag_invalid":
            return f"{key}.kind: {error['ctx']['tag']!r} is not known: allowed are {_kinds_of(path)}"
    message = (
        error["msg"]
        .replace("Input should be", "must be")
        .replace("a valid tuple", "a list")
        .replace("Tuple", "the list")
    )
    if key == "network.fan_in":
        message = "must be an integer from 1 to width, or all"
    return f"{key}: {_shown(error['input'])} is not allowed: {message[0].lower()}{message[1:]}"


def _explain_unknown(path: list[str]) -> str:
    known = _keys_at(path[:-1])
    close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    elsewhere = [where for where in _all_keys() if where.rpartition(".")[2] == path[-1]]
    if close:
        hint = f"did you mean {'.'.join([*path[:-1], close[0]])}?"
    elif elsewhere:
        hint = f"did you mean {elsewhere[0]}?"
    else:
        hint = f"allowed here are {', '.join(known)}"
    return f"{'.'.join(path)}: unknown key; {hint}"


def _models_at(path: list[str]) -> list[type[Section]]:
    """The models that may stand at a key path (several where `kind` chooses)."""
    models: list[type[Section]] = [Config]
    for part in path:
        found: list[type[Section]] = []
        for model in models:
            if part in model.model_fields:
                found += _sections_in(model.model_fields[part].annotation)
        models = found or (models if part.isdigit() else [])
    return models


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections_in(part)]


def _keys_at(path: list[str]) -> list[str]:
    keys = dict.fromkeys(key for model in _models_at(path) for key in model.model_fields)
    return [*keys, "scan"] if not path else list(keys)


def _all_keys(path: tuple[str, ...] = ()) -> Iterator[str]:
    for key in _keys_at(list(path)):
        yield ".".join([*path, key])
        if key != "scan":
            yield from _all_keys((*path, key))


_KINDS = {"iid", "hidden_manifold", "file", "log", "linear"} | {"int", "constrained-int", "literal['all']"}
"""Words that pydantic puts into a location to say which member of a union it tried."""


def _kinds_of(path: list[str]) -> str:
    return ", ".join(get_args(model.model_fields["kind"].annotation)[0] for model in _models_at(path))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind_of(value: Any) -> str:
    return {dict: "mapping", list: "list", str: "text", type(None): "empty value"}.get(
        type(value), "single value"
    )


def _file_word(value: Any) -> str:
    """A scanned value as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", str(value)).strip("-")


def _copy(tree: Any) -> Any:
    return {key: _copy(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def _plain(tree: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    return [_plain(value) for value in tree] if isinstance(tree, tuple) else tree
