"""Colours of units: light enough for dark numbers on them, alike where units sound alike."""

from __future__ import annotations

from typing import Any

GOLDEN_ANGLE = 2.399963  # radians: however many hues are taken, none comes near the one before
TO_CONES = [
    [1, 0.3963377774, 0.2158037573],
    [1, -0.1055613458, -0.0638541728],
    [1, -0.0894841775, -1.2914855480],
]
TO_LINEAR = [
    [4.0767416621, -3.3077115913, 0.2309699292],
    [-1.2684380046, 2.6097574011, -0.3413193965],
    [-0.0041960863, -0.7034186147, 1.7076147010],
]
LIGHTEST, DARKEST, CHROMA = 0.9, 0.72, 0.12  # in OKLCH


def section(strips: list[dict[str, Any]], codebook: str) -> dict[str, Any]:
    """Return the colours of the units of strips: by sound where the codebook is a file of fit_kmeans.py."""
    units = 1 + max((unit for strip in strips for unit, _ in strip["runs"]), default=-1)
    spectra = _log_mels(codebook) if units else None
    if spectra is None or len(spectra) < units:
        return {"colours": by_number(units)}
    note = "Units that sound alike are coloured alike; pale ones are quiet."
    return {"colours": by_sound(spectra), "note": note}


def _log_mels(codebook: str) -> Any:
    import numpy as np

    try:
        with np.load(codebook, allow_pickle=False) as arrays:
            return arrays["log_mels"]
    except (OSError, ValueError, KeyError):
        return None


def by_number(units: int) -> list[str]:
    """Return a colour for each of so many units, neighbours far apart."""
    import numpy as np

    number = np.arange(units)
    lightness = np.linspace(DARKEST, LIGHTEST, 3)[number % 3]
    return _as_css(lightness, np.full(units, CHROMA), number * GOLDEN_ANGLE)


def by_sound(log_mels: Any) -> list[str]:
    """Return a colour for each unit of a codebook by the mean log-mel spectra of its units, (units, bands).

    Hue is the direction of the spectrum's shape in the plane of its first two principal components, colourful
    what is far from the mean; light and grey is what is quiet.
    """
    import numpy as np

    level = log_mels.mean(axis=1)
    share = np.argsort(np.argsort(level)) / max(1, len(level) - 1)  # 0 the quietest, 1 the loudest
    shape = log_mels - level[:, None]
    shape = shape - np.average(shape, axis=0, weights=share)
    _, _, axes = np.linalg.svd(shape * share[:, None], full_matrices=False)  # silence has hardly a shape
    x, y = (shape @ axes[:2].T).T
    radius = np.hypot(x, y)
    colourful = np.minimum(1.0, 0.3 + radius / (2 * radius.mean() + 1e-9)) * np.minimum(1.0, 0.1 + 2 * share)
    return _as_css(LIGHTEST - (LIGHTEST - DARKEST) * share, CHROMA * colourful, np.arctan2(y, x))


def _as_css(lightness: Any, chroma: Any, hue: Any) -> list[str]:
    """Return OKLCH colours (hue in radians) as #rrggbb; source: B. Ottosson, A perceptual color space."""
    import numpy as np

    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])
    linear = (np.array(TO_LINEAR) @ (np.array(TO_CONES) @ lab) ** 3).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in (255 * srgb.T + 0.5).astype(int).tolist()]
