"""The kernels against the slow machine of oracle.py, bit for bit."""

from math import inf

import numpy as np
import oracle
import pytest

from dsm_hpc import kernels
from dsm_hpc.kernels.levels import AVAILABLE

WIDTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 20, 33, 63, 64, 65)
PATTERNS = (1, 5, 63, 64, 65, 130)
BETAS = (inf, 2.0, 0.3, 0.0)


def build(rng, depth, width, fan_in, patterns, kind, ising, start):
    """One machine as (kernel student, oracle machine)."""
    wiring = oracle.draw_wiring(rng, depth, width, fan_in, kind)
    teacher = oracle.draw_weights(rng, wiring.shape, ising)
    inputs = oracle.draw_signs(rng, patterns, width)
    targets = oracle.forward(wiring, oracle.integers_of(teacher, ising), inputs)[-1]
    weights = teacher if start == "planted" else oracle.draw_weights(rng, wiring.shape, ising)
    return pair(wiring, weights, inputs, targets, ising)


def pair(wiring, weights, inputs, targets, ising):
    student = kernels.Student(
        wiring, weights, oracle.words_of(inputs), oracle.words_of(targets), len(inputs), ising
    )
    return student, oracle.Machine(wiring, weights, inputs, targets, ising)


def assert_same(student, machine):
    """Weights, signs of all layers and energy are equal bit for bit."""
    signs = machine.signs()
    assert student.energy == machine.energy
    np.testing.assert_array_equal(student.weights, machine.weights)
    for layer in range(len(signs)):
        np.testing.assert_array_equal(student.signs[layer], oracle.words_of(signs[layer]), f"layer {layer}")


def every_kernel(student):
    """The same student by every kernel of every level that runs here, the given one first."""
    depth, width, fan_in, patterns = student.shape
    inputs = student.signs[0]
    return [student] + [
        kernels.Student(
            student.wiring, student.weights, inputs, student.targets, patterns, student.ising, kernel, level
        )
        for level in AVAILABLE
        for kernel in kernels.kernels_for(depth, width, fan_in, level, student.ising)
        if (kernel, level) != (student.kernel, student.level)
    ]


def run_both(student, machine, beta, step, sweeps, seed, bit_generator=np.random.PCG64):
    """Runs both from equal streams, each kernel in one call; compares every decision and what it led to."""
    students = every_kernel(student)
    for one in students:
        assert_same(one, machine)
    generator = np.random.Generator(bit_generator(seed))
    flags = np.concatenate([machine.sweep(generator, beta, step) for _ in range(sweeps)])
    after = generator.integers(0, 1000, 5)
    for one in students:
        stream = bit_generator(seed)
        trace = np.full(sweeps * machine.weights.size, 7, np.uint8)
        one.reset_counters()
        one.sweep(stream, beta, step, sweeps, trace)
        np.testing.assert_array_equal(trace, flags)
        assert_same(one, machine)
        assert one.proposed.sum() == len(flags)
        assert one.accepted.sum() == flags.sum()
        assert one.same_state(one.recomputed())
        # all took the same number of draws, buffered halves included
        np.testing.assert_array_equal(np.random.Generator(stream).integers(0, 1000, 5), after)
    return flags


def size_cases(seed):
    """Every width with fan-in 1, 2, N - 1, N; the rest is drawn, the depth within the oracle's time."""
    rng = np.random.default_rng(seed)
    for width in WIDTHS:
        for fan_in in sorted({1, min(2, width), max(width - 1, 1), width}):
            patterns = int(rng.choice(PATTERNS))
            cost = [depth**2 * width * fan_in * (20 + patterns * width**2 / 3000) for depth in range(1, 6)]
            depth = int(rng.integers(1, max(1, sum(c < 7e5 for c in cost)) + 1))
            kind = str(rng.choice(["full", "permuted"])) if fan_in == width else "sparse"
            yield {
                "depth": depth,
                "width": width,
                "fan_in": fan_in,
                "patterns": patterns,
                "kind": kind,
                "ising": bool(rng.integers(2)),
                "start": str(rng.choice(["random", "planted"])),
                "beta": BETAS[rng.choice(4, p=[0.35, 0.35, 0.2, 0.1])],
            }


def case_id(case):
    prior = "ising" if case["ising"] else "gaussian"
    return "L{depth}-N{width}-c{fan_in}-M{patterns}-{kind}-{start}-beta{beta}".format(**case) + f"-{prior}"


SIZES = [*size_cases(1), *size_cases(2)]


def test_sampled_cases_cover_every_value():
    """The drawn cases leave out no depth, number of patterns, start, prior, wiring or temperature."""
    for key, values in {
        "depth": {1, 2, 3, 4, 5},
        "patterns": set(PATTERNS),
        "kind": {"full", "permuted", "sparse"},
        "ising": {False, True},
        "start": {"random", "planted"},
        "beta": set(BETAS),
    }.items():
        assert {case[key] for case in SIZES} == values


@pytest.mark.parametrize("case", SIZES, ids=case_id)
def test_sizes(case):
    """Sign, energy and acceptance rule of PHYSICS section 1 at odd sizes."""
    rng = np.random.default_rng(case["width"] * 1000 + case["patterns"])
    beta = case["beta"]
    student, machine = build(rng, **{key: value for key, value in case.items() if key != "beta"})
    sweeps = min(10, max(1, 600 // machine.weights.size))
    run_both(student, machine, beta, 0.5, sweeps, seed=case["fan_in"])


@pytest.mark.parametrize("width", [127, 128, 129])
@pytest.mark.parametrize(
    ("fan_in", "start", "beta"), [(2, "random", 1.0), (9, "planted", inf), (65, "planted", 2.0)]
)
def test_wide_layers(width, fan_in, start, beta):
    """Around two words of neurons: more than one kernel can take as words."""
    depth, patterns = (2, 5) if fan_in == 65 else (3, 65)
    student, machine = build(
        np.random.default_rng(width), depth, width, fan_in, patterns, "sparse", False, start
    )
    run_both(student, machine, beta, 0.5, 1, seed=width)


@pytest.mark.parametrize(("width", "kind"), [(66, "permuted"), (100, "full")])
def test_wide_and_fully_connected(width, kind):
    """Tables of two words: 17 to 32 groups of neurons."""
    for start, beta in (("random", 0.5), ("planted", inf)):
        student, machine = build(np.random.default_rng(1), 2, width, width, 4, kind, False, start)
        run_both(student, machine, beta, 0.5, 1, seed=width)


@pytest.mark.parametrize(("start", "beta"), [("random", 0.3), ("planted", inf)])
@pytest.mark.parametrize("patterns", [1, 63, 64, 65])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 31, 32, 33])
def test_ising_weights_where_limbs_end(width, patterns, start, beta):
    """Whole and begun limbs and vectors of neurons, and of patterns; even and odd numbers of inputs."""
    rng = np.random.default_rng(width)
    for fan_in in {width, max(1, width - 1), 1 + width // 8}:
        kind, depth = ("full", 2) if fan_in == width else ("sparse", 3)
        student, machine = build(rng, depth, width, fan_in, patterns, kind, True, start)
        run_both(student, machine, beta, 0.5, 1, seed=width)


@pytest.mark.parametrize(("start", "beta"), [("random", 0.2), ("planted", inf)])
@pytest.mark.parametrize("width", [48, 63, 64, 65, 97, 127, 128, 129])
def test_ising_weights_of_wide_layers(width, start, beta):
    """The same of two to four limbs, up to the most neurons that the kernel of bits takes, and beyond."""
    rng = np.random.default_rng(width)
    for fan_in, patterns in ((3, 64), (10, 63), (width // 2, 5)):
        student, machine = build(rng, 2, width, fan_in, patterns, "sparse", True, start)
        run_both(student, machine, beta, 0.5, 1, seed=width)


@pytest.mark.parametrize("width", [63, 64, 65, 128])
def test_ising_weights_wide_and_fully_connected(width):
    student, machine = build(np.random.default_rng(39), 2, width, width, 3, "permuted", True, "random")
    run_both(student, machine, 0.2, 0.5, 1, seed=40)


@pytest.mark.parametrize(("width", "fan_in"), [(17, 17), (20, 2), (20, 5), (36, 6)])
@pytest.mark.parametrize(("start", "beta"), [("random", 0.05), ("random", inf), ("planted", inf)])
def test_ising_weights_with_many_patterns(width, fan_in, start, beta):
    """Whole batches of flips are followed; at E = 0 proposals are tried side by side."""
    kind = "full" if fan_in == width else "sparse"
    rng = np.random.default_rng(37)
    student, machine = build(rng, 3, width, fan_in, 450, kind, True, start)
    run_both(student, machine, beta, 0.5, 2, seed=38)


@pytest.mark.parametrize("kind", ["full", "sparse"])
@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("size", [1e-6, 1e-3, 30.0, 150.0])
def test_weights_of_any_size(size, width, kind):
    """Sums are rounded to the size of the weights, and what rounding may spoil is computed exactly."""
    rng = np.random.default_rng(31)
    fan_in = width if kind == "full" else 4
    wiring = oracle.draw_wiring(rng, 2, width, fan_in, kind)
    weights = rng.standard_normal(wiring.shape) * (size if kind == "sparse" else min(size, 20.0))
    inputs = oracle.draw_signs(rng, 6, width)
    targets = oracle.draw_signs(rng, 6, width)
    student, machine = pair(wiring, weights, inputs, targets, False)
    run_both(student, machine, 0.5, 0.5, 1, seed=32)


def test_one_weight_that_fills_the_grid():
    """Twice the weight is beyond 2^31: what columns add is known modulo 2^32 only."""
    rng = np.random.default_rng(37)
    wiring = oracle.draw_wiring(rng, 2, 40, 40, "full")
    weights = 0.01 * rng.standard_normal(wiring.shape)
    weights[1, :, 0] = 2040.0
    inputs, targets = oracle.draw_signs(rng, 9, 40), oracle.draw_signs(rng, 9, 40)
    run_both(*pair(wiring, weights, inputs, targets, False), 0.5, 0.1, 1, seed=38)


@pytest.mark.parametrize("width", [40, 100])
def test_one_weight_that_fills_the_grid_at_zero_energy(width):
    """The same at E = 0, side by side, where most flips do no harm, as one input decides all outputs."""
    rng = np.random.default_rng(41)
    wiring = oracle.draw_wiring(rng, 2, width, width, "full")
    weights = 0.01 * rng.standard_normal(wiring.shape)
    weights[1, :, 0] = 2040.0
    inputs = oracle.draw_signs(rng, 330, width)
    targets = oracle.forward(wiring, oracle.integers_of(weights, False), inputs)[-1]
    student, _ = pair(wiring, weights, inputs, targets, False)
    first = student.signs.copy()
    for one in every_kernel(student):
        for _ in range(3):
            one.sweep(np.random.PCG64(3), inf, 0.02, 1)
            one.billiard(np.random.PCG64(4), inf, 0.0005, 1)
        np.testing.assert_array_equal(one.weights, student.weights)
        assert one.energy == 0
        assert one.same_state(one.recomputed())
    assert (student.signs[1] != first[1]).any()


@pytest.mark.parametrize(("width", "fan_in"), [(20, 20), (20, 5), (70, 70)])
def test_weights_that_grow(width, fan_in):
    """At beta = 0 small weights grow to the size of the prior, and the rounding of sums with them."""
    rng = np.random.default_rng(33)
    wiring = oracle.draw_wiring(rng, 2, width, fan_in, "full" if fan_in == width else "sparse")
    inputs, targets = oracle.draw_signs(rng, 5, width), oracle.draw_signs(rng, 5, width)
    student, machine = pair(wiring, 1e-3 * rng.standard_normal(wiring.shape), inputs, targets, False)
    run_both(student, machine, 0.0, 2.0, 5, seed=34)


@pytest.mark.parametrize("start", ["random", "planted"])
@pytest.mark.parametrize("dimension", [2, 20])
@pytest.mark.parametrize(("width", "fan_in"), [(20, 20), (70, 5)])
def test_hidden_manifold_inputs(width, fan_in, dimension, start):
    """Correlated inputs, many patterns alike: S_0 = sgn(F C / sqrt(D))."""
    rng = np.random.default_rng(35)
    wiring = oracle.draw_wiring(rng, 3, width, fan_in, "full" if fan_in == width else "sparse")
    teacher = rng.standard_normal(wiring.shape)
    hidden = rng.standard_normal((66, dimension)) @ rng.standard_normal((dimension, width))
    inputs = np.where(hidden >= 0, 1, -1)
    targets = oracle.forward(wiring, oracle.integers_of(teacher, False), inputs)[-1]
    weights = teacher if start == "planted" else rng.standard_normal(wiring.shape)
    run_both(*pair(wiring, weights, inputs, targets, False), inf, 0.3, 1, seed=36)


@pytest.mark.parametrize(
    ("width", "fan_in", "kernel"),
    [
        (20, 20, "words"),
        (64, 3, "words"),
        (65, 3, "events"),
        (65, 8, "dense"),
        (128, 128, "dense"),
        (129, 3, "events"),
    ],
)
def test_the_kernel_is_chosen_by_size(width, fan_in, kernel):
    kind = "full" if fan_in == width else "sparse"
    student, _ = build(np.random.default_rng(0), 2, width, fan_in, 5, kind, False, "random")
    assert student.kernel == kernels.kernels_for(2, width, fan_in)[0]
    if kernel == "events":
        assert student.kernel == kernel
    assert kernel in kernels.kernels_for(2, width, fan_in)


def test_bits_are_for_ising_weights():
    gaussian, _ = build(np.random.default_rng(0), 2, 8, 8, 5, "full", False, "random")
    ising, _ = build(np.random.default_rng(0), 2, 8, 8, 5, "full", True, "random")
    assert ising.kernel == kernels.kernels_for(2, 8, 8, ising=True)[0]
    assert "bits" in kernels.kernels_for(2, 8, 8, ising=True)
    with pytest.raises(ValueError, match="kernel 'bits' with 8 neurons per layer: allowed are"):
        kernels.Student(
            gaussian.wiring, gaussian.weights, gaussian.signs[0], gaussian.targets, 5, False, "bits"
        )


@pytest.mark.parametrize(("width", "kernel"), [(129, "words"), (129, "gather"), (8, "guess")])
def test_impossible_kernel(width, kernel):
    student, _ = build(np.random.default_rng(0), 2, width, 2, 5, "sparse", False, "random")
    allowed = ", ".join(kernels.kernels_for(2, width, 2))
    with pytest.raises(ValueError, match=f"'{kernel}' with {width} neurons per layer: allowed are {allowed}"):
        kernels.Student(student.wiring, student.weights, student.signs[0], student.targets, 5, False, kernel)


def test_impossible_level():
    student, _ = build(np.random.default_rng(0), 2, 8, 2, 5, "sparse", False, "random")
    with pytest.raises(ValueError, match=f"level 'sse9': allowed here are {', '.join(AVAILABLE)}"):
        kernels.Student(
            student.wiring, student.weights, student.signs[0], student.targets, 5, False, level="sse9"
        )


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("start", ["random", "planted"])
@pytest.mark.parametrize("ising", [False, True], ids=["gaussian", "ising"])
@pytest.mark.parametrize(("kind", "fan_in"), [("full", 9), ("permuted", 9), ("sparse", 8), ("sparse", 4)])
def test_every_kind_of_run(kind, fan_in, ising, start, beta):
    """Wiring x prior x start x temperature at one size; energies of greedy runs from the teacher stay 0."""
    rng = np.random.default_rng(5)
    student, machine = build(rng, 3, 9, fan_in, 65, kind, ising, start)
    flags = run_both(student, machine, beta, 0.5, 2, seed=6)
    if beta == 0:
        assert flags.all()
    elif beta == inf and start == "planted":
        assert student.energy == 0
    else:
        assert not flags.all()
        assert flags.any() or start == "planted"


@pytest.mark.parametrize(("kind", "fan_in"), [("full", 9), ("sparse", 4)])
@pytest.mark.parametrize("patterns", [960, 1023, 1024, 1025, 2049])
def test_many_patterns(patterns, kind, fan_in):
    """Training sets of many words, also at multiples of 1024 patterns."""
    student, machine = build(np.random.default_rng(28), 2, 9, fan_in, patterns, kind, False, "random")
    run_both(student, machine, 0.05, 0.5, 3, seed=29)


@pytest.mark.parametrize(
    ("width", "fan_in", "patterns"),
    [(12, 12, 220), (33, 33, 250), (64, 64, 250), (70, 10, 400), (100, 100, 300)],
)
def test_flips_that_do_no_harm(width, fan_in, patterns):
    """All kernels take the same proposals, tried side by side at E = 0, where some flips reach no output."""
    kind = "full" if fan_in == width else "sparse"
    student, _ = build(np.random.default_rng(width), 3, width, fan_in, patterns, kind, False, "planted")
    first = student.signs.copy()
    for one in every_kernel(student):
        one.sweep(np.random.PCG64(1), inf, 0.3, 500_000 // student.weights.size)
        np.testing.assert_array_equal(one.weights, student.weights)
        assert one.energy == 0
        assert one.same_state(one.recomputed())
    changed = np.bitwise_count(student.signs ^ first).reshape(4, -1).sum(axis=1)
    assert student.accepted.sum() < 0.25 * student.proposed.sum()  # else they are tried one by one
    assert changed[1] + changed[2] > 5
    assert changed[3] == 0


@pytest.mark.parametrize("fan_in", [32, 33])
def test_sweep_of_many_blocks(fan_in):
    """Random numbers are drawn for at most 1024 proposals of one sweep at a time."""
    kind = "full" if fan_in == 33 else "sparse"
    student, machine = build(np.random.default_rng(fan_in), 2, 33, fan_in, 5, kind, False, "random")
    assert machine.weights.size > 2048
    run_both(student, machine, 1.0, 0.5, 2, seed=8)


@pytest.mark.parametrize("name", ["PCG64DXSM", "Philox", "SFC64", "MT19937"])
def test_any_bit_generator(name):
    """The stream is whatever BitGenerator the caller holds."""
    student, machine = build(np.random.default_rng(3), 2, 7, 3, 20, "sparse", False, "random")
    run_both(student, machine, 1.0, 0.5, 3, 11, getattr(np.random, name))


@pytest.mark.parametrize("step", [0.0, 1e-3, 0.1, 1.0, 10.0])
def test_any_step(step):
    """J' = (J + step x) / sqrt(1 + step^2) for small and large steps."""
    student, machine = build(np.random.default_rng(4), 3, 8, 3, 70, "sparse", False, "random")
    run_both(student, machine, inf, step, 3, seed=12)


@pytest.mark.parametrize("beta", [1e-300, 1e-18, 1e-3, 1.0, 50.0, 1e300])
@pytest.mark.parametrize("start", ["random", "planted"])
def test_any_temperature(beta, start):
    """The threshold floor(exponential / beta) at the ends of the range of beta."""
    student, machine = build(np.random.default_rng(14), 2, 8, 5, 66, "sparse", False, start)
    run_both(student, machine, beta, 0.5, 2, seed=13)


@pytest.mark.parametrize(("kind", "fan_in"), [("full", 8), ("sparse", 4)])
def test_gaussian_weights_with_ties(kind, fan_in):
    """sgn(0) = +1, also where Gaussian weights start on a few integers and sums vanish often."""
    rng = np.random.default_rng(15)
    student, machine = build(rng, 3, 8, fan_in, 100, kind, False, "random")
    weights = rng.integers(-1, 2, size=machine.weights.shape).astype(float)
    student, machine = pair(machine.wiring, weights, machine.inputs, machine.targets, False)
    run_both(student, machine, 0.5, 0.5, 2, seed=16)


def test_one_call_is_many():
    """`sweeps` sweeps in one call equal the same number of calls."""
    once, _ = build(np.random.default_rng(17), 3, 9, 4, 70, "sparse", False, "random")
    often = once.recomputed()
    stream, split = np.random.PCG64(18), np.random.PCG64(18)
    once.sweep(stream, 0.7, 0.5, 20)
    for _ in range(20):
        often.sweep(split, 0.7, 0.5, 1)
    np.testing.assert_array_equal(once.weights, often.weights)
    assert once.same_state(often)
    assert stream.state == split.state


def test_temperature_may_change_between_calls():
    """A walker that is swapped to another beta goes on from the state it has."""
    student, machine = build(np.random.default_rng(19), 2, 9, 9, 70, "full", True, "random")
    for seed, beta in enumerate([0.2, inf, 3.0, 0.0, 1.0, inf]):
        run_both(student, machine, beta, 0.5, 1, seed)


@pytest.mark.parametrize("beta", [-1.0, -inf, float("nan")])
def test_impossible_temperature(beta):
    """beta >= 0."""
    student, _ = build(np.random.default_rng(0), 1, 3, 2, 5, "sparse", False, "random")
    with pytest.raises(ValueError, match="beta"):
        student.sweep(np.random.PCG64(0), beta, 0.5, 1)


def test_trace_of_wrong_length():
    """One entry of `trace` per proposal."""
    student, machine = build(np.random.default_rng(0), 1, 3, 2, 5, "sparse", False, "random")
    with pytest.raises(ValueError, match="trace"):
        student.sweep(np.random.PCG64(0), 1.0, 0.5, 2, np.zeros(machine.weights.size, np.uint8))


def test_no_sweep():
    """Zero sweeps change nothing, the stream included."""
    student, machine = build(np.random.default_rng(0), 1, 3, 2, 5, "sparse", False, "random")
    stream = np.random.PCG64(0)
    student.sweep(stream, 1.0, 0.5, 0, np.zeros(0, np.uint8))
    assert stream.state == np.random.PCG64(0).state
    assert_same(student, machine)


@pytest.mark.parametrize("value", [2048.0, -2048.0, 3000.0, 4096.0, -4097.0, 1e10, 1e30, inf, float("nan")])
def test_weights_beyond_the_grid_are_refused(value):
    """|J| 2**20 must stay below 2**31: no weight may wrap round to a small integer."""
    rng = np.random.default_rng(20)
    wiring = oracle.draw_wiring(rng, 1, 3, 2)
    weights = np.ones((1, 3, 2))
    weights[0, 1, 0] = value
    words = oracle.words_of(oracle.draw_signs(rng, 5, 3))
    with pytest.raises(kernels.WeightOverflow):
        kernels.Student(wiring, weights, words, words, 5, False)


@pytest.mark.parametrize(("fan_in", "weight"), [(1, 2047.99999), (2, 1023.99999)])
def test_weights_that_outgrow_the_grid_are_refused(fan_in, weight):
    """A move that takes sum |J| of a perceptron to 2**31 grid steps ends the run."""
    wiring = np.tile(np.arange(fan_in, dtype=np.int32), (1, 2, 1))
    words = oracle.words_of(np.ones((5, 2)))
    student = kernels.Student(wiring, np.full(wiring.shape, weight), words, words, 5, False)
    with pytest.raises(kernels.WeightOverflow):
        student.sweep(np.random.PCG64(0), 0.0, 1e-4, 20)


MACHINES = [
    # depth, width, fan_in, patterns, kind, ising, start, beta
    (3, 20, 10, 100, "sparse", False, "random", inf),
    (3, 20, 20, 100, "full", False, "random", inf),
    (4, 20, 10, 100, "sparse", False, "planted", inf),
    (5, 17, 17, 65, "full", False, "planted", inf),
    (3, 16, 5, 130, "sparse", True, "random", 0.5),
    (2, 33, 33, 63, "full", True, "planted", 1.0),
    (3, 9, 8, 64, "sparse", True, "planted", inf),
    (3, 9, 9, 130, "permuted", False, "random", 0.3),
    (3, 70, 5, 40, "sparse", False, "planted", inf),
    (2, 66, 66, 40, "full", False, "random", inf),
]


def test_ten_million_proposals_leave_no_drift():
    """The state kept incrementally equals the one computed afresh, after 10^7 proposals in total."""
    proposals = 0
    for number, (*shape, beta) in enumerate(MACHINES):
        student, machine = build(np.random.default_rng(number), *shape)
        stream = np.random.PCG64(number)
        others = [(other, np.random.PCG64(number)) for other in every_kernel(student)[1:]]
        for _ in range(5):
            sweeps = 1_250_000 // 5 // machine.weights.size + 1
            student.sweep(stream, beta, 0.5, sweeps)
            assert student.same_state(student.recomputed())
            for other, same in others:
                other.sweep(same, beta, 0.5, sweeps)
                assert other.same_state(other.recomputed())
                assert other.same_state(student)
                np.testing.assert_array_equal(other.weights, student.weights)
        proposals += student.proposed.sum()
        machine.integers = oracle.integers_of(student.weights, machine.ising)
        machine.weights, machine.energy = student.weights, machine.energy_of(machine.integers)
        assert_same(student, machine)
    assert proposals >= 10_000_000


@pytest.mark.parametrize(("kind", "fan_in"), [("full", 7), ("sparse", 4)])
def test_same_state_can_fail(kind, fan_in):
    """One changed weight is seen, wherever it stands and however small its change on the grid."""
    rng = np.random.default_rng(21)
    student, machine = build(rng, 3, 7, fan_in, 40, kind, False, "random")
    assert student.same_state(student.recomputed())
    for place in np.ndindex(machine.weights.shape):
        weights = machine.weights.copy()
        weights[place] += 2.0**-20
        assert not student.same_state(
            pair(machine.wiring, weights, machine.inputs, machine.targets, False)[0]
        )


def test_same_state_sees_other_targets():
    """One flipped target bit changes wrong bits and energy."""
    student, machine = build(np.random.default_rng(22), 2, 7, 4, 40, "sparse", False, "random")
    targets = machine.targets.copy()
    targets[39, 6] *= -1
    other, _ = pair(machine.wiring, machine.weights, machine.inputs, targets, False)
    assert abs(other.energy - student.energy) == 1
    assert not student.same_state(other)


def test_recomputed_is_a_copy():
    """The fresh student shares no memory with the one it was made from."""
    student, machine = build(np.random.default_rng(23), 2, 7, 4, 40, "sparse", False, "random")
    student.recomputed().sweep(np.random.PCG64(1), 0.0, 0.5, 3)
    assert_same(student, machine)


@pytest.mark.parametrize("patterns", PATTERNS)
@pytest.mark.parametrize("width", [1, 8, 65])
def test_pack_and_unpack(width, patterns):
    """Bit mu % 64 of word mu // 64 is +1; bits beyond M are 0; unpack is the inverse."""
    signs = oracle.draw_signs(np.random.default_rng(width + patterns), patterns, width)
    words = kernels.pack(signs)
    assert words.dtype == np.uint64
    np.testing.assert_array_equal(words, oracle.words_of(signs))
    back = kernels.unpack(np.stack([words, words]), patterns)
    assert back.dtype == np.int8
    np.testing.assert_array_equal(back, [signs, signs])


@pytest.mark.parametrize("ising", [False, True], ids=["gaussian", "ising"])
@pytest.mark.parametrize(("kind", "width", "fan_in", "patterns"), [("full", 9, 9, 65), ("sparse", 8, 4, 20)])
def test_forward_by_loops(kind, width, fan_in, patterns, ising):
    """Kernel and oracle against the formula of the machine written as loops over Python integers."""
    rng = np.random.default_rng(24)
    wiring = oracle.draw_wiring(rng, 3, width, fan_in, kind)
    integers = oracle.integers_of(oracle.draw_weights(rng, wiring.shape, ising), ising)
    inputs = oracle.draw_signs(rng, patterns, width)
    expected = oracle.forward_by_loops(wiring, integers, inputs)
    np.testing.assert_array_equal(oracle.forward(wiring, integers, inputs), expected)
    for level in AVAILABLE:
        words = kernels.forward(wiring, integers.astype(np.int32), oracle.words_of(inputs), patterns, level)
        np.testing.assert_array_equal(words, [oracle.words_of(signs) for signs in expected])


@pytest.mark.parametrize(("fan_in", "bits"), [(2, 20), (1024, 20), (1025, 19), (2048, 19)])
def test_student_acts_on_the_grid(fan_in, bits):
    """J counts as rint(J 2**bits): 1 - (1 + u 2**-bits) is a tie, so +1, up to u = 1/2 and -1 beyond."""
    wiring = np.tile(np.arange(fan_in, dtype=np.int32), (1, fan_in, 1))
    weights = np.zeros(wiring.shape)
    weights[0, :2, 0] = 1
    weights[0, :2, 1] = -1 - np.array([0.49, 0.51]) * 2.0**-bits
    words = oracle.words_of(np.ones((1, fan_in)))
    student = kernels.Student(wiring, weights, words, words, 1, False)
    assert student.energy == 1
    np.testing.assert_array_equal(kernels.unpack(student.signs, 1)[1, 0, :2], [1, -1])


def test_quantise_rounds_halves_to_even():
    """The grid value is rint(J 2**bits), halves to even."""
    weights = np.array([[[0.5, 1.5, 2.5, -0.5, -1.5, 0.49, -2.51]]])
    np.testing.assert_array_equal(kernels.quantise(weights, 1.0), [[[0, 2, 2, 0, -2, 0, -3]]])
    normals = np.random.default_rng(25).standard_normal((2, 5, 7))
    np.testing.assert_array_equal(kernels.quantise(normals, 2.0**20), np.rint(normals * 2.0**20))


@pytest.mark.parametrize("patterns", PATTERNS)
def test_sign_overlaps(patterns):
    """r(l) of one neuron is sum_mu S S* / M."""
    rng = np.random.default_rng(patterns)
    a, b = (np.array([oracle.draw_signs(rng, patterns, 9) for _ in range(4)]) for _ in range(2))
    words = [np.array([oracle.words_of(layer) for layer in signs]) for signs in (a, b)]
    np.testing.assert_array_equal(kernels.sign_overlaps(*words, patterns), oracle.sign_overlaps(a, b))


@pytest.mark.parametrize("patterns", PATTERNS)
def test_cross_overlaps(patterns):
    """Element (i, j) = sum_mu S_a,i S_b,j, with a along the rows."""
    rng = np.random.default_rng(patterns)
    a, b = oracle.draw_signs(rng, patterns, 9), oracle.draw_signs(rng, patterns, 9)
    found = kernels.cross_overlaps(oracle.words_of(a), oracle.words_of(b), patterns)
    np.testing.assert_array_equal(found, oracle.cross_overlaps(a, b))


@pytest.mark.parametrize(
    ("kind", "width", "fan_in"), [("full", 17, 17), ("permuted", 9, 9), ("sparse", 20, 3)]
)
@pytest.mark.parametrize("ising", [False, True], ids=["gaussian", "ising"])
def test_weight_overlaps(kind, width, fan_in, ising):
    """q(l), raw and with J_ik -> s_i s_k J_ik; a student and its own mirror image have q = 1."""
    rng = np.random.default_rng(26)
    wiring = oracle.draw_wiring(rng, 4, width, fan_in, kind)
    a, b = (oracle.draw_weights(rng, wiring.shape, ising) for _ in range(2))
    flip = rng.choice(np.array([-1, 1], np.int8), size=(5, width))
    plain = np.ones_like(flip)
    # N c terms of at most 1 each, divided by N: rounding stays below c times a few 2**-53
    tolerance = 4 * fan_in * 2.0**-53
    raw = kernels.weight_overlaps(wiring, a, b, plain)
    np.testing.assert_allclose(raw, oracle.weight_overlaps(wiring, a, b), rtol=0, atol=tolerance)
    aligned = kernels.weight_overlaps(wiring, a, b, flip)
    np.testing.assert_allclose(aligned, oracle.weight_overlaps(wiring, a, b, flip), rtol=0, atol=tolerance)
    assert not np.allclose(raw, aligned)
    mirror = np.array([a[lay] * flip[lay + 1][:, None] * flip[lay][wiring[lay]] for lay in range(4)])
    np.testing.assert_allclose(kernels.weight_overlaps(wiring, a, mirror, flip), 1, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("kind", "fan_in"), [("full", 9), ("sparse", 4)])
def test_flipped_hidden_neurons_change_nothing_visible(kind, fan_in):
    """Flipping hidden neurons (all weights into and out of them) keeps outputs and energy."""
    rng = np.random.default_rng(27)
    student, machine = build(rng, 3, 9, fan_in, 65, kind, False, "random")
    flip = rng.choice([-1.0, 1.0], size=(4, 9))
    flip[0] = flip[3] = 1
    mirror = np.array(
        [machine.weights[lay] * flip[lay + 1][:, None] * flip[lay][machine.wiring[lay]] for lay in range(3)]
    )
    other, _ = pair(machine.wiring, mirror, machine.inputs, machine.targets, False)
    assert other.energy == student.energy
    np.testing.assert_array_equal(other.signs[3], student.signs[3])
    signs = [kernels.unpack(words, 65).astype(int) for words in (student.signs, other.signs)]
    np.testing.assert_array_equal(signs[1], signs[0] * flip[:, None, :])
