"""Two hosts, one job across both, and a link that is cut; the run must end, and resume on one host alone.

A host is a network namespace with a name of its own; a pair of virtual interfaces joins the two.  Open MPI
starts its daemon on the second host as it would by ssh, and afterwards only that link ties the two together.
What ends the ranks is TCP keepalive between mpirun and its daemons.
"""

import contextlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import psutil
import yaml
from conftest import SMALL, changed, datasets, dsm

from dsm_hpc.errors import InputError
from dsm_hpc.storage.checkpoint import Checkpoint, newest
from faults.kills import distance

LIMIT = 240.0
"""Seconds after which a start or a resumed run counts as hung."""

IDLE, INTERVAL, PROBES = 5, 2, 3
"""Seconds of silence before the first probe, seconds between probes, and how many may be missed."""

ENDS_WITHIN = IDLE + INTERVAL * PROBES + 20.0
"""Seconds from the cut until the last rank must be gone; the 20 are for a busy machine."""

RESUMED_ON = (2, 1, 5)
"""Numbers of ranks on the one host; there were three on two."""

SAVED = 50
"""The link is cut after the checkpoint of this sweep or a later one."""

CHANGES: dict[str, Any] = {
    "network": {"width": 30, "depth": 3, "fan_in": 10},
    "patterns": {"train": 200, "test": 200},
    "ensemble.clones": 2,
    "schedule": {"sweeps": 1000, "measurements": {"kind": "log", "count": 10}},
    "output.checkpoint_every": "20 ms",
}

SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}
ACROSS = {
    # ob1 and tcp: nothing that two real hosts would not have either.
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_btl": "tcp,self",
    "OMPI_MCA_btl_tcp_if_include": "link0",
    "OMPI_MCA_oob_tcp_if_include": "link0",
    "OMPI_MCA_oob_tcp_keepalive_time": str(IDLE),
    "OMPI_MCA_oob_tcp_keepalive_intvl": str(INTERVAL),
    "OMPI_MCA_oob_tcp_keepalive_probes": str(PROBES),
}

# It ends at once, as ssh does not: mpirun must not learn through it that the daemon has gone, nor end it.
# Open MPI's variables do not reach another host, except through the daemon's command line.
AGENT = """#!/bin/bash
shift
for name in $(compgen -e OMPI_); do unset "$name"; done
setsid ip netns exec {name} unshare --uts bash -c "hostname {name}; $*" < /dev/null >> {log} 2>&1 &
"""


@dataclass
class Outcome:
    """What came of a campaign.

    seconds : from each cut until the last rank and mpirun were gone.  lost : what went wrong otherwise.
    """

    cuts: int = 0
    seconds: list[float] = field(default_factory=list)
    resumed: int = 0
    bytes_that_differ: int = 0
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Host:
    """A network namespace whose processes see its name as that of their machine."""

    name: str
    address: str

    def command(self, *words: object) -> list[str]:
        """What runs a command there."""
        there = ["ip", "netns", "exec", self.name, "unshare", "--uts", "bash", "-c"]
        return [*there, 'hostname "$0" && exec "$@"', self.name, *map(str, words)]

    def ip(self, words: str) -> None:
        _call("ip", "-n", self.name, *words.split())

    def end_all(self) -> None:
        """Kills what runs there, and removes what Open MPI left of it."""
        for process in _call("ip", "netns", "pids", self.name).split():
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(int(process)).kill()
        for left in Path(os.environ.get("TMPDIR", "/tmp")).glob(f"ompi.{self.name}.*"):
            shutil.rmtree(left, ignore_errors=True)


Cut = Callable[[Host, Host], None]


def available() -> str | None:
    """Why there cannot be two hosts here; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [
        tool for tool in ("ip", "unshare", "setsid", "hostname", "mpirun") if shutil.which(tool) is None
    ]
    if missing:
        return f"{', '.join(missing)} is missing"
    if "(Open MPI) 4." not in _call("mpirun", "--version"):
        return "the settings are those of Open MPI 4"
    try:
        with two_hosts() as (first, _):
            _call(*first.command("true"))
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not allowed here: {error.stderr.strip()}"
    return None


def campaign(folder: Path, cuts: int) -> Outcome:
    """Cuts the link of so many runs, in both ways by turns; each resumes on one host, and is compared."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "input.yaml"
    source.write_text(yaml.safe_dump(changed(SMALL, CHANGES)))
    undisturbed = dsm("run", source, "-o", folder / "undisturbed.h5", timeout=LIMIT)
    assert undisturbed.returncode == 0, undisturbed.stderr
    wanted = datasets(folder / "undisturbed.h5")
    outcome, moves = Outcome(), random.Random(1)
    ways = itertools.cycle((_no_carrier, _silence))
    for number, way, ranks in zip(range(cuts), ways, itertools.cycle(RESUMED_ON), strict=False):
        results = folder / f"cut-{number}.h5"
        with two_hosts() as (first, second):
            try:
                _run_and_cut(source, results, first, second, way, moves, outcome)
                _resume(results, first, second, ranks, outcome)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                outcome.lost.append(
                    f"{results}, {way.__name__}: {error}\n{_log(results).read_text()[-2000:]}"
                )
                continue
        outcome.bytes_that_differ += distance(wanted, datasets(results))
    return outcome


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts joined by a link, gone at the end with all that runs there."""
    unique = f"dsm-{os.getpid()}-{time.monotonic_ns() % 10**6}"
    hosts = Host(f"{unique}-a", "10.83.0.1"), Host(f"{unique}-b", "10.83.0.2")
    made = []
    try:
        for host in hosts:
            _call("ip", "netns", "add", host.name)
            made.append(host)
        hosts[0].ip(f"link add link0 type veth peer name link0 netns {hosts[1].name}")
        for host in hosts:
            host.ip(f"addr add {host.address}/24 dev link0")
            host.ip("link set lo up")
            host.ip("link set link0 up")
        yield hosts
    finally:
        for host in made:
            host.end_all()
            _call("ip", "netns", "del", host.name)


def _no_carrier(first: Host, second: Host) -> None:
    """The cable is pulled: both sides can see it."""
    first.ip("link set link0 down")


def _silence(first: Host, second: Host) -> None:
    """Packets get lost and nobody is told: each side sends them to a network card that is not there."""
    for host, other in ((first, second), (second, first)):
        host.ip(f"neigh replace {other.address} lladdr 02:00:00:00:00:99 nud permanent dev link0")


def _run_and_cut(
    source: Path, results: Path, first: Host, second: Host, way: Cut, moves: random.Random, outcome: Outcome
) -> None:
    """Starts the run on both hosts, cuts the link after a checkpoint, and waits until the ranks are gone."""
    words = [
        "--hostfile",
        _hostfile(results, first, second),
        "--mca",
        "plm_rsh_agent",
        _agent(results, second),
    ]
    job = first.command("mpirun", *words, "-n", 3, *_program("run", source, "-o", results))
    with _log(results).open("a") as log:
        process = subprocess.Popen(
            job, env=_environment(ACROSS), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_for_checkpoint(results, process)
        time.sleep(moves.uniform(0.0, 0.3))
        assert process.poll() is None, "the run has ended before the link was cut"
        way(first, second)
        outcome.cuts += 1
        began = time.monotonic()
        while left := _ranks(results, process):
            assert time.monotonic() < began + LIMIT, f"still there {LIMIT} s after the cut: {left}"
            time.sleep(0.2)
        outcome.seconds.append(time.monotonic() - began)
    finally:
        first.end_all()
        second.end_all()
        process.wait()


def _resume(results: Path, first: Host, second: Host, ranks: int, outcome: Outcome) -> None:
    """Brings the run to its end on the first host alone."""
    command = first.command("mpirun", "-n", ranks, *_program("resume", results))
    with _log(results).open("a") as log:
        done = subprocess.run(
            command, env=_environment({}), stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=LIMIT
        )
    assert done.returncode == 0, f"resume: exit {done.returncode}"
    with h5py.File(results) as file:
        hosts = json.loads(file.attrs["provenance"])["hosts"]
    assert hosts == [first.name, second.name], hosts
    outcome.resumed += 1


def _wait_for_checkpoint(results: Path, process: "subprocess.Popen[bytes]") -> None:
    """Until there is one that is worth something."""
    began = time.monotonic()
    while _saved(results) < SAVED:
        assert process.poll() is None, f"exit {process.returncode} before sweep {SAVED} was saved"
        assert time.monotonic() < began + LIMIT, f"sweep {SAVED} is not saved after {LIMIT} s"
        time.sleep(0.05)


def _saved(results: Path) -> int:
    """The sweep of the newest checkpoint."""
    try:
        return Checkpoint(newest(results)).moment.sweep
    except InputError:
        return 0


def _ranks(results: Path, process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The ranks of a run on both hosts, and mpirun: all have the results file among their arguments."""
    process.poll()
    return [
        found for found in psutil.process_iter(["cmdline"]) if str(results) in (found.info["cmdline"] or [])
    ]


def _hostfile(results: Path, first: Host, second: Host) -> Path:
    path = results.with_suffix(".hosts")
    path.write_text(f"{first.address} slots=2\n{second.address} slots=1\n")
    return path


def _agent(results: Path, second: Host) -> Path:
    """What mpirun starts its daemon with."""
    path = results.with_suffix(".agent")
    path.write_text(AGENT.format(name=second.name, log=_log(results)))
    path.chmod(0o755)
    return path


def _program(*words: object) -> list[object]:
    return [sys.executable, "-m", "dsm_hpc", *words]


def _environment(settings: dict[str, str]) -> dict[str, str]:
    return dict(os.environ) | SETTINGS | settings


def _log(results: Path) -> Path:
    return results.with_suffix(".log")


def _call(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
