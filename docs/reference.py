"""Text that the program writes about itself: keys of the input, variables of the files, verbs.

A page asks for it by a line `<!-- generated: NAME -->`.  It is made of what the program imports, so it cannot
grow stale; tests/test_docs.py reads it without Sphinx.
"""

import argparse
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import yaml
from pydantic.fields import FieldInfo

import dsm_hpc
from dsm_hpc import cli
from dsm_hpc.config import Config, Section
from dsm_hpc.manifold import layout as manifold_layout
from dsm_hpc.manifold.config import ManifoldConfig
from dsm_hpc.storage.layout import VARIABLES, Variable, layout

_MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def asks(text: str) -> bool:
    """Whether a page has a place for generated text."""
    return _MARK.search(text) is not None


def filled(text: str) -> str:
    """A page with its generated text."""
    return _MARK.sub(lambda mark: GENERATED[mark[1]](), text)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *rows]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# ---------------------------------------------------------------------------------------------- input

EXAMPLES = {
    "": ["name: my first run\nseed: 7"],
    "network": [
        "network: {width: 100, depth: 10, fan_in: 10, weights: gaussian}",
        "network: {width: 21, depth: 3, fan_in: all, weights: ising}",
    ],
    "patterns": ["patterns: {train: 200, test: 5000, inputs: {kind: iid}}"],
    "patterns.inputs": [
        "patterns: {train: 200, inputs: {kind: hidden_manifold, dimension: 5}}",
        "patterns: {train: 200, inputs: {kind: file, path: digits.h5, dataset: images}}",
    ],
    "ensemble": ["ensemble: {samples: 32, starts: [planted, random], clones: 2}"],
    "dynamics": [
        "dynamics: {betas: [.inf]}                                          # greedy",
        "dynamics: {betas: [0.5, 1, 2, .inf]}                               # side by side",
        "dynamics: {betas: [0.5, 1, 2, .inf], exchange_every: 10}           # parallel tempering",
    ],
    "dynamics.moves": [
        "dynamics: {moves: paper}                                           # one weight at a time, step 0.5",
        "dynamics: {moves: [{kind: weight, step: 0.3}]}",
        "dynamics: {moves: [{kind: billiard, angle: 0.6, share: 3}, {kind: weight, step: 0.3}]}",
    ],
    "dynamics.betas": [
        "dynamics: {betas: {ladder: geometric, hot: 0.2, cold: 20, count: 7}, exchange_every: 10}",
        "dynamics:\n  betas: {ladder: adaptive, hot: 0.2, cold: .inf, count: 16, burn_in: 500}\n"
        "  exchange_every: 5",
    ],
    "dynamics.anneal": ["dynamics: {anneal: {from: 0.2, to: .inf, sweeps: 1000}}"],
    "schedule": ["schedule: {sweeps: 20000, waiting_times: 4}"],
    "schedule.measurements": [
        "schedule: {sweeps: 20000, measurements: {kind: log, count: 40}}",
        "schedule: {sweeps: 20000, measurements: {kind: linear, every: 100}}",
    ],
    "output": ["output: {mode: gather, checkpoint_every: 30 min}"],
}
"""Sections of the input, and YAML for each; tests/test_docs.py validates them."""

BASE = {
    "network": {"width": 20, "depth": 3, "fan_in": 10},
    "patterns": {"train": 40},
    "schedule": {"sweeps": 100},
}
"""What is required, for examples that give one section."""

MANIFOLD_EXAMPLES = {
    "": ["name: my manifold\nseed: 7"],
    "data": ["data: {scenario: latent_teacher, f: sgn, width: 1000, dimension: 100}"],
    "networks": [
        "networks: {g: erf, teacher: 2, student: 4, first_layer: 1.0, second_layer: 0.5}",
    ],
    "learning": ["learning: {rates: [0.1, 0.2], both_layers: true, repetitions: 4}"],
    "schedule": ["schedule: {t_max: 100, test_inputs: 2000}"],
    "schedule.measurements": [
        "schedule: {t_max: 100, measurements: {kind: log, first: 0.1, count: 40}}",
        "schedule: {t_max: 100, measurements: {kind: linear, every: 5}}",
    ],
    "ode": ["ode: {start: limit, overlap: 0.01, rtol: 1.0e-6}", "ode: null      # simulation only"],
    "gep": ["gep: {functions: [sgn, erf], widths: [100, 1000], inputs: 100000, trained_until: 10}"],
}
MANIFOLD_BASE = {"data": {"width": 100, "dimension": 10}, "schedule": {"t_max": 1}}


def input_reference() -> str:
    return _reference(Config, EXAMPLES, "dsm_hpc.validation", BASE)


def manifold_reference() -> str:
    return _reference(ManifoldConfig, MANIFOLD_EXAMPLES, "dsm_hpc.manifold.inputfile", MANIFOLD_BASE)


def _reference(root: type[Section], examples: dict[str, list[str]], module: str, base: dict[str, Any]) -> str:
    """Everything about the keys below `root`; each example is checked when the examples are tested."""
    return "\n\n".join(
        part
        for path, models in _sections(root)
        for part in (
            f"### `{path}`" if path else "### Top level",
            *(_section(path, model, len(models) > 1) for model in models),
            *(_example(text, module, base) for text in examples.get(path, [])),
        )
    )


def _sections(root: type[Section], path: str = "") -> Iterator[tuple[str, list[type[Section]]]]:
    """Key paths, and the models that may stand there (several where `kind` or `ladder` chooses)."""
    yield path, [root]
    below: dict[str, list[type[Section]]] = {}
    for key, field in _fields(root):
        if models := _models(field.annotation):
            below[f"{path}.{key}".lstrip(".")] = models
    for place, models in below.items():
        if len(models) == 1:
            yield from _sections(models[0], place)
        else:
            yield place, models


def _models(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _fields(model: type[Section]) -> list[tuple[str, FieldInfo]]:
    """Keys as they are written in the input."""
    return [(field.alias or name, field) for name, field in model.model_fields.items()]


def _section(path: str, model: type[Section], chosen: bool) -> str:
    """The table of one model; chosen : whether it is one of several."""
    properties = model.model_json_schema()["properties"]
    rows = [
        [
            f"`{path}.{key}`" if path else f"`{key}`",
            _allowed(properties[key]),
            "**required**" if field.is_required() else _default(field),
            _plain(field.description or _about(field)),
        ]
        for key, field in _fields(model)
    ]
    about = _plain(model.__doc__ or "")
    if chosen:
        key = next(key for key, found in properties.items() if "const" in found)
        about = f"**`{key}: {properties[key]['const']}`** {about}"
    return about + "\n\n" + _table(("key", "type, allowed", "default", "meaning"), rows)


def _about(field: FieldInfo) -> str:
    """Meaning of a key that has no description: what its section says of itself."""
    models = _models(field.annotation)
    return (
        models[0].__doc__ or "" if len(models) == 1 else "one of the kinds below" if models else "this kind"
    )


def _plain(text: str) -> str:
    """A docstring or description on one line; what Markdown would take for emphasis is kept."""
    return re.sub(r"([*<])", r"\\\1", " ".join(text.split()))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return "see below"
    if isinstance(value, tuple):
        value = [item.model_dump() if isinstance(item, Section) else item for item in value]
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return "none" if value is None else f"`{text.removesuffix('...' + chr(10)).strip()}`"


def _allowed(found: dict[str, Any]) -> str:
    """Type and limits of a JSON schema, in words."""
    options = found.get("anyOf") or found.get("oneOf")
    if options:
        words = [_allowed(option) for option in options]
        return ", or ".join(dict.fromkeys(word for word in words if word != "null"))
    if "$ref" in found:
        return "section"
    if "const" in found:
        return f"`{found['const']}`"
    if "enum" in found:
        return ", ".join(f"`{word}`" for word in found["enum"])
    match found["type"]:
        case "array":
            return f"list of: {_allowed(found['items'])}{_limits(found, 'minItems', 'maxItems', ' entries')}"
        case "object":
            return "section"
        case "boolean":
            return "`true`, `false`"
        case "string" if "pattern" in found:
            return "duration, as `10 min`"
        case "string":
            return "text" + (f", at most {found['maxLength']} characters" if "maxLength" in found else "")
    return found["type"] + _limits(found, "minimum", "maximum")


def _limits(found: dict[str, Any], least: str, most: str, unit: str = "") -> str:
    if least in found and found[least] == found.get(most):
        return f", exactly {found[least]}"
    words = [
        f"{sign} {_number(found[key])}"
        for key, sign in ((least, "≥"), ("exclusiveMinimum", ">"), (most, "≤"), ("exclusiveMaximum", "\\<"))
        if key in found
    ]
    return f", {' and '.join(words)}{unit}" if words else ""


def _number(value: float) -> str:
    if value == 2**63 - 1 or value == 2**63:
        return "2⁶³"
    exponent = math.log10(value) if value > 0 else 0.0
    return f"1e{exponent:.0f}" if exponent >= 6 and exponent.is_integer() else f"{value:g}"


def _example(text: str, module: str, base: dict[str, Any]) -> str:
    code = (
        f"from dsm_hpc.tree import parse\nfrom {module} import validated\n"
        f"checked = validated({base!r} | parse({text!r}, 'example'), 'example')"
    )
    return f"```yaml\n{text}\n```\n\n```{{testcode}}\n:hide:\n\n{code}\n```"


# ---------------------------------------------------------------------------------------------- files


def coordinates() -> str:
    """Of a results file of the main job."""
    tree = BASE | {"dynamics": {"betas": [1.0, 2.0], "exchange_every": 1}}
    shape = layout(Config.model_validate(tree))
    kinds = {"O": "text", "i": "int64", "f": "float64"}
    rows = [
        [f"`{axis}`", kinds[ticks.dtype.kind], _plain(shape.meanings[axis])]
        for axis, ticks in shape.coordinates.items()
    ]
    return _table(("coordinate", "type", "meaning"), rows)


def variables() -> str:
    return _variables(VARIABLES)


def manifold_variables() -> str:
    axes = _table(
        ("axis", "meaning"), [[f"`{axis}`", text] for axis, text in manifold_layout.MEANINGS.items()]
    )
    named = [*manifold_layout.SIMULATION, *manifold_layout.EQUATIONS]
    return f"{axes}\n\n{_variables(named)}"


def _variables(named: Iterable[Variable]) -> str:
    rows = [
        [f"`{variable.name}`", ", ".join(variable.dimensions), _plain(variable.meaning)] for variable in named
    ]
    return _table(("dataset", "axes", "meaning"), rows)


# ---------------------------------------------------------------------------------------------- verbs


def verbs() -> str:
    """Every verb of the program with its arguments."""
    listed = next(action for action in cli._parser()._actions if isinstance(action.choices, dict))
    summaries = {action.dest: action.help for action in listed._choices_actions}
    return "\n\n".join(_verb(name, parser, summaries[name]) for name, parser in listed.choices.items())


def _verb(name: str, parser: argparse.ArgumentParser, summary: str) -> str:
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    rows = [
        [f"`{_argument(action)}`", _plain(action.help or "")]
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    ]
    lines = _wrapped(usage)
    return f"## dsm {name}\n\n{_plain(summary)}\n\n```\n{lines}\n```\n\n{_table(('argument', ''), rows)}"


def _argument(action: argparse.Action) -> str:
    choices = "|".join(action.choices) if action.choices else action.dest.upper()
    value = None if action.nargs == 0 else action.metavar or choices
    return " ".join(filter(None, [", ".join(action.option_strings), str(value) if value else ""]))


def _wrapped(usage: str, width: int = 96) -> str:
    """Usage on lines of some length, broken before an argument."""
    lines = [""]
    for word in re.findall(r"\[(?:[^][]|\[[^]]*\])*\]|\S+", usage):
        if len(lines[-1]) + len(word) >= width:
            lines.append("   ")
        lines[-1] += (" " if lines[-1] else "") + word
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------- Python


def results_api() -> str:
    """The functions that the package itself offers."""
    names = [name for name in getattr(dsm_hpc, "__all__", ()) if callable(getattr(dsm_hpc, name, None))]
    entries = "\n\n".join(f".. autofunction:: dsm_hpc.{name}" for name in names)
    return f"```{{eval-rst}}\n{entries}\n```" if names else ""


GENERATED = {
    "input": input_reference,
    "manifold_input": manifold_reference,
    "coordinates": coordinates,
    "variables": variables,
    "manifold_variables": manifold_variables,
    "verbs": verbs,
    "results_api": results_api,
}
