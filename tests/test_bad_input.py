"""Bad input: one clear sentence, the status of a bad call, no trace left; and odd input that is fine."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest

from amela.merge import merge
from amela.state import stage_folder
from arrays import Task, make_manifest, read_manifest, run_array, toy_stage, wait_until
from memory import peak_mib

FINE = b'{"id": "fine", "text": "a b"}\n'


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def only_error(log):
    """Return the one ERROR line of a log without a traceback."""
    text = log.read_text()
    assert "Traceback" not in text, text
    [line] = [line for line in text.splitlines() if line.startswith("ERROR: ")]
    return line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"one two\n", "m.json:1: found Expecting value"),
        (FINE + b"{'id': 'b'}\n", "m.json:2: found Expecting property name"),
        (b'[{"id": "a"}, {"id": "b"}]\n', "m.json:1: found a JSON array, wanted one JSON object a line"),
        (b'[\n{"id": "a"},\n{"id": "b"}\n]\n', "m.json:1: found a JSON array"),
        (b"", "m.json: found no record, wanted one JSON object a line"),
        (b"\n \r\n", "m.json: found no record"),
        (FINE + b'{"id": "\xe9t\xe9"}\n', "m.json:2: found byte 8 is not UTF-8, wanted UTF-8: convert"),
        ('{"id": "a"}\n{"id": "b"}'.encode("utf-16"), "m.json:1: found byte 0 is not UTF-8"),
        (FINE + b'{"audio_filepath": "a/b.wav"}\n', "m.json:2: found the relative path 'a/b.wav'"),
        (FINE + b'{"text": "a b"}\n', "m.json:2: found neither `audio_filepath` nor `id`"),
        (FINE + b'{"id": "b", "duration": NaN}\n', "m.json:2: found NaN is no JSON number"),
        (FINE + FINE, "m.json:2: found the id 'fine' of line 1 again"),
        (FINE + b"\x00" * 5000, "m.json:2: found Expecting value"),
        (b"RIFF\x24\x08\x00\x00WAVEfmt \xff\xff\n", "m.json:1: found byte"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_manifest_is_named_with_the_line(tmp_path, log, content, said):
    manifest = tmp_path / "m.json"
    manifest.write_bytes(content)
    assert Task([manifest], log=log).wait() == 2
    assert f"{tmp_path}/{said}" in only_error(log)
    assert manifest.read_bytes() == content
    assert not list(tmp_path.glob(".amela/*/*/results/*"))
    manifest.write_bytes(FINE)  # once mended, the same command works
    assert Task([manifest]).wait() == 0
    assert read_manifest(manifest)[0]["words"] == 2


def test_what_is_no_file_is_said(tmp_path, log):
    assert Task([tmp_path / "none.json"], log=log).wait() == 2
    assert "none.json: no such file; wanted a manifest" in only_error(log)
    log.unlink()
    assert Task([tmp_path], log=log).wait() == 2
    assert f"{tmp_path}: found a folder, wanted a manifest: make one by `vad.py" in only_error(log)
    log.unlink()
    (tmp_path / "loop").symlink_to("loop")
    assert Task([tmp_path / "loop"], log=log).wait() == 2
    assert "Too many levels of symbolic links" in only_error(log)
    assert not (tmp_path / ".amela").exists()


def test_a_line_of_a_gigabyte_ends_the_stage_with_little_memory(tmp_path, log):
    manifest = tmp_path / "m.json"
    with open(manifest, "wb") as file:
        file.write(FINE + b'{"id": "')
        file.truncate(2**30)

    def main():
        before = peak_mib()
        try:
            return toy_stage.main()
        finally:
            print(f"grew by {peak_mib() - before} MiB")

    assert Task([manifest], log=log, main=main).wait() == 2
    assert "m.json:2: found a line of more than 64 MiB, wanted one JSON object a line" in only_error(log)
    assert int(log.read_text().split("grew by ")[1].split()[0]) < 200


NAMES = [
    "with spaces",
    "quo\"te's",
    "new\nline",
    "täxt 語",
    "-dash",
    "a#c1@2+3",
    os.fsdecode(b"latin \xe9\xff"),
    "{}\\",
    "$HOME;ls",
]


def test_odd_file_names_come_back_as_they_are(tmp_path, log):
    folder = tmp_path / NAMES[0] / NAMES[1] / NAMES[2] / NAMES[6]
    folder.mkdir(parents=True)
    manifest = folder / 'it\'s a "manifest"\n.json'
    lines = [{"audio_filepath": f"/data/{name}.wav", "text": "a"} for name in NAMES]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run_array([manifest], 1, range(2), log=log) == {0: 0, 1: 0}
    report = merge(manifest, "toy", allow_missing=False)
    assert (report.status, report.stages[0].done) == (0, len(NAMES))
    assert [(line["audio_filepath"], line["words"]) for line in read_manifest(manifest)] == [
        (line["audio_filepath"], 1) for line in lines
    ]


def test_errors_of_odd_names_stay_on_one_line(tmp_path, log):
    manifest = tmp_path / "m.json"
    lines = [{"audio_filepath": f"/{name}.wav", "id": name, "text": "bad"} for name in NAMES]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert Task([manifest, "--max-error-rate", 1], log=log).wait() == 0
    assert sum(line.startswith("ERROR: ") for line in log.read_text().splitlines()) == len(NAMES)
    assert "ERROR: new\\nline: ValueError: " in log.read_text()


def test_a_manifest_filtered_sorted_or_extended_while_tasks_run_loses_nothing(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["a b"] * 20)
    lines = manifest.read_text().splitlines(keepends=True)
    task = Task([manifest, "--seconds", 0.03, "--batch-size", 1], 1, 0, range(2), log=log)
    wait_until(lambda: list((stage_folder(manifest, "toy") / "results").glob("*")))
    new = ['{"id": "new", "text": "a"}\n']
    manifest.write_text("".join(sorted(lines[5:], reverse=True) + new))
    assert task.wait() == 0
    assert Task([manifest], 1, 1, range(2), log=log).wait() == 0
    assert "has 16 lines and had 20 when it was dealt: results are matched by key" in log.read_text()
    report = merge(manifest, "toy")
    assert report.status == 4
    assert run_array([manifest], 2, range(2)) == {0: 0, 1: 0}
    assert merge(manifest, "toy", allow_missing=False).status == 0
    assert [line["id"] for line in read_manifest(manifest)][-1] == "new"
    assert [line["words"] for line in read_manifest(manifest)] == [2] * 15 + [1]


def test_a_manifest_broken_while_tasks_run_is_refused_by_the_merge_and_kept(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a b"] * 4)
    whole = manifest.read_text()
    run_array([manifest], 1, range(2))
    manifest.write_text(whole + "{half a li")
    with pytest.raises(Exception, match=r"m\.json:5: found"):
        merge(manifest, "toy")
    assert manifest.read_text() == whole + "{half a li"
    manifest.write_text(whole)
    assert merge(manifest, "toy", allow_missing=False).status == 0


def test_a_manifest_removed_while_tasks_run_costs_them_nothing(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a b"] * 20)
    kept = shutil.copy(manifest, tmp_path / "kept.json")
    task = Task([manifest, "--seconds", 0.02], 1, 0, range(1))
    wait_until(lambda: list((stage_folder(manifest, "toy") / "results").glob("*")))
    manifest.unlink()
    assert task.wait() == 0
    os.replace(kept, manifest)
    assert merge(manifest, "toy", allow_missing=False).status == 0


def test_a_manifest_reached_by_two_names_has_one_state(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 4)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "other.json"
    link.symlink_to(manifest)
    assert Task([link], 1, 0, range(2)).wait() == 0
    assert Task([manifest], 1, 1, range(2)).wait() == 0
    assert merge(link, "toy", allow_missing=False).status == 0
    assert not (tmp_path / "links" / ".amela").exists()


def as_nobody(main=toy_stage.main):
    """Return a main that runs as a user without rights, also where the tests run as root."""

    def run():
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        return main()

    return run


@pytest.fixture
def open_folder(tmp_path):
    """Yield a folder that others can get to."""
    changed = [
        folder for folder in (tmp_path, *tmp_path.parents) if folder.owner() != "nobody" and folder.parts[1:]
    ]
    modes = [(folder, folder.stat().st_mode) for folder in changed if folder.stat().st_mode & 0o005 != 0o005]
    for folder, mode in modes:
        folder.chmod(mode | 0o755)
    yield tmp_path
    tmp_path.chmod(0o700)
    for folder, mode in modes:
        folder.chmod(mode)


def test_a_folder_that_may_only_be_read_is_said_before_any_work(open_folder, log):
    manifest = make_manifest(open_folder / "m.json", ["a"])
    open_folder.chmod(0o555)
    assert Task([manifest], log=open_log(log), main=as_nobody()).wait() == 2
    assert "Permission denied; wanted a folder this user may write to" in only_error(log)


def open_log(log):
    log.parent.chmod(0o755)
    log.touch()
    log.chmod(0o666)
    return log


def test_a_manifest_that_may_not_be_read_is_said(open_folder, log):
    manifest = make_manifest(open_folder / "m.json", ["a"])
    manifest.chmod(0o000)
    assert Task([manifest], log=open_log(log), main=as_nobody()).wait() == 2
    assert "m.json: reading: Permission denied" in only_error(log)


def test_a_folder_made_read_only_halfway_ends_the_task_and_loses_nothing(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["a b"] * 12)
    task = Task([manifest, "--seconds", 0.02], 1, 0, range(1), log=log)
    wait_until(lambda: list((stage_folder(manifest, "toy") / "beats").glob("*.json")))
    task.send(signal.SIGSTOP)
    hidden = stage_folder(manifest, "toy") / "beats"
    hidden.rename(hidden.with_name("away"))
    hidden.touch()  # where a folder was, as a failing mount may show it
    task.send(signal.SIGCONT)
    assert task.wait() in (2, 75)
    assert "Traceback" not in log.read_text()
    hidden.unlink()
    hidden.with_name("away").rename(hidden)
    assert Task([manifest], 1, 0, range(1), restart=1).wait() == 0
    assert merge(manifest, "toy", allow_missing=False).status == 0
