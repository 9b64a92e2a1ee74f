"""Files in which other programs keep weights: Keras, PyTorch, safetensors, HDF5, NumPy."""

from __future__ import annotations

import io
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any

import h5py
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from qexp.errors import NotFoundError, QexpError
from qexp.networks.shapes import Shape

MOST_TENSORS = 100_000
"""Largest number of tensors, or of entries, that are looked at in a file; the largest networks have some thousand."""

DEEPEST = 32
"""Largest nesting of dictionaries or groups in a file."""


class WeightsFileError(QexpError):
    """A file of weights cannot be read, or holds something other than tensors."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file}: {why}")


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, not read yet."""

    shape: Shape
    read: Callable[[], Tensor]
    """Its values, in single precision unless they are whole numbers. Raises WeightsFileError."""


@dataclass(frozen=True)
class Contents:
    """The tensors of a file that is open."""

    tensors: Mapping[str, Stored]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Layer → its settings, if the file describes its network, as Keras' files do."""


# PyTorch's files of weights, `.pth` and `.ckpt`: tensors in dictionaries.
#
# They are pickles. Only torch's reader for weights is used, which knows tensors and plain containers, and refuses
# everything that a pickle could execute.

REFUSED = re.compile(r"GLOBAL ([\w.]+)")
"""What a pickle asks for, in the words in which torch refuses it."""


@contextmanager
def opened_pytorch(file: Path) -> Iterator[Contents]:
    """The tensors of a file, named by the keys on the way to them: `state_dict.fc.weight`. Raises WeightsFileError."""
    _require_stored_plainly(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about archives of TorchScript, which are refused below
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsFileError(file, f"cannot be read: {error.strerror or error}") from None
    except Exception as error:  # whatever bytes that are no pickle of torch, or a hostile one, make its reader raise
        raise WeightsFileError(file, _why(error)) from None
    yield Contents(dict(_tensors(content, file)))


def _require_stored_plainly(file: Path) -> None:
    """Raise WeightsFileError for an archive that would grow when it is read; torch compresses nothing."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return  # not an archive, or a damaged one, which torch refuses
    room = file.stat().st_size
    if any(one.compress_type != zipfile.ZIP_STORED for one in members) or sum(one.file_size for one in members) > room:
        raise WeightsFileError(file, "is a compressed archive, which torch does not write; save it again in torch")


def _why(error: Exception) -> str:
    said = str(error)
    if isinstance(error, pickle.UnpicklingError):  # torch's own words advise to execute the file
        found = REFUSED.search(said)
        what = f": '{found[1]}', which would have to be executed to read it, and is not" if found else ""
        return (
            f"holds something other than tensors{what}; in the program that wrote it, save the tensors alone: "
            "torch.save(model.state_dict(), FILE)"
        )
    if "TorchScript" in said:
        return "is a program of TorchScript, which is not executed; save model.state_dict() instead"
    first = (said.splitlines() or [type(error).__name__])[0]
    return f"is damaged, or not a file of PyTorch: {first[:200]}"


def _tensors(content: Any, file: Path) -> Iterator[tuple[str, Stored]]:
    """Dotted name → tensor, for all tensors in nested dictionaries and lists; numbers and texts are no weights."""
    waiting: list[tuple[str, Any, int]] = [("", content, 0)]
    looked_at = 0
    while waiting:
        name, value, depth = waiting.pop()
        looked_at += 1
        if looked_at > MOST_TENSORS or depth > DEEPEST:
            raise WeightsFileError(file, f"has more than {MOST_TENSORS:,} entries, or {DEEPEST} levels of them")
        if isinstance(value, Tensor):
            yield name, _stored_pytorch(value, name, file)
        elif isinstance(value, dict | list | tuple):
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            below = [(f"{name}.{key}" if name else str(key), one, depth + 1) for key, one in entries]
            waiting += reversed(below)


def _stored_pytorch(tensor: Tensor, name: str, file: Path) -> Stored:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        raise WeightsFileError(file, f"'{name}' is not a plain tensor: {tensor.layout}, {tensor.dtype}")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsFileError(file, f"'{name}' is declared as {list(tensor.shape)}, but has fewer numbers than that")
    return Stored(tuple(tensor.shape), lambda: plain(tensor))


def plain(tensor: Tensor) -> Tensor:
    """A copy in single precision; of whole numbers, the numbers."""
    return tensor.detach().to(torch.float32 if tensor.is_floating_point() else torch.int64).contiguous().clone()


# Arrays in an HDF5 file of unknown origin: only what lies in the file itself, as plain numbers, is read.

LARGEST_TEXT = 50_000_000
"""Largest description of a network [bytes]."""


@contextmanager
def opened_hdf5(source: Path | io.BytesIO, file: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading; `file` is its name in errors. Raises WeightsFileError, also for damage found later."""
    try:
        with h5py.File(source, "r") as content:
            yield content
    except WeightsFileError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        first = (str(error).splitlines() or ["no message"])[0]
        raise WeightsFileError(file, f"is damaged, or not an HDF5 file: {first[:200]}") from None


def arrays_in(content: h5py.File, file: Path) -> dict[str, Stored]:
    """Path in the file → array. Links out of the file and arrays that lie elsewhere are errors, and not followed."""
    found: dict[str, Stored] = {}
    waiting: list[tuple[str, h5py.Group, int]] = [("", content, 0)]
    seen: set[Any] = set()
    looked_at = 0
    while waiting:
        before, group, depth = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen or depth > DEEPEST:
            raise WeightsFileError(file, f"its group '{before}' contains itself, or lies {DEEPEST} levels deep")
        seen.add(address)
        for name in group:
            looked_at += 1
            path = f"{before}/{name}" if before else name
            if looked_at > MOST_TENSORS:
                raise WeightsFileError(file, f"has more than {MOST_TENSORS:,} entries")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise WeightsFileError(file, f"'{path}' is a link to another place, which is not followed")
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append((path, item, depth + 1))
            elif isinstance(item, h5py.Datatype):
                raise WeightsFileError(file, f"'{path}' is neither a group nor an array")
            else:
                found[path] = _stored_hdf5(item, path, file)
    return dict(sorted(found.items()))


def _stored_hdf5(array: h5py.Dataset, path: str, file: Path) -> Stored:
    settings = array.id.get_create_plist()
    if array.is_virtual or settings.get_external_count():
        raise WeightsFileError(file, f"the numbers of '{path}' lie in another file, which is not read")
    if array.dtype.kind not in "fiu" or array.shape is None:
        raise WeightsFileError(file, f"'{path}' does not hold numbers")
    if settings.get_nfilters():
        raise WeightsFileError(file, f"'{path}' is compressed, as Keras does not write it; save it again in Keras")
    size = int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize
    if array.id.get_storage_size() < size:
        raise WeightsFileError(
            file, f"'{path}' is declared as {list(array.shape)}, but the file holds fewer numbers than that"
        )
    return Stored(tuple(array.shape), partial(_read_hdf5, array))


def _read_hdf5(array: h5py.Dataset) -> torch.Tensor:
    numbers = np.float32 if array.dtype.kind == "f" else np.int64
    return plain(torch.from_numpy(np.asarray(array[()], dtype=numbers)))


def text_of(content: h5py.File, attribute: str, file: Path) -> str | None:
    """A text that is an attribute of the file, or None. Raises WeightsFileError for one that is too large."""
    if attribute not in content.attrs:
        return None
    kept = content.attrs.get_id(attribute)
    if kept.get_storage_size() > LARGEST_TEXT or kept.shape != ():
        raise WeightsFileError(file, f"its attribute '{attribute}' is not a text of at most {LARGEST_TEXT:,} bytes")
    value = content.attrs[attribute]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# Keras' files of weights, `.h5` and `.keras`, without TensorFlow: every weight by its layer, `conv2d_1/kernel`.
#
# `.h5` has the names of layers and weights in its paths. `.keras` is an archive of a description of the network and of
# an HDF5 file in which weights are numbered, layer by layer, in the order of the description.

CONFIG, WEIGHTS = "config.json", "model.weights.h5"

MODEL, OPTIMIZER = "model_weights", "optimizer_weights"
"""Groups of a whole model; in a file of weights alone, layers are at the top."""

NUMBERED = re.compile(r".+/vars/\d+")

NORMALISATION = ("gamma", "beta")
RUNNING = ("moving_mean", "moving_variance")

VARIABLES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose"), ("kernel", "bias")),
    "BatchNormalization": (*NORMALISATION, *RUNNING),
    "LayerNormalization": NORMALISATION,
}
"""Class of a layer → its weights in the order in which `.keras` numbers them."""

ABSENT = {"use_bias": "bias", "scale": "gamma", "center": "beta"}
"""Setting of a layer → the weight that it lacks if that is false."""

LARGEST_GROWTH = 20
"""An archive may be this many times as large when it is unpacked; weights hardly shrink."""


@contextmanager
def opened_h5(file: Path) -> Iterator[Contents]:
    """The weights in a `.h5` file. Raises WeightsFileError."""
    with opened_hdf5(file, file) as content:
        found = arrays_in(content, file)
        described = text_of(content, "model_config", file)
        yield Contents(_by_layer(found), _settings(_parsed(described, file)) if described else {})


@contextmanager
def opened_archive(file: Path) -> Iterator[Contents]:
    """The weights in a `.keras` archive. Raises WeightsFileError."""
    described, weights = _unpacked(file)
    config = _parsed(described, file)
    names = dict(_numbered(config, ""))
    with opened_hdf5(io.BytesIO(weights), file) as content:
        found = arrays_in(content, file)
        yield Contents({_name(path, names): stored for path, stored in found.items()}, _settings(config))


def _unpacked(file: Path) -> tuple[str, bytes]:
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {one.filename: one.file_size for one in archive.infolist()}
            for name in (CONFIG, WEIGHTS):
                if name not in sizes:
                    raise WeightsFileError(file, f"has no {name}, as archives of Keras 3 have")
            if sum(sizes[name] for name in (CONFIG, WEIGHTS)) > LARGEST_GROWTH * file.stat().st_size:
                raise WeightsFileError(file, "would become too large when it is unpacked")
            return archive.read(CONFIG).decode("utf-8"), archive.read(WEIGHTS)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, EOFError, RuntimeError) as error:
        raise WeightsFileError(file, f"is damaged, or not an archive of Keras 3: {error}") from None


def _parsed(described: str, file: Path) -> dict[str, Any]:
    try:
        config = json.loads(described)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise WeightsFileError(file, "its description of the network is not a JSON object")
    return config


def _by_layer(found: Mapping[str, Stored]) -> dict[str, Stored]:
    """`layer/weight` → array; whole paths if two would have the same name, and for what belongs to no layer."""
    whole = any(path.startswith(f"{MODEL}/") for path in found)
    own = [path for path in found if (path.startswith(f"{MODEL}/") if whole else not path.startswith(OPTIMIZER))]
    short = {path: "/".join(path.removesuffix(":0").split("/")[-2:]) for path in own if not NUMBERED.fullmatch(path)}
    if len(set(short.values())) < len(short):
        short = {path: path.removeprefix(f"{MODEL}/").removesuffix(":0") for path in short}
    return {short.get(path, path): stored for path, stored in found.items()}


def _layers(config: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Class, name and settings of the layers of a network or of one that is a layer, in order."""
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    for one in layers if isinstance(layers, list) and depth < DEEPEST else []:
        if isinstance(one, dict) and isinstance(one.get("config"), dict):
            name = one["config"].get("name", one.get("name"))
            yield str(one.get("class_name")), str(name), one


def _settings(config: Mapping[str, Any], depth: int = 0) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for _, name, layer in _layers(config, depth):
        found[name] = layer["config"]
        found |= _settings(layer, depth + 1)
    return found


def _numbered(config: Mapping[str, Any], before: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Path of a layer's numbered weight in the archive → `layer/weight`.

    A layer's path is its class, in small letters, with a number from the second one on.
    """
    counts: dict[str, int] = {}
    for kind, name, layer in _layers(config, depth):
        called = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()
        number = counts[called] = counts.get(called, -1) + 1
        path = f"{before}layers/{called}{f'_{number}' if number else ''}"
        absent = [weight for setting, weight in ABSENT.items() if layer["config"].get(setting) is False]
        weights = [weight for weight in VARIABLES.get(kind, ()) if weight not in absent]
        yield from ((f"{path}/vars/{index}", f"{name}/{weight}") for index, weight in enumerate(weights))
        yield from _numbered(layer, f"{path}/", depth + 1)


def _name(path: str, names: Mapping[str, str]) -> str:
    # Early versions of Keras 3 had another name for the folder of the layers.
    return names.get(path.replace("_layer_checkpoint_dependencies", "layers").replace("\\", "/"), path)


# A single array in a file of NumPy's, such as the means of a scaler.


@contextmanager
def opened_numpy(file: Path) -> Iterator[Contents]:
    """The array of a file, without a name. Raises WeightsFileError; pickled objects are refused."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)  # the header cannot ask for more than the file has
    except (ValueError, OSError, EOFError, SyntaxError, TokenError, OverflowError, MemoryError) as error:
        raise WeightsFileError(file, f"is damaged, or not a file of NumPy: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise WeightsFileError(file, "must hold a single array of numbers (.npy)")
    numbers = np.float32 if array.dtype.kind == "f" else np.int64

    def values() -> torch.Tensor:
        with np.errstate(over="ignore"):  # what is too large for single precision is infinite, which is refused later
            return plain(torch.from_numpy(array.astype(numbers)))

    yield Contents({"": Stored(array.shape, values)})


# Files of safetensors, which hold nothing but tensors.


@contextmanager
def opened_safetensors(file: Path) -> Iterator[Contents]:
    """The tensors of a file. Raises WeightsFileError."""
    try:
        with safe_open(file, framework="pt") as content:
            found = {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118 - not a dict
            yield Contents(
                {name: Stored(shape, partial(_read_safetensors, content, name, file)) for name, shape in found.items()}
            )
    except (SafetensorError, OSError) as error:
        raise WeightsFileError(file, f"is damaged, or not a file of safetensors: {error}") from None


def _read_safetensors(content: Any, name: str, file: Path) -> Tensor:
    tensor = content.get_tensor(name)
    if tensor.is_complex():
        raise WeightsFileError(file, f"'{name}' holds complex numbers")
    return plain(tensor)


# The formats in which other programs keep weights, by the suffix of the file.


@dataclass(frozen=True)
class Format:
    name: str
    suffixes: tuple[str, ...]
    opened: Callable[[Path], AbstractContextManager[Contents]]


FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format("pytorch", (".pth", ".pt", ".ckpt", ".bin"), opened_pytorch),
        Format("safetensors", (".safetensors",), opened_safetensors),
        Format("keras_h5", (".h5", ".hdf5"), opened_h5),
        Format("keras", (".keras",), opened_archive),
        Format("numpy", (".npy",), opened_numpy),
    )
}


def format_of(file: Path) -> Format:
    """The format of a file, by its suffix. Raises QexpError for another one, and NotFoundError."""
    if not file.exists():
        raise NotFoundError(f"{file}: there is no such file")
    if not file.is_file():
        raise QexpError(f"{file}: is not a file")
    for one in FORMATS.values():
        if file.suffix.lower() in one.suffixes:
            return one
    known = ", ".join(suffix for one in FORMATS.values() for suffix in one.suffixes)
    raise QexpError(f"{file}: the format is known by the suffix, which must be one of {known}")


@contextmanager
def opened(file: Path) -> Iterator[Contents]:
    """The tensors of a file of any format. Raises QexpError if it cannot be read, or holds none."""
    with format_of(file).opened(file) as contents:
        if not contents.tensors:
            raise WeightsFileError(file, "holds no tensors")
        yield contents
