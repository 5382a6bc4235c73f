"""The workflow `annotate`: what each utterance says and sounds like, one record a segment."""

from __future__ import annotations

import os
from collections.abc import Sequence

from amela.workflow import Step

SEGMENTS = "{segments}"
LAST = ("merge.phonemize", "merge.features", "merge.emotion", "merge.embed", "merge.codec", "similar")


def _stage(name: str, stage: str, after_any: tuple[str, ...] = ()) -> tuple[Step, Step]:
    """Return the array of a stage on the segments, and the merge of its results."""
    merge = f"--manifest {SEGMENTS} --stage {stage}"
    return (
        Step(name, SEGMENTS, ("explode",), after_any, stage=stage, manifest=SEGMENTS),
        Step(f"merge.{name}", merge, after_any=(name,), merges=stage, manifest=SEGMENTS),
    )


ANNOTATE = (
    Step("vad", "{folder} {stem}", makes="{manifest}"),
    Step("transcribe", "{manifest}", stage="transcribe", after_ok=("vad",)),
    Step(
        "merge.transcribe",
        "--manifest {manifest} --stage transcribe",
        merges="transcribe",
        after_any=("transcribe",),
    ),
    Step(
        "explode",
        "{manifest} {segments} --field whisperx --overwrite",
        after_ok=("merge.transcribe",),
        makes=SEGMENTS,
    ),
    *_stage("phonemize", "phonemize"),
    *_stage("features", "features", after_any=("merge.phonemize",)),  # phones a second
    *_stage("emotion", "{emotion}"),
    *_stage("embed", "embed"),
    *_stage("codec", "encode_codec"),
    Step(
        "similar",
        SEGMENTS,
        ("explode",),
        ("merge.features", "merge.embed"),
        merges="similar",
        defaults="--within corpus",  # SPEAKER_00 of two recordings are two people
        manifest=SEGMENTS,
    ),
    Step(
        "export",
        SEGMENTS,
        ("explode",),
        LAST,
        makes="output/{segments_name}",
        defaults="--format textgrid rttm nymph-parquet",
        manifest=SEGMENTS,
    ),
    Step(
        "report",
        SEGMENTS,
        ("explode",),
        LAST,
        makes="output/{segments_name}_report.html",
        manifest=SEGMENTS,
    ),
)
PARTS = tuple(step.name for step in ANNOTATE if "." not in step.name)  # what can be left out


def annotate_steps(skip: Sequence[str], from_folder: bool) -> tuple[Step, ...]:
    """Return the steps of a run; without transcription there are no segments: records stay as they are."""
    first = ANNOTATE[0] if from_folder else Step("vad", "{manifest}", merges="vad")
    more = ("explode",) if "transcribe" in skip else ()
    return without((first, *ANNOTATE[1:]), (*skip, *more))


def annotate_places(steps: Sequence[Step], stem: str, manifest: str, sentiment: bool) -> dict[str, str]:
    """Return what stands in these steps' arguments besides the manifest's own."""
    names = {step.name for step in steps}
    segments = f"{stem}_segments.json" if "explode" in names else manifest
    return {
        "segments": segments,
        "segments_name": os.path.basename(segments).removesuffix(".json"),
        "emotion": "sentiment" if sentiment else "emotion",
    }


def without(steps: Sequence[Step], names: Sequence[str]) -> tuple[Step, ...]:
    """Return the steps but those named and their merges; what waited for one now waits for what it did."""
    gone = {step.name: step for step in steps if step.name.rpartition(".")[2] in names}

    def still(waits: tuple[str, ...]) -> list[str]:
        found: list[str] = []
        for name in waits:
            found += still((*gone[name].after_ok, *gone[name].after_any)) if name in gone else [name]
        return list(dict.fromkeys(found))

    kept = []
    for step in steps:
        after_ok = still(step.after_ok)
        after_any = tuple(name for name in still(step.after_any) if name not in after_ok)
        kept.append(step._replace(after_ok=tuple(after_ok), after_any=after_any))
    return tuple(step for step in kept if step.name not in gone)
