"""The workflow `multimodal`: audio or text → annotated records → tokenizer → Parquet → Flight → training."""

from __future__ import annotations

import os
from collections.abc import Sequence

from amela.annotate import ANNOTATE, PARTS, SEGMENTS, annotate_places, without
from amela.errors import CallError
from amela.inputs import MANIFEST_SUFFIXES
from amela.manifest import read_records
from amela.workflow import CHECKPOINTS, Step

AUDIO, TEXT, MANIFEST, TEXT_MANIFEST = "audio", "text", "manifest", "manifest of text"
EMBEDDED = {"transcribe": "--backend pocketsphinx", "emotion": "--backend lexicon"}  # what needs no model
SMALL = (
    "--hidden-dim 64 --latent-dim 32 --num-heads 4 --num-layers 2 --transformer-layers 2 "
    "--learning-rate 0.001"
)
WANTED = "audio, text (.txt), a folder of either, or a manifest (.json)"
HEARD = ("vad", "transcribe", "explode", "features")  # steps that need audio
SENTENCES = Step("sentences", "{folder} {manifest}", makes="{manifest}")
TRAINED = (
    Step(
        "tokenizer",
        f"{SEGMENTS} {{tokenizer}}",
        after_ok=("merge.features", "merge.emotion"),
        makes="{tokenizer}/tokenizer_config.json",
        manifest=SEGMENTS,
    ),
    Step(
        "build_parquet",
        f"{SEGMENTS} {{parquet}} --tokenizer {{tokenizer}} {{split_by}}",
        after_ok=("tokenizer",),
        makes="{parquet}/dataset.json",
        anew="--fresh",
        spread=True,
        manifest=SEGMENTS,
    ),
    Step(
        "multimodal",
        "--address-file {parquet}/flight.json --tokenizer {tokenizer} --dataset {segments_name}_parquet",
        after_ok=("build_parquet",),
        runs=f"{CHECKPOINTS}/multimodal_*/{{segments_name}}_parquet_s*",
        data="{parquet}/dataset.json",
        local=SMALL,
        manifest=SEGMENTS,
    ),
    Step(
        "flight",
        "{parquet}",
        after_ok=("build_parquet",),
        beside="multimodal",
        tells="its address is in",
        defaults="--idle-s 3600",
        local="--idle-s 3600 --host 127.0.0.1",
    ),
    Step("dashboard", "", beside="multimodal", tells="://", local="--port 0", on_request=True),
)


def _annotated() -> tuple[Step, ...]:
    kept = (*HEARD, "emotion")
    steps = without(ANNOTATE, [name for name in PARTS if name not in kept])
    return tuple(step._replace(local=EMBEDDED.get(step.name, "")) for step in steps)


MULTIMODAL = (SENTENCES, *_annotated(), *TRAINED)
CAN_BE_SKIPPED = (*HEARD, "emotion")


def kind_of(source: str, audio: Sequence[str], text: Sequence[str]) -> str:
    """Return what was given: audio, text, a manifest, or one whose records have no audio.

    A file is known by its ending (`audio`, `text`: those there are), a folder by what is in it: audio, else
    text. CallError where it is none of these.
    """
    if os.path.isdir(source):
        for kind, suffixes in ((AUDIO, audio), (TEXT, text)):
            names = (name.lower() for _, _, names in os.walk(source, followlinks=True) for name in names)
            if any(name.endswith(tuple(suffixes)) and not name.startswith(".") for name in names):
                return kind
        raise CallError(f"{source}: found neither audio nor text (.txt) in it or below")
    if not os.path.exists(source):
        raise CallError(f"{source}: no such file or folder; wanted {WANTED}")
    name = source.lower()
    if name.endswith((*audio, *text)):
        return AUDIO if name.endswith(tuple(audio)) else TEXT
    if not name.endswith(MANIFEST_SUFFIXES):
        raise CallError(f"{source}: found another kind of file, wanted {WANTED}")
    _, first = next(read_records(source), (0, None))
    if first is None:
        raise CallError(f"{source}: found no record, wanted one JSON object a line")
    return MANIFEST if first.get("audio_filepath") else TEXT_MANIFEST


def multimodal_steps(kind: str, skip: Sequence[str]) -> tuple[Step, ...]:
    """Return the steps for a kind of input; without transcription the records stay as they are."""
    if kind == AUDIO and "vad" in skip:
        raise CallError("--skip vad: vad.py makes the manifest of audio; wanted a manifest instead of it")
    steps, gone = MULTIMODAL, [*skip]
    if kind in (TEXT, TEXT_MANIFEST):
        gone += HEARD
    if kind == MANIFEST:
        vad = Step("vad", "{manifest}", merges="vad")
        steps = tuple(vad if step.name == "vad" else step for step in steps)
    if kind != TEXT:
        gone.append("sentences")
    if "transcribe" in gone:
        gone.append("explode")
    kept = without(steps, gone)
    if kind != TEXT:
        return kept
    return tuple(_after_sentences(step) for step in kept)


def _after_sentences(step: Step) -> Step:
    """Return a step that waits for the list of sentences where it waits for nothing."""
    waits = step.after_ok or step.after_any or step.name == "sentences"
    return step if waits or step.beside else step._replace(after_ok=("sentences",))


def fill_places(steps: Sequence[Step], values: dict[str, str], of_emotion: Sequence[str], here: bool) -> None:
    """Add what stands in these steps' arguments besides the manifest's own to `values`; `of_emotion` are the
    user's arguments of that step.
    """
    lexicon = "lexicon" in of_emotion or (here and not of_emotion)
    values.update(annotate_places(steps, values["stem"], values["manifest"], lexicon))
    made = os.path.join("output", values["segments_name"])
    one_file = os.path.isfile(values["folder"])  # its parts may stand in several splits: no other way
    values.update(
        tokenizer=f"{made}_tokenizer", parquet=f"{made}_parquet", split_by="--split-by=id" if one_file else ""
    )
