"""What all tests share: the repository, a copy of it, real speech, a real SLURM; nothing skips on CI."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "scripts"), str(REPOSITORY / "tests")]

import browser  # noqa: E402 (needs the path)
from cluster import Cluster, missing_binaries  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

# All are the one that runs the tests.
ENVIRONMENTS = ("vad", "asr", "units", "train", "whisperx", "features", "text", "codec", "local", "toy")
INSIDE_A_JOB = ("SLURM", "SBATCH", "AMELA_LAUNCHER", "AMELA_LOCAL_SBATCH", "AMELA_CODE")
OF_THE_USER = ("AMELA_ENV", "AMELA_ENVS")  # make and site.env set them; a checkout has its own environments
for variable in [name for name in os.environ if name.startswith(INSIDE_A_JOB) or name in OF_THE_USER]:
    del os.environ[variable]  # tests started inside a job must not take themselves for its tasks


@pytest.fixture(scope="session")
def repo() -> Path:
    """Return the repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def speech_dir() -> Path:
    """Return the folder of labelled real speech (asr/, vad/, noise/), which is not part of the repository."""
    folder = Path(os.environ.get("AMELA_SPEECH") or REPOSITORY.parent / "shared" / "speech")
    if not folder.is_dir():
        pytest.skip(
            f"no real speech at {folder}: set AMELA_SPEECH to the folder that has asr/, vad/ and noise/"
        )
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Yield a SLURM of four nodes n1-n4 with 16 CPUs and 4 GPUs each (all imagined) and MaxArraySize 33."""
    missing = missing_binaries()
    if missing:
        lacking = (
            f"no {', '.join(missing)}; these tests need a real SLURM: apt-get install -y slurm-wlm munge"
        )
        pytest.fail(lacking, pytrace=False)
    with Cluster(nodes=4, cpus=16, max_array_size=33) as running:
        yield running


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    """Yield a page in a running Chromium; each test opens what it looks at."""
    try:
        driver = browser.start(tmp_path_factory.mktemp("profile"))
    except LookupError as exc:
        pytest.skip(str(exc))
    yield browser.Page(driver)
    driver.quit()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the code as a user clones it, with the toy stage; it is the working directory."""
    folder = copy_code(tmp_path / "amela")
    monkeypatch.chdir(folder)
    return folder


def copy_code(folder: Path) -> Path:
    """Copy what a user clones, add the toy stage, and let this Python stand for each environment."""
    ignore = shutil.ignore_patterns(".built", "__pycache__", "site.env")
    for name in ("scripts", "slurm", "envs"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignore)
    for name in ("logs", "metadata", "output", "envs/.built"):
        (folder / name).mkdir()
    shutil.copy(REPOSITORY / "tests/data/toy_stage.py", folder / "scripts")
    shutil.copy(REPOSITORY / "tests/data/toy_stage.slurm", folder / "slurm")
    for name in ENVIRONMENTS:
        (folder / "envs/.built" / name).symlink_to(sys.prefix)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Turn a skip into a failure under AMELA_NO_SKIP=1, which .ci/run sets."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("AMELA_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} skipped, and nothing may skip here (AMELA_NO_SKIP=1): {report.longrepr[2]}"
        )
    return report


@pytest.fixture
def without_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment that has no huggingface_hub, for what a test starts."""
    (tmp_path / "huggingface_hub.py").write_text("raise ModuleNotFoundError(name=__name__)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
