"""Codebooks as fit_kmeans.py makes them: an .npz of plain arrays, with what each unit sounds like.

centers (units, width) float32; log_mels (units, bands) float32, the mean log-mel spectrum of each unit's
frames (`spectra.log_mels`); counts (units,) int64, the frames of each; settings, a JSON text: what made it.
"""

from __future__ import annotations

import json
import os
import zipfile
from typing import IO, Any, NamedTuple

import numpy as np

from networks.weights import WeightsError


class Codebook(NamedTuple):
    """What the file holds."""

    centers: np.ndarray
    log_mels: np.ndarray
    counts: np.ndarray
    settings: dict[str, Any]


def write_codebook(file: IO[bytes], book: Codebook) -> None:
    """Write it; equal values give equal bytes."""
    text = np.array(json.dumps(book.settings, sort_keys=True, ensure_ascii=False))
    np.savez(file, **{**book._asdict(), "settings": text})


def read_codebook(path: str | os.PathLike[str]) -> Codebook | None:
    """Return the codebook in a file, None where the file is no .npz of this form; WeightsError where it is
    damaged.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile) or not set(Codebook._fields) <= set(arrays):
                return None
            found = Codebook(*(arrays[name] for name in Codebook._fields))
            settings = dict(json.loads(str(found.settings)))
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: damaged: {error}; wanted a codebook of fit_kmeans.py") from error
    units = len(found.centers)
    if found.log_mels.ndim != 2 or len(found.log_mels) != units or found.counts.shape != (units,):
        raise WeightsError(
            f"{path}: log_mels of shape {found.log_mels.shape} and counts of {found.counts.shape} for "
            f"{units} units; wanted one row each"
        )
    return found._replace(settings=settings)


def check_encoder(path: str, settings: dict[str, Any]) -> None:
    """Raise WeightsError where a codebook of fit_kmeans.py was made of another encoder or layer than
    `settings` names. Other files do not say what made them.
    """
    book = read_codebook(path)
    if book is None:
        return
    made = {name: book.settings.get(name) for name in ("encoder_revision", "layer")}
    if made != {name: settings.get(name) for name in made}:
        raise WeightsError(
            f"{path}: made of {_named(book.settings)}, and asked for is {_named(settings)}; wanted the same "
            "--encoder and --layer, as units of one mean nothing in another"
        )


def _named(settings: dict[str, Any]) -> str:
    layer = "" if settings.get("layer") is None else f", layer {settings['layer']}"
    return f"{settings.get('encoder')} ({settings.get('encoder_revision')}){layer}"
