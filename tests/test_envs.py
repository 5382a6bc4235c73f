"""create.sh: whole or not there, idempotent, with each tool; and the Makefile's targets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pip
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FAKE_CONDA = """#!/bin/bash
echo "$0 $*" >> {folder}/calls
while [ $# -gt 0 ]; do [ "$1" = --prefix ] && prefix=$2; shift; done
case "$prefix $(tail -n 1 {folder}/calls)" in *python=3.99*) echo "no Python 3.99 for conda"; exit 1 ;; esac
{python} -m venv --without-pip "$prefix"
echo {folder}/with_pip > "$(echo "$prefix"/lib/python*/site-packages)/pip.pth"
"""


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with stand-ins for conda and its kin: they note their call and make a venv in 0.1 s."""
    folder = tmp_path_factory.mktemp("tools")
    (folder / "with_pip").mkdir()
    (folder / "with_pip" / "pip").symlink_to(Path(pip.__file__).parent)
    for name in ("conda", "mamba", "micromamba"):
        (folder / name).mkdir()
        (folder / name / name).write_text(FAKE_CONDA.format(folder=folder, python=sys.executable))
        (folder / name / name).chmod(0o755)
    return folder


@pytest.fixture
def envs(tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder like envs/ with one tiny environment, `toy`; a conda is on PATH."""
    monkeypatch.setenv("PATH", f"{tools}/conda{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith(("AMELA", "VIRTUAL_ENV"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "envs"
    folder.mkdir()
    shutil.copy(REPOSITORY / "envs" / "create.sh", folder)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "toy.yml").write_text(
        f"name: toy\nchannels:\n  - conda-forge\ndependencies:\n  - python={version}\n"
        "  - ffmpeg=7  # m4a\n  - pip\n  - pip:\n    - -r toy.txt\n"
    )
    (folder / "toy.txt").write_text("# nothing to install\n")
    (folder / "toy.post.sh").write_text("#!/bin/bash\nset -e\npython -c 'print(1)'\n")
    return folder


def create(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run create.sh as a user would."""
    command = ["bash", str(folder / "create.sh"), *arguments]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)


def test_built_once_and_then_up_to_date(envs: Path) -> None:
    assert create(envs, "--list").stdout.split()[1] == "missing"
    first = create(envs, "toy", "venv")
    assert first.returncode == 0, first.stderr
    link = envs / ".built" / "toy"
    assert link.is_symlink()
    built = link.resolve()
    assert subprocess.run([link / "bin" / "python", "-c", ""]).returncode == 0
    again = create(envs, "toy", "venv")
    assert "up to date" in again.stdout
    assert link.resolve() == built
    assert create(envs, "--list").stdout.split()[1] == "whole"


def test_new_pins_make_a_new_build_and_leave_the_old_one(envs: Path) -> None:
    """Jobs that run from the old build keep it; a comment changes nothing."""
    assert create(envs, "toy", "conda").returncode == 0
    link = envs / ".built" / "toy"
    old = link.resolve()
    (envs / "toy.txt").write_text("# only a comment\n")
    assert "up to date" in create(envs, "toy", "conda").stdout
    (envs / "toy.post.sh").write_text("#!/bin/bash\npython -c 'print(2)'\n")
    assert create(envs, "--list").stdout.split()[1] == "outdated"
    done = create(envs, "toy", "conda")
    assert done.returncode == 0, done.stderr
    assert link.resolve() != old
    assert old.is_dir()
    assert f"rm -r {envs}/.built/{os.path.relpath(old, envs / '.built')}" in done.stdout


@pytest.mark.parametrize("step", ["python", "pins", "post"])
def test_a_build_that_fails_is_not_there(envs: Path, step: str) -> None:
    """Whatever step fails: status 2, the reason, and no environment; mended, the same command builds it."""
    mended = {name: (envs / name).read_text() for name in ("toy.yml", "toy.txt", "toy.post.sh")}
    if step == "python":
        (envs / "toy.yml").write_text(mended["toy.yml"].replace("python=3.", "python=3.99"))
    elif step == "pins":
        (envs / "toy.txt").write_text("no-such-folder-of-a-package @ file:///nowhere/at/all\n")
    else:
        (envs / "toy.post.sh").write_text("#!/bin/bash\nset -e\npython -c 'import not_there'\necho after\n")
    done = create(envs, "toy", "conda")
    assert done.returncode == 2
    assert "ERROR: toy: the build failed" in done.stderr
    assert {"python": "no Python 3.99 for conda", "pins": "nowhere", "post": "not_there"}[step] in done.stderr
    assert not os.path.lexists(envs / ".built" / "toy")
    for name, text in mended.items():
        (envs / name).write_text(text)
    assert create(envs, "toy", "conda").returncode == 0


def test_a_package_without_a_pin_is_named(envs: Path) -> None:
    """What a pinned package pulls in by itself would differ next year."""
    package = envs / "pulled"
    (package / "pulled_in").mkdir(parents=True)
    (package / "pulled_in" / "__init__.py").touch()
    said = "from setuptools import setup\nsetup(name='pulled_in', version='1', packages=['pulled_in'])\n"
    (package / "setup.py").write_text(said)
    (envs / "toy.txt").write_text("./pulled\n")
    done = create(envs, "toy", "venv")
    assert done.returncode == 2
    assert "installed without a pin: pulled-in" in done.stderr


def test_a_killed_build_is_not_taken_for_a_whole_one(envs: Path) -> None:
    (envs / "toy.post.sh").write_text("#!/bin/bash\ntouch $(dirname $0)/at_post\nsleep 30\n")
    building = subprocess.Popen(
        ["bash", str(envs / "create.sh"), "toy", "conda"], start_new_session=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (envs / "at_post").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(building.pid, signal.SIGKILL)
    building.wait()
    assert not os.path.lexists(envs / ".built" / "toy")
    assert create(envs, "--list").stdout.split()[1] == "missing"
    (envs / "toy.post.sh").write_text("#!/bin/bash\ntrue\n")
    assert create(envs, "toy", "conda").returncode == 0


def test_two_at_once_build_it_once(envs: Path) -> None:
    (envs / "toy.post.sh").write_text("#!/bin/bash\necho x >> $(dirname $0)/builds\nsleep 1\n")
    both = [
        subprocess.Popen(["bash", str(envs / "create.sh"), "toy", "conda"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert (envs / "builds").read_text() == "x\n"
    assert sum("waiting" in text and "up to date" in text for text in said) == 1


@pytest.mark.parametrize("tool", ["conda", "mamba", "micromamba"])
def test_conda_gets_python_and_the_libraries_of_the_yml(envs: Path, tools: Path, tool: str) -> None:
    """No conda is at hand: what is tried is our command line. No tool is named: the one on PATH is taken."""
    done = create(envs, "toy", PATH=f"{tools}/{tool}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    call = (tools / "calls").read_text().splitlines()[-1]
    assert f"{tool} create --yes --prefix {envs}/.built/.builds/toy-" in call
    assert f"--override-channels -c conda-forge python={version} ffmpeg=7 pip" in call


def test_bad_calls_say_what_to_type(envs: Path) -> None:
    for arguments, said in (
        (["nope"], "NAME is one of: toy"),
        ([], "usage:"),
        (["toy", "poetry"], "wanted conda, mamba"),
    ):
        done = create(envs, *arguments)
        assert done.returncode == 2
        assert said in done.stderr
    (envs / ".built" / "toy").mkdir(parents=True)
    done = create(envs, "toy", "conda")
    assert done.returncode == 2
    assert f"mv {envs}/.built/toy {envs}/.built/toy.old" in done.stderr
    assert create(envs, "--list").stdout.split()[1] == "foreign"


def test_python_is_not_that_of_the_caller(envs: Path) -> None:
    """PYTHONPATH and an active environment of the user's shell do not reach the build."""
    (envs / "toy.post.sh").write_text(
        '#!/bin/bash\n[ -z "${PYTHONPATH:-}" ] && [ "$PYTHONNOUSERSITE" = 1 ]\n'
    )
    done = create(envs, "toy", "conda", PYTHONPATH="/nowhere", VIRTUAL_ENV="/nowhere")
    assert done.returncode == 0, done.stderr


def test_another_folder_by_amela_envs(envs: Path, tmp_path: Path) -> None:
    done = create(envs, "toy", "conda", AMELA_ENVS=str(tmp_path / "scratch"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scratch" / "toy" / "bin" / "python").exists()
    assert not (envs / ".built").exists()


def test_without_conda_and_without_that_python_it_says_what_was_tried(envs: Path) -> None:
    (envs / "toy.yml").write_text((envs / "toy.yml").read_text().replace("python=3.", "python=3.99"))
    done = create(envs, "toy", "venv")
    assert done.returncode == 2
    assert "no Python 3.99" in done.stderr
    assert "envs/create.sh toy uv" in done.stderr


def test_it_says_whether_it_can_build_without_building(envs: Path, tmp_path: Path) -> None:
    """A pyenv shim that is on PATH and does not run must not hide the Python that pyenv has."""
    shims, pyenv = tmp_path / "shims", tmp_path / "pyenv/versions/3.99.1/bin"
    for folder in (shims, pyenv):
        folder.mkdir(parents=True)
    (shims / "python3.99").write_text("#!/bin/sh\nexit 127\n")
    (shims / "python3.99").chmod(0o755)
    (envs / "toy.yml").write_text((envs / "toy.yml").read_text().replace("python=3.", "python=3.99 # "))
    path = f"{shims}:/usr/bin:/bin"
    done = create(envs, "--can", "toy", PATH=path, PYENV_ROOT=str(tmp_path / "pyenv"))
    assert done.returncode == 2
    assert "ERROR: no Python 3.99 that has venv" in done.stderr
    (pyenv / "python").write_text("#!/bin/sh\nexit 0\n")  # says yes to being a Python 3.99 with venv
    (pyenv / "python").chmod(0o755)
    done = create(envs, "--can", "toy", PATH=path, PYENV_ROOT=str(tmp_path / "pyenv"))
    assert (done.returncode, done.stdout) == (0, "")
    assert create(envs, "--can", "toy", "conda").returncode == 0
    assert create(envs, "--can", "nope").returncode == 2
    assert not list((envs / ".built/.builds").iterdir())


def test_make_env_wants_a_name() -> None:
    done = subprocess.run(["make", "env"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    assert "make env ENV=NAME" in done.stderr
