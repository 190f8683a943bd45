"""The input file of the hidden manifold model: YAML -> the cases of a job, each with its configuration."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dsm_hpc.config import first_repeated
from dsm_hpc.errors import InputError
from dsm_hpc.manifold.config import ManifoldConfig
from dsm_hpc.tree import assign, changed, copied, read_text
from dsm_hpc.tree import parse as parse_tree
from dsm_hpc.validation import explain

MAX_CASES = 1_000
MAX_RUNS = 100_000
"""Cases x repetitions."""


@dataclass(frozen=True)
class Case:
    """One parameter set: its name in tables and figures; its configuration, with a single learning rate."""

    name: str
    config: ManifoldConfig

    @property
    def rate(self) -> float:
        """eta."""
        return self.config.learning.rates[0]


@dataclass(frozen=True)
class ManifoldJob:
    """An input file: its text, the --set words, and its cases; all have as many repetitions."""

    text: str
    overrides: tuple[str, ...]
    cases: tuple[Case, ...]

    @property
    def config(self) -> ManifoldConfig:
        """Of the first case: what all share is in it."""
        return self.cases[0].config

    @property
    def repetitions(self) -> int:
        return self.config.learning.repetitions

    @property
    def runs(self) -> list[tuple[Case, int]]:
        """(case, repetition) in file order."""
        return [(case, repetition) for case in self.cases for repetition in range(self.repetitions)]

    def changed(self, overrides: tuple[str, ...], path: Path) -> "ManifoldJob":
        """The same input with more --set words; path : where it was read from."""
        return parse(self.text, (*self.overrides, *overrides), path)

    def as_yaml(self) -> str:
        """The resolved configurations by the names of their cases."""
        tree = {case.name: case.config.model_dump(mode="json") for case in self.cases}
        return str(yaml.safe_dump(tree, sort_keys=False))


def is_manifold_input(path: Path) -> bool:
    """Whether an input file is one of the hidden manifold model: it has a section `data`."""
    tree = parse_tree(read_text(path), str(path))
    return isinstance(tree, dict) and "data" in tree


def load(path: Path, overrides: tuple[str, ...] = ()) -> ManifoldJob:
    """Reads an input file; `overrides` are `key.path=value` words as given to --set.

    Raises InputError, naming the file or key, the value and what is allowed.
    """
    return parse(read_text(path), overrides, path)


def parse(text: str, overrides: tuple[str, ...], path: Path) -> ManifoldJob:
    """The job of a text that was read from `path`."""
    tree = changed(text, overrides, str(path), "data.width=500")
    scan = tree.pop("scan", None)
    cases: dict[ManifoldConfig, Case] = {}
    for values in _points(scan, path):
        for case in _cases(tree, values, path):
            cases.setdefault(case.config, case)
    job = ManifoldJob(text, overrides, tuple(cases.values()))
    _check(job, path)
    return job


def parse_resolved(text: str, overrides: tuple[str, ...], resolved: str, where: str) -> ManifoldJob:
    """The job of a results file, from its `config_resolved` attribute."""
    tree = parse_tree(resolved, where)
    if not isinstance(tree, dict) or not tree:
        raise InputError(f"{where}: damaged: is not a mapping of cases")
    cases = tuple(Case(name, validated(config, f"{where}: {name}")) for name, config in tree.items())
    return ManifoldJob(text, overrides, cases)


def validated(tree: Any, where: str) -> ManifoldConfig:
    """The configuration that a tree of plain values describes; InputError with a line for each fault."""
    try:
        return ManifoldConfig.model_validate(tree)
    except ValidationError as error:
        lines = dict.fromkeys(explain(dict(item), ManifoldConfig) for item in error.errors())
        raise InputError("\n".join(f"{where}: {line}" for line in lines)) from None


# ---------------------------------------------------------------------------------------------- scan


def _points(scan: Any, path: Path) -> Iterator[dict[str, Any]]:
    """The values that each point sets: the product of a mapping's lists; of several mappings, one by one."""
    if scan is None:
        yield {}
        return
    scans = scan if isinstance(scan, list) else [scan]
    for one in scans:
        if not isinstance(one, dict) or not one:
            raise InputError(
                f"{path}: scan: give key paths and lists, as {{data.scenario: [iid, latent_teacher]}}"
            )
        for key, values in one.items():
            if not isinstance(values, list) or not values:
                raise InputError(f"{path}: scan.{key}: {values!r:.60} is not a list of values")
    if sum(math.prod(map(len, one.values())) for one in scans) > MAX_CASES:
        raise InputError(f"{path}: scan: more than {MAX_CASES} points")
    for one in scans:
        for combination in itertools.product(*one.values()):
            yield dict(zip(one, combination, strict=True))


def _cases(tree: dict[str, Any], values: dict[str, Any], path: Path) -> Iterator[Case]:
    """A case for each learning rate of a point."""
    point = copied(tree)
    for key, value in values.items():
        assign(point, key, copied(value), f"{path}: scan")
    config = validated(point, f"{path} at {_name(values)}" if values else str(path))
    rates = config.learning.rates
    for rate in rates:
        named = values | ({"eta": rate} if len(rates) > 1 else {})
        learning = config.learning.model_copy(update={"rates": (rate,)})
        yield Case(_name(named) or config.data.scenario, config.model_copy(update={"learning": learning}))


def _name(values: dict[str, Any]) -> str:
    words = {"learning.rates": "eta", "networks.student": "K", "networks.teacher": "M", "data.width": "N"}
    words |= {"data.dimension": "D", "data.scenario": ""}
    return ", ".join(
        f"{words.get(key, key.rpartition('.')[2])}={_plain(value)}".removeprefix("=")
        for key, value in values.items()
    )


def _plain(value: Any) -> str:
    """A value in the name of a case; a single learning rate without its brackets."""
    if isinstance(value, list) and len(value) == 1:
        return str(value[0])
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _check(job: ManifoldJob, path: Path) -> None:
    """Raises InputError unless the cases can stand in one file."""
    names = [case.name for case in job.cases]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: scan: two cases would have the same name {first_repeated(names)!r}")
    for key in ("seed", "name"):
        if len({getattr(case.config, key) for case in job.cases}) > 1:
            raise InputError(f"{path}: scan.{key}: is the same for all cases")
    if len({case.config.learning.repetitions for case in job.cases}) > 1:
        raise InputError(f"{path}: scan.learning.repetitions: is the same for all cases")
    if len(job.cases) * job.repetitions > MAX_RUNS:
        raise InputError(f"{path}: more than {MAX_RUNS} runs (cases x learning.repetitions)")
