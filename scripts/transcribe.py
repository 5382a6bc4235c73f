"""Transcribe with words and speakers: adds `whisperx` (segments), `whisperx_text`, `lang`, `whisperx_model`.

    sbatch --array=0-15 slurm/transcribe.slurm metadata/corpus.json
    python scripts/transcribe.py metadata/corpus.json --backend pocketsphinx      any CPU, no download

A segment is {start_s, end_s, text, speaker?, aligned?, words: [{word, start_s?, end_s?, score?, speaker?}]},
times in seconds from the start of the record; `aligned: false` marks one whose words could not be placed in
time. A `lang` that is there already stays (--overwrite replaces it). Backends: whisperx (Whisper by
CTranslate2 in batches, forced alignment, pyannote's speakers), transformers (Whisper by its pipeline, then
the same), pocketsphinx (for demos and tests: US English, words with times, no speakers; its model is in the
package, and it is no Whisper).
What is given may also be an audio file or a folder of audio, which becomes a manifest first, or a text file
or a folder of text: one record a sentence then, with `id`, and nothing to transcribe. --clips cuts a WAV a
segment and writes the manifest of those, <manifest>_clips.json; after an array give the command once more
without --array.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import sys
from typing import Any

from amela import slurm
from amela.cli import add_device, add_offline, cpus, positive, stage_parser
from amela.clips import Clips
from amela.errors import OK, CallError, run_main
from amela.inputs import MANIFEST_SUFFIXES, check_input, is_kind, list_audio, manifest_of, sentence_records
from amela.log import log
from amela.stage import run_shard
from amela.tally import print_some, write_tallied
from media import speakers, speech_pieces, word_backends
from media.audio import AUDIO_SUFFIXES, AudioError, probe, scan_audio
from media.errors import EngineError
from media.sentences import TEXT_SUFFIXES, sentences_of

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, WSL: seen without loading torch
FIELDS = ("whisperx", "whisperx_text", "lang", "whisperx_model")


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = stage_parser(
        __doc__,
        batch_size=None,
        workers=None,
        manifest="manifest (JSON lines), audio file, text file (.txt), or a folder of audio or of text",
    )
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add_speed(
        "output_dir",
        nargs="?",
        help="folder of the clips, or of the manifest made of audio or text and what belongs to it (default: "
        "output/<manifest>_clips, metadata)",
    )
    add("--backend", choices=list(word_backends.PACKAGES), default="whisperx", help="recogniser")
    add(
        "--model",
        "--whisper-model",
        dest="model",
        default=word_backends.WHISPER,
        help="large-v3, medium …, hub id or folder",
    )
    add("--language", default="auto", metavar="LANG",
        help="code as en; auto: heard in each record; manifest: its field `lang`")  # fmt: skip
    add("--compute-type", default="default", metavar="T",
        help="float16, int8, float32 … (default: float16 on a GPU, float32 on a CPU)")  # fmt: skip
    add("--vad", choices=speech_pieces.VADS,
        help="what finds speech; manifest: the field `speech` of vad.py (default: pyannote; for pocketsphinx "
        "that field where there is one, else all is speech)")  # fmt: skip
    add("--no-align", dest="align", action="store_false", help="no times of words")
    add("--align-model", default="", metavar="DIR",
        help="an aligner, or a folder of one a language, DIR/en … (default: WhisperX's own)")  # fmt: skip
    add("--no-diarize", dest="diarize", action="store_false", help="no speakers")
    add("--diarize-model", default=speakers.MODEL, metavar="DIR", help="hub id or folder with config.yaml")
    add(
        "--min-speakers",
        type=positive,
        metavar="N",
        help="at least so many in a record (default: any number)",
    )
    add(
        "--max-speakers", type=positive, metavar="N", help="at most so many in a record (default: any number)"
    )
    add_speed("--clips", action="store_true", help="cut a WAV a segment too, and write their manifest")
    add_speed(
        "--sample-rate", type=positive, metavar="HZ", help="of the clips (default: that of the recording)"
    )
    add_device(add_speed)
    add_offline(add_speed)
    add_speed(
        "--tmp-dir", metavar="DIR", help="not needed: nothing is written on the way (accepted as Nymph's)"
    )
    add_speed("--sentiment-model", metavar="M", help="belongs to tag_emotion.py (accepted as Nymph's)")
    args = parser.parse_args()
    if args.output_dir and args.output_dir.isdigit() and is_kind(args.manifest, MANIFEST_SUFFIXES):
        args.output_dir, args.num_tasks = None, int(args.output_dir)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Check the settings and pin the models' revisions in the deal; fill in what depends on the machine."""
    from media import hub

    if args.offline:
        hub.go_offline()
    os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")  # pyannote tells its makers of its use otherwise
    package, environment = word_backends.PACKAGES[args.backend], word_backends.ENVIRONMENTS[args.backend]
    if importlib.util.find_spec(package) is None:
        raise CallError(
            f"--backend {args.backend}: {package} is not in this environment ({sys.executable}); run with "
            f"envs/.built/{environment}/bin/python (made by `make env ENV={environment}`)"
            + (", or take --backend pocketsphinx" if package == "whisperx" else "")
        )
    names = word_backends.Choice.__dataclass_fields__
    args.choice = word_backends.Choice(**{name: getattr(args, name) for name in names})
    try:
        settings = args.choice.settings()
    except ValueError as error:
        raise CallError(str(error)) from error
    args.settings.clear()
    args.settings.update(settings)
    embedded = args.backend == "pocketsphinx"
    on_gpu = args.device != "cpu" and any(map(os.path.exists, GPU_DEVICES))
    args.batch_size = args.batch_size or (1 if embedded else 16 if on_gpu else 4)
    args.workers = args.workers or (cpus() if embedded else 1)


def load(args: argparse.Namespace) -> Any:
    """Return the transcriber, its name in the records, what cuts clips (or None), and if `lang` is kept."""
    threads = max(1, cpus() // args.workers)
    try:
        transcriber = word_backends.load(
            args.choice, args.settings, args.device, args.batch_size, threads, log
        )
    except EngineError as error:
        raise CallError(str(error)) from error
    name = f"{args.backend} {args.settings['model']} {args.settings['revision']}"
    clips = clips_of(args, FIELDS[0]) if args.clips and not args.only else None
    return transcriber, name, clips, not (args.overwrite or args.field)


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return the new fields of each record, or the Exception that its audio or its transcription raised."""
    transcriber, name, clips, keeps_lang = model
    results: list[Any] = []
    for record, found in zip(batch, transcriber.records(batch)):
        if isinstance(found, Exception):
            results.append(found)
            continue
        fields = dict(zip(FIELDS, (found["segments"], found["text"], found["lang"], name)))
        if keeps_lang and record.get("lang"):
            del fields["lang"]
        if clips is not None:
            clips.of({**record, **fields})
        results.append(fields)
    return results


def clips_of(args: argparse.Namespace, field: str) -> Clips:
    """Return what cuts the segments in `field` into clips."""
    from media.clip_files import write_clip

    stem = os.path.basename(args.manifest).removesuffix(".json")
    folder = args.output_dir or os.path.join("output", f"{stem}_clips")
    return Clips(args.manifest, folder, field, lambda piece, file: write_clip(piece, file, args.sample_rate))


def write_clips(args: argparse.Namespace) -> None:
    """Cut the clips that are not there yet and write their manifest."""
    path = f"{args.manifest.removesuffix('.json')}_clips.json"
    try:
        count = clips_of(args, args.field or FIELDS[0]).write_manifest(args.manifest, path)
    except AudioError as error:
        raise CallError(str(error)) from error
    log(f"{path}: {count} clips")


def run(args: argparse.Namespace) -> int:
    """Transcribe the records of args.manifest; a run of one process writes the manifest of the clips too."""
    resolve(args)
    status = run_shard(args, stage="transcribe", fields=FIELDS, load=load, process=process)
    alone = args.shard_index is None and not (slurm.in_batch_job() and slurm.here().is_array)
    if status == OK and args.clips and alone and not (args.limit or args.only):
        write_clips(args)
    if status == OK and args.sentiment_model:
        log(f"--sentiment-model is not of this script; type: python scripts/tag_emotion.py "
            f"{shlex.quote(args.manifest)} --model {shlex.quote(args.sentiment_model)}")  # fmt: skip
    return status


def write_sentences(args: argparse.Namespace, paths: list[str]) -> int:
    """Write the manifest of the sentences of text files."""
    manifest = manifest_of(args.manifest, args.output_dir)
    if os.path.exists(manifest) and not args.overwrite:
        raise CallError(f"{manifest}: there already; wanted another OUTPUT_DIR, or --overwrite")
    bad: list[str] = []
    write_tallied(manifest, sentence_records(os.path.abspath(args.manifest), paths, sentences_of, bad))
    print_some("text files left out", len(bad), bad)
    model = f" --model {shlex.quote(args.sentiment_model)}" if args.sentiment_model else ""
    log(f"text needs no transcription; next: python scripts/tag_emotion.py {shlex.quote(manifest)}{model}")
    return OK


def main() -> int:
    """Transcribe this task's shard, or make a manifest of what was given first; returns the exit status."""
    args = parse_args()
    check_input(args.manifest, "transcribe", AUDIO_SUFFIXES, TEXT_SUFFIXES)
    if args.tmp_dir:
        log("--tmp-dir: not needed, nothing is written on the way")
    if is_kind(args.manifest, MANIFEST_SUFFIXES):
        return run(args)
    sounds, texts = (scan_audio(args.manifest, suffixes) for suffixes in (AUDIO_SUFFIXES, TEXT_SUFFIXES))
    if not sounds and not texts:
        raise CallError(f"{args.manifest}: found neither audio nor text (.txt) in it or below")
    if not sounds:
        return write_sentences(args, texts)
    if texts:
        log(f"{len(texts)} text files beside the audio are left alone; give a folder of text by itself")
    manifest = manifest_of(args.manifest, args.output_dir)
    list_audio(args.manifest, sounds, manifest, lambda path: probe(path).duration_s)
    args.output_dir = args.output_dir and os.path.join(args.output_dir, "clips")
    args.manifest = manifest
    return run(args)


if __name__ == "__main__":
    run_main(main)
