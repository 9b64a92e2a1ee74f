"""Cells keep what their points say together, and are small only where the criterion asks for it."""

import dataclasses

import numpy as np
import pytest
from scipy.optimize import least_squares

import qexp as package
from qexp.deformation.maps import sides_of
from qexp.errors import QexpError
from qexp.observations.noise import covariance_matrix
from qexp.observations.observation import CorrelatedNoise, Track
from qexp.observations.reduction import Pixels, data_resolution, reduced, reduced_points, reduction

SIDE, PIXEL, NOISE = 96, 100.0, 0.002
SOURCE = np.array([5200.0, 4100.0, 1500.0, 1.0])
"""East, north, depth [m], volume change [10⁶ m³]."""
TOWARD = np.array([-0.6, 0.1, np.sqrt(1 - 0.37)])


def along(source, east, north):
    """Mogi (1958) along the line of sight."""
    offset = np.stack([east - source[0], north - source[1], np.full_like(east, source[2])], axis=-1)
    return 0.75 / np.pi * source[3] * 1e6 * (offset @ TOWARD) / np.linalg.norm(offset, axis=-1) ** 3


@pytest.fixture(scope="module")
def track():
    """Noisy pixels with a hole, in no order."""
    random = np.random.default_rng(0)
    x, y = (line.ravel() for line in np.meshgrid(np.arange(SIDE) * PIXEL, np.arange(SIDE) * PIXEL))
    order = random.permutation(SIDE**2)
    x, y = x[order], y[order]
    los = along(SOURCE, x, y) + NOISE * random.normal(size=SIDE**2)
    los[np.hypot(x - 7000, y - 7000) < 900] = np.nan
    toward = np.tile(TOWARD, (SIDE**2, 1))
    return Track(
        "pixels",
        "radar",
        x,
        y,
        los,
        np.full(SIDE**2, NOISE),
        toward,
        np.isfinite(los),
        elevation=x / 10,
    )


CRITERIA = ["quadtree:0.004", f"resolution:0.05,1500,{SOURCE[0]},{SOURCE[1]}", "uniform:5"]


@pytest.mark.parametrize("text", CRITERIA)
def test_means_of_cells_have_the_mean_of_all_points(track, text):
    cells, points = reduced_points(track, reduction(text)), track.where_observed()
    assert len(cells.x) < points.size / 4
    assert cells.count.sum() == points.size
    for name in ("x", "y", "displacement", "elevation"):
        np.testing.assert_allclose(
            np.average(getattr(cells, name), weights=cells.count), getattr(points, name).mean()
        )
    np.testing.assert_allclose(cells.error, NOISE / np.sqrt(cells.count))
    np.testing.assert_allclose(cells.direction, np.tile(TOWARD, (len(cells.x), 1)))


def members(track, cells, side):
    """For each point that counts, the cell that holds it: the one whose square of pixels does."""
    points = track.where_observed()
    owner_of = np.full(points.size, -1)
    for index in range(len(cells.x)):
        width = side[index] * PIXEL
        left = np.floor((cells.x[index] + PIXEL / 2) / width)
        low = np.floor((cells.y[index] + PIXEL / 2) / width)
        inside = (np.floor((points.x + PIXEL / 2) / width) == left) & (
            np.floor((points.y + PIXEL / 2) / width) == low
        )
        owner_of[inside] = index
    return owner_of


def test_a_quadtree_s_cells_vary_less_than_the_threshold_or_are_the_smallest(track):
    points = track.where_observed()
    cells = reduced_points(track, reduction("quadtree:0.006", smallest=2, largest=16))
    side = 2 ** np.ceil(np.log2(np.sqrt(cells.count)))  # without gaps
    full = np.isin(cells.count, [4, 16, 64, 256])
    owner = members(track, cells, np.where(full, side, 1))
    for index in np.flatnonzero(full):
        inside = owner == index
        assert inside.sum() == cells.count[index]
        assert cells.displacement[index] == pytest.approx(points.displacement[inside].mean())
        assert points.displacement[inside].std() <= 0.006 or side[index] == 2
    assert {4, 16, 64, 256} <= set(cells.count)
    # A parent of four smallest cells varied more, or they would be one.
    for index in np.flatnonzero(cells.count == 4):
        corner = [np.floor((cells.x[index] + 50) / 400), np.floor((cells.y[index] + 50) / 400)]
        parent = (np.floor((points.x + 50) / 400) == corner[0]) & (
            np.floor((points.y + 50) / 400) == corner[1]
        )
        assert points.displacement[parent].std() > 0.006


def test_a_slope_splits_cells(track):
    tilted = dataclasses.replace(
        track, displacement=1e-5 * track.x, observed=np.ones(SIDE**2, bool)
    )
    cells = reduced_points(tilted, reduction("quadtree:0.002", smallest=1, largest=16))
    assert set(cells.count) == {16}  # 4 columns of pixels vary by 1.1 mm, 8 columns by 2.3 mm


@pytest.mark.slow
def test_least_squares_over_cells_finds_the_same_source_within_its_errors(track):
    """The mean over a cell is that of four places at the spread of its points: a flat top is not
    mistaken for depth.
    """

    def fitted(points):
        sides = np.zeros((len(points.x), 2)) if points.spread is None else points.spread

        def misfit(source):
            positions = [
                (points.x + i * sides[:, 0], points.y + j * sides[:, 1])
                for i in (-1, 1)
                for j in (-1, 1)
            ]
            model = np.mean([along(source, *position) for position in positions], axis=0)
            return (model - points.displacement) / points.error

        found = least_squares(misfit, SOURCE * [1, 1, 0.7, 1.5], x_scale=SOURCE)
        return found.x, np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)))

    everything, _ = fitted(track.where_observed())
    for text in CRITERIA[:2]:
        values, errors = fitted(reduced_points(track, reduction(text)))
        assert (np.abs(values - everything) < errors).all(), text
        assert (np.abs(values - SOURCE) < 3 * errors).all(), text


def test_the_data_resolution_adds_up_to_the_number_of_parameters(track):
    diagonal = data_resolution(
        np.stack([track.x, track.y], axis=1) - SOURCE[:2], track.direction, SOURCE[2]
    )
    assert diagonal.sum() == pytest.approx(5)
    # By the definition, with derivatives by differences.
    steps = np.array([1.0, 1.0, 1.0, 1e-3])
    columns = [
        (along(SOURCE + step, track.x, track.y) - along(SOURCE - step, track.x, track.y)) / 2
        for step in np.diag(steps)
    ]
    design = np.stack([*columns, np.ones_like(track.x)], axis=1)
    design /= np.linalg.norm(design, axis=0)
    few = design @ np.linalg.inv(design.T @ design)
    np.testing.assert_allclose(diagonal, (few * design).sum(axis=1), rtol=1e-5)


def test_cells_by_resolution_are_needed_less_than_the_threshold_and_lie_near_the_source(track):
    cells = reduced_points(track, reduction(CRITERIA[1], smallest=1))
    stations = np.stack([cells.x, cells.y], axis=1) - SOURCE[:2]
    assert (data_resolution(stations, cells.direction, SOURCE[2])[cells.count > 1] <= 0.05).all()
    distance = np.hypot(*stations.T)
    assert cells.count[distance < 1500].max() < cells.count[distance > 4000].min()
    louder = dataclasses.replace(track, displacement=100 * track.displacement)
    np.testing.assert_array_equal(
        reduced_points(louder, reduction(CRITERIA[1], smallest=1)).count, cells.count
    )


def on_grid(track):
    """Pixels in blocks, as readers of grids hand them over."""
    row, column = (np.round(line / PIXEL).astype(int) for line in (track.y, track.x))

    def blocks(side):
        for low in range(0, SIDE, side):
            for left in range(0, SIDE, side):
                inside = (row // side == low // side) & (column // side == left // side)
                yield Pixels(track.select(inside), row[inside], column[inside])

    return blocks, (SIDE, SIDE), (1.0, 1.0)


@pytest.mark.parametrize("text", CRITERIA)
def test_cells_do_not_depend_on_the_blocks_in_which_pixels_come(track, text, monkeypatch):
    plan = reduction(text)
    monkeypatch.setattr("qexp.observations.reduction.PIECE", 32)
    parts = reduced(*on_grid(track), plan)
    monkeypatch.undo()
    at_once = reduced(*on_grid(track), plan)
    for name in ("count", "x", "displacement", "error", "elevation"):
        values, expected = (
            getattr(cells, name)[np.lexsort([cells.x, cells.y])] for cells in (parts, at_once)
        )
        np.testing.assert_allclose(values, expected)


def test_cells_with_too_few_observed_pixels_are_split_and_then_dropped(track):
    def at_least(share):
        return reduced(*on_grid(track), reduction("uniform:8", share=share))

    assert at_least(0).count.sum() == track.size
    assert at_least(1).count.tolist() == [64] * len(at_least(1).x)
    tree = reduced(*on_grid(track), reduction("quadtree:1", smallest=1, largest=16, share=1))
    assert tree.count.sum() == track.size  # single pixels are left around the hole
    assert set(tree.count) == {1, 4, 16, 64, 256}


def test_cells_are_drawn_as_large_as_they_are(track):
    everywhere = dataclasses.replace(
        track, observed=np.ones(SIDE**2, bool), displacement=along(SOURCE, track.x, track.y)
    )
    cells = reduced_points(everywhere, reduction("quadtree:0.002", smallest=1, largest=16))
    assert {1, 4, 16, 64, 256} <= set(cells.count)
    np.testing.assert_allclose(
        sides_of(cells.spread, cells.count), PIXEL * np.sqrt(cells.count)[:, None] * [1, 1]
    )


def test_noise_stays_and_stations_and_means_are_left_alone(track):
    noise = CorrelatedNoise("exponential", 1e-5, 3e3, 1e-6)
    cells = reduced_points(dataclasses.replace(track, noise=noise), reduction("uniform:8"))
    assert cells.noise == noise
    assert reduced_points(cells, reduction("uniform:8")) is cells
    stations = dataclasses.replace(track, kind="gnss")
    assert reduced_points(stations, reduction("uniform:8")) is stations


@pytest.mark.parametrize("text", ["quadtree:0.006", "uniform:4"])
@pytest.mark.parametrize("type", ["exponential", "gaussian"])
@pytest.mark.parametrize("reach", [1e3, 8e3])
def test_means_of_correlated_noise_whitened_by_their_covariance_have_unit_variance(
    track, text, type, reach
):
    """The means of draws from the covariance of all pixels, of which a tenth and a part of the hole
    are missing.
    """
    random = np.random.default_rng(0)
    part = track.select((np.abs(track.x - 6e3) < 1900) & (np.abs(track.y - 6e3) < 1900))
    part = part.select(part.observed & (random.random(len(part.x)) < 0.9))
    apart = np.hypot(*(line[:, None] - line for line in (part.x, part.y))) / reach
    noise = CorrelatedNoise(type, 1e-4, reach)
    covariance = noise.sill * np.exp(-(apart if type == "exponential" else apart**2))
    root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(part.x)))
    plan = reduction(text, *((1, 16) if text.startswith("quadtree") else ()))
    # The quadtree looks at the displacements, so that the noise comes as elevations.
    draws = root @ random.standard_normal((len(part.x), 60))
    cells = [
        reduced_points(dataclasses.replace(part, elevation=values), plan) for values in draws.T
    ]
    total = covariance_matrix(cells[0], noise) + np.diag(1e-6 / cells[0].count)
    whitened = np.linalg.solve(
        np.linalg.cholesky(total), np.stack([means.elevation for means in cells], axis=1)
    )
    assert len(cells[0].x) > 40
    assert len(set(cells[0].count)) > 5
    # by the covariance between the middles of exponential cells 0.6
    assert np.square(whitened).mean() == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("type", ["exponential", "gaussian"])
def test_means_of_few_points_far_apart_are_as_noisy_as_white_noise_would_make_them(track, type):
    """Two hundred points over 6 km of noise that is alike within 60 m: cells that are filled evenly
    would have none.
    """
    random = np.random.default_rng(3)
    chosen = random.choice(
        np.flatnonzero(track.observed & (track.x < 6000) & (track.y < 6000)), 200, replace=False
    )
    places = dataclasses.replace(track.select(chosen), displacement=np.zeros(200))
    cells = reduced_points(
        dataclasses.replace(places, elevation=np.zeros(200)), reduction("uniform:8")
    )
    noise = CorrelatedNoise(type, 1.6e-5, 60.0)
    assert 2 < np.median(cells.count) < 20
    ratio = np.diag(covariance_matrix(cells, noise)) * cells.count / noise.sill
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    assert ratio.min() > 0.9


@pytest.mark.heavy
def test_points_of_a_text_file_are_reduced_and_the_file_keeps_how_many(tmp_path, track):
    points = track.where_observed()
    rows = np.column_stack(
        [points.x + 4e5, points.y + 4e6, points.displacement, points.error, points.direction]
    )
    np.savetxt(tmp_path / "track.txt", rows)
    package.observe(tmp_path / "track.txt", tmp_path / "obs.nc", reduce="quadtree:0.004")
    again = package.observe(tmp_path / "obs.nc").observation.tracks[0]
    assert again.count.sum() == points.size
    assert len(again.x) < points.size / 4

    # Where the noise alone splits cells, this is said.
    for noise, said in (("exponential:1e-6,2000", False), ("exponential:2e-5,2000", True)):
        observed = package.observe(tmp_path / "track.txt", reduce="quadtree:0.004", noise=noise)
        assert (
            any("`reduce=quadtree:0.009`" in text for text in map("{}".format, observed.warnings))
            is said
        )
    coarse = package.observe(tmp_path / "track.txt", reduce="quadtree:4")  # which was meant in mm
    assert any("splits no cell; its threshold is in m" in text for text in coarse.warnings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduce": "tree:0.1"}, "no criterion 'tree'; known are quadtree:THRESHOLD"),
        ({"reduce": "quadtree"}, "write quadtree:THRESHOLD"),
        ({"reduce": "quadtree:-1"}, "write quadtree:THRESHOLD"),
        ({"reduce": "resolution:0.05"}, "write resolution:THRESHOLD,DEPTH,EAST,NORTH"),
        ({"reduce": "uniform:2.5"}, "write uniform:N"),
        ({"reduce": "uniform:4", "smallest_cell": 2}, "leave smallest_cell out"),
        ({"reduce": "quadtree:1", "smallest_cell": 8, "largest_cell": 4}, "exceed the largest"),
        ({"reduce": "quadtree:1", "largest_cell": 4096}, "a side has 1 to 2,048"),
        ({"reduce": "quadtree:1", "least_share": 2}, "between 0 and 1"),
    ],
)
def test_reductions_that_cannot_be_are_refused(tmp_path, options, message):
    np.savetxt(
        tmp_path / "track.txt", [[4e5, 4e6, 0.1, 0.01, *TOWARD], [5e5, 4e6, 0.1, 0.01, *TOWARD]]
    )
    with pytest.raises(QexpError, match=message):
        package.observe(tmp_path / "track.txt", **options)
