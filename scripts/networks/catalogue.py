"""Names of published encoders, codebooks and vocoders, and where their files lie; `get_models.py` fetches
them. Imports nothing heavy.

Names are those of textlesslib (checkpoint_manager); a path is taken as it is.
"""

from __future__ import annotations

import os

MHUBERT, MHUBERT_25HZ = "mhubert-base-vp_mls_cv_8lang", "mhubert-base-25hz"
_IT3, _25HZ = "mhubert_base_vp_mls_cv_8lang_it3", "mhubert_base_25hz_cp_mls_cv_sp_fisher"
ENCODERS = {MHUBERT: (f"{_IT3}.pt", 12), MHUBERT_25HZ: (f"{_25HZ}.pt", 11)}  # file, layer of its units
KMEANS = {
    (MHUBERT, "kmeans-expresso"): f"{_IT3}_L12_km2000_expresso.pt",
    (MHUBERT, "kmeans"): f"{_IT3}_L12_km2000.pt",
    (MHUBERT_25HZ, "kmeans"): f"{_25HZ}_L11_km500.bin",
}
VOCODERS = {
    (MHUBERT, "kmeans-expresso"): f"hifigan_expresso_lj_vctk_{_IT3}_L12_km2000_expresso_generator.pt",
    (MHUBERT, "kmeans"): f"hifigan_expresso_lj_vctk_{_IT3}_L12_km2000_generator.pt",
    (MHUBERT_25HZ, "kmeans"): "hifigan_lj_mhubert_base_25hz.pt",
}
MFCC, GRIFFINLIM = "mfcc", "griffinlim"  # the encoder and the vocoder that need no weights
BUILT_IN = {MFCC: "mfcc-1", GRIFFINLIM: "griffinlim-1"}  # to be counted up when what they make changes
ENCODER_HELP = "name, fairseq file, Hugging Face folder, or mfcc"
VOCODER_HELP = (
    "generator file, or griffinlim: the mean spectra in a codebook of fit_kmeans.py (default: the one of the "
    "encoder and the codebook; griffinlim for mfcc)"
)
GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, WSL: seen without loading torch


class NotHereError(ValueError):
    """A model that is not on this machine; the message says where it was looked for and what to type."""


def may_have_gpu(device: str) -> bool:
    """Tell whether work on this device (auto, cpu, cuda …) may run on a GPU, without loading PyTorch."""
    return device != "cpu" and any(map(os.path.exists, GPU_DEVICES))


def find_encoder(name: str) -> str:
    """Return the path of an encoder given by name or path (a file, or a Hugging Face folder), or `mfcc`."""
    if name == MFCC:
        return MFCC
    return _find("--encoder", name, ENCODERS[name][0] if name in ENCODERS else None, [*ENCODERS, MFCC])


def layer_of(name: str, asked: int | None) -> int | None:
    """Return the layer asked for, else the one that the units of a named encoder are made of, 12 for a path;
    None for `mfcc`, which has none.
    """
    if name == MFCC:
        if asked is not None:
            raise NotHereError(f"--layer {asked}: {MFCC} has no layers; leave it out")
        return None
    return asked or (ENCODERS[name][1] if name in ENCODERS else 12)


def revision_of(path: str) -> str:
    """Return what pins a model that was found: of `mfcc` and `griffinlim` the version of their own code."""
    from media import hub

    if path in BUILT_IN:
        return BUILT_IN[path]
    try:
        return hub.revision_of(path)
    except hub.ModelError as error:
        raise NotHereError(str(error)) from error


def find_kmeans(encoder: str, name: str) -> str:
    """Return the path of a codebook given by path, or by name beside a named encoder."""
    if encoder == MFCC and not os.path.exists(name):
        raise NotHereError(
            f"--kmeans {name}: no such file; wanted a codebook of {MFCC}: "
            f"`python scripts/fit_kmeans.py MANIFEST --encoder {MFCC}` makes one"
        )
    names = [quantizer for model, quantizer in KMEANS if model == encoder]
    return _find("--kmeans", name, KMEANS.get((encoder, name)), names)


def find_vocoder(encoder: str, kmeans: str, path: str | None) -> str:
    """Return the path of a vocoder: as given, or the one that belongs to a named encoder and codebook;
    `griffinlim` where that is asked for, or the encoder is `mfcc`.
    """
    if path == GRIFFINLIM or (path is None and encoder == MFCC):
        return GRIFFINLIM
    if path is None and (encoder, kmeans) not in VOCODERS:
        raise NotHereError(
            f"--vocoder: there is none known for {encoder} and {kmeans}; wanted a path, or {GRIFFINLIM}"
        )
    return _find("--vocoder", path or "its vocoder", None if path else VOCODERS[encoder, kmeans], ())


def split_name(table: str) -> tuple[str, str | None]:
    """Return the path and the name within of FILE or FILE:NAME, a tensor of a model's file."""
    path, colon, name = table.rpartition(":")
    return (table, None) if os.path.exists(table) or not colon else (path, name)


def short_name(model: str) -> str:
    """Return what stands in folder names: the name, or the last part of a path without its ending."""
    return os.path.splitext(os.path.basename(os.path.normpath(model)))[0] if os.path.exists(model) else model


def _find(flag: str, name: str, file: str | None, names: object) -> str:
    if os.path.exists(name):
        return os.path.abspath(name)
    known = ", ".join(names) if isinstance(names, (dict, list)) else ""
    if file is None:
        raise NotHereError(
            f"{flag} {name}: no such file; wanted a path" + (f" or one of {known}" * bool(known))
        )
    textless = os.environ.get("TEXTLESS_CHECKPOINT_ROOT") or os.path.expanduser("~/.textless")
    folders = [os.environ.get("AMELA_MODELS") or "models", textless]
    for folder in folders:
        path = os.path.join(folder, file)
        if os.path.exists(path):
            return os.path.abspath(path)
    stage = {"kmeans": "units-plain"}.get(name, "units-25hz" if _25HZ in file else "units")
    raise NotHereError(
        f"{flag} {name}: {file} is neither in {' nor in '.join(folders)}; fetch it with "
        f"`python scripts/get_models.py {stage}`, or set AMELA_MODELS to the folder that has it"
    )
