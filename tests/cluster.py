"""A real multi-node SLURM cluster on this machine, for tests and trials: no root, no systemd, no network.

`python tests/cluster.py --nodes 4` starts one in the foreground and prints the line by which sbatch finds it.

Each node lives in its own PID, UTS and mount namespaces: it has a host name of its own, and killing it is a
power cut. Where unshare is forbidden (some containers) the nodes are plain daemons. Everything dies with the
process that started it (PDEATHSIG).
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BINARIES = (
    "slurmctld",
    "slurmd",
    "sbatch",
    "squeue",
    "scontrol",
    "scancel",
    "sinfo",
    "munged",
    "mungekey",
    "setpriv",
    "unshare",
)
USER = pwd.getpwuid(os.geteuid()).pw_name
REQUEUE_DELAY_S = 5  # cred_expire: SLURM's least (default 120); a requeued task waits one second longer

SLURM_CONF = """\
ClusterName=amela
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/run/sock,cred_expire={requeue_delay_s}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
ReturnToService=1
SlurmdTimeout=60
KillWait=2
MinJobAge=3600
MaxArraySize={max_array_size}
MaxJobCount=20000
EnforcePartLimits=ALL
PropagateResourceLimits=NONE
MailProg=/bin/true
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.log
"""
NODE_CONF = """\
NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=512000 Gres=gpu:4
"""


def missing_binaries() -> list[str]:
    """The names of the programs that a cluster needs and that are neither on PATH nor in /usr/sbin."""
    os.environ["PATH"] = os.environ["PATH"] + os.pathsep + "/usr/sbin" + os.pathsep + "/sbin"
    return [name for name in BINARIES if shutil.which(name) is None]


def namespace_command() -> list[str]:
    """The unshare call that gives a node its own PIDs, host name and mounts; [] where that is forbidden."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    command = ["unshare", *user, "--fork", "--pid", "--uts", "--mount", "--mount-proc", "--kill-child=KILL"]
    probe = subprocess.run([*command, "sh", "-c", "hostname probe"], capture_output=True, check=False)
    return command if probe.returncode == 0 else []


def free_ports(count: int) -> int:
    """The first of `count` consecutive TCP ports that nobody listens on at 127.0.0.1."""
    for port in range(20_000 + os.getpid() % 10_000, 60_000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, probe in enumerate(sockets):
                probe.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue
        finally:
            for probe in sockets:
                probe.close()
    raise RuntimeError("no free ports between 20000 and 60000 on 127.0.0.1")


class Cluster:
    """A cluster that runs inside `with Cluster(nodes=4) as cluster:`, to be started in the main thread."""

    def __init__(self, nodes: int = 4, cpus: int = 8, max_array_size: int = 1001) -> None:
        self.names = [f"n{index}" for index in range(1, nodes + 1)]
        self.cpus = cpus
        self.max_array_size = max_array_size
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:  # noqa: PYI034 (Self needs Python 3.11)
        missing = missing_binaries()
        if missing:
            raise RuntimeError(
                f"no {', '.join(missing)} on PATH; type: apt-get install -y slurm-wlm munge util-linux"
            )
        self.folder = Path(tempfile.mkdtemp(prefix="amela-slurm-"))
        self.namespaces = namespace_command()
        self.port = free_ports(len(self.names) + 1)
        try:
            self._write_settings()
            self._start_daemons()
            self.wait(lambda: self._node_states() == {"idle"}, 60, "idle nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if (
            not self.namespaces and "slurmctld" in self.daemons
        ):  # plain step daemons would outlive their slurmd
            subprocess.run(
                ["scancel", "--user", USER],
                env=self.env,
                capture_output=True,
                timeout=20,
                check=False,
            )
            time.sleep(0.5)
        for daemon in reversed(list(self.daemons.values())):
            daemon.kill()
            daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def env(self) -> dict[str, str]:
        """The environment of a user who logged in to this cluster: nothing of a job or a test runner."""
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH", "AMELA", "PYTEST"))
        }
        return {**kept, "SLURM_CONF": str(self.folder / "etc/slurm.conf")}

    def run(
        self, *command: object, cwd: Path | None = None, check: bool = True, env: dict[str, str] | None = None
    ) -> str:
        """Runs a client command, at most 60 s, and returns what it printed, which a RuntimeError has too."""
        done = subprocess.run(
            [str(word) for word in command], cwd=cwd, env={**self.env, **(env or {})},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stdout}")
        return done.stdout.strip()

    def sbatch(self, *arguments: object, cwd: Path, env: dict[str, str] | None = None) -> str:
        """Submits and returns the job id."""
        return self.run("sbatch", "--parsable", *arguments, cwd=cwd, env=env).splitlines()[-1]

    def tasks(self, job: str) -> dict[str, str]:
        """State by task, e.g. {'7_0': 'COMPLETED', '7_1': 'RUNNING'}; finished ones stay known."""
        lines = self.run(
            "squeue", "--all", "--states=all", "--array", "--noheader", "--format=%i %T", "--jobs", job
        ).splitlines()
        return dict(line.split() for line in lines)

    def field(self, task: str, name: str) -> str:
        """One field of `scontrol show job`, such as Restarts, ExitCode or NodeList; '' where it is absent."""
        words = self.run("scontrol", "--oneliner", "show", "job", task).split()
        return next((word.partition("=")[2] for word in words if word.startswith(name + "=")), "")

    def wait(self, condition: Callable[[], bool], seconds: float = 60, what: str = "the condition") -> None:
        """Polls until `condition()` is true; RuntimeError with the controller's queue after `seconds`."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                queue = self.run("squeue", "--all", "--states=all", "--array", check=False)
                raise RuntimeError(f"{what}: not within {seconds} s\n{queue}")
            time.sleep(0.1)

    def wait_for(self, job: str, *states: str, seconds: float = 60) -> dict[str, str]:
        """Waits until every task of a job is in one of `states` (default: any final one); returns them."""
        final = states or (
            "COMPLETED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "NODE_FAIL",
            "OUT_OF_MEMORY",
            "DEADLINE",
        )
        self.wait(lambda: set(self.tasks(job).values()) <= set(final), seconds, f"job {job} in {final}")
        return self.tasks(job)

    def power_cut(self, node: str) -> None:
        """Kills a node with all that runs on it and tells the controller, which would else wait a minute."""
        self.daemons.pop(node).kill()
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=power")

    def start_node(self, node: str) -> None:
        """Starts a node (again) and brings it back into service."""
        command = ["slurmd", "-D", "-N", node]
        if self.namespaces:
            command = [*self.namespaces, "sh", "-c", f"hostname {node} && exec slurmd -D -N {node}"]
        self._start(node, *command)

    def _node_states(self) -> set[str]:
        try:
            return set(
                self.run("timeout", "2", "sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
            )
        except subprocess.TimeoutExpired:
            return set()

    def _start(self, name: str, *command: str) -> None:
        with open(self.folder / f"log/{name}", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _start_daemons(self) -> None:
        munge = self.folder / "munge"
        self.run("mungekey", "--create", f"--keyfile={munge}/key/key")
        files = {"key-file": "key/key", "socket": "run/sock", "pid-file": "run/pid", "log-file": "log/log"}
        options = [f"--{name}={munge}/{path}" for name, path in {**files, "seed-file": "key/seed"}.items()]
        self._start("munged", "munged", "--force", "-F", *options)
        self.wait_socket(munge / "run/sock")
        self._start("slurmctld", "slurmctld", "-D")
        for name in self.names:
            self.start_node(name)

    def wait_socket(self, path: Path) -> None:
        """Waits for munged's socket; RuntimeError with the end of its log otherwise."""
        end = time.monotonic() + 10
        while not path.exists():
            if time.monotonic() > end or self.daemons["munged"].poll() is not None:
                raise RuntimeError(
                    "munged does not start: " + (self.folder / "log/munged").read_text()[-1000:]
                )
            time.sleep(0.01)

    def _write_settings(self) -> None:
        self.folder.chmod(0o755)  # munged refuses a socket behind a closed folder
        for name in (
            "etc",
            "state",
            "log",
            "run",
            "munge/run",
            "munge/key",
            "munge/log",
            *[f"spool-{n}" for n in self.names],
        ):
            (self.folder / name).mkdir(parents=True)
        for name in ("munge/key", "munge/log"):
            (self.folder / name).chmod(0o700)
        host = socket.gethostname().split(".")[0]
        text = SLURM_CONF.format(
            host=host, port=self.port, user=USER, folder=self.folder,
            requeue_delay_s=REQUEUE_DELAY_S, max_array_size=self.max_array_size,
        )  # fmt: skip
        for offset, name in enumerate(self.names, start=1):
            node_host = name if self.namespaces else host
            text += NODE_CONF.format(name=name, host=node_host, port=self.port + offset, cpus=self.cpus)
        text += f"PartitionName=main Nodes={','.join(self.names)} Default=YES MaxTime=2-0 State=UP\n"
        (self.folder / "etc/slurm.conf").write_text(text)
        # Character devices that every machine has stand for GPUs, so that CUDA_VISIBLE_DEVICES is set.
        devices = "/dev/null,/dev/zero,/dev/full,/dev/random"
        (self.folder / "etc/gres.conf").write_text(
            f"NodeName={','.join(self.names)} Name=gpu File={devices}\n"
        )
        # Without this slurmd 22.05 refuses to start where no cgroup is mounted or the mount is read-only.
        (self.folder / "etc/cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=4, help="number of nodes")
    parser.add_argument("--cpus", type=int, default=8, help="CPUs that each node claims to have")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Cluster(arguments.nodes, arguments.cpus) as cluster:
        print(
            f"export SLURM_CONF={cluster.folder}/etc/slurm.conf   # Ctrl-C here stops the cluster", flush=True
        )
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
