"""MB/s of reading a multimodal data set: zstd Parquet, JSON lines, a naive Flight server that opens Parquet
at each request, and ours over a port and a Unix socket, with 1, 2 and 4 clients on the same machine.

python benchmarks/flight.py

MB are 10^6 bytes of Arrow buffers as they arrive. Utterances of 2 to 10 s: mel and mfcc in float16, pitch,
voicing and energy. Ours sends each epoch shuffled, batches of like length; the others send stored order.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import ROOT, SCRIPTS, print_machine, print_table

sys.path[:0] = [str(SCRIPTS), str(ROOT / "tests")]
ROWS = 32  # of a batch
PART_ROWS, JSON_ROWS = 512, 100
TICKS_S = os.sysconf("SC_CLK_TCK")


def arrow_batches(case: str, folder: str, source: str, epoch: int) -> Iterator[Any]:
    """Yield the batches of an epoch as a case reads them."""
    import pyarrow as pa
    from pyarrow import flight, parquet

    parts = sorted(Path(folder, "train").glob("*.parquet"))
    if case == "parquet":
        for path in parts:
            yield from parquet.ParquetFile(path).iter_batches(ROWS)
    elif case == "jsonl":
        with open(Path(folder, "train.jsonl"), encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    elif case == "naive":
        client = flight.connect(source)
        for path in parts:
            yield from (chunk.data for chunk in client.do_get(flight.Ticket(str(path))))
    else:
        from networks.flight_dataset import open_reader

        pa.set_cpu_count(1)
        seed = None if "stored" in case else 1
        ticket = {"split": "train", "seed": seed, "epoch": epoch, "batch_size": ROWS}
        yield from open_reader(source).batches(ticket)


def client(case: str, folder: str, source: str, seconds: float) -> None:
    """Read epochs for some seconds; print (bytes, begin, end, CPU seconds)."""
    warm_up = arrow_batches(case, folder, source, 0)  # imports, connections and caches are not what is asked
    for _ in warm_up if case != "jsonl" else ():
        pass
    print("ready", flush=True)
    sys.stdin.readline()
    begin, cpu, got, epoch, rows = time.time(), time.process_time(), 0, 0, 0
    while time.time() - begin < seconds:
        for batch in arrow_batches(case, folder, source, epoch):
            got += json_bytes(batch) if case == "jsonl" else batch.nbytes
            rows += 1 if case == "jsonl" else batch.num_rows
        epoch += 1
    print(json.dumps([got, begin, time.time(), time.process_time() - cpu, rows]))


def json_bytes(row: dict[str, Any]) -> int:
    """Return what the arrays of a row take in Arrow."""
    return 2 * sum(len(row[name]) * len(row[name][0]) for name in ("mel", "mfcc")) + 8 * len(row["f0_hz"])


def naive_server() -> None:
    """Serve the files that tickets name, each opened at each request; print the port."""
    from pyarrow import flight, parquet

    class Server(flight.FlightServerBase):
        def do_get(self, _context: Any, ticket: Any) -> Any:
            file = parquet.ParquetFile(ticket.ticket.decode())
            return flight.GeneratorStream(file.schema_arrow, file.iter_batches(ROWS))

    server = Server("grpc://127.0.0.1:0")
    print(f"grpc://127.0.0.1:{server.port}", flush=True)
    server.serve()


def start_naive() -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Return the naive server and where it is."""
    process = subprocess.Popen([sys.executable, __file__, "--server"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, {"naive": process.stdout.readline().strip()}


def start_ours(folder: Path) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Return our server and where it is."""
    command = [SCRIPTS / "serve_flight.py", folder, "--port", "0", "--cache", folder.parent / "cache"]
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, text=True)
    until = time.time() + 60
    while not (folder / "flight.json").exists() and time.time() < until:
        time.sleep(0.05)
    told = json.loads((folder / "flight.json").read_text())
    return process, {"tcp": told["location"], "tcp, stored order": told["location"], "unix": told["unix"][0]}


def cpu_of(process: subprocess.Popen[str] | None) -> float:
    """Return the CPU seconds that a process has used so far."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def measure(case: str, folder: Path, source: str, clients: int, seconds: float, server: Any) -> list[float]:
    """Return MB/s of all clients together, utterances/s, and CPU s a GB of all clients and of the server."""
    command = [sys.executable, __file__, "--client", case, str(folder), source, str(seconds)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for _ in range(clients)]  # fmt: skip
    for process in running:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
    before = cpu_of(server)
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    told = [json.loads(process.communicate(timeout=600)[0]) for process in running]
    got = sum(one[0] for one in told)
    wall = max(one[2] for one in told) - min(one[1] for one in told)
    spent = [sum(one[3] for one in told), cpu_of(server) - before]
    return [got / wall / 1e6, sum(one[4] for one in told) / wall, *(cpu * 1e9 / got for cpu in spent)]


def make(folder: Path, utterances: int) -> None:
    """Write the data set, and as many of its rows as make 20 MB as JSON lines."""
    import numpy as np

    import toy_dataset
    from media.dataset_parts import write_part

    dataset = toy_dataset.toy_dataset(folder, {"train": 1, "valid": 8})
    random, parts = np.random.default_rng(0), []
    schema = toy_dataset.schema_of(toy_dataset.ARRAYS, len(dataset.emotion_names))
    for at in range(0, utterances, PART_ROWS):
        rows = [speech_row(index, random) for index in range(at, min(at + PART_ROWS, utterances))]
        name = f"train/part-{at // PART_ROWS:05d}.parquet"
        with open(folder / name, "wb") as file:
            write_part(rows, schema, file)
        content = (folder / name).read_bytes()
        parts.append({"file": name, "rows": len(rows), "bytes": len(content),
                      "sha256": hashlib.sha256(content).hexdigest()})  # fmt: skip
    told = {**dataset.content(), "splits": {**dataset.splits, "train": {"rows": utterances, "parts": parts}}}
    (folder / "dataset.json").write_text(json.dumps(told))
    with open(folder / "train.jsonl", "w", encoding="utf-8") as lines:
        lines.writelines(
            json.dumps({name: row[name].tolist() for name in toy_dataset.ARRAYS}) + "\n"
            for row in rows[:JSON_ROWS]
        )


def speech_row(index: int, random: Any) -> dict[str, Any]:
    """Return a row of 2 to 10 s whose mels compress as those of speech do: zstd leaves 78 % of both."""
    import toy_dataset

    frames = int(random.integers(200, 1001))
    row = {**toy_dataset.toy_row(index, index % 4), "frames": frames, "duration": frames / 100}
    for name, about in toy_dataset.ARRAYS.items():
        slow = random.standard_normal((frames, 1)).cumsum(axis=0) - 40
        values = slow + 6 * random.standard_normal((frames, about["width"]))
        row[name] = (values if about["width"] > 1 else values[:, 0]).astype(about["dtype"])
    return row


def gathering(folder: Path) -> None:
    """Print GB/s of putting shuffled batches together, in this process, by slices of rows and by `take`."""
    import numpy as np
    import pyarrow as pa

    blocks = [batch for path in sorted((folder.parent / "cache").glob("*.arrow")) for batch in
              pa.ipc.open_file(pa.memory_map(str(path))).read_all().to_batches()]  # fmt: skip
    table = pa.Table.from_batches(blocks)
    ends = np.cumsum([len(block) for block in blocks])
    rows = np.random.default_rng(0).permutation(len(table))[: 20 * ROWS].reshape(-1, ROWS)

    def slices(batch: Any) -> Any:
        at = np.searchsorted(ends, batch, side="right")
        first = batch - (ends - [len(block) for block in blocks])[at]
        return pa.concat_batches([blocks[index].slice(row, 1) for index, row in zip(at, first)])

    found = []
    for name, how in {"slices, concat_batches": slices, "Table.take": table.take}.items():
        [how(batch) for batch in rows]
        begin = time.perf_counter()
        got = sum(how(batch).nbytes for batch in rows)
        found.append([name, f"{got / 1e9 / (time.perf_counter() - begin):.2f}"])
    print_table(f"shuffled batches of {ROWS} rows", ["way", "GB/s"], found)


def main() -> None:
    """Print a table a number of clients, and one of the ways to put a batch together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=5.0, help="a measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--client", nargs=4, metavar="WORD", help=argparse.SUPPRESS)
    parser.add_argument("--server", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.server:
        return naive_server()
    if args.client:
        return client(*args.client[:3], float(args.client[3]))
    print_machine()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "corpus"
        make(folder, args.utterances)
        size = sum(path.stat().st_size for path in (folder / "train").glob("*.parquet"))
        print(f"{args.utterances} utterances of 2 to 10 s, {size / 1e6:.0f} MB as zstd Parquet")
        servers = {"naive": start_naive(), "ours": start_ours(folder)}
        try:
            for clients in args.clients:
                table(args, folder, servers, clients)
            gathering(folder)
        finally:
            for process, _ in servers.values():
                process.terminate()
                process.wait(20)
    return None


def table(args: argparse.Namespace, folder: Path, servers: dict[str, Any], clients: int) -> None:
    """Measure each case so many rounds, in turn; print the medians."""
    cases = [("parquet", "", None), ("jsonl", "", None)] if clients == 1 else [("parquet", "", None)]
    cases += [(case, source, process) for process, at in servers.values() for case, source in at.items()]
    if clients == 1:
        cases.append(("folder", str(folder), None))
    found: dict[str, list[list[float]]] = {case: [] for case, _, _ in cases}
    for _ in range(args.rounds):
        for case, source, process in cases:
            found[case].append(measure(case, folder, source, clients, args.seconds, process))
    medians = {
        case: [sorted(column)[len(column) // 2] for column in zip(*runs)] for case, runs in found.items()
    }
    rows = [
        [case, f"{rate:.0f}", f"{rows:.0f}", f"{mine:.2f}", f"{theirs:.2f}",
         f"{rate / medians['parquet'][0]:.2f}", f"{rate / medians['naive'][0]:.2f}"]
        for case, (rate, rows, mine, theirs) in medians.items()
    ]  # fmt: skip
    columns = ["case", "MB/s", "utterances/s", "client CPU s/GB", "server CPU s/GB", "× Parquet", "× naive"]
    print_table(f"{clients} client(s)", columns, rows)


if __name__ == "__main__":
    main()
