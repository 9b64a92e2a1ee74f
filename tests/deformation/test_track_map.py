"""Maps of tracks: one scale for all, masked points apart, many points as cells."""

import dataclasses

import numpy as np
import pyproj
import pytest
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.quiver import Quiver, QuiverKey

from qexp.deformation import maps
from qexp.deformation.maps import draw_tracks, scale_of
from qexp.observations.observation import Observation, Track


def track(name, displacement, observed=None):
    count = len(displacement)
    random = np.random.default_rng(1)
    x, y = random.uniform(400e3, 420e3, count), random.uniform(4500e3, 4510e3, count)
    seen = np.ones(count, bool) if observed is None else observed
    return Track(
        name,
        "radar",
        x,
        y,
        displacement,
        np.full(count, 0.01),
        np.tile([-0.6, 0, 0.8], (count, 1)),
        seen,
    )


def test_all_tracks_share_one_scale_in_a_unit_that_can_be_read():
    small, large = track("small", np.full(50, 0.003)), track("large", np.full(50, -0.12))
    made = draw_tracks(Observation((small, large)), "both")
    dots = [
        one for axis in made.axes[:2] for one in axis.collections if isinstance(one, PathCollection)
    ]
    assert [(one.norm.vmin, one.norm.vmax) for one in dots] == [(-12, 12)] * 2
    np.testing.assert_allclose([one.get_array()[0] for one in dots], [0.3, -12])
    assert made.axes[-1].get_xlabel() == "displacement toward the satellite (cm)"
    assert scale_of([np.array([0.004])]) == (4.0, "mm", 1000.0)
    assert scale_of([np.array([2.0, -3.0])])[1:] == ("m", 1.0)


def test_masked_points_are_grey_and_do_not_widen_the_frame():
    observed = np.arange(60) % 3 > 0
    masked = track("masked", np.where(observed, 0.01, np.nan), observed)
    far = dataclasses.replace(masked, x=np.where(observed, masked.x, 900e3))
    assert draw_tracks(Observation((far,)), "far").axes[0].get_xlim()[1] < 425
    made = draw_tracks(Observation((masked,)), "masked")
    grey, coloured = (one for one in made.axes[0].collections if isinstance(one, PathCollection))
    assert (len(grey.get_offsets()), len(coloured.get_offsets())) == (20, 40)
    np.testing.assert_allclose(grey.get_facecolor()[0, :3], 0.6)


def test_arrows_of_stations_lie_within_the_map_and_the_one_that_explains_them_touches_none():
    positions = np.array([[0, 0], [20e3, 0], [20e3, 8e3], [0, 9e3], [9e3, 4e3]])
    moved = np.array(
        [[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.02, 0], [-0.1, 0.1, 0], [0.0, 0.05, 0.1]]
    )
    x, y = np.repeat(positions, 3, axis=0).T
    names = np.repeat([f"ST{number}" for number in range(5)], 3)
    of_stations = Track("gnss", "gnss", x, y, moved.ravel(), np.full(15, 0.01), np.tile(np.eye(3), (5, 1)),
                        np.ones(15, bool), station=names)  # fmt: skip
    axis = draw_tracks(Observation((of_stations,)), "stations").axes[0]
    (arrows,) = (one for one in axis.collections if isinstance(one, Quiver))
    tips = arrows.get_offsets() + np.stack([arrows.U, arrows.V], axis=1) / arrows.scale
    (west, east), (south, north) = axis.get_xlim(), axis.get_ylim()
    assert ((tips >= [west, south]) & (tips <= [east, north])).all()
    (key,) = (one for one in axis.artists if isinstance(one, QuiverKey))
    shares = (tips - [west, south]) / [east - west, north - south]
    assert np.abs(shares - [key.X, key.Y]).max(axis=1).min() > 0.1


def test_many_points_are_drawn_as_means_of_cells(monkeypatch):
    monkeypatch.setattr(maps, "MOST_DOTS", 100)
    made = draw_tracks(Observation((track("many", np.full(5000, 0.02)),)), "many")
    (cells,) = (one for one in made.axes[0].collections if isinstance(one, QuadMesh))
    means = cells.get_array().compressed()
    assert 1000 < len(means) < 5000
    np.testing.assert_allclose(means, 2.0)


def test_stations_have_an_arrow_each_and_the_colour_of_their_vertical_part():
    horizontal = np.array([[0.01, 0.0, 0.03], [0.0, -0.02, np.nan]])
    stations = Track(
        "gnss",
        "gnss",
        np.repeat([400e3, 410e3], 3),
        np.repeat([4500e3, 4505e3], 3),
        horizontal.ravel(),
        np.full(6, 0.001),
        np.tile(np.eye(3), (2, 1)),
        np.isfinite(horizontal.ravel()),
    )
    made = draw_tracks(Observation((stations,)), "stations")
    arrows = next(one for one in made.axes[0].collections if hasattr(one, "U"))
    np.testing.assert_allclose(np.column_stack([arrows.U, arrows.V]), [[0.01, 0], [0, -0.02]])
    assert made.axes[-1].get_xlabel() == "up (cm); black: no vertical"


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:32701"])
def test_ticks_of_a_map_on_the_earth_are_degrees_at_the_lower_and_left_edge_and_without_a_system_km(
    crs,
):
    seen = track("seen", np.full(50, 0.01))
    (axis,) = draw_tracks(Observation((seen,), crs), "seen").axes[:1]
    transform = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform
    (west, _), (south, _) = axis.get_xlim(), axis.get_ylim()
    for along, part, places in (
        (axis.xaxis, 0, [(1000 * x, 1000 * south) for x in axis.get_xticks()]),
        (axis.yaxis, 1, [(1000 * west, 1000 * y) for y in axis.get_yticks()]),
    ):
        assert len(places)
        for text, place in zip(along.get_majorticklabels(), places, strict=True):
            value, side = text.get_text().split("°")
            degrees = float(value) * (-1 if side in "WS" else 1)
            assert transform(*place)[part] == pytest.approx(degrees, abs=1e-5)
    assert not axis.get_xlabel() + axis.get_ylabel()
    assert draw_tracks(Observation((seen,)), "seen").axes[0].get_xlabel() == "east (km)"


def test_slopes_to_the_south_east_are_dark_and_plains_and_ground_of_a_few_points_are_not_shaded():
    seen = track("seen", np.full(3000, 0.01))
    peak = 800 * np.exp(-np.hypot(seen.x - 410e3, seen.y - 4505e3) / 3e3)

    def shades(track, elevation):
        made = draw_tracks(Observation((dataclasses.replace(track, elevation=elevation),)), "seen")
        return [image.get_array() for image in made.axes[0].images]

    (light,) = shades(seen, peak)
    rows, columns = (np.array([0.4, 0.6]) * side for side in light.shape[:2])
    (low, high), (left, right) = rows.astype(int), columns.astype(int)
    assert light[low, right, 0] == 0
    assert light[high, left, 0] == 1
    assert 0 < light[high, left, 3] < light[low, right, 3]
    assert np.abs(shades(seen, np.full(3000, 400.0))[0][..., 3]).max() < 1e-6
    few = np.arange(3000) % 4 == 0
    assert not shades(seen.select(few), peak[few])
