"""Transcribe with words and speakers: adds `whisperx` (segments), `whisperx_text`, `lang` and `whisperx_model`.

    sbatch --array=0-15 slurm/transcribe.slurm metadata/corpus.json
    python scripts/transcribe.py metadata/corpus.json --backend pocketsphinx      any CPU, no download

A segment is {start_s, end_s, text, speaker?, aligned?, words: [{word, start_s?, end_s?, score?, speaker?}]}, times
in seconds from the start of the record; `aligned: false` marks one whose words could not be placed in time.
Backends: whisperx (Whisper by CTranslate2 in batches, forced alignment, pyannote's speakers), transformers (Whisper
by its pipeline, then the same), pocketsphinx (the embedded default for demos and tests: US English, words with times,
no speakers; its model is in the package, and it is no Whisper).
INPUT may also be an audio file or a folder of audio, which becomes a manifest first, or a text file or a folder of
text: one record a sentence then, with `id`, and nothing to transcribe. --clips cuts a WAV a segment and writes the
manifest of those, <manifest>_clips.json; after an array give the command once more without --array.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import sys
from typing import Any

from amela import slurm
from amela.cli import cpus, positive, stage_parser
from amela.clips import Clips
from amela.errors import OK, CallError, run_main
from amela.inputs import MANIFEST_SUFFIXES, check_input, is_kind, list_audio, manifest_of, sentence_records
from amela.log import log
from amela.stage import run_shard
from amela.tally import print_some, write_tallied
from media import speakers, speech_pieces, whisper_names
from media.audio import AUDIO_SUFFIXES, AudioError, scan_audio
from media.sentences import TEXT_SUFFIXES

PACKAGES = {"whisperx": "whisperx", "transformers": "whisperx", "pocketsphinx": "pocketsphinx"}
ENVIRONMENTS = {"whisperx": "whisperx", "transformers": "whisperx", "pocketsphinx": "local"}
GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, WSL: seen without loading torch
POCKETSPHINX_PIECE_S = 15.0  # seconds; a whole piece is decoded before any of its words is known
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
        help="folder of the clips, and of the manifest made of audio or text (default: output/<manifest>_clips, metadata)",
    )
    add("--backend", choices=list(PACKAGES), default="whisperx", help="recogniser")
    add("--model", "--whisper-model", dest="model", default="large-v3", help="large-v3, medium …, hub id or folder")
    add("--language", default="auto", metavar="LANG",
        help="code as en; auto: heard in each record; manifest: its field `lang`")  # fmt: skip
    add("--compute-type", default="default", metavar="T",
        help="float16, int8, int8_float16, float32 … (default: float16 on a GPU, float32 on a CPU)")  # fmt: skip
    add("--vad", choices=speech_pieces.VADS,
        help="what finds speech; manifest: the field `speech` of vad.py (default: pyannote; for pocketsphinx the "
        "field where there is one, else all is speech)")  # fmt: skip
    add("--no-align", dest="align", action="store_false", help="no times of words")
    add("--align-model", default="", metavar="DIR",
        help="one aligner, or a folder with one a language (aligners/en …) (default: WhisperX's own)")  # fmt: skip
    add("--no-diarize", dest="diarize", action="store_false", help="no speakers")
    add("--diarize-model", default=speakers.MODEL, metavar="DIR", help="hub id or folder with config.yaml")
    add("--min-speakers", type=positive, metavar="N", help="at least so many in a record (default: any number)")
    add("--max-speakers", type=positive, metavar="N", help="at most so many in a record (default: any number)")
    add_speed("--clips", action="store_true", help="cut a WAV a segment too, and write their manifest")
    add_speed("--sample-rate", type=positive, metavar="HZ", help="of the clips (default: that of the recording)")
    add_speed("--device", default="auto", help="cpu, cuda or cuda:1 (default: a GPU where there is one)")
    add_speed("--offline", action="store_true", help="never ask the model hub; HF_HUB_OFFLINE=1 does the same")
    add_speed("--tmp-dir", metavar="DIR", help="not needed: nothing is written on the way (accepted as Nymph's)")
    add_speed("--sentiment-model", metavar="M", help="belongs to tag_emotion.py (accepted as Nymph's)")
    args = parser.parse_args()
    if args.output_dir and args.output_dir.isdigit() and is_kind(args.manifest, MANIFEST_SUFFIXES):
        args.output_dir, args.num_tasks = None, int(args.output_dir)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Check the settings, fill in what depends on the backend, and pin the models' revisions in the deal."""
    from media import hub

    if args.offline:
        hub.go_offline()
    os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")  # pyannote reports its use to its makers otherwise
    embedded = args.backend == "pocketsphinx"
    if importlib.util.find_spec(PACKAGES[args.backend]) is None:
        environment = ENVIRONMENTS[args.backend]
        raise CallError(
            f"--backend {args.backend}: {PACKAGES[args.backend]} is not in this environment ({sys.executable}); run "
            f"with envs/.built/{environment}/bin/python (made by `make env ENV={environment}`)"
            + ("" if embedded else ", or take --backend pocketsphinx")
        )
    if args.language not in ("auto", "manifest"):
        try:
            args.language = whisper_names.language_of(args.language)
        except ValueError as error:
            raise CallError(f"--language: {error}, or auto, or manifest") from error
    try:
        values = _pocketsphinx_settings(args) if embedded else _whisper_settings(args)
    except hub.ModelError as error:
        raise CallError(str(error)) from error
    args.settings.clear()
    args.settings.update(backend=args.backend, **values)
    on_gpu = args.device != "cpu" and any(map(os.path.exists, GPU_DEVICES))
    args.batch_size = args.batch_size or (1 if embedded else 16 if on_gpu else 4)
    args.workers = args.workers or (cpus() if embedded else 1)


def _pocketsphinx_settings(args: argparse.Namespace) -> dict[str, Any]:
    from media import pocketsphinx_asr

    wrong = [f"--model {args.model}"] if args.model != "large-v3" else []
    wrong += [f"--language {args.language}"] if args.language not in ("auto", "en") else []
    wrong += ["--vad pyannote"] if args.vad == "pyannote" else []
    if wrong:
        raise CallError(
            f"{wrong[0]}: pocketsphinx has the English model of its package only, and no pyannote; leave it out, "
            "or take --backend whisperx"
        )
    args.model, args.revision = pocketsphinx_asr.MODEL, pocketsphinx_asr.revision()
    return {"model": args.model, "revision": args.revision, "vad": args.vad or "speech, else all"}


def _whisper_settings(args: argparse.Namespace) -> dict[str, Any]:
    from media import hub

    if args.backend == "transformers" and args.compute_type not in ("default", "float32", "float16", "bfloat16"):
        raise CallError(
            f"--compute-type {args.compute_type}: transformers knows float32, float16 and bfloat16; "
            "--backend whisperx knows int8"
        )
    args.vad = args.vad or "pyannote"
    values: dict[str, Any] = {"language": args.language, "compute_type": args.compute_type, "vad": args.vad}
    is_folder = hub.is_local(args.model)
    args.model = args.model if is_folder else whisper_names.repo_of(args.model, args.backend)
    args.revision = hub.revision_of(args.model)
    values.update(model=hub.name_of(args.model), revision=args.revision)
    values["align"] = args.align and (args.align_model and hub.name_of(args.align_model) or "default")
    values["align_revision"] = hub.revision_of(args.align_model) if args.align and args.align_model else None
    values["diarize"] = args.diarize and hub.name_of(args.diarize_model)
    values["diarize_revision"] = hub.revision_of(args.diarize_model) if args.diarize else None
    if args.diarize:
        values.update(min_speakers=args.min_speakers, max_speakers=args.max_speakers)
    return values


def load(args: argparse.Namespace) -> Any:
    """Return the transcriber, what it is called in the records, and what cuts clips (or None)."""
    from media.errors import EngineError
    from media.word_transcriber import WordTranscriber

    embedded = args.backend == "pocketsphinx"
    device = "cpu" if embedded else _device(args.device)
    threads = max(1, cpus() // args.workers)
    try:
        find_pieces = speech_pieces.load(
            args.vad or "", POCKETSPHINX_PIECE_S if embedded else speech_pieces.PIECE_S, device
        )
        recogniser = _recogniser(args, device, threads)
        if embedded:
            transcriber = WordTranscriber(find_pieces, recogniser, threads=threads)
        else:
            align, assign = _aligner(args, device), _speakers(args, device)
            transcriber = WordTranscriber(find_pieces, recogniser, args.language, align, assign, threads)
    except EngineError as error:
        raise CallError(str(error)) from error
    name = f"{args.backend} {args.settings['model']} {args.revision}"
    return transcriber, name, _clips(args) if args.clips and not args.only else None


def _device(asked: str) -> str:
    import torch

    return asked if asked != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _recogniser(args: argparse.Namespace, device: str, threads: int) -> Any:
    from media import hub

    if args.backend == "pocketsphinx":
        from media.pocketsphinx_asr import Recogniser as Embedded

        return Embedded()
    log(f"loading {args.model} at {args.revision} on {device}")
    folder = hub.folder_of(args.model, args.revision)
    if args.backend == "whisperx":
        from media.whisper_ct2 import Recogniser as Ct2

        return Ct2(folder, device, args.compute_type, args.batch_size, threads)
    from media.whisper_pipeline import Recogniser as Pipeline

    usual = "float16" if device.startswith("cuda") else "float32"
    dtype = usual if args.compute_type == "default" else args.compute_type
    return Pipeline(folder, device, dtype, args.batch_size)


def _aligner(args: argparse.Namespace, device: str) -> Any:
    if not args.align:
        return None
    from media.aligners import Aligner

    offline = args.offline or os.environ.get("HF_HUB_OFFLINE") == "1"
    return Aligner(args.align_model, device, offline, log).align


def _speakers(args: argparse.Namespace, device: str) -> Any:
    return (
        speakers.load(args.diarize_model, device, args.min_speakers, args.max_speakers) if args.diarize else None
    )


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return the new fields of each record, or the Exception that its audio or its transcription raised."""
    from media.errors import EngineError

    transcriber, name, clips = model
    try:
        heard = transcriber.records(batch)
    except EngineError as error:  # an aligner that is not here: so it is for every record of its language
        raise CallError(str(error)) from error
    results: list[Any] = []
    for record, found in zip(batch, heard):
        if isinstance(found, Exception):
            results.append(found)
            continue
        fields = dict(zip(FIELDS, (found["segments"], found["text"], found["lang"], name)))
        if clips is not None:
            clips.of({**record, **fields})
        results.append(fields)
    return results


def _clips(args: argparse.Namespace, field: str = FIELDS[0]) -> Clips:
    from media.clip_files import write_clip

    stem = os.path.basename(args.manifest).removesuffix(".json")
    folder = args.output_dir or os.path.join("output", f"{stem}_clips")
    return Clips(args.manifest, folder, field, lambda piece, file: write_clip(piece, file, args.sample_rate))


def write_clips(args: argparse.Namespace) -> None:
    """Cut the clips that are not there yet and write their manifest."""
    path = f"{args.manifest.removesuffix('.json')}_clips.json"
    try:
        count = _clips(args, args.field or FIELDS[0]).write_manifest(args.manifest, path)
    except AudioError as error:
        raise CallError(str(error)) from error
    log(f"{path}: {count} clips")


def write_sentences(args: argparse.Namespace, paths: list[str], mark: str = "") -> int:
    """Write the manifest of the sentences of text files."""
    from media.sentences import sentences_of

    manifest = manifest_of(args.manifest, args.output_dir, mark)
    if os.path.exists(manifest) and not args.overwrite:
        raise CallError(f"{manifest}: there already; wanted another OUTPUT_DIR, or --overwrite")
    root = os.path.abspath(args.manifest)
    bad: list[str] = []
    write_tallied(manifest, sentence_records(root if os.path.isdir(root) else os.path.dirname(root), paths,
                                             sentences_of, bad))  # fmt: skip
    print_some("text files left out", len(bad), bad)
    log(f"text needs no transcription; next: python scripts/tag_emotion.py {shlex.quote(manifest)}")
    return OK


def main() -> int:
    """Transcribe this task's shard, or make a manifest of what was given; returns the exit status."""
    args = parse_args()
    check_input(args.manifest, "transcribe", AUDIO_SUFFIXES, TEXT_SUFFIXES)
    if args.tmp_dir:
        log("--tmp-dir: not needed, nothing is written on the way")
    if not is_kind(args.manifest, MANIFEST_SUFFIXES):
        from media.audio import probe

        is_folder = os.path.isdir(args.manifest)
        sounds = scan_audio(args.manifest) if is_folder else [os.path.abspath(args.manifest)]
        texts = scan_audio(args.manifest, TEXT_SUFFIXES) if is_folder else sounds
        if is_kind(sounds[0] if sounds else "", TEXT_SUFFIXES) or not sounds:
            if not texts:
                raise CallError(f"{args.manifest}: found neither audio nor text (.txt) in it or below")
            return write_sentences(args, texts)
        if is_folder and texts:
            log(f"{len(texts)} text files beside the audio are left alone; give a folder of text by itself")
        manifest = manifest_of(args.manifest, args.output_dir)
        list_audio(args.manifest, sounds, manifest, lambda path: probe(path).duration_s)
        args.output_dir = args.output_dir and os.path.join(args.output_dir, "clips")
        args.manifest = manifest
    resolve(args)
    status = run_shard(args, stage="transcribe", fields=FIELDS, load=load, process=process)
    if status == OK and args.sentiment_model:
        log(f"--sentiment-model: now python scripts/tag_emotion.py {shlex.quote(args.manifest)} "
            f"--model {shlex.quote(args.sentiment_model)}")  # fmt: skip
    alone = args.shard_index is None and not (slurm.in_batch_job() and slurm.here().is_array)
    if status == OK and args.clips and alone and not (args.limit or args.only):
        write_clips(args)
    return status


if __name__ == "__main__":
    run_main(main)
