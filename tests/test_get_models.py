"""get_models.py against a real server on this machine: fetch, verify, damaged files, no network."""

from __future__ import annotations

import functools
import hashlib
import http.server
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import get_models
from amela.errors import BAD_CALL, OK, CallError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"weights " * 500_000
NOBODY = "http://127.0.0.1:9"  # the discard port: refused at once


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a server that has `remote.bin`."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "remote.bin").write_bytes(CONTENT)
    handler = functools.partial(Handler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def model_file(address: str, content: bytes = CONTENT) -> get_models.ModelFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return get_models.ModelFile("model.bin", f"{address}/remote.bin", sha256)


def test_fetched_verified_and_not_fetched_again(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models"
    assert get_models.get_files([model_file(server)], folder) == OK
    assert (folder / "model.bin").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["model.bin"], "nothing half-written is left"
    assert get_models.get_files([model_file(NOBODY)], folder) == OK, "what is there needs no network"
    assert f"ok       {folder}/model.bin" in capsys.readouterr().out


def test_a_damaged_file_is_named_with_what_to_do(server: str, tmp_path: Path) -> None:
    get_models.get_files([model_file(server)], tmp_path)
    with open(tmp_path / "model.bin", "r+b") as file:
        file.seek(100)
        file.write(b"X")
    with pytest.raises(CallError, match=rf"found \w{{64}}, wanted \w{{64}}.*rm {tmp_path}/model.bin"):
        get_models.get_files([model_file(server)], tmp_path)


def test_another_file_at_the_address_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="another file lies there"):
        get_models.get_files([model_file(server, b"what it should be")], tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_without_network_it_says_what_to_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = model_file(NOBODY)
    assert get_models.get_files([file], tmp_path) == BAD_CALL
    said = capsys.readouterr()
    assert said.err.startswith("ERROR: 1 of 1 files are missing")
    assert f"curl -L -o model.bin {file.url}" in said.out
    assert file.sha256 in said.out
    assert f"to {tmp_path}/model.bin" in said.out


def test_a_cut_line_leaves_nothing(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def send_half(handler: Handler, source: object, output: object) -> None:
        output.write(source.read(1000))
        handler.connection.close()

    monkeypatch.setattr(Handler, "copyfile", send_half)
    assert get_models.get_files([model_file(server)], tmp_path / "models") == BAD_CALL
    assert list((tmp_path / "models").iterdir()) == []


def test_each_set_of_files_is_whole() -> None:
    for name, files in get_models.FILES.items():
        assert len({file.name for file in files}) == len(files), name
        assert all(len(file.sha256) == 64 and file.url.startswith("https://") for file in files), name


@pytest.mark.usefixtures("without_hub")
def test_vad_needs_nothing_and_asr_its_environment() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        script = Path(get_models.__file__)
        return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True)

    assert "needs nothing" in run("vad").stdout
    done = run("asr")
    assert done.returncode == 2
    assert "envs/.built/asr/bin/python scripts/get_models.py asr" in done.stderr
