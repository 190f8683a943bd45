"""The integrals of the saddle point on hard points: against mpmath, in their limits, and by Monte Carlo."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from mpmath.calculus.quadrature import GaussLegendre
from scipy.special import ndtr

from dsm_hpc.theory.overlap import Overlap, depletion, from_depletion
from dsm_hpc.theory.perceptron import log_likelihood, slope
from dsm_hpc.theory.priors import PRIORS
from dsm_hpc.theory.spin import HiddenSpin, free_entropy, free_overlap

RESTS = [1, 1 - 1e-14, 1 - 1e-6, 0.9, 0.5, 0.1, 0.01, 1e-4, 1e-8, 1e-12]
"""1 - λ."""

ACCURACY = 1e-9
"""Of every value, relative to itself (q, 1 - q, r, 1 - r, G, slopes) or to 1 (entropies)."""

# λ, r̂: r, 1 - r, Ψ', Ψ - r̂.  Written by `reference` below in 30 digits (20 minutes).
REFERENCE = """
0 0 0.0 1.0 0.0 0.0
0 1e-12 9.99999999999e-13 0.999999999999 3.1830988618347235e-13 -4.9999999999975e-13
0 1e-3 0.0009990016623484014 0.9990009983376515 0.00031799210543953727 -0.0004997501664587654
0 1 0.5504004907933272 0.44959950920667285 0.1751979175799265 -0.3368308203468316
0 30 0.9999999326256699 6.737433012599193e-08 0.3183098647378753 -0.6931471151020983
0 1e3 1.0 2.8202299027335055e-219 0.3183098861837907 -0.6931471805599453
1e-14 0 6.366197723675814e-15 0.9999999999999937 0.0 0.0
1e-14 1e-12 1.006366197722663e-12 0.9999999999989936 3.1830988618347235e-13 -4.999999999997468e-13
1e-14 1e-3 0.0009990016623547548 0.9990009983376452 0.0003179921054395373 -0.0004997501664587622
1e-14 1 0.5504004907933292 0.4495995092066708 0.17519791757992734 -0.3368308203468299
1e-14 30 0.9999999326256699 6.73743301259917e-08 0.3183098647378773 -0.693147115102095
1e-14 1e3 1.0 2.8202299027334964e-219 0.3183098861837927 -0.6931471805599422
1e-6 0 6.366197723676875e-07 0.9999993633802277 0.0 0.0
1e-6 1e-12 6.366207723664142e-07 0.9999993633792277 3.1830988618363154e-13 -4.999996816898638e-13
1e-6 1e-3 0.0009996370120545436 0.9990003629879455 0.0003179921060447987 -0.0004997498484666596
1e-6 1 0.5504006923187927 0.44959930768120726 0.1751980021540525 -0.33683064514887173
1e-6 30 0.999999932625692 6.737430801615546e-08 0.3183100673803632 -0.6931467967921322
1e-6 1e3 1.0 2.8202290041305144e-219 0.31831008882629885 -0.6931468622499578
.1 0 0.06376856085851985 0.9362314391414801 0.0 0.0
.1 1e-12 0.06376856085940309 0.9362314391405969 3.199134725852965e-13 -4.681157195705192e-13
.1 1e-3 0.0646510563382687 0.9353489436617313 0.00031964486534262503 -0.00046789503344652015
.1 1 0.5713223143678777 0.4286776856321222 0.18422875164458988 -0.3188695238856673
.1 30 0.9999999349477454 6.505225462894539e-08 0.3401075139149054 -0.6602528995719981
.1 1e3 1.0 2.7258017937388756e-219 0.34010753758687584 -0.6602529627774227
.5 0 0.3333333333333333 0.6666666666666666 0.0 0.0
.5 1e-12 0.33333333333386667 0.6666666666661333 3.675525969476712e-13 -3.333333333332e-13
.5 1e-3 0.333866362107752 0.666133637892248 0.00036736252654550683 -0.0003332000507682724
.5 1 0.6750860799609192 0.3249139200390808 0.24189700741028639 -0.23525831713147577
.5 30 0.9999999474619709 5.253802914564746e-08 0.4805379184721536 -0.4999999489367711
.5 1e3 1.0 2.2144872384017147e-219 0.48053795807491034 -0.5
.9 0 0.7128674137425874 0.28713258625741256 0.0 0.0
.9 1e-12 0.7128674137427935 0.2871325862572065 7.302529613708194e-13 -1.4356629312865475e-13
.9 1e-3 0.7130733772888753 0.2869266227111247 0.0007299791912695489 -0.00014351479433180275
.9 1 0.8530485813008482 0.1469514186991519 0.5230392210836651 -0.1039608838701541
.9 30 0.9999999740052904 2.599470966228921e-08 1.1267392058876853 -0.22704359111477088
.9 1e3 1.0 1.1089675476649836e-219 1.1267393249980724 -0.2270436163960861
.99 0 0.9098931727111758 0.0901068272888242 0.0 0.0
.99 1e-12 0.9098931727112392 0.09010682728876082 2.256438956839521e-12 -4.505341364439626e-14
.99 1e-3 0.9099565280292453 0.09004347197075467 0.0022556421647496293 -4.503757246816704e-05
.99 1 0.953443152769574 0.04655684723042595 1.6401738171640174 -0.03278284660813898
.99 30 0.9999999915584138 8.441586193191553e-09 3.5992383675817616 -0.07203806758599408
.99 1e3 1.0 3.6173755091304355e-220 3.599238775648583 -0.0720380757977894
1-1e-4 0 0.9909967618103811 0.009003238189618883 0.0 0.0
1-1e-4 1e-12 0.9909967618103874 0.009003238189612564 2.2508470622719392e-11 -4.501619094807862e-15
1-1e-4 1e-3 0.9910030786882391 0.00899692131176088 0.02250057289079622 -4.5000396422471275e-06
1-1e-4 1 0.9953434226987926 0.004656577301207423 16.386418767734575 -0.0032772631085549327
1-1e-4 30 0.9999999991532844 8.467155739966739e-10 36.03195487277998 -0.007206444239196758
1-1e-4 1e3 1.0 3.630332641222491e-221 36.03195899097446 -0.007206445062886624
1-1e-8 0 0.9999099683683093 9.003163169073697e-05 0.0 0.0
1-1e-8 1e-12 0.9999099683683094 9.003163169067377e-05 2.2507907960189523e-09 -4.5015815845352687e-17
1-1e-8 1e-3 0.9999100315352123 8.996846478773142e-05 2.250001093186469 -4.5000021788796834e-08
1-1e-8 1 0.9999534341374444 4.656586255558573e-05 1638.6263945590172 -3.27725278705352e-05
1-1e-8 30 0.9999999999915326 8.467415289888559e-12 3603.2354317188165 -7.206470868764061e-05
1-1e-8 1e3 1.0 3.630464378678174e-223 3603.235843576489 -7.206471692479411e-05
1-1e-12 0 0.9999990996836838 9.003163161571811e-07 0.0 0.0
1-1e-12 1e-12 0.9999990996836838 9.003163161565491e-07 2.2507907903925378e-07 -4.501581580784325e-19
1-1e-12 1e-3 0.9999991003153529 8.99684647129001e-07 225.000108756709 -4.5000021751334313e-10
1-1e-12 1 0.9999995343413743 4.656586256453948e-07 163862.63930107863 -3.277252786021366e-07
1-1e-12 30 0.9999999999999153 8.467415315844855e-14 360323.54357132385 -7.20647087142701e-07
1-1e-12 1e3 1.0 3.630464391852796e-225 360323.5847570915 -7.206471695142362e-07
"""


def panels(function, points, nodes):
    """Gauss-Legendre quadrature of several functions at once, panel by panel."""
    total = [mpmath.mpf(0)] * 4
    for low, high in pairwise(points):
        centre, half = (low + high) / 2, (high - low) / 2
        for x, weight in nodes:
            total = [t + half * weight * v for t, v in zip(total, function(centre + half * x), strict=True)]
    return total


def reference(rest, strength):
    """r, 1 - r, Ψ', Ψ - r̂ in the variables of PHYSICS section 2: S = 1, b = r̂ + √r̂ z, both signs of t."""
    mpmath.mp.dps = 30
    nodes = GaussLegendre(mpmath.mp).calc_nodes(4, mpmath.mp.prec)
    rest, strength = mpmath.mpf(rest), mpmath.mpf(strength)
    width, root = mpmath.sqrt((1 - rest) / rest), mpmath.sqrt(strength)

    def given(t):
        up, down = mpmath.ncdf(t), mpmath.ncdf(-t)
        a, density = mpmath.log(up / down) / 2, mpmath.npdf(t) / mpmath.sqrt(rest)

        def inner(z):
            b = strength + root * z
            small = mpmath.exp(-2 * b)
            likelihood = up + down * small
            values = (
                mpmath.tanh(a + b),
                2 * down * small / likelihood,
                (density * (1 - small) / likelihood) ** 2 / 2,
                mpmath.log(likelihood) + root * z,
            )
            return [mpmath.npdf(z) * value for value in values]

        if strength == 0:
            return [value / mpmath.npdf(0) for value in inner(mpmath.mpf(0))]
        low = min(-12, -2 * root - 8)
        points = {mpmath.mpf(x) for x in (low, -12, -6, -3, 0, 3, 6, 12)}
        # Where tanh(a + b) turns: z of h = 0.
        turn = -(a + strength) / root
        points |= {turn + k / root for k in (-30, -10, -4, -1.5, 0, 1.5, 4, 10, 30)}
        return panels(inner, sorted(x for x in points if low <= x <= 12), nodes)

    if width == 0:
        return [2 * mpmath.ncdf(0) * value for value in given(mpmath.mpf(0))]

    def outer(t):
        weight = 2 * mpmath.ncdf(t) * mpmath.npdf(t, 0, width)
        return [weight * value for value in given(t)]

    # Beyond |t| = 14 the spin is known to exp(-98): of the four integrals only that of r is not 0.
    last = min(12 * width, mpmath.mpf(14))
    points = [mpmath.mpf(x) for x in (-14, -9, -6, -3.5, -1.5, 0, 1.5, 3.5, 6, 9, 14)]
    total = panels(outer, [x * last / 14 for x in points] if width < 2 else points, nodes)
    return [total[0] + 2 * mpmath.ncdf(-last / width), *total[1:]]


def array(value):
    return np.array([float(value)])


def coupling(rest):
    """λ from 1 - λ; the other way round where λ is tiny."""
    return Overlap(array(mpmath.mpf(1) - rest), array(rest))


def table():
    names = ["0", "1e-14", "1e-6", ".1", ".5", ".9", ".99", "1-1e-4", "1-1e-8", "1-1e-12"]
    for line in REFERENCE.split("\n")[1:-1]:
        name, strength, *values = line.split()
        lam = Overlap(array(eval(name)), array(RESTS[names.index(name)]))
        yield pytest.param(lam, array(strength), [float(value) for value in values], id=f"{name} {strength}")


@pytest.mark.parametrize(("lam", "strength", "expected"), list(table()))
def test_hidden_spin_against_mpmath(lam, strength, expected):
    spin = HiddenSpin(lam, strength)
    r = spin.overlap()
    found = [r.value[0], r.rest[0], spin.slope()[0]]
    assert found == pytest.approx(expected[:3], rel=ACCURACY, abs=0)
    assert spin.entropy()[0] + log_likelihood(lam)[0] == pytest.approx(expected[3], rel=0, abs=ACCURACY)


def test_the_reference_is_what_its_function_gives():
    """One point of the table, again."""
    again = [float(value) for value in reference("1", "1")]
    line = next(line for line in REFERENCE.split("\n") if line.startswith("0 1 "))
    assert again == pytest.approx([float(word) for word in line.split()[2:]], rel=1e-14)


@pytest.mark.parametrize("rest", RESTS)
def test_perceptron_against_mpmath(rest):
    """G(λ) and G'(λ) as they stand in PHYSICS section 2, over t."""
    mpmath.mp.dps = 25
    rest = mpmath.mpf(rest)
    width = mpmath.sqrt((1 - rest) / rest)
    if width == 0:
        expected = -mpmath.log(2), 1 / mpmath.pi
    else:
        up = mpmath.ncdf
        last = min(12 * width, mpmath.mpf(14))
        points = [last * x / 14 for x in (-14, -7, -3, 0, 3, 7, 14)]

        def likelihood(t):
            return mpmath.npdf(t, 0, width) * 2 * up(t) * mpmath.log(up(t))

        def derivative(t):
            ends = 1 / up(t) + 1 / up(-t)
            return mpmath.npdf(t, 0, width) * mpmath.npdf(t) ** 2 * ends / (2 * rest)

        expected = mpmath.quad(likelihood, points), mpmath.quad(derivative, points)
    lam = coupling(rest)
    found = log_likelihood(lam)[0], slope(lam)[0]
    assert found == pytest.approx([float(x) for x in expected], rel=1e-12, abs=0)


@pytest.mark.parametrize("rest", RESTS)
@pytest.mark.parametrize("strength", [1e4, 1e6, 1e12, np.inf])
def test_of_a_strong_field_only_the_output_is_unknown(rest, strength):
    """r̂ → ∞: Ψ - r̂ = G, Ψ' = G', r = 1, and every number is finite."""
    lam = coupling(mpmath.mpf(rest))
    spin = HiddenSpin(lam, array(strength))
    r = spin.overlap()
    assert (r.value[0], spin.entropy()[0]) == (1, 0)
    assert 0 < r.rest[0] < 1e-280
    assert spin.slope()[0] == slope(lam)[0]
    free = free_overlap(array(strength))
    assert (free.value[0], free_entropy(array(strength))[0]) == (1, 0)


@pytest.mark.parametrize("rest", RESTS)
def test_without_a_field_the_own_message_is_left(rest):
    """r̂ → 0: r = (2/π) arcsin λ, Ψ' = 0, Ψ = 0; Ψ' grows from 0 in proportion to r̂."""
    mpmath.mp.dps = 30
    exact = 2 / mpmath.pi * mpmath.asin(1 - mpmath.mpf(rest))
    lam = coupling(mpmath.mpf(rest))
    spin = HiddenSpin(lam, array(0))
    r = spin.overlap()
    assert (r.value[0], r.rest[0]) == pytest.approx((float(exact), float(1 - exact)), rel=1e-10, abs=0)
    assert spin.slope()[0] == 0
    assert spin.entropy()[0] == pytest.approx(-log_likelihood(lam)[0], abs=1e-13)
    one, two = (HiddenSpin(lam, array(x)).slope()[0] for x in (1e-12, 2e-12))
    assert two == pytest.approx(2 * one, rel=1e-9)


def test_without_a_message_the_field_is_left():
    """λ = 0: the hidden spin of `cavity` is that of `dense_limit`; Ψ' = (1/π) r."""
    strength = np.array([0, 1e-12, 1e-3, 0.0099999, 0.01, 1, 30, 1e3])
    spin = HiddenSpin(Overlap(0 * strength, 1 + 0 * strength), strength)
    free = free_overlap(strength)
    assert spin.overlap().value == pytest.approx(free.value, rel=1e-12, abs=0)
    assert spin.overlap().rest == pytest.approx(free.rest, rel=1e-12, abs=0)
    assert spin.slope() == pytest.approx(free.value / np.pi, rel=1e-10, abs=0)
    assert spin.entropy() == pytest.approx(free_entropy(strength), abs=1e-13)


@pytest.mark.parametrize("strength", [0, 1e-12, 1e-3, 1, 30])
def test_tanh_channel_against_mpmath(strength):
    """∫Dz tanh(r̂ + √r̂ z), what it lacks to 1, and ∫Dz ln 2cosh - r̂; the same for Ising weights."""
    mpmath.mp.dps = 30
    root = mpmath.sqrt(strength)
    turn = -root if strength else 0
    points = sorted(
        {mpmath.mpf(x) for x in (-80, -40, -12, -6, -3, 0, 3, 6, 12)} | {turn, turn - 1, turn + 1}
    )

    def mean(function):
        return mpmath.quad(lambda z: mpmath.npdf(z) * function(strength + root * z), points)

    r, entropy = free_overlap(array(strength)), free_entropy(array(strength))[0]
    assert r.value[0] == pytest.approx(float(mean(mpmath.tanh)), rel=ACCURACY, abs=1e-22)
    lack = float(mean(lambda x: 2 / (1 + mpmath.exp(2 * x))))
    assert r.rest[0] == pytest.approx(lack, rel=ACCURACY, abs=0)
    exact = mean(lambda x: mpmath.log(2 * mpmath.cosh(x))) - strength
    assert entropy == pytest.approx(float(exact), abs=ACCURACY)
    assert PRIORS["ising"].overlap(array(strength)).value[0] == r.value[0]


@pytest.mark.parametrize("qhat", [0, 1e-12, 1e-3, 1, 30, 1e6, 1e12])
def test_gaussian_weights(qhat):
    exact = mpmath.mpf(qhat) / (1 + mpmath.mpf(qhat))
    q = PRIORS["gaussian"].overlap(array(qhat))
    assert (q.value[0], q.rest[0]) == pytest.approx((float(exact), float(1 - exact)), rel=1e-14, abs=0)
    entropy = (mpmath.log(1 - exact) + exact) / 2
    assert PRIORS["gaussian"].entropy(array(qhat), q)[0] == pytest.approx(float(entropy), abs=1e-13)


@pytest.mark.parametrize("value", [0, 1e-300, 1e-14, 0.3, 0.5, 0.7])
def test_depletion_is_inverted_without_loss(value):
    again = from_depletion(depletion(Overlap(array(value), array(1 - value))))
    assert again.value[0] == pytest.approx(value, rel=1e-14, abs=0)
    mirrored = from_depletion(depletion(Overlap(array(1 - value), array(max(value, 1e-300)))))
    assert mirrored.rest[0] == pytest.approx(max(value, 1e-300), rel=1e-12, abs=0)


@pytest.mark.parametrize(("lam", "strength"), [(0.1, 0.3), (0.5, 1.0), (0.9, 4.0), (0.99, 0.5)])
def test_monte_carlo_of_the_channel(lam, strength):
    """The average over teachers, field and message, drawn as they are: |z| < 4 for r, Ψ' and Ψ - r̂."""
    random, count = np.random.default_rng(12), 400_000
    t = np.sqrt(lam / (1 - lam)) * random.standard_normal(count)
    up = ndtr(t)
    s = np.where(random.random(count) < up, 1, -1)
    b = strength * s + np.sqrt(strength) * random.standard_normal(count)
    plus, minus = up * np.exp(b), (1 - up) * np.exp(-b)
    score = np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi * (1 - lam)) * (np.exp(b) - np.exp(-b)) / (plus + minus)
    drawn = [s * (plus - minus) / (plus + minus), score**2 / 2, np.log(plus + minus) - strength]
    one = Overlap(array(lam), array(1 - lam))
    spin = HiddenSpin(one, array(strength))
    exact = [spin.overlap().value[0], spin.slope()[0], spin.entropy()[0] + log_likelihood(one)[0]]
    for values, expected in zip(drawn, exact, strict=True):
        assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(count)
