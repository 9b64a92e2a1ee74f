"""Inversions of observations by least squares: results, files, and what is refused."""

import json
import re
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import xarray
from matplotlib.collections import PolyCollection

import qexp
from qexp.base.quantities import QUANTITIES
from qexp.deformation import estimate
from qexp.deformation.contradictions import UNCERTAIN
from qexp.deformation.options import InvertOptions
from qexp.deformation.output import maps_of
from qexp.deformation.tables import table_of_parameters
from qexp.errors import QexpError
from qexp.inference import least_squares
from qexp.inference.criteria import aicc, bic
from qexp.inference.parameters import Units, sources_named
from qexp.observations.observation import CorrelatedNoise, Observation, Track, write_observation
from qexp.observations.reduction import reduced_points, reduction
from qexp.simulation.generators import GENERATORS
from tests.conftest import call, started
from tests.deformation.observed import CRS, ORIGIN, SOURCE, TRUTH, observed
from tests.inference.tracks import EXPONENTIAL, point_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An observation file with correlated noise, offsets and masked points, which tests read
    only.
    """
    made = tmp_path_factory.mktemp("observed")
    seen = observed(EXPONENTIAL)
    seen.tracks[0].observed[:20] = False
    seen.tracks[0].displacement[:20] = np.nan
    write_observation(seen, made / "obs.nc")
    return made


@pytest.fixture(scope="module")
def inverted(folder):
    """`qexp invert` with all its files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("QEXP_FIGURES", raising=False)
        stdout = call(
            "invert", folder / "obs.nc", "--to", folder / "result", "--starts", "6", "--json"
        ).done()
    return folder / "result", json.loads(stdout)


@pytest.mark.heavy
def test_residuals_below_the_declared_noise_are_said_as_those_above_are():
    for error, said in (
        (0.05, "are smaller than its noise"),
        (0.001, "are not the declared noise"),
        (0.005, None),
    ):
        seen = observed()
        for track in seen.tracks:
            track.error[:] = error
        remarks = "\n".join(qexp.invert(seen, source="mogi", starts=4).remarks)
        assert (remarks == "") if said is None else (said in remarks)


@pytest.mark.heavy
def test_the_result_has_the_numbers_of_the_source_within_its_errors(inverted):
    _, document = inverted
    named = ("source", "parameters", "tracks", "data", "unknowns", "chi2_reduced", "misfit", "crs")
    assert {*named, "iterations", "seconds", "network", "remarks"} < document.keys()
    assert document["network"] is None
    for name, truth in TRUTH.items():
        of = document["parameters"][name]
        assert (of["fixed"], of["at_bound"], of["open_ends"]) == (False, False, [])
        assert abs(of["value"] - truth) < 4 * of["standard_error"]
        low, high = of["interval95"]
        assert low < of["value"] < high
    assert [of["unit"] for of in document["parameters"].values()] == ["m", "m", "km", "10⁶ m³"]
    assert {name: of["n"] for name, of in document["tracks"].items()} == {
        "ascending": 176,
        "descending": 196,
    }
    assert 0.7 < document["chi2_reduced"] < 1.3
    for name, offset in (("ascending", 0.03), ("descending", -0.02)):
        assert (document["tracks"][name]["kind"], document["tracks"][name]["ramp"]) == (
            "radar",
            None,
        )
        assert document["tracks"][name]["noise"].startswith("exponential")
        assert document["tracks"][name]["offset"] == pytest.approx(offset, abs=0.02)


@pytest.mark.heavy
def test_the_folder_holds_the_result_as_tables_maps_and_rasters(inverted):
    folder, document = inverted
    expected = {
        "result.json",
        "parameters.csv",
        "result.nc",
        "result.kml",
        "result.geojson",
        "maps.png",
        "ascending.tif",
        "descending.tif",
    }
    assert {path.name for path in folder.iterdir()} == expected
    result = json.loads((folder / "result.json").read_text())
    assert result["files"] == sorted(expected)
    for name, of in document["parameters"].items():
        assert result["parameters"][name]["value"] == of["value"]
    names = list(TRUTH)
    matrix = np.array([[result["correlations"][one][other] for other in names] for one in names])
    np.testing.assert_allclose(np.diagonal(matrix), 1.0)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.abs(matrix).max() <= 1 + 1e-12
    header, *rows = (folder / "parameters.csv").read_text().splitlines()
    assert header.startswith("parameter,value,unit,standard_error,scaled_error")
    assert [row.split(",")[0] for row in rows] == names


@pytest.mark.heavy
def test_the_table_of_points_adds_up_to_the_observation_and_its_model_is_that_of_the_estimates(
    inverted,
):
    folder, document = inverted
    table = xarray.load_dataset(folder / "result.nc", engine="h5netcdf")
    seen = table["mask"].values == 1
    whole = table["model"] + table["surface"] + table["residual"]
    np.testing.assert_allclose(whole.values[seen], table["displacement"].values[seen], atol=1e-12)
    assert np.isnan(table["residual"].values[~seen]).all()
    east, north, depth, volume = (document["parameters"][name]["value"] for name in TRUTH)
    moved = point_source(
        table["x"].values, table["y"].values, east, north, 1e3 * depth, 1e6 * volume
    )
    np.testing.assert_allclose(
        table["model"], (moved * table["direction"].values).sum(axis=1), atol=1e-9
    )
    assert table["model"].attrs["units"] == "m"
    assert float(table["depth"]) == depth


@pytest.mark.heavy
def test_rasters_lie_where_the_points_are(inverted):
    folder, _ = inverted
    table = xarray.load_dataset(folder / "result.nc", engine="h5netcdf")
    own = table["track"].values == 1
    with rasterio.open(folder / "descending.tif") as raster:
        assert raster.crs.to_epsg() == 32633
        assert raster.descriptions == ("displacement", "model", "residual")
        assert raster.shape == (14, 14)
        places = list(zip(table["x"].values[own], table["y"].values[own], strict=True))
        for index, name in enumerate(("displacement", "model", "residual")):
            values = np.array(list(raster.sample(places)))[:, index]
            np.testing.assert_allclose(values, table[name].values[own], rtol=1e-6)
    with rasterio.open(folder / "ascending.tif") as raster:
        assert np.isnan(raster.read(1)).sum() == 20  # those that are masked
        assert not np.isnan(raster.read(2)).any()  # the model is known there, too


@pytest.mark.heavy
def test_python_gives_the_numbers_of_the_command(folder, inverted):
    stages: list[tuple[str, str, float]] = []
    made = qexp.invert(folder / "obs.nc", starts=6, on_stage=lambda *stage: stages.append(stage))
    assert stages[0] == ("mogi", "searching the best fit", 0.0)
    assert stages[-1] == ("mogi", "testing the residuals", 0.0)
    for name, most in (("searching the best fit", 0.99), ("finding intervals", 1)):
        shares = [share for _, stage, share in stages if stage == name]
        assert shares[0] < sum(shares) / len(shares) < shares[-1] <= most
    _, document = inverted
    assert json.loads(json.dumps({**made.document(), "seconds": 0})) == {**document, "seconds": 0}
    assert made.parameters["depth"].value == document["parameters"]["depth"]["value"]


@pytest.mark.heavy
def test_an_existing_folder_is_replaced_only_if_it_is_that_of_an_inversion(
    folder, inverted, tmp_path
):
    place, _ = inverted
    before = (place / "result.json").read_bytes()
    assert "not empty" in call("invert", folder / "obs.nc", "--to", place).failed()
    assert (place / "result.json").read_bytes() == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    assert "thesis.txt" in call("invert", folder / "obs.nc", "--to", other, "--overwrite").failed()
    (other / "thesis.txt").rename(tmp_path / "thesis.txt")
    for _ in range(2):
        options = ("--starts", "1", "--to", other, "--overwrite", "--fix", "depth=1.5")
        assert "fixed" in call("invert", folder / "obs.nc", *options).done()
    (other / "thesis.txt").write_text("years of work")
    assert call("invert", folder / "obs.nc", "--to", other, "--overwrite").code == 2
    assert {path.name for path in tmp_path.iterdir()} == {"other", "thesis.txt"}


@pytest.mark.heavy
def test_a_folder_that_is_interrupted_while_it_is_written_is_whole_or_is_not_there(
    folder, inverted, tmp_path
):
    whole, _ = inverted
    running = started(
        tmp_path, "invert", str(folder / "obs.nc"), "--starts", "1", "--to", str(tmp_path / "made")
    )
    limit = time.monotonic() + 120
    while not list(tmp_path.iterdir()) and time.monotonic() < limit:
        assert running.poll() is None, running.communicate()
        time.sleep(0.001)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=60)
    assert "Traceback" not in stderr
    names = {path.name for path in tmp_path.rglob("*")}
    complete = {"made", *(path.name for path in whole.iterdir())} - {"maps.png"}
    assert (running.returncode, names) in [(130, set()), (0, complete), (130, complete)]


@pytest.mark.heavy
def test_offsets_count_as_displacement_if_none_are_estimated():
    seen = observed(offsets=(0.05, 0.05))
    with_them, without = (
        qexp.invert(seen, starts=4, offsets=offsets) for offsets in ("per-track", "none")
    )
    assert with_them.parameters["depth"].value == pytest.approx(1.5, rel=0.05)
    assert without.parameters["depth"].value > 2.0
    assert without.tracks["ascending"].offset == 0.0
    assert without.tracks["ascending"].offset_error is None
    assert without.chi2 > 2 * with_them.chi2


@pytest.mark.heavy
def test_a_search_with_some_of_the_points_ends_in_the_minimum_of_all_points(monkeypatch):
    seen = observed(EXPONENTIAL)
    thinned, whole = (
        monkeypatch.setattr(least_squares, "MOST_SEARCHED", most) or qexp.invert(seen, starts=8)
        for most in (60, 10_000)
    )
    assert whole.chi2 == pytest.approx(thinned.chi2, rel=1e-8)
    for name, of in whole.parameters.items():
        assert thinned.parameters[name].value == pytest.approx(of.value, rel=1e-5)
        assert thinned.parameters[name].standard_error == pytest.approx(of.standard_error, rel=1e-5)
    assert thinned.starts == 8
    assert 1 <= thinned.agreeing <= 8


@pytest.mark.heavy
def test_what_a_network_s_training_data_share_is_held_unless_bounds_free_it():
    seen = observed()
    units = Units(QUANTITIES, estimate.centre_of(seen))
    begin = {"x": 0.0, "y": 0.0, "depth": 2000.0, "delta_volume": 2e6}
    candidate = estimate.Candidate(
        "mogi", sources_named("mogi", GENERATORS), units, begin, held=("depth",)
    )
    held, freed = (
        estimate.estimate_sources(seen, candidate, asked)
        for asked in (InvertOptions(), InvertOptions(bounds={"depth": (0.5, 5)}))
    )
    assert held.parameters["depth"].fixed
    assert held.parameters["depth"].value == pytest.approx(2.0)
    assert freed.parameters["depth"].value == pytest.approx(1.5, rel=0.05)


@pytest.mark.heavy
def test_noise_without_a_source_is_said_to_show_none():
    seen, random = observed(), np.random.default_rng(1)
    noise = [
        replace(track, displacement=0.02 + random.normal(0.0, track.error)) for track in seen.tracks
    ]
    made = [
        qexp.invert(one, starts=4, posterior=True, draws=200)
        for one in (Observation(tuple(noise), seen.crs), seen)
    ]
    said = [one.document()["remarks"] for one in made]
    assert [
        any("no source is seen at 1 % false alarms" in text for text in texts) for texts in said
    ] == [True, False]
    # The posterior follows the prior of the search, which nobody gave.
    assert [any("`bounds` of east" in text for text in texts) for texts in said] == [True, False]
    assert made[0].posterior.evidence.log < 0 < made[1].posterior.evidence.log
    bounds = {"east": (-5e3, 5e3), "north": (-5e3, 5e3), "depth": (1, 6), "delta_volume": (-5, 5)}
    for name, of in zip(("east", "north"), (seen.tracks[0].x, seen.tracks[0].y), strict=True):
        bounds[name] = (float(of.min()), float(of.max()))
    asked = {"starts": 4, "posterior": True, "draws": 200, "bounds": bounds}
    given = qexp.invert(Observation(tuple(noise), seen.crs), **asked)
    assert not any("which nobody gave" in text for text in given.remarks)


def own_source(folder, quantity):
    """A workspace whose source is Mogi's under another name, with a volume change of a name of its
    own.
    """
    (folder / "specs").mkdir()
    (folder / "specs" / "extensions.py").write_text(f"""
from qexp.extend import Entry, Quantity, Source, half_space, mogi, mogi_image

GENERATORS = {{
    "reservoir": Entry(
        build=half_space(Source(("x", "y", "depth", "swelling"), mogi, mogi_image)),
        parameters={{"properties": {{}}}},
        help="A reservoir that swells.",
        example={{"type": "reservoir"}},
    )
}}
QUANTITIES = {{"swelling": {quantity}}}
""")
    return folder


@pytest.mark.heavy
def test_a_source_of_the_user_s_own_is_inverted_like_the_built_in_one_whatever_its_amplitude_is_called(
    tmp_path,
):
    place = own_source(tmp_path, 'Quantity("10⁶ m³", 1e6, "its volume change")')
    seen = observed(EXPONENTIAL)
    own = qexp.invert(seen, source="reservoir", workspace=place)
    built_in = qexp.invert(seen, source="mogi")
    assert own.chi2 == pytest.approx(built_in.chi2)
    for name, of in built_in.parameters.items():
        estimate = own.parameters["swelling" if name == "delta_volume" else name]
        assert estimate.value == pytest.approx(of.value)
        assert estimate.interval95 == pytest.approx(of.interval95)


@pytest.mark.heavy
def test_the_prior_of_an_own_amplitude_is_declared_with_it_or_asked_for(tmp_path):
    folders = [tmp_path / name for name in ("silent", "declared")]
    for folder, end in zip(folders, ("", ", plausible=(-100, 100)"), strict=True):
        folder.mkdir()
        own_source(folder, f'Quantity("10⁶ m³", 1e6, "its volume change"{end})')
    asked = {"source": "reservoir", "posterior": True, "draws": 200, "starts": 4}
    with pytest.raises(
        QexpError, match=r'plausible: give it two bounds, bounds=\{"swelling": \(LOW, HIGH\)\}'
    ):
        qexp.invert(observed(), **asked, workspace=folders[0])
    declared = qexp.invert(observed(), **asked, workspace=folders[1]).posterior.parameters[
        "swelling"
    ]
    assert (declared.least, declared.largest) == (-100, 100)
    assert declared.low < 3.0 < declared.high


@pytest.mark.heavy
def test_the_noise_that_was_estimated_may_be_too_small_but_declared_noise_may_not(folder):
    seen = observed(EXPONENTIAL)
    said = []
    for estimated in (False, True):
        noise = replace(EXPONENTIAL, sill=EXPONENTIAL.sill / 2, estimated=estimated)
        tracks = [replace(track, noise=noise, error=track.error / 1.4) for track in seen.tracks]
        made = qexp.invert(Observation(tuple(tracks), seen.crs), starts=4)
        assert 1.5 < made.chi2_reduced < 3
        said.append(any("not the declared noise" in remark for remark in made.remarks))
        assert (
            any("intervals are somewhat too narrow" in remark for remark in made.remarks)
            == estimated
        )
    assert said == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize("estimated", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_stations_that_contradict_a_track_are_named_whether_the_noise_of_the_track_was_estimated_or_not(
    estimated, sign
):
    track = replace(
        observed(EXPONENTIAL).tracks[0], noise=replace(EXPONENTIAL, estimated=estimated)
    )
    random = np.random.default_rng(5)
    x, y = (random.uniform(-3000, 3000, 6) + shift for shift in ORIGIN)
    moved = sign * point_source(x, y, *SOURCE)[:, 2] + 0.08 * random.normal(size=6)
    up = Track(
        "stations",
        "gnss",
        x,
        y,
        moved,
        np.full(6, 0.08),
        np.tile([0.0, 0, 1], (6, 1)),
        np.ones(6, bool),
    )
    made = qexp.invert(Observation((track, up), CRS), starts=2, bounds={"depth": (1, 2)})
    assert made.chi2_reduced < UNCERTAIN
    assert made.tracks["stations"].error == pytest.approx(0.08)
    assert any("'stations'" in said for said in made.remarks) is (sign < 0)


@pytest.mark.heavy
def test_ramps_are_estimated_with_the_source():
    seen = observed()
    for one in seen.tracks:
        one.displacement[:] += (
            2e-3 * (one.x - one.x.mean()) / 1e3 - 1e-3 * (one.y - one.y.mean()) / 1e3
        )
    made = qexp.invert(seen, starts=4, ramps=True)
    for one in made.tracks.values():
        assert one.ramp == pytest.approx((2e-3, -1e-3), abs=5 * max(one.ramp_error))
    assert made.parameters["depth"].value == pytest.approx(1.5, rel=0.05)
    assert made.unknowns == 4 + 6


@pytest.mark.heavy
def test_several_sources_are_compared_and_the_one_that_explains_the_data_is_first(tmp_path):
    seen = observed(size=10)
    for one in seen.tracks:
        second = point_source(one.x, one.y, ORIGIN[0] - 1500, ORIGIN[1] + 1300, 900.0, -1.5e6)
        one.displacement[:] += (second * one.direction).sum(axis=1)
    write_observation(seen, tmp_path / "obs.nc")
    options = [
        "--source",
        "mogi",
        "--source",
        "mogi+mogi",
        "--starts",
        "8",
        "--to",
        tmp_path / "both",
    ]
    document = json.loads(call("invert", tmp_path / "obs.nc", *options, "--json").done())
    depths = sorted(document["parameters"][f"mogi_{number}.depth"]["value"] for number in (1, 2))
    assert depths == pytest.approx([0.9, 1.5], rel=0.1)
    first, second = document["comparison"]
    assert (first["source"], second["source"]) == ("mogi+mogi", "mogi")
    assert first["delta_aicc"] == first["delta_bic"] == 0
    assert second["delta_aicc"] > second["delta_bic"] > 10
    assert first["unknowns"] == second["unknowns"] + 4
    assert list(json.loads((tmp_path / "both/mogi/result.json").read_text())["parameters"]) == list(
        TRUTH
    )
    assert (tmp_path / "both/comparison.csv").read_text().startswith("source,unknowns")


def test_criteria_are_those_of_least_squares_with_an_unknown_size_of_the_noise():
    # N ln(χ²/N) + 2K + 2K(K+1)/(N-K-1) and N ln(χ²/N) + K ln N with N = 10, χ² = 20, K = 3.
    assert aicc(20.0, 10, 2) == pytest.approx(10 * np.log(2) + 6 + 24 / 6)
    assert bic(20.0, 10, 2) == pytest.approx(10 * np.log(2) + 3 * np.log(10))
    assert aicc(1.0, 4, 2) == np.inf


@pytest.mark.heavy
def test_gnss_components_and_a_track_are_explained_together():
    random = np.random.default_rng(5)
    x, y = (random.uniform(-3000, 3000, 8) + shift for shift in ORIGIN)
    direction = np.repeat(np.eye(3), 8, axis=0)
    places = np.tile(x, 3), np.tile(y, 3)
    moved = (point_source(*places, *SOURCE) * direction).sum(axis=1) + 0.002 * random.normal(
        size=24
    )
    gnss = Track(
        "stations", "gnss", *places, moved, np.full(24, 0.002), direction, np.ones(24, bool)
    )
    made = qexp.invert(Observation((observed().tracks[0], gnss), CRS), starts=6)
    assert made.parameters["depth"].value == pytest.approx(1.5, rel=0.05)
    assert made.tracks["stations"].offset_error is None
    alone = qexp.invert(Observation((gnss,), CRS), starts=6, fixed={"depth": 1.5})
    assert alone.parameters["depth"].fixed
    assert alone.parameters["east"].value == pytest.approx(SOURCE[0], abs=200)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fix", "x=0"], "positions are absolute here; use east, in metres"),
        (["--fix", "deptj=2"], "did you mean 'depth'"),
        (["--fix", "depth=-2"], "depths are positive"),
        (["--fix", "depth=nan"], "write variable=number"),
        (["--fix", "depth=2", "--bounds", "depth=1:3"], "it has bounds, too"),
        (["--bounds", "depth=3:1"], "the smaller first"),
        (["--bounds", "depth=-3:-1"], "depths are positive"),
        (["--source", "moggi"], "did you mean 'mogi'"),
        (["--source", "mogi", "--source", "mogi"], "given twice"),
        (["--offsets", "some"], "choose from per-track and none"),
        (["--starts", "0"], "at least one"),
        (["--spacing", "-5", "--to", "somewhere"], "must be a positive number"),
        (["--spacing", "500"], "are for the files of --to"),
        (["--overwrite"], "are for the files of --to"),
        (["--source", "okada", "--fix", "strike=45"], "if it is in degrees, add --degrees"),
        (
            [
                "--fix",
                "east=4.3e5",
                "--fix",
                "north=4.5e6",
                "--fix",
                "depth=1",
                "--fix",
                "delta_volume=1",
            ],
            "leave one",
        ),
        (["--fix", "depth=1500"], "depth is in km, and 1,500 km is far beyond what the data reach"),
        (["--fix", "depth=1500"], "did you mean depth=1.5?"),
        (["--bounds", "depth=500:5000"], "did you mean depth=0.5:5?"),
        (["--fix", "east=426"], "--fix east: east is in m, and 426 m is far beyond"),
        (
            ["--source", "sill"],
            "penny: Pressurised horizontal circular crack, a sill (Fialko and others 2001)\n",
        ),
        (["--bounds", "depth=:0"], "--bounds depth"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_would_work(
    folder, options, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert words in call("invert", folder / "obs.nc", *options).failed()
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_observations_are_refused(tmp_path):
    (tmp_path / "text.nc").write_text("no NetCDF")
    assert call("invert", tmp_path / "text.nc").code == 2
    assert call("invert", tmp_path / "missing.nc").code in (2, 3)


@pytest.mark.heavy
def test_an_estimate_at_a_bound_is_remarked_on(folder):
    said = call("invert", folder / "obs.nc", "--bounds", "depth=2:4", "--starts", "2")
    assert "warning: depth is at a bound, and the data ask for a value beyond it" in said.stderr
    assert re.search(r"depth +km +2\S* +at bound", said.done())
    depth = qexp.invert(folder / "obs.nc", bounds={"depth": (2, 4)}, starts=2).parameters["depth"]
    assert (depth.at_bound, depth.standard_error, depth.scaled_error) == (True, None, None)
    assert depth.interval95[0] == pytest.approx(2)


@pytest.mark.heavy
def test_an_estimate_at_a_bound_that_the_data_allow_is_not_remarked_on(folder):
    free = qexp.invert(folder / "obs.nc").parameters["depth"]
    made = qexp.invert(
        folder / "obs.nc", bounds={"depth": (1, free.value - 0.3 * free.standard_error)}
    )
    assert made.parameters["depth"].at_bound
    assert not [remark for remark in made.remarks if "bound" in remark]
    made = qexp.invert(
        folder / "obs.nc", bounds={"depth": (1, free.value - 4 * free.standard_error)}
    )
    (remark,) = [remark for remark in made.remarks if "bound" in remark]
    fall = float(re.search(r"some ([\d.]+)\)", remark).group(1))
    assert fall == pytest.approx(made.chi2 - qexp.invert(folder / "obs.nc").chi2, rel=0.3)


@pytest.mark.heavy
def test_a_size_and_a_pressure_that_are_not_told_apart_are_said_not_to_be_and_have_no_errors_in_the_table(
    folder,
):
    made = qexp.invert(folder / "obs.nc", source="mctigue", bounds={"radius": (0.005, 1)}, starts=2)
    pressure = made.parameters["pressure_over_mu"]
    assert made.parameters["radius"].at_bound
    assert pressure.interval95[1] > 1000 * pressure.interval95[0]
    assert any(
        "radius and pressure_over_mu cannot be distinguished" in said for said in made.remarks
    )
    rows = {row[0]: row[2:5] for row in table_of_parameters(made.parameters).rows}
    assert rows["radius"] == ["0.005", "at bound", ""]
    assert rows["pressure_over_mu"][1:] == ["see interval", ""]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(0.0183, 3.0, "0.018"), (-0.002, 30.0, "-0.002"), (0.0, 3.0, "0.0"), (2.61, 1.4, "2.6")],
)
def test_only_a_value_of_zero_is_printed_as_zero(value, error, text):
    part = estimate.Estimate(value, "km", error, error, interval95=(-2 * error, 2 * error))
    made = SimpleNamespace(parameters={"radius": part})
    assert table_of_parameters(made.parameters).rows[0][2] == text


@pytest.mark.heavy
def test_reduced_data_are_drawn_as_filled_cells_in_each_format_that_is_asked_for(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("QEXP_FIGURES", raising=False)
    seen = observed()
    cells = replace(
        seen,
        tracks=tuple(reduced_points(track, reduction("quadtree:0.002")) for track in seen.tracks),
    )
    made = qexp.invert(cells, starts=2, to=tmp_path / "made", formats=["pdf", "svg"])
    shown = [
        [len(drawn.get_paths()) for drawn in axis.collections if isinstance(drawn, PolyCollection)]
        for axis in maps_of(made).axes[:6]
    ]
    assert shown == [[track.size] for track in cells.tracks for _ in ("data", "model", "residual")]
    assert {file.name for file in (tmp_path / "made").glob("maps.*")} == {"maps.pdf", "maps.svg"}
    with pytest.raises(QexpError, match="no format 'gif'"):
        qexp.invert(cells, starts=2, to=tmp_path / "other", formats=["gif"])


@pytest.mark.heavy
def test_an_observation_that_invert_would_refuse_is_said_to_be_too_large_with_a_reduction_that_fits(
    tmp_path,
):
    noise = CorrelatedNoise("exponential", 1e-5, 2000.0, 1e-6)
    seen = observed(size=80)
    large = replace(seen, tracks=tuple(replace(track, noise=noise) for track in seen.tracks))
    write_observation(large, tmp_path / "large.nc")
    (said,) = [
        text for text in qexp.observe(tmp_path / "large.nc").warnings if "at most 6,000" in text
    ]
    assert "ascending has 6,400 points with correlated noise" in said
    (suggested,) = re.findall("`reduce=(.*?)`", said)
    smaller = qexp.observe(tmp_path / "large.nc", reduce=suggested)
    assert max(track.points for track in smaller.tracks) <= 6000
    assert not [text for text in smaller.warnings if "at most" in text]


@pytest.mark.heavy
def test_a_figure_of_an_observation_has_the_formats_that_are_asked_for(tmp_path):
    write_observation(observed(), tmp_path / "seen.v2.nc")
    made = qexp.observe(
        tmp_path / "seen.v2.nc", figure=tmp_path / "seen.v2", formats=("pdf", "svg")
    )
    assert [path.name for path in made.files] == ["seen.v2.pdf", "seen.v2.svg"]
    with pytest.raises(QexpError, match="its ending is its format"):
        qexp.observe(tmp_path / "seen.v2.nc", figure=tmp_path / "seen.png", formats=("pdf",))
