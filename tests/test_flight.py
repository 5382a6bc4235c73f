"""Readers of a multimodal data set: from its folder and from serve_flight.py the same rows, in one order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from multiprocessing.context import ForkProcess
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import flight

from media import dataset_parts, parquet_part
from media.dataset import DatasetError
from media.dataset_reader import DirectReader
from media.tickets import TicketError, read_ticket
from networks import flight_dataset, flight_process, sampler
from networks.flight_address import ServerError
from networks.flight_dataset import ArrowFlightDataset, open_reader
from networks.flight_reader import FlightReader
from networks.prefetch import prefetched
from toy_dataset import toy_dataset

ROWS = {"train": 60, "valid": 9, "test": 0}
EPOCH = {"split": "train", "seed": 3, "batch_size": 8}
TICKETS: list[dict[str, Any]] = [
    EPOCH,
    {**EPOCH, "epoch": 2, "rank": 1, "world": 3},
    {**EPOCH, "batch_size": 1, "rank": 1, "world": 2},  # of each batch one rank gets nothing
    {**EPOCH, "start": 2, "every": 3, "columns": ["tokens", "mel", "mel_shape", "key"]},
    {**EPOCH, "by_length": False, "stop": 3},
    {**EPOCH, "start": 8},  # over
    {"split": "valid", "batch_size": 4},
    {"split": "test"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of 4 parts, 4 rows a row group; each 8th row has no audio."""
    found = tmp_path_factory.mktemp("data") / "corpus"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_parts, "GROUP_ROWS", 4)
        toy_dataset(found, ROWS, text_every=8)
    return found


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[flight_process.Process]:
    """Yield a server in this process, its cache beside the data."""
    told = {"port": 0, "token": None, "tls": None, "cache_gb": None, "host": "127.0.0.1", **settings}
    sockets = folder.parent / "s"
    sockets.mkdir(exist_ok=True)
    address = str(folder.parent / "none.json")
    cache = str(folder.parent / "cache")
    process = flight_process.Process(
        flight_process.Settings(str(folder), sockets=str(sockets), address_file=address, cache=cache, **told),
        0,
        print,
    )
    yield process
    assert process.close()


def reader_of(process: flight_process.Process, **how: Any) -> FlightReader:
    return FlightReader(f"grpc://127.0.0.1:{process.port}", **{"wait_s": 5.0, **how})


def from_folder(folder: Path, **how: Any) -> DirectReader:
    return DirectReader(
        str(folder), sampler.batches, sampler.share, **{"cache": str(folder.parent / "c"), **how}
    )


def start(folder: Path, *flags: str, **env: str) -> subprocess.Popen[str]:
    """Return serve_flight.py as a process of its own, listening."""
    process = call(folder, "--port", "0", *flags, **env)
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        try:
            if json.loads((folder / "flight.json").read_text())["pid"] == process.pid:
                return process
        except (OSError, ValueError):
            pass
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


def call(folder: Path, *flags: str, **env: str) -> subprocess.Popen[str]:
    script = Path(__file__).resolve().parents[1] / "scripts/serve_flight.py"
    command = [sys.executable, str(script), str(folder), "--cache", str(folder.parent / "cache"), *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **env}
    )


def keys(batches: Any) -> list[list[str]]:
    return [batch["key"].to_pylist() for batch in batches]


def keys_of(batch: pa.RecordBatch) -> list[str]:
    """Return the keys of a batch: a collate that worker processes can find."""
    return list(batch["key"].to_pylist())


def same(found: list[pa.RecordBatch], wanted: list[pa.RecordBatch]) -> bool:
    return len(found) == len(wanted) and all(
        one.equals(other) and one.schema.equals(other.schema, check_metadata=True)
        for one, other in zip(found, wanted)
    )


# what is read


def test_every_reader_gives_the_same_rows(folder, monkeypatch):
    monkeypatch.setattr(parquet_part, "BLOCK_BYTES", 50_000)  # decoded files have several blocks
    stored = pa.concat_tables(
        pa.Table.from_batches([batch]) for batch in from_folder(folder).batches({"split": "train"})
    )
    said: list[str] = []
    readers = [
        from_folder(folder),
        from_folder(folder, cache=str(folder.parent / "none"), cache_gb=1e-6, log=said.append),
    ]
    with serving(folder) as process:
        readers += [reader_of(process), FlightReader(f"grpc+unix://{process.socket}")]
        for ticket in TICKETS:
            wanted = list(readers[0].batches(ticket))
            for reader in readers[1:]:
                assert same(list(reader.batches(ticket)), wanted), (reader, ticket)
        for reader in readers:
            assert reader.count("train") == 60
            assert reader.dataset["hop_s"] == 0.01
            assert reader.lengths("train").tolist() == readers[0].lengths("train").tolist()
    assert "4 of 4 parts would need" in said[0]
    assert stored["key"].to_pylist() == [f"row{index:05d}" for index in range(60)]


def test_the_order_is_that_of_the_sampler(folder):
    reader = from_folder(folder)
    lengths = reader.lengths("train")
    batches = reader.batches({"split": "train"})
    table = pa.Table.from_batches(batches)
    assert lengths.dtype == np.int32
    assert lengths.tolist() == [row["frames"] or len(row["tokens"]) for row in table.to_pylist()]
    wanted = [
        [f"row{index:05d}" for index in sampler.share(batch, lengths, 1, 2)]
        for batch in sampler.batches(lengths, 3, 1, 8)
    ]
    assert keys(reader.batches({**EPOCH, "epoch": 1, "rank": 1, "world": 2})) == wanted


@pytest.mark.parametrize("world", [2, 3])
def test_all_ranks_together_see_each_row_once(folder, world):
    reader = from_folder(folder)
    whole = keys(reader.batches(EPOCH))
    ranks = [keys(reader.batches({**EPOCH, "rank": rank, "world": world})) for rank in range(world)]
    assert [sorted(chain(*parts)) for parts in zip(*ranks)] == [sorted(batch) for batch in whole]
    assert len({key for batch in whole for key in batch}) == 60


def test_endpoints_are_tickets_and_together_the_whole(folder):
    with serving(folder) as process:
        client = flight.connect(f"grpc://127.0.0.1:{process.port}")
        known = {tuple(info.descriptor.path): info.total_records for info in client.list_flights()}
        assert known == {(b"corpus", b"train"): 60, (b"corpus", b"valid"): 9, (b"corpus", b"test"): 0}
        for descriptor, wanted in [
            (flight.FlightDescriptor.for_path("train"), {"split": "train"}),
            (flight.FlightDescriptor.for_command(json.dumps(EPOCH)), EPOCH),
        ]:
            info = client.get_flight_info(descriptor)
            found = [client.do_get(endpoint.ticket).read_all() for endpoint in info.endpoints]
            rows = [*chain(*keys(from_folder(folder).batches(wanted)))]
            assert pa.concat_tables(found)["key"].to_pylist() == rows
            assert info.total_records == 60
            assert info.schema.equals(found[0].schema)
        assert len(info.endpoints) == 4


def test_a_folder_of_data_sets_is_served_by_name(folder, tmp_path):
    for name, seed in [("a", 1), ("b", 2)]:
        toy_dataset(tmp_path / name, {"train": 3, "valid": 1}, seed=seed)
    with serving(tmp_path) as process:
        with pytest.raises(ServerError, match="no data set None; wanted one of a, b"):
            reader_of(process)
        for name in "ab":
            found = list(reader_of(process, dataset=name).batches({"split": "train"}))
            assert same(found, list(from_folder(tmp_path / name).batches({"split": "train"})))
        toy_dataset(tmp_path / "later", {"train": 3})
        assert reader_of(process, dataset="later").count("train") == 3


# going on where it was


def test_an_epoch_goes_on_at_its_start(folder):
    with serving(folder) as process:
        for reader in (from_folder(folder), reader_of(process)):
            whole = keys(reader.batches(EPOCH))
            assert [keys(reader.batches({**EPOCH, "start": start})) for start in (0, 3, 7)] == [
                whole, whole[3:], whole[7:]
            ]  # fmt: skip


def test_a_server_that_is_killed_and_comes_back_loses_no_row_and_gives_none_twice(tmp_path):
    folder = tmp_path / "corpus"
    toy_dataset(folder, {"train": 1500}, part_rows=500)
    ticket = {"split": "train", "seed": 1, "batch_size": 3, "rank": 1, "world": 2}
    wanted = keys(from_folder(folder).batches(ticket))
    servers, said, found, sockets = [start(folder)], [], [], []
    reader = FlightReader(str(folder / "flight.json"), wait_s=60, prefetch=1, log=said.append)
    try:
        for index, batch in enumerate(reader.batches(ticket)):
            found.append(batch["key"].to_pylist())
            assert found[index] == wanted[index]
            if index in (2, 350):
                told = json.loads((folder / "flight.json").read_text())
                sockets.append(Path(told["unix"][0].removeprefix("grpc+unix://")).parent)
                servers[-1].kill()
                servers[-1].wait()
                servers.append(start(folder))  # at another port
        assert found == wanted
        assert len([line for line in said if "lost before batch" in line]) >= 2, said
    finally:
        for server in servers:
            server.terminate()
            server.wait()
        for path in sockets:  # of those that were killed
            rmtree(path, ignore_errors=True)


def test_the_dataset_keeps_its_place(folder):
    with serving(folder) as process:
        for reader in (from_folder(folder), reader_of(process)):
            whole = keys(reader.batches(EPOCH))
            dataset = ArrowFlightDataset(reader, EPOCH, collate=keys_of)
            assert len(dataset) == 8
            begun = [item for _, item in zip(range(3), dataset)]
            again = ArrowFlightDataset(from_folder(folder), EPOCH, collate=keys_of)
            again.load_state_dict(json.loads(json.dumps(dataset.state_dict())))
            assert begun + list(again) == whole
            again.set_epoch(1)
            assert list(again) == keys(reader.batches({**EPOCH, "epoch": 1}))
            with pytest.raises(TicketError, match="seed was 3 and is 4"):
                ArrowFlightDataset(reader, {**EPOCH, "seed": 4}).load_state_dict(dataset.state_dict())


def test_workers_of_a_loader_keep_order_and_place(folder):
    with serving(folder) as process:
        dataset = ArrowFlightDataset(reader_of(process), EPOCH, collate=keys_of)
        whole = keys(dataset.reader.batches(EPOCH))
        dataset.load_state_dict({**dataset.state_dict(), "start": 1})
        loader = dataset.loader(2)
        begun = [next(loader), next(loader)]
        assert dataset.state_dict()["start"] == 3
        assert begun + list(loader) == whole[1:]


# what is refused


def test_a_forked_worker_says_what_to_do_instead_of_hanging(folder, monkeypatch):
    with serving(folder) as process:
        dataset = ArrowFlightDataset(reader_of(process), EPOCH)
        monkeypatch.setattr(flight_dataset, "get_worker_info", lambda: SimpleNamespace(id=0, num_workers=1))
        monkeypatch.setattr(flight_dataset, "current_process", ForkProcess)  # to fork here would harm gRPC
        with pytest.raises(RuntimeError, match=r"was forked, and gRPC does not outlive that; wanted .*spawn"):
            next(iter(dataset))


def test_changed_data_are_refused(tmp_path):
    folder = tmp_path / "corpus"
    toy_dataset(folder, {"train": 20})
    with serving(folder) as process:
        reader = reader_of(process)
        state = ArrowFlightDataset(reader, EPOCH).state_dict()
        toy_dataset(folder, {"train": 20}, seed=1)
        with pytest.raises(ServerError, match=r"the data set corpus was changed: .* wanted"):
            list(reader.batches(EPOCH))
        with pytest.raises(TicketError, match="the data set was changed"):
            from_folder(folder).batches({**EPOCH, "digest": reader.digest})
        with pytest.raises(TicketError, match="digest was"):
            ArrowFlightDataset(from_folder(folder), EPOCH).load_state_dict(state)
        assert len(list(reader_of(process).batches(EPOCH))) == 3


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, wanted .* by dataset.json"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"x", b"y", 1)), "was changed"),
        (lambda path: path.write_bytes(b"\0" * path.stat().st_size), "wanted a part as build_parquet.py"),
        (lambda path: path.unlink(), "no such file, and dataset.json lists it"),
        (
            lambda path: (path.parents[1] / "dataset.json").unlink(),
            "no data set|no such file; wanted a whole",
        ),
    ],
    ids=["short", "changed", "zeros", "gone", "no dataset.json"],
)
def test_a_damaged_data_set_is_named(tmp_path, harm, complaint):
    folder = tmp_path / "corpus"
    toy_dataset(folder, {"train": 20})
    with serving(folder) as process:
        reader = reader_of(process)
        harm(folder / "train/part-00000.parquet")
        with pytest.raises(ServerError, match=complaint):
            list(reader.batches(EPOCH))
        for how in ({}, {"cache": str(tmp_path / "none"), "cache_gb": 1e-6}):
            with pytest.raises(DatasetError, match=complaint):
                list(from_folder(folder, **how).batches(EPOCH))


@pytest.mark.parametrize(
    ("ticket", "complaint"),
    [
        (b"\xff", "wanted JSON"),
        (b"[]", "wanted an object"),
        (b"{}", "no split"),
        (b'{"split": "dev"}', "no split 'dev'; wanted one of train, valid, test"),
        (b'{"split": "train", "shuffle": true}', "found 'shuffle', wanted some of"),
        (b'{"split": "train", "rank": 2, "world": 2}', "rank 2 of 2; wanted 0 to 1"),
        (b'{"split": "train", "batch_size": 0}', "batch_size is 0; wanted an integer of at least 1"),
        (b'{"split": "train", "epoch": true}', "epoch is True; wanted an integer"),
        (b'{"split": "train", "start": null}', "start is None"),
        (b'{"split": "train", "columns": "mel"}', "columns is 'mel'; wanted a list"),
        (b'{"split": "train", "columns": ["pitch"]}', "no column 'pitch'; wanted some of key"),
        (b'{"split": "train", "dataset": "other"}', "no data set 'other'; wanted one of corpus"),
    ],
)
def test_a_bad_ticket_is_answered_with_what_was_wanted(folder, ticket, complaint):
    with serving(folder) as process:
        client = flight.connect(f"grpc://127.0.0.1:{process.port}")
        with pytest.raises(flight.FlightError, match=complaint) as caught:
            client.do_get(flight.Ticket(ticket)).read_all()
        assert "Traceback" not in str(caught.value)


def test_a_ticket_is_plain_json_and_comes_back_from_it():
    ticket = read_ticket({**EPOCH, "columns": ["mel"]})
    assert read_ticket(json.dumps(ticket._asdict())) == ticket


def test_only_the_token_lets_in(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("AMELA_FLIGHT_TOKEN", raising=False)
    (tmp_path / "right").write_text("secret\n")
    (tmp_path / "wrong").write_text("secre\n")
    with serving(folder, token="secret") as process:
        for how in ({}, {"token_file": str(tmp_path / "wrong")}):
            with pytest.raises(ServerError, match="wrong token, or none; wanted the server's"):
                reader_of(process, **how)
        client = flight.connect(f"grpc://127.0.0.1:{process.port}")
        for ask in (client.list_flights, client.list_actions, lambda: client.do_action("stats"),
                    lambda: client.do_get(flight.Ticket(b'{"split": "train"}'))):  # fmt: skip
            with pytest.raises(flight.FlightUnauthenticatedError):
                list(ask())
        assert reader_of(process, token_file=str(tmp_path / "right")).count("train") == 60
        monkeypatch.setenv("AMELA_FLIGHT_TOKEN", "secret")
        assert len(list(reader_of(process).batches(EPOCH))) == 8


def test_tls(folder):
    tls = Path(__file__).parent / "data/tls"
    with serving(folder, tls=tuple((tls / name).read_bytes() for name in ("cert.pem", "key.pem"))) as process:
        at = f"grpc+tls://localhost:{process.port}"
        assert len(list(FlightReader(at, tls_root=str(tls / "cert.pem"), wait_s=5).batches(EPOCH))) == 8
        with pytest.raises(ServerError, match=r"no server there for 0\.5 s"):
            FlightReader(at, wait_s=0.5)


def test_a_server_that_is_not_there_is_waited_for(folder, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for source in (f"grpc://127.0.0.1:{port}", str(tmp_path / "flight.json")):
        begin = time.monotonic()
        with pytest.raises(ServerError, match=r"no server there for 0\.5 s .* start it"):
            open_reader(source, wait_s=0.5)
        assert 0.5 <= time.monotonic() - begin < 5
    with pytest.raises(DatasetError, match="no such file; wanted a whole data set"):
        open_reader(str(tmp_path / "nowhere"))


# serve_flight.py


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--port", "PORT"], "Address already in use; wanted a free port"),
        (["--host", "0.0.0.0"], "wanted a token"),
        (["--host", "no.such.host.invalid", "--token-file", "NEW"], "wanted a free port here"),
        (["--tls-cert", "x"], "wanted both --tls-cert and --tls-key"),
        (["--token-file", "OPEN"], "empty, or others may read it"),
        (["--cache-gb", "0"], "wanted more than 0"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_bad_calls_end_with_a_sentence(folder, tmp_path, flags, complaint):
    (tmp_path / "OPEN").write_text("secret\n")
    (tmp_path / "OPEN").chmod(0o644)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        values = {"PORT": port, "NEW": str(tmp_path / "NEW"), "OPEN": str(tmp_path / "OPEN")}
        process = call(folder, *[values.get(flag, flag) for flag in flags])
        told = process.communicate(timeout=60)[0]
    assert process.returncode == 2, told
    assert complaint in told
    assert "Traceback" not in told


def test_a_folder_without_data_is_no_data_set(tmp_path):
    process = call(tmp_path, "--port", "0")
    assert "has a dataset.json; wanted what build_parquet" in process.communicate(timeout=60)[0]
    assert process.returncode == 2


def test_it_ends_by_itself_when_nobody_asks_and_takes_its_address_away(tmp_path):
    folder = tmp_path / "corpus"
    toy_dataset(folder, {"train": 600}, part_rows=200)
    process = start(folder, "--idle-s", "1", "--token-file", str(tmp_path / "token"))
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    reader = FlightReader(str(folder / "flight.json"), wait_s=5, prefetch=1)
    batches = reader.batches({"split": "train", "batch_size": 1})
    for _ in range(3):
        next(batches)
    time.sleep(1.6)
    assert (folder / "flight.json").exists(), "a stream was open"
    batches.close()
    assert process.wait(20) == 0
    assert "nobody asked for anything for 1 s" in process.communicate()[0]
    assert not (folder / "flight.json").exists()


def test_a_signal_ends_all_its_processes_also_where_a_client_does_not_read(tmp_path, monkeypatch):
    folder = tmp_path / "corpus"
    toy_dataset(folder, {"train": 600}, part_rows=200)
    process = start(folder, "--processes", "2")
    told = json.loads((folder / "flight.json").read_text())
    assert len(told["locations"]) == len(told["unix"]) == 2
    client = [flight.connect(location) for location in told["locations"]]
    streams = [one.do_get(flight.Ticket(b'{"split": "train", "batch_size": 1}')) for one in client]
    for stream in streams:
        stream.read_chunk()
    endpoints = client[1].get_flight_info(flight.FlightDescriptor.for_path("train")).endpoints
    assert [str(endpoint.locations[0].uri.decode()) for endpoint in endpoints[:2]] == told["locations"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    for location in told["locations"]:
        with pytest.raises(ServerError):
            FlightReader(location, wait_s=0.1)


@pytest.mark.parametrize("asked", [True, False])
def test_the_time_limit_requeues_a_server_that_served(folder, tmp_path, asked):
    wish = tmp_path / "requeue"
    job = {"AMELA_LAUNCHER": "slurm/flight.slurm", "SLURM_JOB_ID": "7", "AMELA_LOCAL_SBATCH": str(wish)}
    process = start(folder, **job)
    if asked:
        open_reader(str(folder / "flight.json"))
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 0
    assert wish.exists() == asked
    assert not (folder / "flight.json").exists()


def test_a_server_is_found_only_where_it_listens(folder, tmp_path, monkeypatch):
    process = start(folder)
    try:
        monkeypatch.setattr(socket, "gethostname", lambda: "another-node")
        with pytest.raises(ServerError, match="listens to its own node alone, and this is another-node"):
            open_reader(str(folder / "flight.json"), wait_s=1)
    finally:
        process.terminate()
        process.wait()


# decoded parts


def test_decoded_parts_are_shared_and_bounded(tmp_path):
    for name, seed in [("old", 1), ("new", 2)]:
        toy_dataset(tmp_path / name, {"train": 20}, seed=seed)
    cache = tmp_path / "cache"

    def read(name: str, **how: Any) -> list[str]:
        said: list[str] = []
        list(from_folder(tmp_path / name, cache=str(cache), log=said.append, **how).batches(EPOCH))
        return said

    assert read("old") == []
    old = sorted(cache.glob("*.arrow"))
    size_gb = sum(path.stat().st_size for path in old) / 1e9
    (cache / "killed.tmp").write_bytes(b"x")
    before = [path.stat().st_ino for path in old]
    assert read("old", cache_gb=size_gb) == []
    assert [path.stat().st_ino for path in sorted(cache.glob("*.arrow"))] == before, "not decoded again"
    assert not (cache / "killed.tmp").exists()
    assert "2 of 2 parts would need" in read("new", cache_gb=size_gb)[0]  # what was used just now stays
    assert sorted(cache.glob("*.arrow")) == old
    for path in old:
        os.utime(path, (time.time() - 86400,) * 2)
    assert read("new", cache_gb=1.2 * size_gb) == []
    assert len(sorted(cache.glob("*.arrow"))) == 2
    assert not {*old} & {*cache.glob("*.arrow")}
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_decoded_part_that_is_not_whole_is_made_anew(tmp_path):
    toy_dataset(tmp_path / "corpus", {"train": 20})
    wanted = list(from_folder(tmp_path / "corpus").batches(EPOCH))
    for path in (tmp_path / "c").glob("*.arrow"):
        path.write_bytes(path.read_bytes()[:-100])
    assert same(list(from_folder(tmp_path / "corpus").batches(EPOCH)), wanted)


def test_what_goes_wrong_ahead_is_raised_in_its_place():
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(3)
            raise ValueError("three")
        finally:
            closed.append(True)

    found = prefetched(items(), 2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    left = prefetched(items(), 1)
    next(left)
    left.close()
    until = time.monotonic() + 5
    while len(closed) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(closed) == 2
