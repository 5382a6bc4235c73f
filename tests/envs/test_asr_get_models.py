"""get_models.py asr with the real huggingface_hub against a small hub on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
COMMIT = "b1469e1" + "0" * 33
WEIGHTS = os.urandom(300_000)
REPOSITORIES = {
    "nvidia/canary-qwen-2.5b": {
        "config.json": b'{"model": "salm"}', "model.safetensors": WEIGHTS, "README.md": b"not needed"
    },
    "Qwen/Qwen3-1.7B": {
        name: name.encode()  # equal files would be fetched once
        for name in ("config.json", "generation_config.json", "merges.txt", "model-1-of-2.safetensors",
                     "tokenizer.json", "tokenizer_config.json", "vocab.json")
    },
}  # fmt: skip


def etag(name: str, content: bytes) -> str:
    """Large files are known by their SHA-256, small ones by git's SHA-1 of a blob."""
    if name.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's interface as a download uses."""

    protocol_version = "HTTP/1.1"
    served: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        """Answer with headers only."""
        self.do_GET(body=False)

    def do_GET(self, *, body: bool = True) -> None:
        """Answer for a repository's list of files, or for a file."""
        path = self.path.split("?")[0].strip("/")
        for name, files in REPOSITORIES.items():
            if path.startswith(f"api/models/{name}"):
                siblings = [{"rfilename": file} for file in files]
                tree = [{"type": "file", "path": file, "size": len(data), "oid": etag(file, data)}
                        for file, data in files.items()]  # fmt: skip
                answer = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
                self.send(json.dumps(tree if "/tree/" in path else answer).encode(), {}, body)
                return
            for file, content in files.items():
                if path == f"{name}/resolve/{COMMIT}/{file}":
                    if body:
                        self.served.append(f"{name}/{file}")
                    tag = f'"{etag(file, content)}"'
                    self.send(content, {"ETag": tag, "X-Repo-Commit": COMMIT, "X-Linked-ETag": tag}, body)
                    return
        self.send_error(404)

    def send(self, content: bytes, headers: dict[str, str], body: bool) -> None:
        """Send an answer."""
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    """Yield the address of a hub with the two repositories that Canary-Qwen needs."""
    Hub.served = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def get_models(home: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, str(REPOSITORY / "scripts/get_models.py"), "asr", *arguments]
    env |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=env)


def test_fetched_verified_and_then_without_network(hub: str, tmp_path: Path) -> None:
    done = get_models(tmp_path, hub)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"nvidia/canary-qwen-2.5b at {COMMIT}" in done.stdout
    small = [name for name in REPOSITORIES["Qwen/Qwen3-1.7B"] if not name.endswith(".safetensors")]
    assert sorted(set(Hub.served)) == [
        *(f"Qwen/Qwen3-1.7B/{name}" for name in small),
        "nvidia/canary-qwen-2.5b/config.json", "nvidia/canary-qwen-2.5b/model.safetensors",
    ]  # fmt: skip
    again = get_models(tmp_path, "http://127.0.0.1:9")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("ok       ") == 8


def test_a_damaged_file_is_found(hub: str, tmp_path: Path) -> None:
    assert get_models(tmp_path, hub).returncode == 0
    blob = tmp_path / "hub/models--nvidia--canary-qwen-2.5b/blobs" / etag("model.safetensors", WEIGHTS)
    blob.chmod(0o644)
    blob.write_bytes(b"X" + WEIGHTS[1:])
    done = get_models(tmp_path, hub)
    assert done.returncode == 2
    assert f"rm {blob}" in done.stderr


def test_without_network_and_cache_it_says_what_to_copy(tmp_path: Path) -> None:
    done = get_models(tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "HF_HOME=hf hf download nvidia/canary-qwen-2.5b" in done.stdout
    assert "hf download Qwen/Qwen3-1.7B" in done.stdout
    assert f"rsync -a hf/hub/models--Qwen--Qwen3-1.7B {tmp_path}/hub/" in done.stdout


def test_a_repository_without_a_nemo_file_is_refused(hub: str, tmp_path: Path) -> None:
    done = get_models(tmp_path, hub, "--model", "Qwen/Qwen3-0.6B")
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR: Qwen/Qwen3-0.6B")
