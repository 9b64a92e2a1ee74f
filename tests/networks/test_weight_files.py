"""Files of weights from anywhere: what they hold is read as tensors or not at all; nothing in them
is executed.
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from qexp.errors import NotFoundError, QexpError
from qexp.foreign import weight_files
from qexp.foreign.weight_files import WeightsFileError

WEIGHT = torch.arange(6.0).reshape(2, 3)


def read(file: Path) -> dict[str, torch.Tensor]:
    with weight_files.open_weights(file) as contents:
        return {name: stored.read() for name, stored in contents.tensors.items()}


def refusal(file: Path) -> str:
    with pytest.raises(WeightsFileError) as error:
        read(file)
    assert str(error.value).startswith(str(file))
    return str(error.value)


def test_tensors_are_named_by_the_keys_on_the_way_to_them_also_in_torch_s_older_format(
    tmp_path: Path,
):
    file = tmp_path / "model.pth"
    torch.save(
        {
            "epoch": 3,
            "state_dict": OrderedDict(fc=WEIGHT.half()),
            "more": [WEIGHT, {"deep": WEIGHT}],
        },
        file,
    )
    found = read(file)
    assert list(found) == ["state_dict.fc", "more.0", "more.1.deep"]
    assert all(torch.equal(one, WEIGHT) and one.dtype == torch.float32 for one in found.values())
    torch.save(WEIGHT, file, _use_new_zipfile_serialization=False)
    assert torch.equal(read(file)[""], WEIGHT)


@pytest.mark.parametrize("suffix", [".safetensors", ".npy", ".h5"])
def test_the_other_formats_give_the_same_numbers(tmp_path: Path, suffix: str):
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file({"fc/kernel": WEIGHT.bfloat16()}, file)
    elif suffix == ".npy":
        np.save(file, WEIGHT.numpy().astype(np.float64))
    else:
        with h5py.File(file, "w") as content:
            content["fc/fc/kernel:0"] = WEIGHT.numpy()
    ((name, found),) = read(file).items()
    assert name == ("" if suffix == ".npy" else "fc/kernel")
    assert torch.equal(found, WEIGHT)


# Pickles


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["pickle", "zip", "within tensors"])
@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".pt", ".bin"])
def test_no_pickle_is_executed(tmp_path: Path, form: str, suffix: str):
    file, marker = tmp_path / f"model{suffix}", tmp_path / "executed"
    if form == "pickle":
        file.write_bytes(pickle.dumps(Hostile(marker)))
    else:
        torch.save(
            (
                {"fc": WEIGHT, "args": Hostile(marker)}
                if form == "within tensors"
                else Hostile(marker)
            ),
            file,
        )
    assert "other than tensors" in refusal(file)
    assert not marker.exists()
    torch.load(file, weights_only=False) if form != "pickle" else pickle.loads(file.read_bytes())
    assert marker.exists(), "the file is as harmful as it is meant to be"


def test_a_pickled_array_of_objects_is_not_executed(tmp_path: Path):
    file, marker = tmp_path / "mean.npy", tmp_path / "executed"
    np.save(file, np.array([Hostile(marker)], dtype=object), allow_pickle=True)
    refusal(file)
    assert not marker.exists()


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path):
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"fc": torch.zeros(2_000_000)}, plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert packed.stat().st_size < 100_000
    assert "compressed" in refusal(packed)


@pytest.mark.heavy
def test_modules_endless_repetitions_and_lists_in_lists_that_multiply_are_refused(tmp_path: Path):
    nested: list[Any] = [WEIGHT]
    for _ in range(24):
        nested = [nested, nested, nested]
    for content, complaint in (
        (torch.nn.Linear(2, 2), "torch.save(model.state_dict(), FILE)"),
        ({"fc": torch.zeros(1).expand(10**9, 10**3)}, "fewer numbers"),
        (nested, "entries"),
    ):
        torch.save(content, tmp_path / "model.pth")
        assert complaint in refusal(tmp_path / "model.pth")


# Damage


def saved(folder: Path, suffix: str) -> Path:
    """A sound file of each format."""
    file = folder / f"model{suffix}"
    if suffix == ".pth":
        torch.save({"fc": torch.rand(40, 40)}, file)
    elif suffix == ".safetensors":
        save_file({"fc": torch.rand(40, 40)}, file)
    elif suffix == ".npy":
        np.save(file, np.ones((40, 40)))
    else:
        kept = io.BytesIO() if suffix == ".keras" else file
        with h5py.File(kept, "w") as content:
            content["layers/dense/vars/0" if suffix == ".keras" else "fc/fc/kernel:0"] = np.ones(
                (40, 40), np.float32
            )
        if isinstance(kept, io.BytesIO):
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr(
                    "config.json",
                    json.dumps({"class_name": "Sequential", "config": {"layers": []}}),
                )
                archive.writestr("model.weights.h5", kept.getvalue())
    return file


FILES = (".pth", ".safetensors", ".npy", ".h5", ".keras")


@pytest.mark.parametrize("suffix", FILES)
def test_a_file_cut_off_anywhere_random_bytes_and_files_of_another_format_are_errors(
    tmp_path: Path, suffix: str
):
    others = [saved(tmp_path, other).read_bytes() for other in FILES[:-1] if other != suffix]
    file = saved(tmp_path, suffix)
    assert len(read(file)) == 1
    whole = file.read_bytes()
    beginnings = [whole[:length] for length in (0, 1, 10, 100, len(whole) // 2, len(whole) - 200)]
    for content in [*beginnings, np.random.default_rng(0).bytes(3000), b"{}", *others]:
        file.write_bytes(content)
        refusal(file)


def test_headers_of_safetensors_that_lie_and_of_numpy_that_cannot_be_parsed_are_errors(
    tmp_path: Path,
):
    for header in (
        b"not json",
        json.dumps(
            {"fc": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}
        ).encode(),
        json.dumps({"fc": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}).encode(),
        json.dumps({"fc": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}).encode(),
    ):
        (tmp_path / "w.safetensors").write_bytes(
            struct.pack("<Q", len(header)) + header + bytes(16)
        )
        refusal(tmp_path / "w.safetensors")
    whole = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999,), }"
    for header in (whole[:30], whole):
        padded = header.ljust(117) + b"\n"
        (tmp_path / "mean.npy").write_bytes(
            b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + bytes(8)
        )
        refusal(tmp_path / "mean.npy")


# HDF5


def virtual(content: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "kernel", (3,))
    content.create_virtual_dataset("kernel", layout)


def put(content: h5py.File, value: Any) -> None:
    content["fc/kernel"] = value


HOSTILE = {
    "a link to another file": (
        lambda content, folder: put(
            content, h5py.ExternalLink(str(folder / "secret.h5"), "kernel")
        ),
        "link",
    ),
    "a link inside": (lambda content, folder: put(content, h5py.SoftLink("/fc")), "link"),
    "numbers in another file": (
        lambda content, folder: content.create_dataset(
            "k", (3,), "f8", external=[(str(folder / "secret"), 0, 24)]
        ),
        "another file",
    ),
    "a virtual array": (virtual, "another file"),
    # Neither of these is allocated.
    "declared larger than the file": (
        lambda content, folder: content.create_dataset(
            "k", (10**6, 10**6), "f4", chunks=(100, 100)
        ),
        "fewer numbers",
    ),
    "compressed": (
        lambda content, folder: content.create_dataset(
            "k", data=np.zeros((2000, 2000)), compression="gzip"
        ),
        "compressed",
    ),
    "a text": (lambda content, folder: put(content, "a text"), "numbers"),
}


@pytest.mark.parametrize(("write", "complaint"), HOSTILE.values(), ids=HOSTILE)
def test_an_hdf5_file_is_read_only_as_plain_numbers_that_lie_in_it(
    tmp_path: Path, write: Any, complaint: str
):
    (tmp_path / "secret").write_bytes(bytes(24))
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["kernel"] = np.ones(3)
    with h5py.File(tmp_path / "w.h5", "w") as content:
        write(content, tmp_path)
    assert complaint in refusal(tmp_path / "w.h5")


def test_groups_in_a_circle_are_read_once(tmp_path: Path):
    with h5py.File(tmp_path / "w.h5", "w") as content:
        content.create_group("fc")["again"] = content["/"]
        content["fc/kernel"] = WEIGHT
    assert list(read(tmp_path / "w.h5")) == ["fc/kernel"]


@pytest.mark.slow
def test_an_archive_of_keras_that_grows_is_not_unpacked(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "w.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(50_000_000))
    assert "large" in refusal(tmp_path / "w.keras")


# Files that are none


def test_what_is_no_file_and_unknown_suffixes_are_errors_that_say_what_would_do(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no such file"):
        weight_files.format_of(tmp_path / "gone.pth")
    with pytest.raises(QexpError, match="is not a file"):
        weight_files.format_of(tmp_path)
    (tmp_path / "model.txt").touch()
    with pytest.raises(QexpError, match=r"\.pth.*\.keras"):
        weight_files.format_of(tmp_path / "model.txt")
