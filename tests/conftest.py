"""What all tests share: where the repository and real speech are, and that no test skips on CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo() -> Path:
    """Return the repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def speech_dir() -> Path:
    """Return the folder of labelled real speech (asr/, vad/, noise/), which is not part of the repository."""
    folder = Path(os.environ.get("AMELA_SPEECH") or REPOSITORY.parent / "shared" / "speech")
    if not folder.is_dir():
        pytest.skip(f"no real speech at {folder}: set AMELA_SPEECH to the folder that has asr/, vad/ and noise/")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Turn a skip into a failure under AMELA_NO_SKIP=1, which .ci/run sets."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("AMELA_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped, and nothing may skip here (AMELA_NO_SKIP=1): {report.longrepr[2]}"
    return report
