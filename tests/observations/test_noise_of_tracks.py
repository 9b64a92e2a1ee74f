"""The noise of tracks is found again in simulated fields, with and without a source, or taken as
declared.
"""

import dataclasses
import json
import re

import numpy as np
import pytest
import rasterio

import qexp as package
from qexp.deformation.signal import estimate_noise
from qexp.errors import QexpError
from qexp.observations import noise
from qexp.observations.noise import (
    declared,
    fit,
    in_rectangle,
    out_of_circle,
    semivariogram,
    with_noise,
)
from qexp.observations.observation import (
    CorrelatedNoise,
    Observation,
    Track,
    read_observation,
    write_observation,
)
from tests.observations.test_grids import tif

SILL, RANGE, NUGGET = 2.3e-5, 10.2e3, 3e-6
SIZE, POINTS, SAMPLES = 100e3, 500, 16

AREA = in_rectangle(-np.inf, np.inf, -np.inf, np.inf)


@pytest.fixture(scope="module")
def positions():
    return np.random.default_rng(4).uniform(0, SIZE, (2, POINTS)) + np.array([[400e3], [4500e3]])


@pytest.fixture(scope="module")
def fields(positions):
    """Samples of the declared noise, (sample, point) [m], by the factor of its covariance
    matrix.
    """
    x, y = positions
    covariance = SILL * np.exp(-np.hypot(x[:, None] - x, y[:, None] - y) / RANGE) + NUGGET * np.eye(
        POINTS
    )
    return (
        np.random.default_rng(5).standard_normal((SAMPLES, POINTS))
        @ np.linalg.cholesky(covariance).T
    )


def track_of(positions, displacement, name="track"):
    x, y = positions
    count = len(x)
    direction = np.tile([-0.6, -0.1, np.sqrt(0.63)], (count, 1))
    return Track(
        name, "radar", x, y, displacement, np.full(count, 0.005), direction, np.ones(count, bool)
    )


def swell(positions, volume_change, depth=4e3):
    """Displacement along the direction of `track_of` by a point source in the middle (Mogi 1958)
    [m].
    """
    east, north = positions[0] - 400e3 - SIZE / 2, positions[1] - 4500e3 - SIZE / 2
    towards = -0.6 * east - 0.1 * north + np.sqrt(0.63) * depth
    return 0.75 / np.pi * volume_change * towards / (east**2 + north**2 + depth**2) ** 1.5


def test_the_mean_semivariogram_of_many_samples_is_that_of_the_covariance(positions, fields):
    measured = [semivariogram(*positions, field) for field in fields]
    distance = measured[0].distance
    mean = np.mean([variogram.value for variogram in measured], axis=0)
    spread = np.std([variogram.value for variogram in measured], axis=0) / np.sqrt(SAMPLES)
    expected = NUGGET + SILL * (1 - np.exp(-distance / RANGE))
    assert np.interp(10.2e3, distance, expected) == pytest.approx(1.754e-5, rel=0.01)
    assert (np.abs(mean - expected) < 4 * spread).all()


@pytest.mark.heavy
def test_sill_range_and_nugget_are_found_again_within_four_times_the_error_of_the_median(
    positions, fields
):
    estimates = [estimate_noise([track_of(positions, field)], AREA)[0] for field in fields]
    values = np.array(
        [(estimate.best.sill, estimate.best.range, estimate.best.nugget) for estimate in estimates]
    )
    low, middle, high = np.percentile(values, (25, 50, 75), axis=0)
    error = 1.25 * (high - low) / 1.35 / np.sqrt(len(values))
    assert (np.abs(middle - (SILL, RANGE, NUGGET)) < 4 * error).all(), (middle, error)
    assert (error < 0.2 * np.array([SILL, RANGE, NUGGET])).all()
    assert np.mean([estimate.best.type == "exponential" for estimate in estimates]) > 0.8


@pytest.mark.heavy
def test_sill_range_and_nugget_are_found_again_below_the_signal_of_a_source(positions, fields):
    signal = swell(positions, 20e6)
    assert np.abs(signal).max() > 10 * np.sqrt(SILL)
    ratios = []
    for field in fields[:6]:
        (below_signal,) = estimate_noise([track_of(positions, field + signal)])
        (without,) = estimate_noise([track_of(positions, field)], AREA)
        east, north = map(float, re.findall(r"(\d+) (?:east|north)", below_signal.how))
        assert np.hypot(east - 450e3, north - 4550e3) < 1e3
        assert below_signal.points < POINTS
        names = ("sill", "range", "nugget")
        ratios.append(
            [getattr(below_signal.best, name) / getattr(without.best, name) for name in names]
        )
    assert np.exp(np.std(np.log(ratios), axis=0)).max() < 1.5
    np.testing.assert_allclose(np.median(ratios, axis=0), 1, atol=0.15)


@pytest.mark.heavy
def test_noise_alone_is_taken_for_no_source(positions, fields):
    estimates = [estimate_noise([track_of(positions, field)])[0] for field in fields[:4]]
    assert sum("no source is significant" in estimate.how for estimate in estimates) >= 3


@pytest.mark.heavy
def test_tracks_of_one_source_have_their_own_noise(positions, fields):
    signal = swell(positions, 20e6)
    tracks = [
        track_of(positions, signal + fields[0]),
        track_of(positions, signal + 3 * fields[1], "other"),
    ]
    quiet, loud = estimate_noise(tracks)
    assert 4 < loud.best.sill / quiet.best.sill < 20


def test_only_what_lies_where_no_signal_is_counts(positions, fields):
    x, y = positions
    quiet = estimate_noise([track_of(positions, fields[0])], out_of_circle(450e3, 4550e3, 30e3))[0]
    circle = np.hypot(x - 450e3, y - 4550e3) <= 30e3
    assert (
        estimate_noise(
            [track_of(positions, fields[0] + circle)], out_of_circle(450e3, 4550e3, 30e3)
        )[0].best
        == quiet.best
    )
    area = in_rectangle(400e3, 440e3, 4500e3, 4600e3)
    assert estimate_noise([track_of(positions, fields[0])], area)[0].points == (x <= 440e3).sum()


def test_a_plane_is_taken_out_if_asked(positions, fields):
    x, y = positions
    plane = 1e-6 * (x - 400e3) - 2e-6 * (y - 4500e3)
    bent = estimate_noise([track_of(positions, fields[0] + plane)], AREA)[0]
    fitted = (track_of(positions, values) for values in (fields[0] + plane, fields[0]))
    even, without = (estimate_noise([track], AREA, planes=True)[0].best for track in fitted)
    assert dataclasses.astuple(even)[1:] == pytest.approx(
        dataclasses.astuple(without)[1:], rel=1e-3
    )
    assert not bent.levels_off


def test_pairs_drawn_at_random_give_the_semivariogram_of_all_pairs(positions, fields, monkeypatch):
    of_all = semivariogram(*positions, fields[0])
    monkeypatch.setattr(noise, "MOST_POINTS", POINTS - 1)
    of_some = semivariogram(*positions, fields[0])
    assert of_some.pairs.sum() < of_all.pairs.sum() * 1.2
    np.testing.assert_allclose(of_some.value[3:], of_all.value[3:], rtol=0.1)
    np.testing.assert_array_equal(of_some.value, semivariogram(*positions, fields[0]).value)


@pytest.mark.parametrize(("type", "power"), [("exponential", 1), ("gaussian", 2)])
def test_a_semivariogram_without_scatter_is_fitted_exactly(positions, fields, type, power):
    measured = semivariogram(*positions, fields[0])
    exact = 3e-6 + 2e-5 * (1 - np.exp(-((measured.distance / 12e3) ** power)))
    noise, misfit = fit(dataclasses.replace(measured, value=exact), type)
    assert (noise.sill, noise.range, noise.nugget) == pytest.approx((2e-5, 12e3, 3e-6), rel=1e-4)
    assert misfit < 1e-10


def test_a_declared_noise_gives_the_errors_of_its_nugget_unless_they_are_kept(positions, fields):
    track, noise = track_of(positions, fields[0]), declared("exponential:2.3e-5,10200,3e-6")
    assert noise == CorrelatedNoise("exponential", SILL, RANGE, NUGGET)
    np.testing.assert_array_equal(
        with_noise(track, noise, keep_errors=False).error, np.sqrt(NUGGET)
    )
    np.testing.assert_array_equal(with_noise(track, noise, keep_errors=True).error, 0.005)
    np.testing.assert_array_equal(
        with_noise(track, declared("gaussian:1e-5,2000"), keep_errors=False).error, 0.005
    )


@pytest.fixture
def observed(tmp_path, positions, fields):
    """An observation file of two tracks and a station."""
    tracks = [
        track_of(positions, swell(positions, 20e6) + field, name)
        for name, field in zip("ab", fields, strict=False)
    ]
    east, north, moved, error = (np.full(3, value) for value in (450e3, 4550e3, 0.01, 0.002))
    station = Track("gnss", "gnss", east, north, moved, error, np.eye(3), np.ones(3, bool))
    write_observation(Observation((*tracks, station)), tmp_path / "obs.nc")
    return tmp_path / "obs.nc"


@pytest.mark.heavy
def test_the_command_writes_the_noise_of_each_track_and_draws_both_figures(
    observed, tmp_path, qexp
):
    target = tmp_path / "noisy.nc"
    document = json.loads(
        qexp("observe", observed, "--noise", "estimate", "--to", target, "--json").done()
    )
    assert document["files"] == [
        str(target),
        str(tmp_path / "noisy.png"),
        str(tmp_path / "noisy_noise.png"),
    ]
    assert all(
        (tmp_path / name).stat().st_size > 10_000 for name in ("noisy.png", "noisy_noise.png")
    )
    written = read_observation(target)
    for name, track in zip("ab", document["tracks"], strict=False):
        assert dataclasses.asdict(written.track(name).noise) == track["noise"]
        assert written.track(name).error[0] == pytest.approx(np.sqrt(track["noise"]["nugget"]))
    assert written.track("gnss").noise is None
    np.testing.assert_array_equal(written.track("gnss").error, 0.002)
    noises = ("--noise", "none", "--noise", "gaussian:1e-5,2000,1e-6")
    stderr = qexp("observe", target, *noises, "--keep-errors").messages()
    assert "b: noise gaussian, sill 1e-05 m², range 2 km, nugget 1e-06 m²\n" in stderr
    assert "a: noise" not in stderr
    assert qexp("observe", target, "--figure", tmp_path / "map.svg").code == 0
    assert (tmp_path / "map.svg").read_text().startswith("<?xml")


WRONG = {
    "an unknown type": (["--noise", "spherical:1,2"], "no noise 'spherical'"),
    "too few numbers": (["--noise", "exponential:1"], "write TYPE:SILL,RANGE,NUGGET in m², m, m²"),
    "no numbers": (["--noise", "exponential:a,b"], "write TYPE:SILL,RANGE,NUGGET"),
    "a negative sill": (
        ["--noise", "exponential:-1e-5,1000"],
        "the covariance is not positive definite",
    ),
    "no range": (["--noise", "exponential:1e-5,0"], "the covariance is not positive definite"),
    "points that are too alike": (
        ["--noise", "gaussian:1e-3,90000,1e-19"],
        "is not positive definite",
    ),
    "three noises for two tracks": (["--noise", "none"] * 3, "--noise is given 3 times"),
    "two areas": (
        ["--noise", "estimate", "--noise-area", "0,1,0,1", "--noise-mask", "0,0,1"],
        "name the area without a signal",
    ),
    "an area for nothing": (
        ["--noise-area", "0,1,0,1"],
        "--noise-area has no effect without --noise estimate",
    ),
    "errors kept for nothing": (["--keep-errors"], "--keep-errors has no effect without a noise"),
    "an empty area": (
        ["--noise", "estimate", "--noise-area", "0,1,0,1"],
        "0 of its 500 points are left",
    ),
    "an area inside out": (
        ["--noise", "estimate", "--noise-area", "1,0,0,1"],
        "the smaller of two first",
    ),
    "half an area": (
        ["--noise", "estimate", "--noise-area", "1,0"],
        "write EAST0,EAST1,NORTH0,NORTH1 in m",
    ),
    "an area in words": (
        ["--noise", "estimate", "--noise-area", "west"],
        "write numbers with commas between them",
    ),
    "a figure of no format": (["--figure", "map.gif"], "no format 'gif'"),
    "two wishes": (["--figure", "map.png", "--no-figure"], "contradict each other"),
    "a folder that is not there": (["--figure", "absent/map.png"], "there is no folder absent"),
}


@pytest.mark.parametrize(("words", "complaint"), WRONG.values(), ids=WRONG)
def test_noises_that_cannot_be_are_refused_and_nothing_is_written(
    observed, tmp_path, qexp, words, complaint
):
    before = sorted(tmp_path.iterdir())
    code, stdout, stderr = qexp("observe", observed, *words, "--to", tmp_path / "new.nc")
    assert (code in (2, 3), stdout, complaint in stderr) == (True, "", True), stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_figure_that_is_there_already_is_replaced_only_if_asked(observed, tmp_path, qexp):
    (tmp_path / "new.png").write_text("mine")
    assert "new.png exists already" in qexp("observe", observed, "--to", tmp_path / "new.nc").stderr
    assert not (tmp_path / "new.nc").exists()
    assert qexp("observe", observed, "--to", tmp_path / "new.nc", "--no-figure").code == 0
    assert (tmp_path / "new.png").read_text() == "mine"


def test_points_that_do_not_differ_and_tracks_of_few_points_have_no_noise(positions):
    with pytest.raises(QexpError, match="all its points have the same displacement"):
        estimate_noise([track_of(positions, np.zeros(POINTS))], out_of_circle(0, 0, 1))
    far = np.stack([400e3 + np.repeat([0, 50e3], 40), 4500e3 + np.tile(np.arange(40.0), 2)])
    with pytest.raises(QexpError, match="only 1 have 30 pairs of points, but 5 are needed; choose"):
        estimate_noise([track_of(far, np.random.default_rng(6).standard_normal(80))], AREA)
    with pytest.raises(QexpError, match="20 of its 20 points are left to estimate the noise from"):
        estimate_noise([track_of(positions[:, :20], np.arange(20.0))])


@pytest.mark.heavy
def test_points_at_one_place_are_refused_and_points_along_a_line_are_not(positions):
    white = 0.01 * np.random.default_rng(7).standard_normal(POINTS)
    with pytest.raises(QexpError, match="all its points lie at one place"):
        estimate_noise([track_of(np.full((2, POINTS), 4e5), white)])
    (estimate,) = estimate_noise(
        [track_of(np.stack([positions[0], np.full(POINTS, 4500e3)]), white)]
    )
    assert estimate.best.nugget + estimate.best.sill == pytest.approx(1e-4, rel=0.3)


@pytest.mark.heavy
def test_what_the_semivariogram_leaves_open_is_warned_of(positions, fields, tmp_path):
    x, y = positions
    for values, warning in (
        (
            0.01 * np.random.default_rng(7).standard_normal(POINTS),
            "the noise of 'track' is correlated over less than",
        ),
        (fields[0] + 1e-6 * (x - y), "the semivariogram of 'track' does not level off"),
        (0.05 * fields[0] / fields[0].std(), "the noise of 'track' is estimated as"),
    ):
        write_observation(Observation((track_of(positions, values),)), tmp_path / "obs.nc")
        result = package.observe(tmp_path / "obs.nc", noise="estimate", noise_mask=(0, 0, 1))
        assert any(text.startswith(warning) for text in result.warnings)


@pytest.mark.heavy
def test_where_the_noise_gives_the_errors_none_is_asked_for(positions, fields, tmp_path):
    np.savetxt(tmp_path / "track.txt", np.column_stack([*positions, fields[0]]))
    about = {"incidence": 34, "heading": -10}
    asked = package.observe(
        tmp_path / "track.txt", noise="estimate", error=0.02, **about
    ).observation.tracks[0]
    (track,) = package.observe(tmp_path / "track.txt", noise="estimate", **about).observation.tracks
    np.testing.assert_allclose(track.error, asked.error, rtol=1e-6)
    (track,) = package.observe(
        tmp_path / "track.txt", noise="gaussian:1e-5,2000,4e-6", **about
    ).observation.tracks
    assert (track.error == 0.002).all()
    for options in (
        {"noise": "estimate", "keep_errors": True},
        {"noise": "gaussian:1e-5,2000"},
        {"noise": "none"},
    ):
        with pytest.raises(QexpError, match="has no column of errors"):
            package.observe(tmp_path / "track.txt", **about, **options)


def test_stations_alone_have_no_noise_to_be_estimated(tmp_path):
    (tmp_path / "g.txt").write_text("name east north dE dN\nA 426000 4519000 0.01 0.02\n")
    with pytest.raises(QexpError, match="stations have errors of their own"):
        package.observe(tmp_path / "g.txt", error=0.01, noise="estimate")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A GeoTIFF of 32 × 32 pixels of 500 m, of exponential noise."""
    north, east = 500.0 * np.mgrid[:32, :32].reshape(2, -1)
    covariance = 1e-5 * np.exp(
        -np.hypot(east[:, None] - east, north[:, None] - north) / 2e3
    ) + 2e-6 * np.eye(len(east))
    field = np.linalg.cholesky(covariance) @ np.random.default_rng(6).standard_normal(len(east))
    transform = rasterio.transform.from_origin(420e3, 4530e3, 500, 500)
    return tif(
        tmp_path_factory.mktemp("grid") / "los.tif", field.reshape(32, 32), transform=transform
    )


ON_GRID = {
    "error": 0.005,
    "incidence": 34,
    "heading": -10,
    "noise": "estimate",
    "noise_mask": (0, 0, 1),
}


@pytest.mark.slow
def test_the_noise_of_means_of_cells_is_that_of_the_points_in_them(grid):
    points, means = (
        package.observe(grid, **ON_GRID, reduce=reduce) for reduce in (None, "uniform:2")
    )
    (track,), noise = means.observation.tracks, means.estimates["los"].best
    assert (track.size, points.tracks[0].points) == (256, 1024)
    assert noise == points.estimates["los"].best == track.noise
    np.testing.assert_allclose(track.error, np.sqrt(noise.nugget / 4))
    options = {**ON_GRID, "noise": "exponential:1e-5,2000,2e-6", "noise_mask": None}
    declared_later = package.observe(grid, **options, reduce="uniform:2")
    np.testing.assert_allclose(declared_later.observation.tracks[0].error, np.sqrt(2e-6 / 4))
    of_one_pixel = package.observe(grid, **options, reduce="quadtree:1e-9", smallest_cell=1)
    assert of_one_pixel.tracks[0].points == of_one_pixel.tracks[0].averaged == 1024


@pytest.mark.heavy
def test_the_noise_of_points_is_not_estimated_from_means_whose_points_are_gone(grid, tmp_path):
    package.observe(
        grid,
        tmp_path / "obs.nc",
        **{**ON_GRID, "noise": (), "noise_mask": None},
        reduce="uniform:2",
    )
    with pytest.raises(
        QexpError, match="holds means of cells, from which the noise of points cannot be estimated"
    ):
        package.observe(tmp_path / "obs.nc", noise="estimate")
