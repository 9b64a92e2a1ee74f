"""Names of GNSS stations go along: into the file, what is printed, maps, and the residuals of an
inversion.
"""

import csv
import json

import numpy as np
import pytest
import torch
import xarray

import qexp as package
from qexp.deformation.maps import draw_tracks, stations_of
from qexp.observations.observation import Observation, Track, read_observation, write_observation
from qexp.physics.point import mogi

NAMES = ["ACAE", "RITE", "STRZ", "IPPO", "0042"]
PLACES = np.array(
    [[425e3, 4519.5e3], [427e3, 4520e3], [428e3, 4517e3], [424e3, 4517.5e3], [426.3e3, 4521.5e3]]
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Stations above a point source, in a system of metres; the last one has no vertical
    component.
    """
    moved = mogi(
        torch.tensor([[426e3, 4519e3, 2500.0, 4e6]], dtype=torch.float64), torch.from_numpy(PLACES)
    )[0].numpy()
    lines = ["station,east,north,dE,dN,dU,error"]
    for name, position, vector in zip(NAMES, PLACES, moved, strict=True):
        up = "" if name == "0042" else f"{vector[2]:.9f}"
        lines.append(
            f"{name},{position[0]},{position[1]},{vector[0]:.9f},{vector[1]:.9f},{up},0.002"
        )
    path = tmp_path_factory.mktemp("gnss") / "network.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.heavy
def test_names_are_kept_with_each_component_and_through_files(table, tmp_path):
    result = package.observe([], tmp_path / "g.nc", gnss=[table])
    (track,) = result.observation.tracks
    assert track.station.tolist() == list(np.repeat(NAMES, 3))
    assert result.tracks[0].stations == NAMES
    again = read_observation(tmp_path / "g.nc").tracks[0]
    assert again.station.tolist() == track.station.tolist()
    assert again.where_observed().station.tolist() == [*np.repeat(NAMES[:4], 3), "0042", "0042"]
    with xarray.open_dataset(tmp_path / "g.nc", engine="h5netcdf") as file:
        assert file["station"].dims == ("point",)


def test_names_are_printed_and_on_maps(table, qexp):
    drawn = draw_tracks(package.observe([], gnss=[table]).observation, "stations")
    assert set(NAMES) <= {text.get_text() for text in drawn.axes[0].texts}
    code, stdout, stderr = qexp("observe", "--gnss", table, "--json")
    assert (code, json.loads(stdout)["tracks"][0]["stations"]) == (0, NAMES), stderr
    words = "14 components of GNSS stations ACAE, RITE, STRZ, IPPO, 0042, 1 masked"
    assert words in qexp("observe", "--gnss", table).stderr


def test_stations_without_a_vertical_are_told_from_those_that_did_not_rise(table):
    figure = draw_tracks(package.observe([], gnss=[table]).observation, "stations")
    (black,) = [
        dots for dots in figure.axes[0].collections if dots.get_facecolor()[:1, :3].sum() == 0
    ]
    np.testing.assert_allclose(black.get_offsets()[0], PLACES[NAMES.index("0042")] / 1e3)
    assert figure.axes[-1].get_xlabel().endswith("); black: no vertical")


@pytest.mark.heavy
def test_files_whose_stations_have_no_names_are_as_before(tmp_path):
    ones = np.ones(3)
    track = Track(
        "g",
        "gnss",
        4e5 * ones,
        4.5e6 * ones,
        0.01 * ones,
        0.001 * ones,
        np.eye(3),
        np.ones(3, bool),
    )
    radar = Track(
        "r", "radar", 4e5 * ones, 4.5e6 * ones, ones, ones, np.eye(3)[[2, 2, 2]], np.ones(3, bool)
    )
    write_observation(Observation((radar, track)), tmp_path / "g.nc")
    with xarray.open_dataset(tmp_path / "g.nc", engine="h5netcdf") as file:
        assert "station" not in file
    assert [track.station for track in read_observation(tmp_path / "g.nc").tracks] == [None, None]
    assert package.observe(tmp_path / "g.nc").tracks[1].stations is None


def test_vectors_of_stations_are_put_together_along_any_axes():
    """Polar coordinates: true east lies 60° to the left of x."""
    turn = np.radians(60)
    axes = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    x = np.array([1.0, 1, 1, 5, 5])
    y = np.zeros(5)
    moved = np.array([0.03, -0.01, 0.02, 0.03, 0.02])
    names, ones = np.array(["A", "A", "A", "B", "B"]), np.ones(5)
    track = Track("g", "gnss", x, y, moved, ones, axes[[0, 1, 2, 0, 2]], ones > 0, station=names)
    stations = stations_of(track, moved)
    np.testing.assert_allclose(stations.vectors[0], axes.T @ moved[:3])
    np.testing.assert_allclose(stations.vectors[1], [np.nan, np.nan, 0.02])
    assert stations.names == ["A", "B"]


@pytest.mark.heavy
def test_an_inversion_has_the_residuals_of_each_station(table, tmp_path, qexp):
    assert qexp("observe", "--gnss", table, "--to", tmp_path / "g.nc", "--no-figure").code == 0
    qexp("invert", tmp_path / "g.nc", "--starts", "6", "--to", tmp_path / "made").done()
    with (tmp_path / "made" / "stations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["station"] for row in rows] == [*np.repeat(NAMES[:4], 3), "0042", "0042"]
    for row in rows:
        displacement, model, residual = (
            float(row[f"{name} (m)"]) for name in ("displacement", "model", "residual")
        )
        assert displacement - model == pytest.approx(residual, abs=1e-9)
        assert abs(residual) < 1e-6
        assert len(row["displacement (m)"]) <= len("-0.0000000000")
    assert (
        json.loads((tmp_path / "made" / "result.json").read_text())["files"].count("stations.csv")
        == 1
    )
