"""Watch training runs and stages in a browser: losses live, grids, and how far each stage is.

    python scripts/dashboard.py
    python scripts/dashboard.py checkpoints metadata/corpus.json --port 8765
    sbatch slurm/dashboard.slurm

Prints the address of the page, whose token lets nobody else in, and the ssh line that brings it to another
computer. It reads what trainers and stages leave on the disk (metrics.jsonl, heartbeats): they may run on any
node, never wait for it, and it may come and go. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from amela import cli, slurm
from amela.errors import OK, CallError, run_main
from amela.log import log

DEFAULT = ("checkpoints", "metadata")
LIBRARY = Path(sys.prefix) / "share" / "amela" / "chart.umd.js"


def tunnel(host: str, port: int) -> str:
    """Return the line that brings the page to the computer where it is typed."""
    from media.dashboard.server import LOOPBACK

    node = socket.gethostname()
    login = os.environ.get("SLURM_SUBMIT_HOST") or "LOGIN"
    if host not in LOOPBACK:  # anybody may connect to the node, so the login node can
        return f"ssh -L {port}:{node}:{port} {login}"
    is_remote = slurm.here().job and login != node  # the node answers only itself: ssh goes to it
    jump = f"-J {login} " if is_remote else ""
    return f"ssh -L {port}:127.0.0.1:{port} {jump}{node}"


def make_hub(folders: list[str]) -> Any:
    """Return the hub of some folders."""
    from amela import watching
    from amela.run_tail import Tail
    from media.dashboard.hub import Hub

    def find_others(known: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        watched = {os.path.realpath(path): losses for path, losses in known.items()}
        grids = watching.find_grids(folders, lambda run: watched.get(os.path.realpath(run)))
        return grids, watching.find_stages(folders)

    return Hub(folders, lambda: watching.find_runs(folders), find_others, Tail)


async def serve(args: argparse.Namespace) -> int:
    """Serve the page until a signal ends it; return the exit status."""
    import asyncio

    from media.dashboard import page, server

    hub, library, stop = make_hub(args.folders), _library(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    html = page.template()
    try:
        running = await server.serve(
            args.host,
            args.port,
            args.token,
            lambda nonce: page.fill(html, args.token, nonce),
            library,
            hub.serve_page,
        )
    except OSError as exc:
        raise _cannot_listen(args, exc) from exc
    async with running:
        port = running.sockets[0].getsockname()[1]
        _say(args, port)
        work = [asyncio.create_task(task) for task in (hub.scan(), hub.follow(), stop.wait())]
        ended, others = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        for task in ended:
            task.result()  # a bug is a bug
    log("ended; the runs and stages go on")
    return OK


def _say(args: argparse.Namespace, port: int) -> None:
    from media.dashboard.server import LOOPBACK, address

    log(f"watching {', '.join(args.folders)}")
    if args.host not in LOOPBACK:
        log(
            f"warning: --host {args.host}: the port can be reached from other machines, and what is sent is "
            "not encrypted; whoever knows the token can look"
        )
    log(f"on this machine open  {address(args.host, port, args.token)}")
    there = address("127.0.0.1", port, args.token)
    log(f"from your own, type   {tunnel(args.host, port)}   and open  {there}")


def _library() -> bytes:
    try:
        return LIBRARY.read_bytes()
    except OSError as exc:
        raise CallError(
            f"{LIBRARY}: {exc.strerror}; wanted Chart.js, which comes with the environments: type "
            "envs/create.sh local, then envs/.built/local/bin/python scripts/dashboard.py"
        ) from exc


def _cannot_listen(args: argparse.Namespace, exc: OSError) -> CallError:
    if exc.errno == errno.EADDRINUSE:
        return CallError(
            f"--port {args.port}: taken on {args.host}, maybe by another dashboard: end it, or give another "
            "port (0: any free one)"
        )
    return CallError(f"--host {args.host} --port {args.port}: cannot listen there: {exc.strerror or exc}")


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    flags = cli.parser(__doc__)
    add = flags.add_argument
    add("folders", nargs="*", default=list(DEFAULT), metavar="FOLDER",
        help="runs, manifests, or folders of them (default: checkpoints metadata)")  # fmt: skip
    add("--port", type=cli.not_negative, default=8765, help="of page and WebSocket; 0: any free one")
    add("--host", default="127.0.0.1", help="address to listen on; another one lets other machines in")
    add("--token", default=os.environ.get("AMELA_DASHBOARD_TOKEN"),
        help="what the address must hold (default: AMELA_DASHBOARD_TOKEN, else a new random one); give the "
        "same again, and open pages find a dashboard that was started anew")  # fmt: skip
    args = flags.parse_args()
    import secrets

    args.token = secrets.token_urlsafe(24) if args.token is None else args.token
    if not args.token or not args.token.isprintable():
        raise CallError(
            "--token: found nothing, wanted a word that nobody guesses; leave it out for a random one"
        )
    if args.port > 65535:
        raise CallError(f"--port {args.port}: wanted 0 to 65535")
    for folder in args.folders:
        if os.path.isfile(folder) and not folder.endswith(".json"):
            raise CallError(f"{folder}: a file; wanted a folder, or a manifest (.json)")
        if not os.path.exists(folder):
            log(f"warning: {folder} is not there yet; what appears in it is shown")
    return args


def main() -> int:
    """Serve the dashboard; return the exit status."""
    args = parse_args()
    import asyncio
    import importlib.util

    if importlib.util.find_spec("websockets") is None:
        raise CallError(
            f"{sys.executable} has no package websockets: type envs/create.sh local, then "
            "envs/.built/local/bin/python scripts/dashboard.py"
        )
    return asyncio.run(serve(args))


if __name__ == "__main__":
    run_main(main)
