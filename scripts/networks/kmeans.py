"""k-means codebooks: features → units. Reads joblib's files of
scikit-learn with neither installed, and runs no code of theirs.

Only the centres matter. Sources: joblib's file format (joblib/numpy_pickle.py), scikit-learn's KMeans and
MiniBatchKMeans (`cluster_centers_`), fairseq examples/hubert/simple_kmeans.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import zipfile
import zlib
from typing import Any

import numpy as np
import torch

from networks.weights import Inert, WeightsError, read_weights

INERT_PARENTS = ("sklearn.", "numpy.")  # what such a file names besides the classes below; never called
LARGEST_VOCABULARY = 32_767  # units are stored as int16


class KMeans(torch.nn.Module):
    """Centres of shape (units, width); the nearest one is the unit."""

    def __init__(self, centres: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("centres", torch.from_numpy(np.ascontiguousarray(centres, np.float64)))
        self.register_buffer("squares", (self.centres**2).sum(1))

    @property
    def vocabulary(self) -> int:
        """The number of units."""
        return len(self.centres)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the units (…,) of features (…, width), as int64.

        In double precision, so that the size of a batch cannot turn a near tie.
        """
        return (self.squares - 2 * features.double() @ self.centres.T).argmin(-1)


def load_kmeans(path: str | os.PathLike[str], width: int | None = None) -> KMeans:
    """Return the codebook in a joblib file of scikit-learn, an .npy, .npz or .pt; WeightsError where its
    centres are missing, not finite, or not of the encoder's `width`.
    """
    path = os.fspath(path)
    try:
        centres = _centres(path)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}; wanted a k-means file") from error
    except Exception as error:  # a cut file raises whatever its bytes lead to
        said = str(error)
        raise WeightsError(said if path in said else f"{path}: not read as k-means: {said}") from error
    if centres.ndim != 2 or centres.dtype.kind != "f" or not np.isfinite(centres).all() or not centres.size:
        raise WeightsError(
            f"{path}: centres of shape {centres.shape}, {centres.dtype}; wanted finite ones, (units, width)"
        )
    if width is not None and centres.shape[1] != width:
        raise WeightsError(
            f"{path}: centres of width {centres.shape[1]}, the encoder's features have {width}: "
            "do they belong together?"
        )
    if len(centres) > LARGEST_VOCABULARY:
        raise WeightsError(f"{path}: {len(centres)} units; wanted at most {LARGEST_VOCABULARY}")
    return KMeans(centres)


def _centres(path: str) -> np.ndarray:
    with open(path, "rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return np.load(path, allow_pickle=False)
    if start.startswith(b"PK"):
        names = zipfile.ZipFile(path).namelist()
        if all(name.endswith(".npy") for name in names):
            return _one_of(dict(np.load(path, allow_pickle=False)), path)
        return _one_of({name: np.asarray(value) for name, value in read_weights(path).items()
                        if isinstance(value, torch.Tensor)}, path)  # fmt: skip
    found = _read_joblib(path)
    centres = found.state.get("cluster_centers_") if isinstance(found, Inert) else None
    if not isinstance(centres, np.ndarray):
        raise WeightsError(f"{path}: holds no cluster_centers_; wanted a fitted k-means of scikit-learn")
    return centres


def _one_of(arrays: dict[str, np.ndarray], path: str) -> np.ndarray:
    """The array named for centres, or the only one."""
    for name in ("cluster_centers_", "centres", "centers"):
        if name in arrays:
            return arrays[name]
    if len(arrays) != 1:
        raise WeightsError(f"{path}: holds {sorted(arrays)}; wanted one array, or `centres`")
    return next(iter(arrays.values()))


def _read_joblib(path: str) -> Any:
    """Unpickle arrays and stand-ins; whatever else the file asks for is refused by name."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:1] == b"\x78" or data[:2] == b"\x1f\x8b":
        data = zlib.decompress(data, 47)  # zlib's or gzip's header
    stream = io.BytesIO(data)

    class Array(_Array):
        """joblib's NumpyArrayWrapper: its state is followed by the bytes of the array."""

        def __setstate__(self, state: dict[str, Any]) -> None:
            if state.get("numpy_array_alignment_bytes") is not None:
                stream.seek(stream.read(1)[0], os.SEEK_CUR)
            count = math.prod(state["shape"]) * state["dtype"].numpy().itemsize
            self.fill(stream.read(count), state["dtype"], state["shape"], state["order"])

    class Restricted(pickle.Unpickler):
        """Finds our own readers of arrays, and stand-ins for the rest of numpy and scikit-learn."""

        def find_class(self, module: str, name: str) -> Any:
            own = {
                ("joblib.numpy_pickle", "NumpyArrayWrapper"): Array,
                ("numpy.core.multiarray", "_reconstruct"): _Pickled,
                ("numpy._core.multiarray", "_reconstruct"): _Pickled,
                ("numpy", "dtype"): _Type,
            }
            if (module, name) in own:
                return own[module, name]
            if f"{module}.".startswith(INERT_PARENTS):
                return type(name, (Inert,), {})
            raise WeightsError(
                f"{path}: refused: it asks for {module}.{name}, which a k-means file has no need of"
            )

    found = Restricted(_NoPeek(stream)).load()
    if isinstance(found, Inert):
        found.state = {name: getattr(value, "array", value) for name, value in found.state.items()}
    return found


class _Type:
    """A dtype as pickled; numpy's own would believe the flags in the file."""

    def __init__(self, text: str, *_: Any) -> None:
        self.text, self.order = str(text), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def numpy(self) -> np.dtype[Any]:
        """Return the type; WeightsError for anything but plain numbers."""
        dtype = np.dtype(self.text)
        if dtype.kind not in "fiub":
            raise WeightsError(f"refused: an array of {self.text!r}; wanted numbers")
        return dtype if self.order == "|" else dtype.newbyteorder(self.order)


class _Array:
    """Holds an array that was read byte by byte."""

    array: np.ndarray

    def __init__(self, *_: Any) -> None: ...

    def fill(self, raw: bytes, dtype: _Type, shape: tuple[int, ...], order: str) -> None:
        """Make the array of its bytes, in the machine's own byte order."""
        found = np.frombuffer(raw, dtype.numpy()).reshape(shape, order="F" if order == "F" else "C")
        self.array = found.astype(found.dtype.newbyteorder("="))


class _Pickled(_Array):
    """An array in an ordinary pickle."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        self.fill(raw, dtype, shape, "F" if fortran else "C")


class _NoPeek:
    """A stream that cannot be looked ahead in, so that the unpickler stops where an array's bytes begin."""

    def __init__(self, stream: io.BytesIO) -> None:
        self.read, self.readline = stream.read, stream.readline
