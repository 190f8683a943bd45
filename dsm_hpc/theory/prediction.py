"""What theory predicts for a run: the ruling solution, to be laid over a simulation."""

from dataclasses import dataclass

from dsm_hpc.theory.continuation import point
from dsm_hpc.theory.overlap import Array


@dataclass(frozen=True, eq=False)
class Prediction:
    """Profiles of the ruling solution.

    q, r, r_test : (L,), layers 1…L: weight overlap, spin overlap on the training set (r(L) = 1) and on a test
        set (`forward`, exact on the tree-like limit).
    test_error : ε_g = (1 - r_test(L)) / 2.
    branch : which branch rules.  coexist : whether the other one is another solution.
    """

    q: Array
    r: Array
    r_test: Array
    test_error: float
    branch: str
    coexist: bool


def predict(depth: int, alpha: float, closure: str = "cavity", weights: str = "gaussian") -> Prediction:
    """The ruling solution at α = M/c; weights is the prior, as in a run's configuration.

    Raises InputError for impossible arguments, ArithmeticError if a branch does not converge.
    """
    both = point(closure, depth, alpha, weights)
    if not both.converged:
        raise ArithmeticError(f"{closure}: no convergence at depth {depth}, alpha {alpha:g}")
    rules = both.ruling
    test = rules.generalization
    return Prediction(rules.q, rules.r, test.forward, test.forward_error, rules.branch, not both.coincide)
