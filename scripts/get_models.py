"""Fetch the models of a stage and verify them; where there is no network, say what to copy where.

    envs/.built/asr/bin/python scripts/get_models.py asr        Canary-Qwen, into the hub's cache
    envs/.built/asr/bin/python scripts/get_models.py asr --model nvidia/parakeet-tdt-0.6b-v3
    python scripts/get_models.py units                          mHuBERT, k-means, vocoder, into models/

Run it once, on a machine with network that sees the disk of the nodes (often the login node); tasks then go
with --offline. Run again, it fetches nothing that is there, and verifies each file by its SHA-256. HF_HOME
moves the hub's cache (set it in slurm/site.env too), --folder the rest. vad.py needs only its packages.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shlex
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from amela.cli import parser
from amela.errors import BAD_CALL, OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.log import error, log

REPOSITORY = Path(__file__).resolve().parents[1]
CANARY = "nvidia/canary-qwen-2.5b"
HUB_FILES = {  # what a model needs of its repository; for others its .nemo file
    CANARY: ("config.json", "*.safetensors"),
    "Qwen/Qwen3-1.7B": (
        "config.json",
        "generation_config.json",
        "tokenizer*.json",
        "vocab.json",
        "merges.txt",
    ),
}
NEEDS = {
    CANARY: ("Qwen/Qwen3-1.7B",)
}  # its language model's configuration and tokenizer; weights are in its own
FETCH_LIMIT_S = 60  # without an answer


class NoNetworkError(Exception):
    """A file could not be fetched; the text says why."""


class ModelFile(NamedTuple):
    """A file with its address and SHA-256 (textlesslib ba33d66, checkpoint_manager/__init__.py)."""

    name: str
    url: str
    sha256: str


META = "https://dl.fbaipublicfiles.com"
EXPRESSO = f"{META}/textless_nlp/expresso/checkpoints"
TWIST = f"{META}/textless_nlp/twist/speech_tokenizer"
MHUBERT = "mhubert_base_vp_mls_cv_8lang_it3"
MHUBERT_25HZ = "mhubert_base_25hz_cp_mls_cv_sp_fisher"
ENCODER = ModelFile(f"{MHUBERT}.pt", f"{META}/hubert/{MHUBERT}.pt",
                    "fa82eaccb557465f4732662e3a744c30c953059147ac6a4c92f1f3e0daeda61e")  # fmt: skip


def _vocoder(quantizer: str, generator_sha256: str) -> list[ModelFile]:
    """Return the files of an Expresso vocoder; settings, speakers and styles of both quantizers are equal."""
    name = f"hifigan_expresso_lj_vctk_{MHUBERT}_{quantizer}"
    sums = {
        "generator.pt": generator_sha256,
        "config.json": "73932563cedc43cd1dcddfab36ce3b2c3cb76eef3423d25d1fb536ce1ec513bb",
        "speakers.txt": "2efabb7a4ad786da34fe6fbe99c3906b7abd40b2e01c81b7efde76142ae3d552",
        "styles.txt": "a6f63206518448277c63c3a251ac13484784829cf2e1b0a23b0860dd32543520",
    }
    return [ModelFile(f"{name}_{part}", f"{EXPRESSO}/{name}/{part}", sha256) for part, sha256 in sums.items()]


FILES = {
    "units": [  # 50 units a second, 2000 of them, k-means fitted on Expresso
        ENCODER,
        ModelFile(f"{MHUBERT}_L12_km2000_expresso.pt", f"{EXPRESSO}/{MHUBERT}_L12_km2000_expresso.bin",
                  "bda2dbf5fe42bf59359799b281498a9d7fd0a9ec703d6dc54a4a4a0ff70a4e22"),
        *_vocoder("L12_km2000_expresso", "8d1585f20edd9b0982f80acbb387a892adf19e4aa719b8dea795c8fa96285cbc"),
    ],
    "units-plain": [  # the same encoder, k-means fitted on its own training data
        ENCODER,
        ModelFile(f"{MHUBERT}_L12_km2000.pt", f"{META}/hubert/{MHUBERT}_L12_km2000.bin",
                  "05de230870427dcdce334d29922ccce354c7e7d0574edc645f5daed47b1ccc18"),
        *_vocoder("L12_km2000", "0d160c97519d3ed644e2ec636581b79e56767d60325308849fbb389a494c1466"),
    ],
    "units-25hz": [  # 25 units a second, 500 of them, a vocoder that predicts durations
        ModelFile(f"{MHUBERT_25HZ}.pt", f"{TWIST}/{MHUBERT_25HZ}.pt",
                  "edf0f5be2581a568a236aeb2781a5607c5af25806e12f40f7f2391e861fe3cf0"),
        ModelFile(f"{MHUBERT_25HZ}_L11_km500.bin", f"{TWIST}/{MHUBERT_25HZ}_L11_km500.bin",
                  "03cc04a9c24fec4285e73e709c485756d8f116aa8e724eac555de6a7cf8d28ad"),
        ModelFile("hifigan_lj_mhubert_base_25hz.pt", f"{TWIST}/hifigan_lj_mhubert_base_25hz.pt",
                  "d88224e95c501e2cd59a6e4014753169cfe060fb7ade3cc0da03c809fef73b79"),
        ModelFile("hifigan_lj_mhubert_base_25hz_config.json",
                  f"{TWIST}/hifigan_lj_mhubert_base_25hz_config.json",
                  "116dc39be4970cd393e562acd0a0ec70a86aaba7e9ca469b8b836cb3fe46afc7"),
    ],
}  # fmt: skip


def main() -> int:
    """Fetch and verify; return 0, or 2 where something is missing and cannot be fetched."""
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("stage", choices=["vad", "asr", *FILES], help="whose models")
    add("--model", default=CANARY, metavar="ID", help="for asr: hub id of the model")
    add("--revision", default="main", help="for asr: branch, tag or commit")
    add("--folder", default=str(REPOSITORY / "models"), metavar="DIR", help="for units: where files go")
    args = arguments.parse_args()
    if args.stage == "vad":
        print("vad.py needs nothing: its models are in the packages")
        return OK
    if args.stage == "asr":
        models = [(args.model, args.revision), *((other, "main") for other in NEEDS.get(args.model, ()))]
        return max(get_from_hub(model, revision) for model, revision in models)
    return get_files(FILES[args.stage], Path(args.folder))


def get_files(files: list[ModelFile], folder: Path) -> int:
    """Bring files into a folder, each verified; return 0, or 2 after the list of what to copy."""
    make_folder(folder)
    missing = []
    for file in files:
        target = folder / file.name
        try:
            if target.exists():
                _check(target, _sha256(target), file.sha256)
            else:
                log(f"fetching {file.url}")
                _fetch(file, target)
            print(f"ok       {target}")
        except NoNetworkError as exc:
            log(f"not fetched: {exc}")
            missing.append(file)
    if missing:
        error(
            f"{len(missing)} of {len(files)} files are missing, and their server cannot be reached from here"
        )
        print("On a machine with network, then copied to this one:")
        for file in missing:
            print(f"  curl -L -o {shlex.quote(file.name)} {file.url}")
            print(f"    sha256 {file.sha256}\n    to {folder / file.name}")
        print("Then the same command again verifies them.")
    return BAD_CALL if missing else OK


def _fetch(file: ModelFile, target: Path) -> None:
    """Fetch a file; it gets its name only when it is the right one."""
    digest = hashlib.sha256()
    with write_aside(target, "wb") as output:
        for block in _blocks(file.url):
            output.write(block)
            digest.update(block)
        found = digest.hexdigest()
        if found != file.sha256:
            raise CallError(f"{file.url}: found {found}, wanted {file.sha256}: another file lies there")


def _blocks(url: str) -> Iterator[bytes]:
    """Yield what lies at an address; NoNetworkError for all that can happen on the way."""
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=FETCH_LIMIT_S) as answer:
            while block := answer.read(1 << 20):
                size += len(block)
                yield block
            wanted = int(answer.headers.get("Content-Length") or size)
    except (OSError, http.client.HTTPException) as exc:
        raise NoNetworkError(str(exc)) from exc
    if size < wanted:  # a line cut short raises nothing by itself
        raise NoNetworkError(f"{url}: cut off after {size:,} of {wanted:,} bytes")


def _sha256(path: Path, start: bytes = b"", name: str = "sha256") -> str:
    digest = hashlib.new(name, start)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise CallError(f"{path}: found {found}, wanted {wanted}: the file is damaged or another; "
                        f"rm {shlex.quote(str(path))} and give the same command again")  # fmt: skip


def get_from_hub(model: str, revision: str) -> int:
    """Bring a model into the hub's cache, each file verified; return 0, or 2 after what to type elsewhere."""
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError:
        raise CallError(f"no huggingface_hub in {sys.executable}: wanted the environment of the stage, "
                        "envs/.built/asr/bin/python scripts/get_models.py asr") from None  # fmt: skip
    wanted = HUB_FILES.get(model, ("*.nemo",))
    cache = Path(constants.HF_HUB_CACHE)
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=list(wanted)))
    except Exception as exc:
        log(f"{model}: the hub does not answer ({type(exc).__name__}); looking in {cache}")
        folder = _cached(model, revision, wanted)
        if folder is None:
            _say_how(model, revision, wanted, cache)
            return BAD_CALL
    lacking = [pattern for pattern in wanted if not list(folder.glob(pattern))]
    if lacking and model not in HUB_FILES:
        raise CallError(f"{model}: its repository has no .nemo file; asr.py --backend nemo needs one")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        _check_blob(path)
        print(f"ok       {path}")
    log(f"{model} at {folder.name}")
    return OK


def _cached(model: str, revision: str, wanted: tuple[str, ...]) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(model, revision=revision, allow_patterns=list(wanted), local_files_only=True)
        )
    except Exception:
        return None
    return folder if any(folder.glob(wanted[-1])) else None


def _check_blob(path: Path) -> None:
    """The cache names a file by its SHA-256, a small one as git does, by a SHA-1 with a header before it."""
    name = path.resolve().name
    if len(name) == 64:
        _check(path.resolve(), _sha256(path), name)
    elif len(name) == 40:
        _check(path.resolve(), _sha256(path, b"blob %d\0" % path.stat().st_size, "sha1"), name)


def _say_how(model: str, revision: str, wanted: tuple[str, ...], cache: Path) -> None:
    error(f"{model} is not in the cache {cache}, and the hub cannot be reached from here")
    folder = "models--" + model.replace("/", "--")
    include = " ".join(f"--include {shlex.quote(pattern)}" for pattern in wanted)
    print("On a machine with network:")
    print(f"  HF_HOME=hf hf download {model} --revision {revision} {include}")
    print("Then copy its folder, symbolic links as they are, to this machine:")
    print(f"  rsync -a hf/hub/{folder} {os.path.join(cache, '')}")
    print("Then the same command again verifies it.")


if __name__ == "__main__":
    run_main(main)
