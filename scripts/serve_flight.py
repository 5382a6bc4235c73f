"""Serve multimodal data sets over Arrow Flight: each part is decoded once, for all trainers of all nodes.

    python scripts/serve_flight.py output/corpus
    sbatch slurm/flight.slurm output/corpus

DATA_DIR is a data set of build_parquet.py, or a folder of them. When the server listens, its address file
appears (DATA_DIR/flight.json unless --address-file says otherwise), which trainers wait for; they go on by
themselves when the server comes back elsewhere. Parts are decoded into Arrow IPC files in the job's own
$SLURM_TMPDIR, else $TMPDIR, else DATA_DIR/.arrow. Other nodes are served where --host lets them in, and only
with a token.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from amela import slurm
from amela.cli import not_negative, parser, positive, seconds
from amela.errors import OK, CallError, StoppedError, run_main
from amela.files import read_when_whole, write_aside
from amela.leaving import leave
from amela.log import log
from amela.signals import Stop

EVERYWHERE = ("0.0.0.0", "::", "")
LOOK_S = 0.2


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    flags = parser(__doc__)
    add = flags.add_argument
    add("data_dir", metavar="DATA_DIR", help="data set of build_parquet.py, or folder of data sets")
    add("--host", default="127.0.0.1", help="where to listen; 0.0.0.0 lets other nodes in")
    add(
        "--port",
        type=not_negative,
        default=9090,
        help="of the first process, the next one's is the next; 0: any free",
    )
    add(
        "--address-file",
        metavar="FILE",
        help="where trainers find the server (default: DATA_DIR/flight.json)",
    )
    add("--token-file", metavar="FILE",
        help="what clients must show, made where there is none; $AMELA_FLIGHT_TOKEN goes first")  # fmt: skip
    add("--tls-cert", metavar="FILE", help="certificate, PEM: encrypts; wants --tls-key")
    add("--tls-key", metavar="FILE", help="its key, PEM")
    add("--processes", type=positive, default=1, metavar="N", help="server processes, a port each")
    add(
        "--cache",
        metavar="DIR",
        help="folder of decoded parts (default: $SLURM_TMPDIR, $TMPDIR, DATA_DIR/.arrow)",
    )
    add("--cache-gb", type=float, metavar="GB", help="most that they may take, 10^9 bytes "
        "(default: what the disk has free)")  # fmt: skip
    add(
        "--idle-s",
        type=seconds,
        metavar="S",
        help="end after so many seconds without a request (default: never)",
    )
    args = flags.parse_args()
    args.data_dir = os.path.abspath(args.data_dir)
    args.address_file = os.path.abspath(args.address_file or os.path.join(args.data_dir, "flight.json"))
    if bool(args.tls_cert) != bool(args.tls_key):
        raise CallError("wanted both --tls-cert and --tls-key, or neither")
    if args.cache_gb is not None and not 0 < args.cache_gb < float("inf"):
        raise CallError(f"--cache-gb {args.cache_gb}: wanted more than 0 (10^9 bytes)")
    return args


def main() -> int:
    """Serve until a signal or until nobody asks; returns the exit status."""
    stop = Stop().listen()
    args = parse_args()

    from media.dataset import DatasetError
    from networks.flight_address import LOOPBACK, TOKEN
    from networks.flight_process import Helper, Process, Settings

    token = os.environ.get(TOKEN) or read_token(args.token_file)
    if not token and args.host not in LOOPBACK:
        raise CallError(
            f"--host {args.host}: whoever reaches this machine could read the data; wanted a token: type "
            f"--token-file FILE (made where there is none), or set {TOKEN}"
        )
    tls = read_tls(args)
    sockets = tempfile.mkdtemp(prefix="amela-flight-")
    settings = Settings(args.data_dir, args.host, args.port, sockets, args.address_file, args.cache,
                        args.cache_gb, token, tls)  # fmt: skip
    first, helpers = None, []
    try:
        first = Process(settings, 0, log)
        helpers = [Helper(settings, index) for index in range(1, args.processes)]
        places = [(first.port, first.socket), *(helper.where() for helper in helpers)]
        with stop:
            write_address(args, places)
            wait(stop, first, helpers, args.idle_s)
    except DatasetError as exc:
        raise CallError(str(exc)) from exc
    finally:
        remove_address(args.address_file)
        whole = close(first, helpers)
        shutil.rmtree(sockets, ignore_errors=True)
    stats = first.served.stats()
    log(
        f"ended: {stats['streams']} streams, {stats['rows']} rows, {stats['bytes'] / 1e9:.3g} GB by process 0"
    )
    if stop.wants_requeue:
        leave(stop, slurm.here(), stats["requests"] > 0, "request")
    if not whole:
        os._exit(OK)  # a client that does not read must not keep the server
    return OK


def close(first: Any, helpers: list[Any]) -> bool:
    """End all processes; False where a stream of this one did not."""
    for helper in helpers:
        helper.stop()
    whole = first is None or first.close()
    for helper in helpers:
        helper.join()
    return whole


def read_token(path: str | None) -> str | None:
    """Return the token of a file, which is made where there is none, for this user alone to read."""
    if path is None:
        return None
    try:
        with suppress(FileExistsError):
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with open(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        token = read_when_whole(path).decode().strip()
        others = os.stat(path).st_mode & 0o077
    except (OSError, ValueError) as exc:
        raise CallError(f"--token-file {path}: {exc}; wanted a file of one line of text") from exc
    if others or not token:
        raise CallError(f"--token-file {path}: empty, or others may read it; wanted: chmod 600 {path}")
    return token


def read_tls(args: argparse.Namespace) -> tuple[bytes, bytes] | None:
    """Return certificate and key."""
    if not args.tls_cert:
        return None
    try:
        return Path(args.tls_cert).read_bytes(), Path(args.tls_key).read_bytes()
    except OSError as exc:
        raise CallError(f"{exc.filename}: {exc.strerror}; wanted a file in PEM") from exc


def write_address(args: argparse.Namespace, places: list[tuple[int, str | None]]) -> None:
    """Tell where the server listens, by rename: (port, socket) of each process."""
    host = socket.gethostname() if args.host in EVERYWHERE else args.host
    scheme = "grpc+tls" if args.tls_cert else "grpc"
    locations = [f"{scheme}://{host}:{port}" for port, _ in places]
    told = {
        "location": locations[0],
        "locations": locations,
        "unix": [f"grpc+unix://{path}" for _, path in places if path],
        "host": host,
        "port": places[0][0],
        "node": socket.gethostname(),
        "pid": os.getpid(),
        "job": slurm.here().job,
        "data_dir": args.data_dir,
        "token_file": args.token_file and os.path.abspath(args.token_file),
        "tls_root": args.tls_cert and os.path.abspath(args.tls_cert),
    }
    try:
        with write_aside(args.address_file) as file:
            json.dump(told, file, indent=1)
    except CallError as exc:
        raise CallError(f"{exc}; or type --address-file FILE, in a folder that all nodes see") from exc
    log(f"serves {args.data_dir} at {', '.join(locations)}; its address is in {args.address_file}")


def remove_address(path: str) -> None:
    """Remove the address file, unless another server has written it since."""
    with suppress(OSError, ValueError):
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        if (told.get("node"), told.get("pid")) == (socket.gethostname(), os.getpid()):
            os.unlink(path)


def wait(stop: Stop, first: Any, helpers: list[Any], idle_s: float | None) -> None:
    """Return when a signal says so, or when nobody has asked any process for anything for `idle_s`."""
    while not stop:
        time.sleep(LOOK_S)
        if not all(helper.is_alive() for helper in helpers):
            raise StoppedError("a server process died; see above; the same command starts it again")
        idle = min([first.served.idle_s(), *(helper.idle_s() for helper in helpers)])
        if idle_s is not None and idle > idle_s:
            return log(f"nobody asked for anything for {idle:.0f} s (--idle-s {idle_s:g})")
    return None


if __name__ == "__main__":
    run_main(main)
