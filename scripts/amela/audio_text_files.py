"""Which pairs of audio and text a model is trained on, chosen once and frozen; and what made the audio."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Callable

from amela.errors import CallError
from amela.log import log, printable
from amela.manifest import Record, read_records, record_key
from amela.outputs import SETTINGS_FILE
from amela.pairs import read_transcripts
from amela.training_files import FILES, freeze_split, group_by, some

EMBEDDING, MEL = "embedding", "mel"
FIELDS = {
    EMBEDDING: ("embedding_filepath", "embed_audio.py"),
    MEL: ("features_filepath", "extract_features.py"),
}
MADE_WITH = {  # what an encoder is asked for again when a new recording comes
    EMBEDDING: ("model", "revision", "layer", "pool", "chunk_s", "dtype"),
    MEL: ("sample_rate", "hop_ms", "n_fft", "n_mels"),
}
WINDOW = re.compile(r"_\d+-\d+$")  # of a chunk, in ms: what chunk_audio.py and clips put behind the stem
PAIRS = re.compile(r"(?P<model>.+)@(?P<revision>\S+) layer (?P<layer>\S+) chunks (?P<chunk_s>\S+) s")


def choose_pairs(
    folder: Path,
    source: str,
    settings: dict[str, Any],
    text_of: Callable[[Record], str],
    stems: Callable[[], dict[str, str]],
    transcripts: str | None,
) -> list[Record]:
    """Return the run's pairs as records: id, audio (a source of frames), text, split (`train` or `valid`).

    They are chosen once from a manifest, or from a file {stem: source} (`stems`) with a folder of transcripts
    or the manifest of embed_pairs.py beside it, and written to files.json in the folder; later calls read
    that. All of one recording are on one side, or of one value of --split-by. CallError names what lacks its
    audio or its text, unless --skip-missing leaves it out.
    """
    if (folder / FILES).exists():
        return [record for _, record in read_records(folder / FILES)]
    if source.endswith(".pt"):
        found, lacking = _of_stems(source, stems(), transcripts)
    else:
        found, lacking = _of_manifest(source, settings["audio_from"], text_of)
    if lacking and (not settings["skip_missing"] or not found):
        raise CallError(
            f"{source}: {'; '.join(lacking)}; wanted both sides of each pair, or --skip-missing, which "
            "leaves these out"
        )
    for what in lacking:
        log(f"left out: {what}")
    pairs = [{"id": key, "audio": audio, "text": text} for key, _, audio, text in found]
    name = settings["split_by"]
    groups = [group_by(name, key, record, source) if name else _recording(key, record)
              for key, record, _, _ in found]  # fmt: skip
    return freeze_split(folder, pairs, groups, settings, source)


def _of_manifest(
    manifest: str, audio_from: str, text_of: Callable[[Record], str]
) -> tuple[list[tuple[str, Record, str, str]], list[str]]:
    """Return (key, record, source, text) of the pairs, and what is lacking, in words."""
    field, script = FIELDS[audio_from]
    found, deaf, mute = [], [], []
    for _, record in read_records(manifest):
        key = record_key(record)
        try:
            text = text_of(record).strip()
        except ValueError:
            text = ""
        if not record.get(field):
            deaf.append(key)
        elif not text:
            mute.append(key)
        else:
            found.append((key, record, str(record[field]), text))
    return found, _lacking(
        (deaf, f"records without {field}, which {script} adds"), (mute, "records without a text")
    )


def _of_stems(
    path: str, sources: dict[str, str], transcripts: str | None
) -> tuple[list[tuple[str, Record, str, str]], list[str]]:
    """Return the same of a file {stem: tensor}."""
    beside = path.removesuffix(".pt") + ".json"
    if transcripts:
        texts, where = read_transcripts(transcripts), transcripts
    elif os.path.exists(beside):
        texts, where = {str(one["id"]): str(one["text"]) for _, one in read_records(beside)}, beside
    else:
        raise CallError(f"{path}: no {beside}; wanted it, or --transcripts-dir with a .txt of each stem")
    found = [(stem, {"id": stem}, sources[stem], texts[stem]) for stem in sorted(sources) if texts.get(stem)]
    mute = sorted(stem for stem in sources if not texts.get(stem))
    deaf = sorted(stem for stem in texts if stem not in sources and texts[stem])
    return found, _lacking(
        (mute, f"tensors without a transcript in {where}"), (deaf, f"transcripts in {where} without a tensor")
    )


def _lacking(*sides: tuple[list[str], str]) -> list[str]:
    """Return a sentence for each side of the pairs that lacks some: (names, what they are)."""
    return [f"{len(names)} {what} ({some(names)})" for names, what in sides if names]


def _recording(key: str, record: Record) -> str:
    """Return what recording a record is of: chunks overlap, so they must not be on both sides."""
    path = record.get("parent_filepath") or record.get("audio_filepath") or str(record.get("id") or key)
    return WINDOW.sub("", os.path.splitext(path)[0])


def made_with(sources: list[str], source: str, audio_from: str) -> dict[str, Any]:
    """Return what made the audio: {"from": embedding or mel} and settings of embed_audio.py or
    extract_features.py, as they stand beside the files; without them where nobody knows.

    CallError where folders of different settings are mixed.
    """
    if source.endswith(".pt"):
        return {"from": EMBEDDING, **_of_pairs(source)}
    known: dict[str, tuple[str, dict[str, Any]]] = {}
    for folder in sorted({os.path.dirname(one.partition("#")[0]) for one in sources}):
        path = os.path.join(folder, SETTINGS_FILE)
        if os.path.exists(path):
            settings = json.loads(Path(path).read_text(encoding="utf-8"))
            kept = {name: settings.get(name) for name in MADE_WITH[audio_from]}
            known[json.dumps(kept)] = (path, kept)
    if len(known) > 1:
        (one, first), (other, second) = list(known.values())[:2]
        names = [name for name in first if first[name] != second[name]]
        raise CallError(
            f"{printable(one)} and {printable(other)} differ in {', '.join(names)}; wanted audio made by one "
            "encoder"
        )
    if not known:
        log(f"warning: no {SETTINGS_FILE} beside the audio, so nobody knows what made it")
    return {"from": audio_from, **next((kept for _, kept in known.values()), {})}


def _of_pairs(path: str) -> dict[str, Any]:
    """Return what embed_pairs.py noted in the manifest beside its file, {} where there is none."""
    beside = path.removesuffix(".pt") + ".json"
    noted = (
        {str(one.get("embedding_model")) for _, one in read_records(beside)}
        if os.path.exists(beside)
        else set()
    )
    found = PAIRS.fullmatch(next(iter(noted))) if len(noted) == 1 else None
    if found is None:
        log(f"warning: {beside} does not say what made {path}, so nobody knows")
        return {}
    layer = None if found["layer"] == "all" else int(found["layer"])
    return {"model": found["model"], "revision": found["revision"], "layer": layer, "pool": "none",
            "chunk_s": float(found["chunk_s"]), "dtype": "float32"}  # fmt: skip
