"""Means over cells are those of the rows in them, in whatever order and pieces the rows come."""

import numpy as np
import pytest

from qexp.rows.cell_means import MOST_CELLS, CellMeans


def filled(x, y, values, pieces=1):
    raster = CellMeans(1)
    for part in np.array_split(np.arange(len(x)), pieces):
        raster.add(x[part], y[part], values[part, None])
    return raster


def grid(width, height, step=1.0):
    x, y = (axis.ravel() * step for axis in np.meshgrid(np.arange(width), np.arange(height)))
    return x.astype(float), y.astype(float)


@pytest.mark.parametrize(
    ("width", "height", "step"), [(7, 5, 1.0), (50, 40, 0.5), (40, 90, 0.1), (MOST_CELLS, 3, 1 / 3)]
)
@pytest.mark.parametrize("pieces", [1, 9, 40])  # the first of forty is less than a few lines
def test_every_row_of_a_grid_has_a_cell_of_its_own(width, height, step, pieces):
    x, y = grid(width, height, step)
    x = np.round(x, 4) - 12.5  # as text has them
    values = np.random.default_rng(0).normal(size=len(x))
    raster = filled(x, y, values, pieces)
    np.testing.assert_allclose(raster.means()[0], values.reshape(height, width))
    np.testing.assert_allclose(
        raster.extent,
        (-12.5 - step / 2, -12.5 + (width - 0.5) * step, -step / 2, (height - 0.5) * step),
        atol=1e-3,
    )


@pytest.mark.parametrize("pieces", [1, 4, 50])
def test_a_large_grid_is_halved_until_it_fits_and_keeps_sums_and_counts(pieces):
    x, y = grid(3 * MOST_CELLS, 20)
    values = np.random.default_rng(0).normal(size=len(x))
    raster = filled(x, y, values, pieces)
    assert raster.counts.shape == (20, 3 * MOST_CELLS // 4)
    np.testing.assert_allclose(raster.means()[0], values.reshape(20, -1, 4).mean(axis=2))


def test_the_order_of_the_rows_does_not_matter_once_the_step_is_known():
    x, y = grid(2500, 30)
    values = np.random.default_rng(0).normal(size=len(x))
    first, others = np.arange(5000), np.arange(5000, len(x))
    rasters = []
    for order in (others, np.random.default_rng(1).permutation(others)):
        raster = filled(x[first], y[first], values[first])
        for part in np.array_split(order, 7):
            raster.add(x[part], y[part], values[part, None])
        rasters.append(raster)
    np.testing.assert_allclose(rasters[0].sums, rasters[1].sums, atol=1e-9)
    assert rasters[0].extent == rasters[1].extent


def test_rows_that_come_from_above_and_from_the_left_find_their_place():
    x, y = grid(1700, 4)
    upside_down = filled(x[::-1].copy(), y[::-1].copy(), (x + 1000 * y)[::-1].copy(), 8)
    means = upside_down.means()[0]
    assert means.shape[0] == 4
    assert (np.diff(means, axis=1) > 0).all()
    assert upside_down.counts.sum() == len(x)


def test_scattered_rows_fill_most_of_their_cells():
    random = np.random.default_rng(3)
    x, y = random.uniform(0, 4, 20_000), random.uniform(-1, 1, 20_000)
    raster = filled(x, y, x)
    assert (raster.counts > 0).mean() > 0.8
    left, right, low, high = raster.extent
    assert (right - left) / raster.counts.shape[1] == pytest.approx(
        (high - low) / raster.counts.shape[0]
    )


def test_rows_with_anything_missing_are_left_out():
    x, y = np.array([0.0, 1.0, np.nan]), np.array([0.0, 1.0, 0.0])
    raster = filled(x, y, np.array([1.0, np.nan, 3.0]))
    assert raster.counts.sum() == 1
    assert np.nansum(raster.means()) == 1
