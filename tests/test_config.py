"""The input file: what is accepted, and what a user is told."""

import json
import math
from pathlib import Path

import pytest
from conftest import Made, small_config

from dsm_hpc import inputfile
from dsm_hpc.errors import InputError


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        inputfile.load(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.fanin=3", "network.fanin: unknown key; did you mean network.fan_in?"),
        ("width=3", "width: unknown key; did you mean network.width?"),
        ("shedule={}", "shedule: unknown key; did you mean schedule?"),
        ("dynamics.moves=[{kind: weight, stp: 1}]", "stp: unknown key; did you mean dynamics.moves.0.step?"),
        ("network.fan_in=10", "fan_in = 10 is more than width = 9: allowed are 1..9, all"),
        (
            "network.fan_in=some",
            "network.fan_in: 'some' is not allowed: must be an integer from 1 to width, or all",
        ),
        ("network.width=true", "network.width: True is not allowed: must be a valid integer"),
        ("network.width=0", "network.width: 0 is not allowed: must be greater than or equal to 1"),
        ("network.width=9.5", "network.width: 9.5 is not allowed"),
        ("network.weights=binary", "network.weights: 'binary' is not allowed: must be 'gaussian' or 'ising'"),
        (
            "patterns.inputs={kind: mnist}",
            "patterns.inputs.kind: 'mnist' is not known: allowed are iid, hidden_manifold",
        ),
        ("patterns.inputs={kind: hidden_manifold}", "patterns.inputs.dimension: required, but not given"),
        ("patterns.inputs={kind: hidden_manifold, dimension: 0}", "dimension: 0 is not allowed"),
        ("patterns.inputs={dimension: 3}", "patterns.inputs.kind: required, but not given: allowed are iid"),
        ("ensemble.starts=[plantd]", "'plantd' is not allowed: must be 'planted' or 'random'"),
        ("ensemble.starts=[random, random]", "starts: random is given twice"),
        ("ensemble.samples=0", "ensemble.samples: 0 is not allowed"),
        (
            "ensemble={samples: 1000000, clones: 10000}",
            "20000000000 walkers (samples x starts x clones x betas)",
        ),
        ("ensemble={samples: 1, clones: 5000}", "24995000 pairs of clones: at most 1000000"),
        (
            "patterns.inputs={kind: iid, dimension: 5}",
            "dimension: unknown key; the kind chosen here has no dimension",
        ),
        (
            "network=",
            "network: an empty value is not allowed: must be a mapping of keys, the section Network",
        ),
        ("seed=1:30", "seed: '1:30' is not allowed: must be a valid integer"),
        ("seed=!!timestamp x", "not readable as YAML"),
        (
            "dynamics.betas=[-1]",
            "betas: -1.0 is not an inverse temperature: allowed are numbers >= 0 and .inf",
        ),
        ("dynamics.betas=[.nan]", "not an inverse temperature"),
        ("dynamics.betas=3", "dynamics.betas: 3 is not allowed: must be a list"),
        ("dynamics={betas: [1, 3, 2], exchange_every: 10}", "betas: must ascend or descend"),
        ("dynamics={betas: {ladder: adaptive, hot: 0.1, count: 4}}", "give exchange_every"),
        (
            "dynamics={betas: {ladder: geometric, hot: 2, cold: 1, count: 4}}",
            "hot = 2.0 must be less than cold",
        ),
        (
            "dynamics={betas: {ladder: linear, hot: 2}}",
            "betas.ladder: 'linear' is not known: allowed are geometric",
        ),
        (
            "dynamics={betas: {hot: 2}}",
            "betas.ladder: required, but not given: allowed are geometric, adaptive",
        ),
        ("dynamics={anneal: {from: 0.2, sweeps: 10}, betas: [1, 2]}", "anneal: needs a single beta"),
        ("dynamics={anneal: {from: 0, sweeps: 10}}", "dynamics.anneal.from: 0 is not allowed"),
        ("schedule.sweeps=-1", "schedule.sweeps: -1 is not allowed"),
        ("schedule.measurements={kind: linear}", "schedule.measurements.every: required, but not given"),
        (
            "schedule={sweeps: 10000000, measurements: {kind: linear, every: 1}}",
            "at most 1000000 are allowed",
        ),
        ("output.mode=hdf5", "must be 'auto', 'mpio' or 'gather'"),
        ("seed=-1", "seed: -1 is not allowed"),
        ("scan={network.dpth: [2]}", "network.dpth: unknown key; did you mean network.depth?"),
        ("scan={network.depth: 2}", "scan.network.depth: 2 is not a list"),
        ("scan={network.depth: [2, 2]}", "same file name 'depth=2'"),
        ("scan={seed: [1, 2], network.width: [9, 3]}", "at seed = 1, network.width = 3: network: fan_in = 4"),
        ("schedule.sweeps=[1", "--set schedule.sweeps=[1: not readable as YAML"),
        ("schedule.sweeps", "give key=value"),
        ("seed.x=1", "seed is a single value, so it has no keys"),
    ],
)
def test_bad_values_are_named_with_what_is_allowed(make_input: Made, override: str, message: str) -> None:
    assert message in refusal(make_input(), override)


def test_messages_name_the_file_and_list_every_error(make_input: Made) -> None:
    path = make_input()
    lines = refusal(path, "network.width=0", "seed=x").splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not readable as YAML"),
        ("[1, 2]", "a mapping of keys to values, not a list"),
        ("", "input.yaml: is empty"),
        ("seed: 1\nseed: 2", "key 'seed' appears twice, again in line 2"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: !!python/object/apply:os.system ['true']", "not readable as YAML"),
        ("1: 2", "key 1 in line 1 is not a word"),
        ("[" * 5000, "not readable as YAML"),
        ("name: x", "network: required, but not given"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "input.yaml"
    path.write_text(text)
    assert message in refusal(path)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.yaml")
    assert "Is a directory" in refusal(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in refusal(tmp_path / "binary")
    (tmp_path / "large").write_bytes(b"#" * (2 << 20))
    assert "not an input file" in refusal(tmp_path / "large")


def test_the_contract_example_is_accepted(tmp_path: Path) -> None:
    """The input of DESIGN.md, its scan and its single-temperature exchange_every included."""
    path = tmp_path / "input.yaml"
    path.write_text("""
name: quickstart
seed: 1
network:  {width: 20, depth: 6, fan_in: 10, weights: gaussian}      # or ising; fan_in: all
patterns: {train: 200, test: 2000, inputs: {kind: iid}}
ensemble: {samples: 8, starts: [planted, random], clones: 2}
dynamics: {moves: [{kind: weight, step: 0.5}], betas: [.inf], exchange_every: 10}
schedule: {sweeps: 10000, measurements: {kind: log, count: 40}}     # or {kind: linear, every: 100}
output:   {mode: auto}
scan:     {network.depth: [2, 4, 6, 8]}
""")
    job = inputfile.load(path)
    assert [point.name for point in job.points] == ["depth=2", "depth=4", "depth=6", "depth=8"]
    assert [point.config.network.depth for point in job.points] == [2, 4, 6, 8]
    assert job.points[0].config.dynamics.betas == (math.inf,)


def test_list_elements_and_scans_can_be_set(make_input: Made) -> None:
    path = make_input(dynamics={"moves": [{"kind": "weight", "step": 0.5}]})
    job = inputfile.load(path, ("scan.dynamics.moves.0.step=[0.1, 0.2]",))
    assert [point.config.dynamics.moves[0].step for point in job.points] == [0.1, 0.2]
    assert inputfile.load(path, ("dynamics.moves.0.step=2.0",)).points[0].config.dynamics.moves[0].step == 2.0
    assert "1 is not the number of a list element: allowed are 0..0" in refusal(
        path, "dynamics.moves.1.step=2"
    )


def test_a_refused_list_element_is_one_message(make_input: Made) -> None:
    assert len(refusal(make_input(), "ensemble.starts=[planed]").splitlines()) == 1


def test_several_scanned_keys_give_their_product(make_input: Made) -> None:
    job = inputfile.load(make_input(scan={"network.depth": [1, 2], "patterns.train": [10, 20]}))
    assert [point.name for point in job.points] == [
        "depth=1,train=10", "depth=1,train=20", "depth=2,train=10", "depth=2,train=20",
    ]  # fmt: skip


def test_resolved_configuration_reads_back_as_itself() -> None:
    first = small_config(
        dynamics__betas=[math.inf, 0.1], patterns__inputs={"kind": "hidden_manifold", "dimension": 4}
    )
    assert inputfile.parse_resolved(first.as_yaml(), "again") == first


def test_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        small_config().network.width = 3  # type: ignore[misc]


def test_relative_paths_start_at_the_input_file(make_input: Made, tmp_path: Path) -> None:
    for given, path in [("rows.npy", tmp_path / "rows.npy"), ("/data/rows.npy", Path("/data/rows.npy"))]:
        job = inputfile.load(make_input(patterns__inputs={"kind": "file", "path": given}))
        assert job.points[0].config.patterns.inputs.path == str(path)  # type: ignore[union-attr]


def test_exponents_without_a_point_are_numbers(make_input: Made) -> None:
    job = inputfile.load(make_input(), ("dynamics.betas=[1e-3, 2e1]",))
    assert job.points[0].config.dynamics.betas == (0.001, 20.0)


def test_schema_describes_every_key() -> None:
    tree = json.loads(json.dumps(inputfile.schema()))
    assert {"network", "patterns", "ensemble", "dynamics", "schedule", "output", "scan"} <= tree[
        "properties"
    ].keys()
    assert "N, perceptrons per layer" in json.dumps(tree)
