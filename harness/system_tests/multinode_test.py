"""Ranks on several hosts, which share the run folder and a network; the launcher is what starts ranks there, and they
reach the controller by TCP.

A host is a set of namespaces: network, host name, processes, shared memory, mounts (hosts/host.sh). The controller runs
on the first one. It cannot see the processes of the second one, and all folders but the run folder are read-only there.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ADAPTERS, CACHED, FOLDER, SHARDCTS, Run, results, wait_until

HOSTS = FOLDER / "hosts"
ADDRESSES = {"hosta": "10.77.0.1", "hostb": "10.77.0.2"}
UNSHARE = ["unshare", "--net", "--uts", "--ipc", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child"]
SMALL = ("--world", "4", "--filter", CACHED.format(4))
ONE = CACHED.format(4).replace("mlp_dim=?", "mlp_dim=3")


def why_not() -> str:
    """Why there can be no such hosts here; empty when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no program ip (Debian: iproute2)"
    tried = subprocess.run([*UNSHARE, "ip", "link", "add", "eth0", "type", "veth"],
                           capture_output=True, text=True, check=False)
    return f"namespaces are not permitted: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass
class Cluster:
    shared: Path
    first: int  # a process of the first host
    second: int

    def run(self, implementation: str, *words, timeout: float = 240) -> tuple[subprocess.CompletedProcess, Run]:
        """`shardcts run` on the first host; ranks 0 and 1 go there, 2 and 3 to the second one."""
        launcher = (f"mpiexec -disable-auto-cleanup -launcher ssh -launcher-exec {HOSTS / 'remote_shell.py'} "
                    "-hosts hosta,hostb -ppn 2 -n {ranks}")
        done = subprocess.run(
            ["nsenter", "--target", str(self.first), "--all", f"--wd={self.shared}", SHARDCTS, "run", "--impl",
             implementation, "--launcher", launcher, "--out", "out", *words],
            env={**os.environ, "SHARDCTS_PYTHONPATH": ":".join(map(str, ADAPTERS))},
            capture_output=True, text=True, timeout=timeout, check=False)
        assert (self.shared / "out/results.json").exists(), done.stdout + done.stderr
        return done, results(self.shared / "out")

    def left_running(self) -> list[str]:
        """Command lines of the processes of both hosts that are no part of the hosts themselves."""
        left = []
        for host in (self.first, self.second):
            inside = subprocess.run(["nsenter", "--target", str(host), "--pid", "--mount", "ps", "-eo", "args="],
                                    capture_output=True, text=True, check=True).stdout.splitlines()
            left += [line for line in inside if "shardcts" in line and "remote_shell.py --serve" not in line]
        return left


def events_of(pool: Path, rank: int, name: str) -> list[dict]:
    lines = (pool / f"rank-{rank}.events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


def hosts_of(pool: Path) -> list[str]:
    return [events_of(pool, rank, "rank_started")[0]["host"] for rank in range(4)]


def child_of(process: subprocess.Popen) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: children.read_text().split(), 10, "a host starts")
    return int(children.read_text().split()[0])


@pytest.fixture
def cluster(tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    shared = tmp_path / "shared"
    shared.mkdir()
    names = tmp_path / "hosts"
    names.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in ADDRESSES.items()))
    hosts = [subprocess.Popen([*UNSHARE, HOSTS / "host.sh", name, shared, names], stdin=subprocess.DEVNULL)
             for name in ADDRESSES]
    try:
        first, second = map(child_of, hosts)
        connect(first, second)
        yield Cluster(shared, first, second)
    finally:
        for host in hosts:
            host.kill()  # its first process goes with it, and with that all others
            host.wait()


def connect(first: int, second: int) -> None:
    subprocess.run(["ip", "link", "add", "eth0", "netns", str(first), "type", "veth", "peer", "name", "eth0", "netns",
                    str(second)], check=True)
    for process, address in zip((first, second), ADDRESSES.values()):
        inside = ["nsenter", "--target", str(process), "--net", "ip"]
        subprocess.run([*inside, "address", "add", f"{address}/24", "dev", "eth0"], check=True)
        subprocess.run([*inside, "link", "set", "eth0", "up"], check=True)
    for process in (first, second):  # until then MPI's transports find the other host unreachable
        wait_until(lambda: "state UP" in state_of_link(process), 20, "the link is up")
    for name in ADDRESSES:
        wait_until(lambda: answers(first, name), 20, f"{name} answers")


def state_of_link(process: int) -> str:
    done = subprocess.run(["nsenter", "--target", str(process), "--net", "ip", "-o", "link", "show", "eth0"],
                          capture_output=True, text=True, check=True)
    return done.stdout


def answers(process: int, name: str) -> bool:
    done = subprocess.run(["nsenter", "--target", str(process), "--all", HOSTS / "remote_shell.py", name, "hostname"],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() == name


@pytest.mark.parametrize("implementation", ["reference", "torch"])
def test_conforming_implementation_passes_on_two_hosts(cluster, implementation):
    done, run = cluster.run(implementation, *SMALL)
    assert run.verdicts == ["pass"] * 4, done.stdout + done.stderr
    assert done.returncode == 0
    assert hosts_of(cluster.shared / "out" / run.tests[0]["log"]) == ["hosta", "hosta", "hostb", "hostb"]


def test_rank_killed_on_the_other_host_is_a_crash(cluster):
    """The controller has no process to look at: the end of its connection tells it, long before the test's deadline."""
    done, run = cluster.run("python:faulty:Killed,rank=3", *SMALL, "--timeout", "120")
    faulty = run.test("mlp_dim=3,")
    assert (faulty["verdict"], done.returncode) == ("crash", 1), done.stdout + done.stderr
    assert "rank 3 ended without finishing its tests" in faulty["reason"]
    assert faulty["seconds"] < 60
    assert [test["verdict"] for test in run.tests if test is not faulty] == ["pass"] * 3
    assert cluster.left_running() == []


def test_rank_that_hangs_on_the_other_host_is_ended(cluster):
    done, run = cluster.run("python:faulty:Sleeping,rank=3", "--timeout", "15", "--world", "4", "--filter", ONE)
    assert (run.verdicts, done.returncode) == (["hang"], 1), done.stdout + done.stderr
    assert cluster.left_running() == []


def test_each_rank_on_a_host_of_its_own(run_shardcts, tmp_path):
    """Without namespaces for networks and processes: the launcher gives each rank a host name and a folder."""
    if subprocess.run(["unshare", "--map-root-user", "--uts", "true"], capture_output=True, check=False).returncode:
        pytest.skip("host names of one's own are not permitted here")
    launcher = f"mpiexec -disable-auto-cleanup -n {{ranks}} {HOSTS / 'own_host.sh'} {tmp_path / 'hosts'}"
    ended, run = run_shardcts("reference", *SMALL, "--launcher", launcher)
    assert (run.verdicts, ended.code) == (["pass"] * 4, 0), ended
    pool = run.folder / run.tests[0]["log"]
    assert hosts_of(pool) == ["host0", "host1", "host2", "host3"]
