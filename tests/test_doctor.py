"""doctor.py on this machine, on a real cluster, and on file systems that fail."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from amela import probe

if TYPE_CHECKING:
    from cluster import Cluster

REPOSITORY = Path(__file__).resolve().parents[1]
FILE_SYSTEM = {
    "exclusive names", "hard links", "renames", "flock", "lockf", "appends", "new files", "clock", "free"
}  # fmt: skip


def doctor(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "scripts/doctor.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env)


def findings(*arguments: str, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    done = doctor("--json", *arguments, env=env)
    return {finding["part"].strip(): finding for finding in json.loads(done.stdout)}


def test_a_good_folder_is_found_good_and_left_as_it_was(tmp_path: Path) -> None:
    found = findings(str(tmp_path))
    assert set(found) >= FILE_SYSTEM
    assert {found[part]["state"] for part in FILE_SYSTEM - {"free"}} == {"ok"}
    assert list(tmp_path.iterdir()) == []


def test_text_has_a_row_a_finding_and_counts(tmp_path: Path) -> None:
    done = doctor(str(tmp_path))
    assert "one winner" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("FAIL")
    assert done.returncode == (2 if "\nFAIL" in done.stdout else 0)


def test_a_folder_that_cannot_be_written_is_a_fail() -> None:
    """/proc refuses new folders to everybody, root too."""
    done = doctor("/proc/sys")
    assert done.returncode == 2
    assert "FAIL" in done.stdout
    assert "a folder this user may write to" in done.stdout


def test_a_missing_folder_is_a_bad_call(tmp_path: Path) -> None:
    done = doctor(str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR: ")
    assert f"mkdir -p {tmp_path}/nowhere" in done.stderr


def test_no_environment_is_a_fail(tmp_path: Path) -> None:
    done = doctor(str(tmp_path), env={**os.environ, "AMELA_ENVS": str(tmp_path / "none")})
    assert done.returncode == 2
    assert "envs/create.sh local" in done.stdout


def test_sbatch_without_a_cluster_is_said(tmp_path: Path) -> None:
    settings = "ClusterName=gone\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\n"
    (tmp_path / "slurm.conf").write_text(settings)
    found = findings(str(tmp_path), env={**os.environ, "SLURM_CONF": str(tmp_path / "slurm.conf")})
    assert found["slurm"]["state"] in ("warn", "FAIL")
    assert "local_sbatch.py" in found["slurm"]["remedy"]


def test_on_a_real_cluster(cluster: Cluster, tmp_path: Path) -> None:
    found = findings(str(tmp_path), env=cluster.env)
    assert found["slurm"]["state"] == "ok"
    assert "cluster amela" in found["slurm"]["found"]
    assert "largest index 32" in found["slurm arrays"]["found"]
    assert "4 nodes" in found["partitions"]["found"]


def test_a_lock_that_keeps_nobody_out_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Lustre with `localflock` does between nodes: both get it."""
    monkeypatch.setattr(fcntl, "flock", lambda _fd, _how: None)
    flock, lockf = probe._locks(tmp_path)
    assert not flock.holds
    assert "does not keep" in flock.found
    assert lockf.holds


def test_a_lock_that_is_refused_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Lustre with `noflock` does."""

    def refuse(_fd: int, _how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    flock = probe._locks(tmp_path)[0]
    assert not flock.holds
    assert "Function not implemented" in flock.found


def test_names_that_both_get_are_noticed(tmp_path: Path) -> None:
    both = probe._race(lambda _folder, _i: 1, tmp_path, "exclusive names", "a broken O_EXCL")
    assert not both.holds
    assert both.needed


def test_a_file_system_without_links_is_no_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT and some network disks: the deal falls back on O_EXCL."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    links = probe._links(tmp_path)
    assert not links.holds
    assert not links.needed


def test_mount_of_the_longest_mount_point() -> None:
    assert probe.mount_of(Path("/proc/self"))[:2] == ("/proc", "proc")
    assert probe.mount_of(Path("/"))[0] == "/"
