"""Configuration of the hidden manifold model, and the experiment that it describes."""

import numpy as np
import pytest
from pydantic import ValidationError

from dsm_hpc.manifold.config import ManifoldConfig
from dsm_hpc.manifold.curves import largest_gap, of_records, of_trajectories
from dsm_hpc.manifold.experiment import (
    Record,
    Streams,
    check_equivalence,
    equations,
    prepare,
)
from dsm_hpc.manifold.online import evolve

SMALL = {
    "data": {"width": 200, "dimension": 20},
    "schedule": {"t_max": 3, "measurements": {"kind": "log", "first": 0.1, "count": 5}, "test_inputs": 500},
}


def config(**changes):
    tree = {key: dict(value) for key, value in SMALL.items()}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            tree.setdefault(section, {})[name] = value
        else:
            tree[section] = value
    return ManifoldConfig.model_validate(tree)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data__scenario": "teacher"}, "latent_teacher"),
        ({"data__f": "sqrt"}, "f = sqrt"),
        ({"data__f": "step"}, "allowed are sgn"),
        ({"data__width": 0}, "greater than or equal to 1"),
        ({"data__dimension": 10**6}, "20000"),
        ({"networks__g": "tanh"}, "'erf', 'linear' or 'relu'"),
        ({"networks__hidden": 3}, "Extra inputs"),
        ({"networks__teacher": 2.5}, "valid integer"),
        ({"learning__rates": []}, "at least 1"),
        ({"learning__rates": [0.1, 0.1]}, "given twice"),
        ({"learning__rates": [-0.1]}, "greater than 0"),
        ({"learning__both_layers": "yes"}, "boolean"),
        ({"schedule__t_max": -1}, "greater than or equal to 0"),
        ({"schedule__measurements": {"kind": "linear", "every": 1e-9}}, "too short"),
        ({"schedule__measurements": {"kind": "cubic"}}, "'log', 'linear'"),
        ({"networks__g": "relu", "ode": {}}, "has no equations of motion"),
        ({"data__scenario": "iid", "ode": {"start": "limit"}}, "ode.start = limit"),
        ({"gep": {"functions": ["sgn", "log"]}}, "f = log"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_what_is_wrong_is_named(changes, words):
    with pytest.raises(ValidationError, match=words):
        config(**changes)


def test_defaults():
    read = config()
    assert (read.data.scenario, read.data.f, read.networks.g) == ("latent_teacher", "sgn", "erf")
    assert read.ode is not None
    assert config(networks__g="relu").ode is None
    with pytest.raises(ValidationError, match="frozen"):
        read.seed = 2


def test_schedules():
    assert config().schedule.steps(200).tolist() == [0, 20, 47, 110, 256, 600]
    linear = config(schedule__measurements={"kind": "linear", "every": 0.8}).schedule
    assert linear.steps(100).tolist() == [0, 80, 160, 240, 300]
    assert config(schedule__t_max=0).schedule.steps(100).tolist() == [0]
    assert config(schedule__t_max=0.01).schedule.steps(100).tolist() == [0, 1]


def streams(seed=0):
    def bits(purpose):
        return np.random.PCG64DXSM(np.random.SeedSequence(3, spawn_key=(purpose, seed)))

    return Streams(*(np.random.Generator(bits(purpose)) for purpose in (1, 2, 3)), bits(4))


def recorded(read, seed=0):
    run = prepare(read, read.learning.rates[0], streams(seed))
    expected = equations(read, run) if read.ode is not None else None
    record = Record(run.system)
    evolve(
        run,
        read.schedule.steps(read.data.width),
        lambda r: record.measure(r, read.schedule.test_inputs, np.random.default_rng(r.steps)),
    )
    return record, expected


@pytest.mark.parametrize("scenario", ["latent_teacher", "iid"])
def test_an_experiment_records_what_the_equations_say(scenario):
    records, expected = zip(
        *(recorded(config(data__scenario=scenario), seed) for seed in range(3)), strict=True
    )
    for record, trajectory in zip(records, expected, strict=True):
        assert len(record.times) == len(record.Q) == len(record.test) == 6
        np.testing.assert_allclose(record.times, trajectory.times)
        np.testing.assert_allclose(record.R[0], trajectory.R[0], atol=1e-12)
        for closed, measured in zip(record.error, record.test, strict=True):
            assert abs(measured.mean - closed) < 4 * measured.error + 0.05 * closed
    simulated, solved = of_records(records), of_trajectories(expected)
    assert 0 < largest_gap(simulated, solved) < 0.2
    assert np.isnan(largest_gap(simulated, solved, after=10))
    cosines = simulated.specialisation()
    assert cosines.shape == (6, 2, 2)
    assert (np.abs(cosines) < 1).all()


def test_relu_and_no_test_inputs():
    record, expected = recorded(
        config(networks__g="relu", schedule__test_inputs=0, learning__both_layers=True)
    )
    assert expected is None
    assert record.test == [None] * 6
    assert record.error[-1] < record.error[0]


def test_the_limit_starts_from_initial_weights():
    read = config(ode={"start": "limit", "overlap": 0.05}, networks__first_layer=0.5)
    trajectory = equations(read, prepare(read, 0.2, streams()))
    np.testing.assert_allclose(trajectory.R[0], 0.05 * np.eye(2))
    np.testing.assert_allclose(trajectory.W[0], 0.25 * np.eye(2))
    np.testing.assert_allclose(trajectory.Q[0], 0.25 * np.eye(2))


def test_the_check_of_the_equivalence_follows_the_configuration():
    read = config(gep={"inputs": 10_000, "trained_until": 1.0})
    found = check_equivalence(read, "relu", 80, streams(), np.random.default_rng(1))
    assert [one.student for one in found] == ["independent", "trained"]
    assert {(one.f, one.width, one.dimension, one.units) for one in found} == {("relu", 80, 8, 2)}
    assert not np.allclose(found[0].expected[:2], found[1].expected[:2], atol=0.05)
