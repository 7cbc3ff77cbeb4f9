"""A real Slurm of two nodes on this machine: daemons, ports, keys and accounts of its own, which end with the tests."""

import os
import pwd
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from tests.support.workers import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db", "setpriv")
PATIENCE_S = 300
CONF = """
ClusterName=segpipe
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={home}/munge.socket,cred_expire=5
StateSaveLocation={home}/state
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.%n.pid
SlurmdSpoolDir={home}/spool.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
FirstJobId={first}
KillWait=30
ReturnToService=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePass={home}/munge.socket
AccountingStoragePort={accounts}
JobAcctGatherType=jobacct_gather/linux
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first_node} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second_node} CPUs=2 RealMemory=8000
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
ACCOUNTS = """
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounts}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounts
PidFile={home}/slurmdbd.pid
"""


class Slurm:
    """A cluster that runs; `environment` is what its commands need."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def call(self, *words: object, cwd: Path | None = None) -> str:
        """Runs a command that must succeed; returns what it prints."""
        done = subprocess.run(
            [str(word) for word in words], env=self.environment, cwd=cwd, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def submit(self, *words: object, cwd: Path) -> str:
        """Submits a script or a command with these words of `sbatch`; returns the number of the job."""
        return self.call("sbatch", "--parsable", *words, cwd=cwd)

    def state(self, job: str) -> dict[str, str]:
        """What `scontrol` says of a job, e.g. JobState and Restarts."""
        return dict(word.partition("=")[::2] for word in self.call("scontrol", "-o", "show", "job", job).split())

    def process_of(self, job: str, *, rank: int) -> int:
        """The number of the process that computes as a rank of a job."""
        wanted = {f"SLURM_JOB_ID={job}", f"SLURM_PROCID={rank}", "SLURM_STEP_ID=0"}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                given = set((process / "environ").read_text(errors="replace").split("\0"))
                program = (process / "cmdline").read_text().split("\0")[0]
                if wanted <= given and "python" in program:
                    return int(process.name)
        raise AssertionError(f"job {job} has no rank {rank}")

    def wait(self, job: str) -> str:
        """The state in which a job ends."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        wait_until(lambda: self.state(job)["JobState"] in ended, what=f"the end of job {job}")
        return self.state(job)["JobState"]


def wait_until(holds: Callable[[], object], *, what: str) -> None:
    """Waits for something to hold."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.1)


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """Starts the daemons, and ends them and every job whatever happens."""
    home = Path(mkdtemp(prefix="slurm-", dir="/tmp"))  # short, for sockets, and open to the database's own user
    home.chmod(0o755)
    ports = ("control", "accounts", "first_node", "second_node")
    values = {"home": home, "host": socket.gethostname().partition(".")[0], "first": random.randrange(1000, 9000)}
    values |= {name: free_port() for name in ports}
    (home / "slurm.conf").write_text(CONF.format(**values))
    (home / "slurmdbd.conf").write_text(ACCOUNTS.format(**values))
    (home / "slurmdbd.conf").chmod(0o600)
    (home / "state").mkdir()
    environment = {**os.environ, "SLURM_CONF": f"{home}/slurm.conf", "MYSQL_UNIX_PORT": f"{home}/db/mysql.socket"}
    with ExitStack() as daemons:
        daemons.callback(shutil.rmtree, home, ignore_errors=True)
        slurm = Slurm(environment)
        _start_authority(daemons, home, environment)
        _start_accounts(daemons, home, slurm, values["accounts"])
        _start(daemons, home, environment, "slurmctld", "-D", "-i")
        for node in ("n1", "n2"):
            (home / f"spool.{node}").mkdir()
            _start(daemons, home, environment, "slurmd", "-D", "-N", node)
        daemons.callback(_end_jobs, slurm)
        wait_until(lambda: _nodes(slurm) == ["idle", "idle"], what="two idle nodes")
        yield slurm


def _start(daemons: ExitStack, home: Path, environment: dict[str, str], *words: object) -> None:
    """Starts a daemon that ends with this process, also when it is killed."""
    log = daemons.enter_context((home / f"{words[0]}.log").open("a"))
    command = ["setpriv", "--pdeathsig", "TERM", *map(str, words)]
    daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    daemons.callback(_end, daemon)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _start_authority(daemons: ExitStack, home: Path, environment: dict[str, str]) -> None:
    key, socket_file = home / "munge.key", home / "munge.socket"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    files = [f"--{name}-file={home}/munge.{name}" for name in ("pid", "log", "seed")]
    _start(daemons, home, environment, "munged", "--foreground", f"--key-file={key}", f"--socket={socket_file}", *files)
    wait_until(socket_file.exists, what="munge")


def _start_accounts(daemons: ExitStack, home: Path, slurm: Slurm, port: int) -> None:
    owner, data = pwd.getpwnam("mysql"), home / "db"
    data.mkdir()
    os.chown(data, owner.pw_uid, owner.pw_gid)
    common = ["--no-defaults", "--user=mysql", f"--datadir={data}"]
    slurm.call(
        "mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db", f"--tmpdir={data}"
    )
    words = ["--skip-networking", f"--socket={data}/mysql.socket", "--innodb-buffer-pool-size=32M"]
    _start(daemons, home, slurm.environment, "mariadbd", *common, *words, f"--pid-file={data}/pid")
    ask = ["mariadb", "--no-defaults", "--user=root", f"--socket={data}/mysql.socket", "--execute"]
    answers = [*ask, "create database if not exists accounts"]
    wait_until(
        lambda: subprocess.run(answers, capture_output=True, check=False).returncode == 0,
        what="the database of accounts",
    )
    _start(daemons, home, slurm.environment, "slurmdbd", "-D")
    wait_until(lambda: _listens(port), what="slurmdbd")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _nodes(slurm: Slurm) -> list[str]:
    done = subprocess.run(
        ["sinfo", "-h", "-N", "-o", "%t"], env=slurm.environment, capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def _end_jobs(slurm: Slurm) -> None:
    with suppress(AssertionError):
        slurm.call("scancel", "--user=root")
        wait_until(lambda: not slurm.call("squeue", "-h"), what="the end of all jobs")
