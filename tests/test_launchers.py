"""The batch files and their prologue, run by bash as SLURM would; test_slurm.py runs them on a cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sbatch_lint import complaints

REPOSITORY = Path(__file__).resolve().parents[1]
LAUNCHERS = sorted((REPOSITORY / "slurm").glob("*.slurm"))
PROBE = """\
import json, os, sys, time
print(json.dumps({"argv": sys.argv[1:], "pid": os.getpid(), "env": dict(os.environ)}), flush=True)
if "--sleep" in sys.argv:
    time.sleep(60)
"""


def job_env(folder: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "probe",
        **more,
    }


def run_batch_file(folder: Path, name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """As SLURM does: a copy elsewhere, so that $0 is of no use, run in the submit folder."""
    script = shutil.copy(folder / "slurm" / name, folder.parent / "slurm_script")
    command = ["bash", str(script), *arguments]
    return subprocess.run(
        command, cwd=folder, env=job_env(folder, **env), capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def probe(checkout: Path) -> Path:
    (checkout / "scripts/probe.py").write_text(PROBE)
    launcher = (checkout / "slurm/toy_stage.slurm").read_text().replace("toy_stage", "probe")
    (checkout / "slurm/probe.slurm").write_text(launcher)
    return checkout


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.stem)
def test_lint_is_content(path: Path) -> None:
    assert complaints(path) == []


def test_shellcheck_is_content() -> None:
    assert shutil.which("shellcheck"), "no shellcheck; type: apt-get install -y shellcheck"
    files = [str(path) for path in (REPOSITORY / "slurm").iterdir() if path.suffix in (".sh", ".slurm")]
    done = subprocess.run(["shellcheck", "-x", *files], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("#!/bin/bash", "#!/bin/sh", "first line must be #!/bin/bash"),
        ("#SBATCH --requeue\n", "", "no --requeue"),
        ("#SBATCH --requeue", "# SBATCH --requeue", "a mere comment"),
        ("logs/%x_%A_%a.out", "logs/%x_%j.out", "wanted --output=logs/%x_%A_%a.out"),
        ("--mem=1G", "--mem=$MEM", "not expanded"),
        ("\nsource", "\nset -e\n#SBATCH --mem=9G\nsource", "after the first command"),
        ('"$@"', "$1", "untouched"),
        ("\n", "\r\n", "CRLF"),
    ],
)
def test_lint_finds_what_slurm_ignores(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "x.slurm"
    text = (REPOSITORY / "tests/data/toy_stage.slurm").read_text()
    path.write_bytes(text.replace(old, new).encode())
    assert any(complaint in line for line in complaints(path)), complaints(path)


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.stem)
def test_every_launcher_reaches_its_script(path: Path, checkout: Path) -> None:
    done = run_batch_file(checkout, path.name, "--help", SLURM_JOB_NAME=path.stem)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_arguments_and_environment_reach_the_script_untouched(probe: Path) -> None:
    words = ["a b", "--x_y=1", "*", "", "é", '"', "-"]
    done = run_batch_file(
        probe,
        "probe.slurm",
        *words,
        PYTHONPATH="/elsewhere",
        VIRTUAL_ENV="/elsewhere",
        AMELA_ENVS="envs/.built",
    )
    assert done.returncode == 0, done.stderr
    seen = __import__("json").loads(done.stdout.splitlines()[-1])
    assert seen["argv"] == words
    assert seen["env"]["PATH"].startswith(f"{probe}/envs/.built/toy/bin:")
    assert "PYTHONPATH" not in seen["env"]
    assert "VIRTUAL_ENV" not in seen["env"]
    assert seen["env"]["AMELA_LAUNCHER"] == "slurm/probe.slurm"
    assert seen["env"]["AMELA_GIT_VERSION"] == "unknown (no git)"


def test_header_says_what_runs_where(probe: Path) -> None:
    git = ["git", "-C", str(probe), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(probe)], check=True)
    subprocess.run([*git, "add", "scripts", "slurm"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    commit = subprocess.run(
        [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_RESTART_COUNT": "2"}
    header = (
        run_batch_file(probe, "probe.slurm", "metadata/my file.json", **array)
        .stdout.split("{")[0]
        .splitlines()
    )
    assert "job 7 probe task 7_3, restart 2, on " in header[0]
    assert header[1] == f"  code    {probe} {commit}"
    assert header[2] == f"  python  {probe}/envs/.built/toy/bin/python"
    assert header[3] == "  gpu     none"
    assert header[4] == f"  command python {probe}/scripts/probe.py metadata/my\\ file.json"
    (probe / "scripts/probe.py").write_text(PROBE + "\n")
    assert f"{commit}-edited" in run_batch_file(probe, "probe.slurm").stdout


def test_missing_environment_says_what_to_type(probe: Path) -> None:
    (probe / "envs/.built/toy").unlink()
    done = run_batch_file(probe, "probe.slurm")
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR: no environment 'toy' in ")
    assert done.stderr.endswith("type: envs/create.sh toy\n")
    assert run_batch_file(probe, "probe.slurm", AMELA_ENV="local").returncode == 0


def test_refuses_to_run_outside_the_repository(probe: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        ["bash", str(probe / "slurm/probe.slurm")],
        cwd=elsewhere,
        env=job_env(elsewhere),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "ERROR: type: cd REPOSITORY" in done.stderr
    done = subprocess.run(
        ["bash", str(probe / "slurm/probe.slurm")],
        cwd=elsewhere,
        env=job_env(probe),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"ERROR: {elsewhere} is not the repository root")


def test_site_env_is_read(probe: Path) -> None:
    (probe / "slurm/site.env").write_text("export AMELA_ENV=vad HF_HOME=/scratch/hub\n")
    done = run_batch_file(probe, "probe.slurm")
    assert f"{probe}/envs/.built/vad/bin/python" in done.stdout
    assert '"HF_HOME": "/scratch/hub"' in done.stdout


def test_several_tasks_go_through_srun(probe: Path) -> None:
    fake = probe.parent / "bin"
    fake.mkdir()
    (fake / "srun").write_text('#!/bin/sh\necho through srun: "$@"\n')
    (fake / "srun").chmod(0o755)
    done = run_batch_file(probe, "probe.slurm", "x", SLURM_NTASKS="2", PATH=f"{fake}:{os.environ['PATH']}")
    assert f"through srun: python {probe}/scripts/probe.py x" in done.stdout


def test_python_takes_the_place_of_the_shell_and_an_early_usr1_does_no_harm(probe: Path) -> None:
    command = ["bash", str(probe / "slurm/probe.slurm"), "--sleep"]
    with subprocess.Popen(
        command, cwd=probe, env=job_env(probe), stdout=subprocess.PIPE, text=True
    ) as process:
        time.sleep(0.02)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                break
        assert f'"pid": {process.pid}' in line
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)
        assert process.poll() is None
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM


def test_lint_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "tests/sbatch_lint.py", *map(str, LAUNCHERS)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "batch files are fine" in done.stdout
