"""The scripts in `jobs/`, run for real: on a Slurm of our own, under plain mpirun, on a pretended PBS."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import SMALL, changed, datasets, dsm

HERE = Path(__file__).resolve().parents[1]

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "scancel", "scontrol", "sinfo", "squeue")
COMES_UP = 60.0
"""Seconds that Slurm may take to come up; it takes half of one."""

# cred_expire is also the time for which a requeued job waits (120 s by default).
CONFIGURATION = """
ClusterName=dsmtest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=pmix
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=3,sched_interval=3
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=3600
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def until(what: Callable[[], object], seconds: float, told: Callable[[], str]) -> None:
    """Waits until something is so; fails with what is told then."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            pytest.fail(f"not so within {seconds:.0f} s: {told()}")
        time.sleep(0.2)


def write_input(path: Path, sweeps: int, **more: object) -> Path:
    """The small input with so many sweeps."""
    path.write_text(yaml.safe_dump(changed(SMALL, {"schedule.sweeps": sweeps, **more})))
    return path


def same_as_undisturbed(path: Path, input_file: Path, folder: Path) -> bool:
    """Whether a results file has the bytes of a run that nobody disturbed."""
    undisturbed = folder / f"undisturbed_{path.stem}.h5"
    completed = dsm("run", input_file, "-o", undisturbed, timeout=600)
    assert completed.returncode == 0, completed.stderr
    return datasets(path) == datasets(undisturbed)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A top folder of the program as the scripts want it: `jobs/`, `inputs/` and `.venv/bin/dsm`."""
    return make_top(tmp_path / "top")


def make_top(folder: Path) -> Path:
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("jobs", "inputs"):
        (folder / name).symlink_to(HERE / name)
    write_script(folder / ".venv/bin/dsm", f'exec {sys.executable} -m dsm_hpc "$@"')
    return folder


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


# ------------------------------------------------------------------------------------------------- Slurm


@dataclass
class Slurm:
    """A Slurm of our own, and the folder that jobs are submitted from."""

    top: Path
    environment: dict[str, str]

    def ask(self, *words: object) -> str:
        """Runs one of Slurm's commands."""
        completed = subprocess.run(
            list(map(str, words)),
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment,
            cwd=self.top,
            stdin=subprocess.DEVNULL,
        )
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    def submit(self, *words: object) -> str:
        """Submits a script; returns the number of the job."""
        return self.ask("sbatch", "--parsable", *words).strip()

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "show", "job", number)))

    def wait(self, number: str, seconds: float = 600) -> dict[str, str]:
        """Waits for the end of a job, however often it is requeued; returns what Slurm knows of it then."""
        ended = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL")
        until(lambda: self.job(number)["JobState"] in ended, seconds, lambda: self.told(number))
        return self.job(number)

    def told(self, number: str) -> str:
        """The logs of a job."""
        return "\n".join(path.read_text() for path in sorted(self.top.glob(f"dsm-{number}*.log")))


def why_no_slurm() -> str | None:
    """Why a Slurm of our own cannot or must not be started."""
    if "SLURM_CONF" in os.environ or "SLURM_JOB_ID" in os.environ:
        return "this session belongs to a Slurm already (SLURM_CONF or SLURM_JOB_ID is set)"
    for path in (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm-llnl/slurm.conf")):
        if path.exists():
            return f"this machine has a Slurm of its own ({path}), which is left alone"
    names = {process.info["name"] for process in psutil.process_iter(["name"])}
    running = names & {"slurmctld", "slurmd", "slurmstepd", "slurmdbd"}
    if running:
        return f"a Slurm runs on this machine ({', '.join(sorted(running))}), which is left alone"
    missing = [name for name in (*DAEMONS, *CLIENTS, "mpirun") if _where(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    said = subprocess.run(["mpirun", "--version"], capture_output=True, text=True, timeout=60).stdout
    return None if "Open MPI" in said else "mpirun is not Open MPI, which srun starts by PMIx"


def _where(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A one-machine Slurm with its own configuration, key, sockets, ports and folders."""
    if reason := why_no_slurm():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    folder.parent.chmod(0o711)  # munge wants its socket reachable
    folder.chmod(0o711)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().split(".")[0]
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(host=host, folder=folder, ports=_free_ports(2)))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    running: list[subprocess.Popen[bytes]] = []
    started = Slurm(make_top(folder / "top"), environment)
    try:
        _start_daemons(folder, environment, running)
        yield started
        subprocess.run(["scancel", "--user=root"], env=environment, timeout=60, check=False)
        until(lambda: not started.ask("squeue", "--noheader"), 60, lambda: started.ask("squeue"))
    finally:
        for daemon in reversed(running):
            daemon.terminate()
        for daemon in running:
            daemon.wait(60)


def _start_daemons(folder: Path, environment: dict[str, str], running: list[subprocess.Popen[bytes]]) -> None:
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "seed", "log")]
    commands = (
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D", "-c"],
    )
    end = time.monotonic() + COMES_UP
    for name, *words in commands:
        with (folder / f"{name}.out").open("wb") as output:
            command = [str(_where(name)), *words]
            running.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
        while name == "munged" and not (folder / "munge.socket").exists() and time.monotonic() < end:
            time.sleep(0.1)
    while (
        "idle"
        not in subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout
    ):
        gone = [daemon.args for daemon in running if daemon.poll() is not None]
        if gone or time.monotonic() > end:
            said = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.out")))
            pytest.skip(f"Slurm does not come up here; ended by itself: {gone}\n{said}")
        time.sleep(0.2)


def sweeps_in(seconds: float, folder: Path) -> int:
    """How many sweeps of the small input two ranks do in so many seconds, on this machine at present."""
    probe = folder / "probe.h5"
    given = write_input(folder / "probe.yaml", 10**7)
    completed = dsm("run", given, "-o", probe, "--walltime", "00:00:25", ranks=2, timeout=300)
    assert completed.returncode == 75, completed.stderr
    [found] = json.loads(dsm("status", probe, "--json", "-").stdout)
    proposals = 18 * 9 * 4 * 3  # of one sweep of all walkers
    return max(int(found["rate"] * seconds / proposals), 20_000)


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_a_slurm_job_that_is_longer_than_its_limit_requeues_itself_and_finishes(slurm: Slurm) -> None:
    """Slurm signals the ranks before the limit; in the end the bytes are those of an undisturbed run."""
    sweeps = sweeps_in(60, slurm.top)
    while True:
        given = write_input(slurm.top / f"long_{sweeps}.yaml", sweeps)
        output = slurm.top / f"results/long_{sweeps}.h5"
        job = slurm.submit("-n", 2, "--time=1", "--signal=USR1@10", "jobs/slurm.sh", given, output)
        ended = slurm.wait(job)
        if ended["Restarts"] != "0" or ended["JobState"] != "COMPLETED":
            break
        sweeps *= 4  # the machine has become faster, and the job ended within its limit

    told = slurm.told(job)
    assert (ended["JobState"], ended["ExitCode"]) == ("COMPLETED", "0:0"), told
    assert f"ranks: dsm run {given}" in told
    assert f"ranks: dsm resume {output}" in told
    assert told.count("dsm: stopped on request: received SIGUSR1") == int(ended["Restarts"]), told
    assert told.count("stopped with a checkpoint: requeued") == int(ended["Restarts"]), told
    assert "finished" in told
    assert same_as_undisturbed(output, given, slurm.top)


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_an_array_runs_the_points_of_a_scan_each_as_a_job_of_its_own(slurm: Slurm) -> None:
    """One point is signalled on its way and requeues itself; the other is left alone.

    It is the last one: its SLURM_JOB_ID is the number of the whole array.
    """
    given = write_input(slurm.top / "scan.yaml", 40_000, scan={"network.depth": [2, 3]})
    folder = slurm.top / "results/scan"
    job = slurm.submit("-n", 1, "--time=10", "--array=1-2", "jobs/slurm_array.sh", given, folder)
    until(lambda: len(list(folder.glob("*.h5"))) == 2, 120, lambda: slurm.told(job))
    slurm.ask("scancel", "--signal=USR1", f"{job}_2")
    for point, restarts in ((1, 0), (2, 1)):
        ended = slurm.wait(f"{job}_{point}")
        told = (slurm.top / f"dsm-{job}_{point}.log").read_text()
        found = (ended["JobState"], ended["ExitCode"], ended["Restarts"])
        assert found == ("COMPLETED", "0:0", str(restarts)), told
        assert told.count("stopped with a checkpoint: requeued") == restarts, told
        assert told.count(f"ranks: dsm resume {folder} --point {point}") >= restarts, told
        assert "invalid" not in told

    undisturbed = slurm.top / "results/undisturbed_scan"
    assert dsm("run", given, "-o", undisturbed, timeout=600).returncode == 0
    names = sorted(path.name for path in undisturbed.glob("*.h5"))
    assert len(names) == 2
    assert [datasets(folder / name) for name in names] == [datasets(undisturbed / name) for name in names]


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_a_slurm_job_with_a_bad_input_fails_once(slurm: Slurm) -> None:
    """Exit code 2, the message in the log, no requeue."""
    given = write_input(slurm.top / "bad.yaml", 20, **{"network.depht": 2})
    job = slurm.submit("-n", 2, "--time=5", "jobs/slurm.sh", given, slurm.top / "results/bad.h5")
    ended = slurm.wait(job)
    told = slurm.told(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "2:0", "0"), told
    assert "depht" in told
    assert "bad input: see above; not requeued" in told


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_slurm_job_that_gets_nowhere_is_not_requeued(slurm: Slurm) -> None:
    """A program that stops with the same sweep as before would be requeued for ever."""
    other = make_top(slurm.top / "stuck")
    (other / "results").mkdir()
    (other / "results/stuck.h5").touch()
    write_script(other / ".venv/bin/dsm", """[[ $1 == status ]] && echo '"sweep": 7,' || exit 75""")
    job = slurm.submit("-n", 1, "--chdir", other, "jobs/slurm.sh", "stuck.yaml", "results/stuck.h5")
    ended = slurm.wait(job)
    told = (other / f"dsm-{job}.log").read_text()
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "75:0", "0"), told
    assert "stopped without a sweep done" in told


# ------------------------------------------------------------------------------------- plain mpirun, and PBS


def start(command: list[object], top: Path, **environment: object) -> "subprocess.Popen[str]":
    """Starts a script from the top folder."""
    return subprocess.Popen(
        list(map(str, command)),
        cwd=top,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ends(script: "subprocess.Popen[str]") -> tuple[int, str]:
    """Exit code and output of a script, when it has ended."""
    told, _ = script.communicate(timeout=240)
    return script.returncode, told


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_mpirun_script_stops_on_a_signal_and_goes_on(top: Path) -> None:
    """SIGTERM to the script: a checkpoint, exit code 75, nothing left running; the same command finishes."""
    given, output = write_input(top / "long.yaml", 30_000), top / "results/long.h5"
    command = ["jobs/mpirun.sh", 2, given, output]
    script = start(command, top)
    until(output.exists, 120, lambda: "no results file")
    script.send_signal(signal.SIGTERM)
    code, told = ends(script)
    assert code == 75, told
    assert "received SIGUSR1" in told
    assert Path(f"{output}.checkpoint").exists()

    code, told = ends(start(command, top))
    assert code == 0, told
    assert f"2 ranks: dsm resume {output}" in told
    assert same_as_undisturbed(output, given, top)


@dataclass
class Pbs:
    """A pretended PBS: its qsub keeps what was submitted, its qstat tells of a job with 2 ranks."""

    top: Path

    def __post_init__(self) -> None:
        asked = "Resource_List.select = 1:ncpus=2:mpi\\n\\tprocs=2\\n    Resource_List.walltime = 00:10:00"
        write_script(self.top / ".venv/bin/qstat", f"printf 'Job Id: 1\\n    {asked}\\n'")
        write_script(self.top / ".venv/bin/qsub", f'echo "$@" >> {self.top}/submitted; echo 2.server')
        (self.top / "nodes").write_text("localhost\nlocalhost\n")

    def submitted(self) -> list[str]:
        """The words of every qsub."""
        path = self.top / "submitted"
        return path.read_text().splitlines() if path.exists() else []

    def start(self, **variables: object) -> "subprocess.Popen[str]":
        """Runs the script as PBS does: from a copy, with the variables of the job."""
        copy = shutil.copy(HERE / "jobs/pbs.sh", self.top / "spooled.SC")
        surroundings = {
            "PBS_JOBID": "1.server",
            "PBS_O_WORKDIR": self.top,
            "PBS_NODEFILE": self.top / "nodes",
        }
        return start(["bash", copy], Path("/"), PBS_O_QUEUE="long", **surroundings, **variables)


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_pbs_script_submits_itself_again_and_goes_on(top: Path) -> None:
    """On a pretended PBS; the walltime is passed on, and the resources asked for are asked for again."""
    pbs = Pbs(top)
    given, output = write_input(top / "long.yaml", 30_000), top / "results/long.h5"
    script = pbs.start(INPUT="long.yaml", OUTPUT="results/long.h5")
    until(output.exists, 120, lambda: "no results file")
    script.send_signal(signal.SIGUSR1)
    code, told = ends(script)
    assert code == 75, told
    assert re.search(r"mpirun -n 2 .* dsm run long.yaml -o results/long.h5 --walltime 00:09:\d\d", told)
    options = "-v INPUT,OUTPUT,SWEEPS,SCRIPT -q long -lselect=1:ncpus=2:mpiprocs=2 -lwalltime=00:10:00"
    assert pbs.submitted() == [f"{options} jobs/pbs.sh"]

    code, told = ends(pbs.start(INPUT="long.yaml", OUTPUT="results/long.h5"))
    assert code == 0, told
    assert "dsm resume results/long.h5 --walltime" in told
    assert len(pbs.submitted()) == 1
    assert same_as_undisturbed(output, given, top)


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_pbs_script_that_is_ended_from_outside_does_not_submit_itself(top: Path) -> None:
    """SIGTERM, as by qdel: a checkpoint and no new job."""
    pbs = Pbs(top)
    write_input(top / "long.yaml", 10**7)
    script = pbs.start(INPUT="long.yaml", OUTPUT="results/long.h5")
    until((top / "results/long.h5").exists, 120, lambda: "no results file")
    script.send_signal(signal.SIGTERM)
    code, told = ends(script)
    assert code == 75, told
    assert "ended from outside: not submitted again" in told
    assert Path(top / "results/long.h5.checkpoint").exists()
    assert pbs.submitted() == []


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_pbs_script_that_gets_nowhere_or_has_bad_input_is_not_submitted_again(top: Path) -> None:
    pbs = Pbs(top)
    write_input(top / "bad.yaml", 20, **{"network.depht": 2})
    code, told = ends(pbs.start(INPUT="bad.yaml", OUTPUT="results/bad.h5"))
    assert (code, "bad input: see above; not submitted again" in told) == (2, True), told

    write_script(top / ".venv/bin/dsm", """[[ $1 == status ]] && echo '"sweep": 7,' || exit 75""")
    (top / "results/stuck.h5").touch()
    code, told = ends(pbs.start(INPUT="stuck.yaml", OUTPUT="results/stuck.h5"))
    assert (code, "stopped without a sweep done" in told) == (75, True), told
    assert pbs.submitted() == []


@pytest.mark.parametrize("script", sorted((HERE / "jobs").glob("*.sh")), ids=lambda path: path.name)
def test_job_scripts_are_bash(script: Path) -> None:
    """They parse, can be run, and shellcheck, where it is installed, has nothing to say."""
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        checked = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout
