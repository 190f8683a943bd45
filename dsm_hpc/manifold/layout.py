"""What stands in a results file of the hidden manifold model: axes and variables."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.manifold.inputfile import Case, ManifoldJob
from dsm_hpc.storage.layout import Variable

Array = NDArray[np.float64]
Arrays = dict[str, Array]
"""Variables by name; the first axis is runs, (case, repetition) in file order."""

RUN = ("case", "repetition")
TIME = ("measurement",)

MEANINGS = {
    "case": "parameter set",
    "repetition": "independent manifold, teacher, student and inputs",
    "measurement": "measurement; its time is t",
    "k": "hidden unit of the student",
    "l": "hidden unit of the student",
    "m": "hidden unit of the teacher",
    "n": "hidden unit of the teacher",
}

_ORDER_PARAMETERS = {
    "error": ((), "eps_g from the order parameters"),
    "Q": (("k", "l"), "Q, covariance of lambda_k and lambda_l"),
    "R": (("k", "m"), "R, covariance of lambda_k and nu_m"),
    "T": (("m", "n"), "T, covariance of nu_m and nu_n"),
    "W": (("k", "l"), "W = w w^T / N"),
    "Sigma": (("k", "l"), "Sigma = S S^T / D, S = w F / sqrt(N)"),
    "v": (("k",), "second layer of the student"),
}


def _order_parameters(group: str, what: str) -> list[Variable]:
    """T does not change in time."""
    return [
        Variable(group + name, RUN, axes if name == "T" else TIME + axes, meaning + what)
        for name, (axes, meaning) in _ORDER_PARAMETERS.items()
    ]


SIMULATION = [
    *_order_parameters("", ""),
    Variable("test_error", RUN, TIME, "eps_g measured on fresh inputs"),
    Variable("test_error_se", RUN, TIME, "standard error of test_error"),
]
EQUATIONS = [
    *_order_parameters("equations/", ", by the equations of motion"),
    Variable("equations/linear_error", RUN, (), "smallest eps_g of any function linear in the inputs"),
]


def variables(job: ManifoldJob, simulated: bool) -> list[Variable]:
    """Of a file with or without a simulation; no equations where no case has them."""
    solved = not simulated or any(case.config.ode is not None for case in job.cases)
    return SIMULATION * simulated + EQUATIONS * solved


def steps(case: Case) -> NDArray[np.int64]:
    """Step counts of the measurements of a case."""
    return case.config.schedule.steps(case.config.data.width)


def sizes(cases: Sequence[Case]) -> dict[str, int]:
    """Lengths of all axes but `repetition`: the largest of any case; what a case lacks is NaN."""
    student = max(case.config.networks.student for case in cases)
    teacher = max(case.config.networks.teacher for case in cases)
    return {
        "case": len(cases),
        "measurement": max(len(steps(case)) for case in cases),
        "k": student,
        "l": student,
        "m": teacher,
        "n": teacher,
    }


def empty(wanted: Sequence[Variable], lengths: Mapping[str, int], runs: int) -> Arrays:
    """NaN for everything that so many runs will measure."""
    return {v.name: np.full((runs, *(lengths[axis] for axis in v.axes)), np.nan) for v in wanted}


def put(arrays: Arrays, name: str, place: int | tuple[int, int], value: Array | float) -> None:
    """Writes a value to the corner of what stands at `place`: other cases may have more units or times."""
    value = np.asarray(value)
    whole = place if isinstance(place, tuple) else (place,)
    where: tuple[int | slice, ...] = (*whole, *map(slice, value.shape))
    arrays[name][where] = value


def parameters(cases: Sequence[Case]) -> dict[str, tuple[str, NDArray[np.float64]]]:
    """Numbers that describe each case: name -> (meaning, values)."""
    of: dict[str, tuple[str, list[float]]] = {
        "eta": ("learning rate", [case.rate for case in cases]),
        "N": ("inputs", [case.config.data.width for case in cases]),
        "D": ("dimension of the manifold", [case.config.data.dimension for case in cases]),
        "K": ("hidden units of the student", [case.config.networks.student for case in cases]),
        "M": ("hidden units of the teacher", [case.config.networks.teacher for case in cases]),
        "both_layers": ("1 if the second layer learns", [case.config.learning.both_layers for case in cases]),
    }
    return {name: (meaning, np.array(values, np.float64)) for name, (meaning, values) in of.items()}


def times(cases: Sequence[Case]) -> Array:
    """t = steps / N of each case, (case, measurement); NaN after the end of a case."""
    found = np.full((len(cases), sizes(cases)["measurement"]), np.nan)
    for row, case in zip(found, cases, strict=True):
        of = steps(case)
        row[: len(of)] = of / case.config.data.width
    return found


def describe(job: ManifoldJob) -> str:
    """What `dsm validate` prints: the resolved cases, and what a run would be."""
    updates = sum(int(steps(case)[-1]) for case in job.cases) * job.repetitions
    lengths, runs = sizes(job.cases), len(job.runs)
    numbers = sum(runs * int(np.prod([lengths[axis] for axis in v.axes])) for v in variables(job, True))
    return "\n".join(
        [
            job.as_yaml(),
            f"runs:            {runs} = {len(job.cases)} cases x {job.repetitions} repetitions",
            f"updates:         {updates:.3g} in all",
            f"results file:    {8 * numbers / 2**20:.3g} MiB",
        ]
    )
