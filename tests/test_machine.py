"""Wiring, inputs, alignment and loop counts, against slow and independent forms."""

from itertools import combinations
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import small_config
from scipy import stats

from dsm_hpc.errors import InputError
from dsm_hpc.kernels import unpack
from dsm_hpc.machine.inputs import check_inputs, draw_inputs
from dsm_hpc.machine.loops import expected_shared_pairs, loops, shared_pairs
from dsm_hpc.machine.overlaps import align, overlaps
from dsm_hpc.machine.sample import Machine, Sample, draw_sample, signs_of
from dsm_hpc.machine.wiring import draw_weights, draw_wiring

# ---------------------------------------------------------------------------------------------- wiring


def test_every_perceptron_reads_c_distinct_neurons_uniformly() -> None:
    """Each neuron is read c times per layer on average: a binomial count, within 4 standard deviations."""
    depth, width, fan_in = 40, 30, 7
    wiring = draw_wiring(np.random.default_rng(1), depth, width, fan_in)
    assert wiring.shape == (depth, width, fan_in)
    assert (np.diff(wiring, axis=2) > 0).all()
    read = np.stack([np.bincount(layer.ravel(), minlength=width) for layer in wiring]).sum(axis=0)
    p = fan_in / width
    z = (read - depth * width * p) / np.sqrt(depth * width * p * (1 - p))
    assert np.abs(z).max() < 4


def test_fully_connected_reads_all_in_order() -> None:
    wiring = draw_wiring(np.random.default_rng(1), 2, 5, 5)
    assert (wiring == np.arange(5)).all()


def test_prior_weights() -> None:
    random = np.random.default_rng(2)
    assert set(np.unique(draw_weights(random, (1000,), ising=True))) == {-1.0, 1.0}
    gaussian = draw_weights(random, (20_000,), ising=False)
    assert stats.kstest(gaussian, "norm").pvalue > 1e-4


# ---------------------------------------------------------------------------------------------- inputs


def inputs_of(sample: int = 0, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    """Training and test inputs as +-1 arrays (patterns, N)."""
    config = small_config(**changes)
    train, test = draw_inputs(config, sample)
    return unpack(train, config.patterns.train), unpack(test, config.patterns.test)


def test_iid_inputs_are_unbiased_and_uncorrelated() -> None:
    """Means and pair correlations of M patterns are normal with standard deviation 1 / sqrt(M)."""
    train, test = inputs_of(patterns__train=5000, patterns__test=5000)
    for signs in (train, test):
        correlation = signs.T.astype(float) @ signs / 5000
        off = correlation[np.triu_indices(9, 1)]
        assert np.abs(signs.mean(axis=0)).max() < 4 / np.sqrt(5000)
        assert np.abs(off).max() < 4 / np.sqrt(5000)
    assert (train[:100] != test[:100]).any()


@pytest.mark.parametrize("dimension", [1, 4, 9])
def test_hidden_manifold_inputs_have_the_arcsine_covariance(dimension: int) -> None:
    """<S_i S_j> = (2/pi) asin(F_i.F_j / |F_i||F_j|) for given features F (Gaussian orthant probability).

    F is rebuilt here from its stream; the tolerance is 4.5 standard errors sqrt((1 - c^2) / M).
    """
    patterns = 40_000
    changes = {
        "patterns__train": patterns,
        "patterns__inputs": {"kind": "hidden_manifold", "dimension": dimension},
    }
    signs = inputs_of(sample=2, **changes)[0].astype(float)
    seed = np.random.SeedSequence(3, spawn_key=(3, 2))  # seed of the small input, purpose MANIFOLD, sample 2
    features = np.random.Generator(np.random.PCG64DXSM(seed)).standard_normal((dimension, 9))
    unit = features / np.linalg.norm(features, axis=0)
    expected = 2 / np.pi * np.arcsin(np.clip(unit.T @ unit, -1, 1))
    measured = signs.T @ signs / patterns
    error = np.sqrt((1 - expected**2) / patterns) + 1e-4  # the grid of 2^-16 moves angles by less than that
    assert (np.abs(measured - expected) / error).max() < 4.5


def test_hidden_manifold_shares_features_between_training_and_test() -> None:
    """With D = 1 every pattern is +-sgn(F): the same one in both sets."""
    train, test = inputs_of(patterns__inputs={"kind": "hidden_manifold", "dimension": 1})
    both = np.concatenate([train, test])
    assert (np.abs(both @ train[0]) == 9).all()
    assert {-9, 9} == set((both @ train[0]).tolist())


@pytest.mark.parametrize("suffix", ["npy", "h5"])
def test_inputs_from_a_file_are_distinct_rows_of_it(tmp_path: Path, suffix: str) -> None:
    rows = np.random.default_rng(0).choice([-1, 1], (200, 9))
    path = tmp_path / f"rows.{suffix}"
    if suffix == "npy":
        np.save(path, rows.astype(np.float32))
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("some/inputs", data=rows, dtype="i8")
    kind = {"kind": "file", "path": str(path)}
    train, test = inputs_of(patterns__inputs=kind)
    drawn = np.concatenate([train, test])
    assert len(drawn) == 170
    remaining = [tuple(row) for row in rows]
    for row in drawn:
        remaining.remove(tuple(row))
    assert (inputs_of(sample=1, patterns__inputs=kind)[0] != train).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_text("not numpy"), "not readable"),
        (lambda path: np.save(path, np.ones((169, 9))), "at least train \\+ test = 170, width = 9"),
        (lambda path: np.save(path, np.ones((200, 8))), "shape \\(200, 8\\)"),
        (lambda path: np.save(path, np.full((200, 9), "x")), "needed are numbers"),
        (lambda path: np.save(path, np.array([None] * 9), allow_pickle=True), "not readable"),
    ],
)
def test_a_bad_file_of_inputs_is_refused(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "rows.npy"
    make(path)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        check_inputs(small_config(patterns__inputs={"kind": "file", "path": str(path)}))


def test_an_hdf5_file_with_several_datasets_needs_a_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.ones((170, 9)))
        file.create_dataset("b", data=np.ones((3, 3)))
    with pytest.raises(InputError, match=r"dataset: required.*a, b"):
        check_inputs(small_config(patterns__inputs={"kind": "file", "path": str(path)}))
    with pytest.raises(InputError, match="'c' is not in"):
        check_inputs(small_config(patterns__inputs={"kind": "file", "path": str(path), "dataset": "c"}))
    check_inputs(small_config(patterns__inputs={"kind": "file", "path": str(path), "dataset": "a"}))


# ---------------------------------------------------------------------------------------------- samples


def test_samples_depend_on_their_index_and_seed_alone() -> None:
    config = small_config()
    again, other = draw_sample(config, 1), draw_sample(config, 2)
    first = draw_sample(config, 1)
    assert (first.wiring == again.wiring).all()
    assert (first.teacher.train == again.teacher.train).all()
    assert (first.wiring != other.wiring).any()
    assert (first.teacher.weights != other.teacher.weights).any()
    assert (draw_sample(small_config(seed=4), 1).teacher.weights != first.teacher.weights).any()


# ---------------------------------------------------------------------------------------------- alignment


def machine_with(sample: Sample, weights: np.ndarray) -> Machine:
    """The machine with other weights on the sample's wiring and data."""
    train = signs_of(
        sample.config, sample.wiring, weights, sample.teacher.train[0], sample.config.patterns.train
    )
    return Machine(weights, train, sample.test_signs(weights))


def hidden_symmetry(sample: Sample, random: np.random.Generator, permute: bool) -> Machine:
    """The teacher after random flips (and permutations) of its hidden neurons: the same function."""
    depth, width, _ = sample.wiring.shape
    flip = random.choice([-1, 1], (depth + 1, width))
    flip[0] = flip[-1] = 1
    weights = sample.teacher.weights * flip[1:, :, None]
    weights = weights * np.stack([flip[layer][sample.wiring[layer]] for layer in range(depth)])
    if permute:
        order = np.stack([random.permutation(width) for _ in range(depth + 1)])
        order[0] = order[-1] = np.arange(width)
        weights = np.stack([weights[layer][order[layer + 1]][:, order[layer]] for layer in range(depth)])
    return machine_with(sample, np.ascontiguousarray(weights))


@pytest.mark.parametrize(("fan_in", "permute"), [(4, False), ("all", False), ("all", True)])
def test_alignment_undoes_the_hidden_symmetries(fan_in: int | str, permute: bool) -> None:
    """Flips and permutations of hidden neurons change nothing visible: aligned overlaps are 1, raw not."""
    sample = draw_sample(small_config(network__fan_in=fan_in, network__depth=4), 0)
    disguised = hidden_symmetry(sample, np.random.default_rng(5), permute)
    assert (disguised.train[-1] == sample.teacher.train[-1]).all()
    found = overlaps(sample, disguised, sample.teacher)
    for name in ("q", "r", "r_test"):
        assert found[f"{name}_aligned"] == pytest.approx(np.ones(4), abs=1e-12)
        assert np.abs(found[name][1:-1]).max() < 0.8


def test_overlaps_against_the_written_formulas() -> None:
    """q, r, r_test and their aligned forms (flips only) by explicit loops over i, k, mu."""
    sample = draw_sample(small_config(), 0)
    other = draw_sample(small_config(seed=9), 0).teacher.weights
    machine = machine_with(sample, other)
    found = overlaps(sample, machine, sample.teacher)
    mine = {"train": unpack(machine.train, 70), "test": unpack(machine.test, 100)}
    theirs = {"train": unpack(sample.teacher.train, 70), "test": unpack(sample.teacher.test, 100)}
    per_neuron = {kind: (mine[kind].astype(int) * theirs[kind]).mean(axis=1) for kind in mine}
    sigma = np.where(per_neuron["train"] < 0, -1, 1)
    sigma[0] = sigma[-1] = 1
    for layer in range(1, 4):
        q = q_aligned = 0.0
        for i in range(9):
            a, b = machine.weights[layer - 1, i], sample.teacher.weights[layer - 1, i]
            norm = np.linalg.norm(a) * np.linalg.norm(b)
            q += a @ b / norm / 9
            q_aligned += sigma[layer, i] * (a * sigma[layer - 1, sample.wiring[layer - 1, i]]) @ b / norm / 9
        assert found["q"][layer - 1] == pytest.approx(q, abs=1e-12)
        assert found["q_aligned"][layer - 1] == pytest.approx(q_aligned, abs=1e-12)
        for name, kind in (("r", "train"), ("r_test", "test")):
            overlap = per_neuron[kind][layer]
            assert found[name][layer - 1] == pytest.approx(overlap.mean(), abs=1e-12)
            assert found[f"{name}_aligned"][layer - 1] == pytest.approx(
                (sigma[layer] * overlap).mean(), abs=1e-12
            )


def test_aligned_overlap_of_unrelated_machines_has_its_known_bias() -> None:
    """|overlap| of independent signs over M patterns averages sqrt(2 / (pi M)); error from the spread."""
    config = small_config(network__width=400, network__fan_in=6, network__depth=2, patterns__train=200)
    sample = draw_sample(config, 0)
    random = np.random.default_rng(8)
    noise = random.integers(0, 2**63, sample.teacher.train.shape, dtype=np.uint64) * 2
    noise[..., -1] &= np.uint64(2 ** (200 % 64) - 1)
    gauge = align(sample, Machine(sample.teacher.weights, noise, None), sample.teacher)
    overlap = (unpack(noise[1], 200).astype(int) * unpack(sample.teacher.train[1], 200)).mean(
        axis=0
    ) * gauge.flip[1]
    assert abs(overlap.mean() - np.sqrt(2 / (np.pi * 200))) < 4 * overlap.std() / np.sqrt(400)


# ---------------------------------------------------------------------------------------------- loops


def test_shared_pairs_by_hand() -> None:
    assert shared_pairs(np.array([[0, 1], [0, 1], [1, 2], [0, 1]], np.int32)) == 3
    assert shared_pairs(np.tile(np.arange(4, dtype=np.int32), (4, 1))) == 6
    assert shared_pairs(np.zeros((1, 1), np.int32)) == 0


def test_loop_counts_against_sets_and_sums() -> None:
    sample = draw_sample(small_config(network__width=300, network__fan_in=20, network__depth=2), 0)
    found = loops(sample)
    for layer in range(2):
        reads = [set(row.tolist()) for row in sample.wiring[layer]]
        assert found["shared_pairs"][layer] == sum(len(a & b) >= 2 for a, b in combinations(reads, 2))
    for layer, value in [
        (0, found["input_correlation"]),
        (1, found["correlation"][0]),
        (2, found["correlation"][1]),
    ]:
        signs = unpack(sample.teacher.train[layer], 70).astype(float)
        correlation = signs.T @ signs / 70
        np.fill_diagonal(correlation, 0)
        assert value == pytest.approx((correlation**2).sum() / (300 * 299) - 1 / 70, abs=1e-12)


def test_expected_loops_are_the_mean_over_wirings() -> None:
    """The mean of many layers against the hypergeometric formula, within 4 standard errors."""
    wiring = draw_wiring(np.random.default_rng(4), 400, 25, 5)
    counts = np.array([shared_pairs(layer) for layer in wiring])
    error = counts.std(ddof=1) / np.sqrt(len(counts))
    assert abs(counts.mean() - expected_shared_pairs(25, 5)) < 4 * error
