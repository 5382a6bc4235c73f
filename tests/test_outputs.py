"""Names of the files that stages make, collisions, and the settings that stand beside them."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from amela import outputs
from amela.errors import CallError, StoppedError
from amela.outputs import below, check_collisions, claim_folder, relative_target, write_output


@pytest.mark.parametrize(
    ("path", "part", "expected"),
    [
        ("/data/corpus/a/x.wav", "corpus", "a/x.wav"),
        ("/corpus/corpus/x.wav", "corpus", "corpus/x.wav"),
        ("/data/corpus2/x.wav", "corpus", None),
        ("/data/x/corpus", "corpus", None),  # a file of that name is no folder
        ("/data/../corpus//x.wav", "corpus", "x.wav"),
    ],
)
def test_below_a_folder(path: str, part: str, expected: str | None) -> None:
    assert below(path, part) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"audio_filepath": "/d/corpus/a/x.y.wav"}, "a/x.y"),
        ({"audio_filepath": "/d/other/x.wav"}, "d/other/x"),
        ({"audio_filepath": "/d/corpus/x.wav", "channel": 1}, "x_c1"),
        ({"audio_filepath": "/d/corpus/x.wav", "offset": 1.25, "duration": 0.5}, "x_1250-1750"),
        ({"id": "a/b.c"}, "a/b.c"),
        ({"id": "../../etc/x"}, "etc/x"),
        ({"id": 7}, "7"),
    ],
)
def test_targets_mirror_the_audio(record: dict, expected: str) -> None:
    assert relative_target(record, "corpus") == expected


def test_two_records_of_one_file_are_named(tmp_path: Path) -> None:
    manifest = tmp_path / "x.json"
    paths = ["/c/a.wav", "/c/b.wav", "/c/a.wav", "/c/a.flac"]
    manifest.write_text("".join(json.dumps({"audio_filepath": path}) + "\n" for path in paths[:3]))
    check_collisions(
        str(manifest), lambda record: relative_target(record, "c")
    )  # the same record twice is none
    manifest.write_text("".join(json.dumps({"audio_filepath": path}) + "\n" for path in paths))
    with pytest.raises(CallError, match=r"x\.json:4: found /c/a\.flac.* line 1 \(/c/a\.wav\)"):
        check_collisions(str(manifest), lambda record: relative_target(record, "c"))
    check_collisions(str(manifest), lambda _: None)


def test_other_settings_are_refused_with_their_names(tmp_path: Path) -> None:
    folder = str(tmp_path / "out")
    claim_folder(folder, {"layer": 12, "dtype": "float32"}, anew=False)
    claim_folder(folder, {"dtype": "float32", "layer": 12}, anew=False)
    with pytest.raises(CallError, match="layer was 12 and is 9 now"):
        claim_folder(folder, {"layer": 9, "dtype": "float32"}, anew=False)
    claim_folder(folder, {"layer": 9}, anew=True)
    assert json.loads((tmp_path / "out/settings.json").read_text()) == {"layer": 9}


def test_a_full_disk_ends_the_task_and_is_no_fault_of_the_record(tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "deep" / "x.bin"

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("amela.files.os.fsync", full)
    with pytest.raises(StoppedError, match="No space left"), write_output(str(target)) as file:
        file.write(b"x")
    monkeypatch.undo()
    assert list(target.parent.iterdir()) == []
    with write_output(str(target)) as file:
        file.write(b"x")
    assert target.read_bytes() == b"x"
    assert outputs.SETTINGS_FILE == "settings.json"
