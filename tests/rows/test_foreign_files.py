"""Files of others: nothing in them is executed, none leads to another file, and none takes all
memory and time.
"""

import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from qexp.base.formats import read_netcdf
from qexp.errors import MissingExtraError, QexpError
from qexp.kinds.fields.folders import FieldReading
from qexp.kinds.images.files import NetcdfImages, open_images
from qexp.observations.raster_files import fields_of, open_netcdf
from qexp.rows import zarr_stores
from qexp.rows.formats import open_table
from qexp.rows.geotiff import encoded
from qexp.rows.zarr_stores import open_store
from qexp.simulation.views import read_grid

# HDF5, of which NetCDF 4 is one: numbers and links that are in other files.


def virtual(file, other):
    layout = h5py.VirtualLayout((4, 4), "f8")
    layout[:] = h5py.VirtualSource(other, "z", (4, 4))
    file.create_virtual_dataset("z", layout)


HOW = {
    "virtual": virtual,
    "external": lambda file, other: file.create_dataset(
        "z", (4, 4), "u1", external=[("/etc/passwd", 0, 16)]
    ),
    "link": lambda file, other: file.__setitem__("z", h5py.ExternalLink(other, "z")),
    "link of a group": lambda file, other: file.__setitem__("of/it", h5py.ExternalLink(other, "/")),
}

READERS = {
    "a table": lambda path: open_table(path, [".nc"]),
    "images": lambda path: NetcdfImages(path),
    "fields": lambda path: FieldReading().open_other(path).variables,
    "a mask": lambda path: read_grid(path, (4, 4), "z"),
    "a track": open_netcdf,
    "an HDF5 track": fields_of,
    "qexp's own": read_netcdf,
}


@pytest.mark.parametrize("how", HOW)
def test_no_reader_of_hdf5_takes_numbers_from_another_file(tmp_path, how):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["z"] = np.arange(16.0).reshape(4, 4)
    path = tmp_path / "all.nc"
    with h5py.File(path, "w") as file:
        file["y"] = file["x"] = np.arange(4.0)
        HOW[how](file, str(tmp_path / "other.h5"))
    for reader, read in READERS.items():
        with pytest.raises(QexpError, match="is in another file, which is not followed") as refused:
            read(path)
        assert str(path) in str(refused.value), reader


def test_a_name_for_what_is_in_the_same_file_is_no_link_to_another(tmp_path):
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["z"] = np.arange(16.0).reshape(4, 4)
        file["same"], file["soft"] = file["z"], h5py.SoftLink("/z")
    assert NetcdfImages(tmp_path / "all.h5").read("same", None).sum() == 120


def test_a_geotiff_is_no_list_of_other_files(tmp_path):
    pytest.importorskip("rasterio")
    (tmp_path / "other.tif").write_bytes(encoded({"z": np.zeros((4, 4))}, (0, 0), (1, 1), None))
    band = "<SimpleSource><SourceFilename>other.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
    band = f'<VRTRasterBand dataType="Float32" band="1">{band}</VRTRasterBand>'
    (tmp_path / "all.tif").write_text(
        f'<VRTDataset rasterXSize="4" rasterYSize="4">{band}</VRTDataset>'
    )
    assert open_images(tmp_path / "other.tif", set())
    with pytest.raises(QexpError, match="cannot be read as a raster"):
        open_images(tmp_path / "all.tif", set())


# Zarr: types and codecs that execute, or decode more than numbers and texts.


class Mark:
    """What leaves a mark where its pickle is read."""

    def __reduce__(self):
        return Path.write_text, (Path("mark"), "executed")


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """Stores of the versions 2 and 3, in the current folder."""
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    names = np.array([f"s{number}" for number in range(8)], dtype=object)
    data = {"image": (("run", "y", "x"), np.arange(128.0).reshape(8, 4, 4)), "name": ("run", names)}
    for version in (2, 3):
        encoding = {"image": {"chunks": (2, 4, 4)}}
        table = xarray.Dataset(
            {**data, "depth": ("run", np.arange(1.0, 9))}, {"run": np.arange(8)}, {"bad": np.nan}
        )
        table.to_zarr(f"{version}.zarr", zarr_format=version, encoding=encoding)
    return tmp_path


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_chunks_that_are_far_larger_in_memory_than_in_their_file_are_refused(stores):
    path, shape = stores / "all.nc", (2, 2**27)
    with h5py.File(path, "w") as file:
        file.create_dataset("z", shape, "f8", chunks=shape, compression="gzip")
    opened = [lambda read=read: read(path) for read in READERS.values()]
    for version, name in ((2, ".zarray"), (3, "zarr.json")):
        file = stores / f"{version}.zarr/image" / name
        document = json.loads(file.read_text())
        grid = document if version == 2 else document["chunk_grid"]["configuration"]
        grid["chunks" if version == 2 else "chunk_shape"] = [2**20, 32, 32]
        file.write_text(json.dumps(document))
        opened.append(lambda version=version: open_store(stores / f"{version}.zarr"))
    for read in opened:
        with pytest.raises(QexpError, match="save it in smaller chunks"):
            read()


PICKLED = {"dtype": "|O", "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}], "compressor": None}
IN_SHARDS = {
    "chunk_shape": [8],
    "codecs": [{"name": "numcodecs.pickle"}],
    "index_codecs": ["bytes"],
}
HOSTILE = {
    "filters": (2, "depth", PICKLED),
    "filters of a coordinate": (2, "run", PICKLED),
    "compressor": (2, "depth", {"compressor": {"id": "pickle"}}),
    "two names": (2, "depth", {"compressor": {"name": "zlib", "id": "pickle"}}),
    "objects without a codec": (2, "depth", {"dtype": "|O", "filters": None}),
    "json": (2, "depth", {"dtype": "|O", "filters": [{"id": "json2"}]}),
    "records": (2, "depth", {"dtype": [["depth", "<f8"], ["more", "|O"]]}),
    "codecs of version 3": (
        3,
        "depth",
        {"codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]},
    ),
    "inside shards": (
        3,
        "depth",
        {"codecs": [{"name": "sharding_indexed", "configuration": IN_SHARDS}]},
    ),
    "a type of version 3": (3, "run", {"data_type": {"name": "structured", "configuration": {}}}),
    "a transformer": (3, "depth", {"storage_transformers": [{"name": "pickle"}]}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_store_of_unknown_types_or_codecs_is_refused_before_anything_is_decoded(stores, case):
    version, name, changes = HOSTILE[case]
    file = stores / f"{version}.zarr" / name / (".zarray" if version == 2 else "zarr.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    for chunk in filter(Path.is_file, [*file.parent.glob("[0-9]*"), *file.parent.glob("c/*")]):
        chunk.write_bytes(pickle.dumps(Mark()))
    with pytest.raises(QexpError, match=r"(codec '\w+' is|values of the type .*) not decoded here"):
        open_store(stores / f"{version}.zarr")
    assert not Path("mark").exists()


@pytest.mark.parametrize("version", [2, 3])
def test_stores_of_both_versions_are_read_but_not_links_pipes_or_devices_in_them(stores, version):
    path = stores / f"{version}.zarr"
    store = NetcdfImages(path, open_store(path))
    assert store.read("image", slice(1, 3)).sum() == np.arange(16.0, 48).sum()
    assert store.names("depth") == [str(number) for number in range(8)]
    chunk = path / ("image/1.0.0" if version == 2 else "image/c/1/0/0")
    content = chunk.read_bytes()
    chunk.write_bytes(b"junk")
    with pytest.raises(QexpError, match="variable 'image' cannot be read"):
        store.read("image", slice(2, 4))
    chunk.unlink()
    (stores / "elsewhere").write_bytes(content)
    for spoil in (
        lambda: os.mkfifo(chunk),
        lambda: chunk.symlink_to("/dev/zero"),
        lambda: chunk.symlink_to(stores / "elsewhere"),
    ):
        spoil()
        with pytest.raises(QexpError, match="is a link or no plain file"):
            open_store(path)
        chunk.unlink()
    shutil.move(path / "depth", stores / "depth")
    (path / "depth").symlink_to(stores / "depth")
    with pytest.raises(QexpError, match="is a link or no plain file"):
        open_store(path)


def test_libraries_that_are_too_old_to_decode_safely_are_refused_in_one_line(stores, monkeypatch):
    monkeypatch.setitem(zarr_stores.LEAST_VERSIONS, "numcodecs", "99")
    with pytest.raises(MissingExtraError, match="needs a newer numcodecs: pip install"):
        open_store(stores / "2.zarr")


# npz and npy: headers that say something else than what there is.


def archive_of(path, shape, content, header=None):
    written = io.BytesIO()
    if header is None:
        about = {"descr": "<f8", "fortran_order": True, "shape": shape}
        np.lib.format.write_array_header_1_0(written, about)
    else:
        written.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.npy", written.getvalue() + content)
    return written.getvalue()


@pytest.mark.parametrize(
    ("shape", "content", "header"),
    [
        ((4, 4), bytes(10**7), None),  # which inflates to more than it says
        ((4, 4), bytes(8), None),
        ((10**12, 10**6), b"", None),
        ((-4, 4), b"", None),
        (None, b"", b"(" * 9000),
    ],
    ids=["larger", "smaller", "huge", "negative", "nested"],
)
def test_archives_whose_arrays_are_not_as_their_headers_say_are_refused_unread(
    tmp_path, shape, content, header
):
    written = archive_of(tmp_path / "all.npz", shape, content, header)
    with pytest.raises(QexpError, match="cannot be read as npz"):
        open_images(tmp_path / "all.npz", set())
    if header is not None:
        (tmp_path / "z.npy").write_bytes(written)
        with pytest.raises(QexpError, match="cannot be read as npy"):
            open_images(tmp_path / "z.npy", set())


def test_an_archive_of_many_arrays_is_opened_once(tmp_path):
    plain = io.BytesIO()
    np.save(plain, np.arange(3.0))
    with zipfile.ZipFile(tmp_path / "all.npz", "w") as archive:
        for number in range(300):
            archive.writestr(f"{number}.npy", plain.getvalue())
    there = open_images(tmp_path / "all.npz", set())
    assert [there[name].read(slice(1, 3)).tolist() for name in ("0", "299", "0")] == [[1, 2]] * 3
    handles = [os.path.realpath(handle) for handle in Path("/proc/self/fd").iterdir()]
    assert handles.count(str(tmp_path / "all.npz")) == 1  # others may be closed meanwhile
