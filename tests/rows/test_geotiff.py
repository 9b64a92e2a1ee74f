"""The first row of a raster is the northern one, unless it says otherwise: for masks, images and
observations.
"""

import numpy as np
import pytest
import rasterio
from rasterio import Affine

import qexp
from qexp.errors import NotFoundError
from qexp.kinds.files import fingerprint
from qexp.kinds.images.files import GeotiffImages
from qexp.rows.geotiff import open_raster, read_bands
from qexp.rows.table import TableError
from qexp.simulation.views import read_grid

NORTHWARDS = np.arange(12.0).reshape(3, 4) + 1
"""Rows from south to north, columns from west to east."""
PLACE = {"crs": "EPSG:32633", "x": 430e3, "y": 4520e3, "step": 100.0}
NORTH_UP = Affine(100, 0, 430e3, 0, -100, 4520e3 + 300)


@pytest.fixture
def written(tmp_path):
    def write(values, transform=None, **more):
        about = {
            "height": values.shape[0],
            "width": values.shape[1],
            "count": 1,
            "dtype": values.dtype,
        }
        if transform is not None:
            about |= {"transform": transform, "crs": "EPSG:32633"}
        with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **about, **more) as file:
            file.write(values, 1)
        return tmp_path / "a.tif"

    return write


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("transform", "stored"),
    [
        (None, NORTHWARDS[::-1]),
        (NORTH_UP, NORTHWARDS[::-1]),
        (Affine(100, 0, 430e3, 0, 100, 4520e3), NORTHWARDS),
        (Affine(-100, 0, 430e3 + 400, 0, -100, 4520e3 + 300), NORTHWARDS[::-1, ::-1]),
    ],
    ids=["without a place", "north up", "south up", "from east to west"],
)
def test_masks_images_and_observations_have_the_same_pixels_in_the_north(
    written, transform, stored
):
    path = written(np.ascontiguousarray(stored), transform)
    np.testing.assert_array_equal(read_grid(path, (3, 4), "mask"), NORTHWARDS)
    np.testing.assert_array_equal(GeotiffImages(path).read("", None)[0], NORTHWARDS)
    if transform is not None:
        (track,) = qexp.observe(path, error=0.01, incidence=30, heading=10).observation.tracks
        column, row = (
            (values - first - 50) / 100 for values, first in ((track.x, 430e3), (track.y, 4520e3))
        )
        np.testing.assert_allclose(
            track.displacement, NORTHWARDS[np.rint(row).astype(int), np.rint(column).astype(int)]
        )


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_files_beside_a_raster_belong_to_its_fingerprint_if_they_change_what_is_read(written):
    path = written(NORTHWARDS)
    said = path.with_name("a.tif.aux.xml")
    statistics = '<Metadata><MDI key="STATISTICS_MAXIMUM">12</MDI></Metadata>'
    seen = [fingerprint(path)]
    for words in (
        statistics,
        "<NoDataValue>5</NoDataValue>",
        "<NoDataValue>6</NoDataValue>",
        "<Scale>2</Scale>",
    ):
        said.write_text(f'<PAMDataset><PAMRasterBand band="1">{words}</PAMRasterBand></PAMDataset>')
        assert (len(GeotiffImages(path).paths) > 1) == (words != statistics)
        seen.append(fingerprint(path))
    said.unlink()
    path.with_suffix(".tfw").write_text("100\n0\n0\n-100\n430050\n4520250\n")
    path.with_name("a.tif.ovr").write_bytes(b"")
    seen.append(fingerprint(path))
    assert (seen[0] == seen[1], len({*seen})) == (True, 5)


def test_rows_that_run_obliquely_are_refused_where_they_cannot_be_kept(written):
    path = written(NORTHWARDS, Affine(100, 20, 430e3, 20, -100, 4520e3))
    for read in (lambda: read_grid(path, (3, 4), "mask"), lambda: GeotiffImages(path)):
        with pytest.raises(TableError, match="warp it to a north-up grid"):
            read()
    (track,) = qexp.observe(path, error=0.01, incidence=30, heading=10).observation.tracks
    assert (track.x[0], track.y[0]) == (430e3 + 60, 4520e3 - 40)


def test_whole_numbers_are_scaled_and_gaps_are_missing(written):
    path = written(np.array([[10, -999], [30, 40]], np.int16), NORTH_UP, nodata=-999)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.5,), (1.0,)
    expected = np.array([[16.0, 21.0], [6.0, np.nan]])
    np.testing.assert_array_equal(read_grid(path, (2, 2), "elevation"), expected)
    np.testing.assert_array_equal(GeotiffImages(path).read("", slice(0, 1))[0], expected)


def test_what_is_no_raster_of_numbers_is_said(written, tmp_path):
    path = written(np.ones((64, 64), np.complex64), NORTH_UP)
    with pytest.raises(TableError, match=r"a\.tif holds complex64, not real numbers"):
        open_raster(path)
    content = written(
        np.random.default_rng(0).random((64, 64)), NORTH_UP, compress="deflate"
    ).read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(TableError, match=r"cut\.tif"), open_raster(tmp_path / "cut.tif") as dataset:
        read_bands(dataset, [1])
    with pytest.raises(NotFoundError, match="there is no such file"):
        open_raster(tmp_path / "absent.tif")
