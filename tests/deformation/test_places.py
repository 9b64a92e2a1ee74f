"""Sources and tracks in KML and GeoJSON, for Google Earth and geographic information systems."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pyproj
import pytest
from matplotlib.path import Path

import qexp
from qexp.deformation.inversion import Estimate
from qexp.deformation.output import geojson, kml, maps_of
from qexp.observations.projection import geographic
from tests.deformation.observed import CRS, observed

PLACED = geographic(CRS)
NAMESPACE = {"kml": "http://www.opengis.net/kml/2.2"}


@pytest.fixture(scope="module")
def inversion():
    return qexp.invert(observed(), source="mogi", starts=2)


def texts(content, path):
    return [
        found.text
        for found in ElementTree.fromstring(content).iterfind(f".//kml:{path}", NAMESPACE)
    ]


def in_metres(coordinates):
    degrees = np.array(
        [[float(number) for number in pair.split(",")] for pair in coordinates.split()]
    )
    return np.transpose(
        pyproj.Transformer.from_crs(4326, CRS, always_xy=True).transform(*degrees.T)
    )


def test_a_source_lies_where_it_was_found_and_says_its_parameters_with_intervals(inversion):
    content = kml(inversion, PLACED)
    (coordinates,) = texts(content, "Point/kml:coordinates")
    found = [inversion.parameters[name].value for name in ("east", "north")]
    assert in_metres(coordinates)[0] == pytest.approx(found, abs=0.01)
    (description,) = texts(content, "Placemark/kml:description")
    assert all(f"\n{name} " in description for name in inversion.parameters)
    assert description.count("(95 %: ") == 4
    assert texts(content, "Placemark/kml:name") == ["mogi"]
    assert len(texts(content, "LineString/kml:coordinates")) == 1


@pytest.mark.parametrize(
    ("strike", "dip", "unit", "east", "north"),
    [(0, 0, "°", 500, 1000), (90, 60, "°", 1000, 250), (np.pi / 2, np.pi / 2, "rad", 1000, 0)],
)
def test_of_a_rectangle_among_other_sources_the_outline_is_drawn_as_seen_from_above(
    inversion, strike, dip, unit, east, north
):
    plane = {
        "length": (2.0, "km"),
        "width": (1000.0, "m"),
        "strike": (strike, unit),
        "dip": (dip, unit),
    }
    parameters = {f"okada.{name}": Estimate(*value) for name, value in plane.items()}
    parameters |= {f"{of}.{name}": Estimate(value, "m") for of in ("mogi", "okada")
                   for name, value in (("east", 426e3), ("north", 4519e3))}  # fmt: skip
    content = kml(replace(inversion, source="mogi+okada", parameters=parameters), PLACED)
    assert texts(content, "Placemark/kml:name") == ["mogi", "okada"]
    *_, coordinates = texts(content, "LineString/kml:coordinates")
    corners = in_metres(coordinates) - [426e3, 4519e3]
    assert corners[0] == pytest.approx(corners[-1], abs=1e-3)
    np.testing.assert_allclose(np.abs(corners), np.tile([east, north], (5, 1)), atol=0.01)


def test_any_name_can_be_read_again(inversion):
    assert texts(kml(replace(inversion, source="run:<b> & c"), PLACED), "Document/kml:name") == [
        "run:<b> & c"
    ]


@pytest.mark.parametrize("crs", [None, 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
                                 'LENGTHUNIT["metre",1]]'])  # fmt: skip
def test_where_nothing_says_where_on_the_earth_there_is_no_place_and_that_is_said(tmp_path, crs):
    with pytest.warns(UserWarning, match="no KML and GeoJSON: .* crs=.EPSG:32633"):
        qexp.invert(replace(observed(), crs=crs), starts=2, to=tmp_path / "result")
    assert not [*tmp_path.glob("result/*.kml"), *tmp_path.glob("result/*.geojson")]


def features(content):
    document = json.loads(content)
    assert document["type"] == "FeatureCollection"
    return document["features"]


def ring_in_metres(feature):
    (ring,) = feature["geometry"]["coordinates"]
    return np.transpose(
        pyproj.Transformer.from_crs(4326, CRS, always_xy=True).transform(*np.transpose(ring))
    )


def signed_area(ring):
    x, y = (ring - ring[0]).T
    return (x[:-1] @ y[1:] - y[:-1] @ x[1:]) / 2


@pytest.mark.parametrize("correlation", [1.0, -1.0, np.nan])
def test_a_position_along_a_line_or_of_unknown_errors_has_no_ellipse(inversion, correlation):
    correlations = inversion.correlations.copy()
    both = [inversion.estimated.index(name) for name in ("east", "north")]
    correlations[np.ix_(both, both)] = [[1, correlation], [correlation, 1]]
    unclear = replace(inversion, correlations=correlations)
    assert [one["properties"]["shape"] for one in features(geojson(unclear, PLACED))] == ["centre"]
    assert kml(unclear, PLACED)


def test_the_ellipse_has_the_errors_and_the_correlation_of_a_position(inversion):
    centre, ellipse = features(geojson(inversion, PLACED))
    assert centre["geometry"]["type"] == "Point"
    depth = inversion.parameters["depth"]
    assert centre["properties"]["depth (km)"] == depth.value
    assert centre["properties"]["depth low95 (km)"] == depth.interval95[0]
    assert ellipse["properties"]["shape"] == "90 % ellipse of the centre"
    position = [inversion.parameters[name] for name in ("east", "north")]
    first, second = (list(inversion.estimated).index(name) for name in ("east", "north"))
    errors = [estimate.scaled_error for estimate in position]
    covariance = np.diag(np.square(errors))
    covariance[0, 1] = covariance[1, 0] = inversion.correlations[first, second] * np.prod(errors)
    ring = ring_in_metres(ellipse)
    offset = ring - [estimate.value for estimate in position]
    distances = np.einsum("pi,ij,pj->p", offset, np.linalg.inv(covariance), offset)
    np.testing.assert_allclose(distances, 4.605, rtol=0.02)  # 90 % of chi squared, of two
    assert (ring[0] == ring[-1]).all()
    assert signed_area(ring) > 0  # counter-clockwise, as RFC 7946 wants it


def test_an_outline_is_a_ring_and_that_of_a_vertical_dike_a_line(inversion):
    plane = {"length": (2.0, "km"), "width": (1.0, "km"), "strike": (30.0, "°")}
    for dip, kind in ((60.0, "Polygon"), (90.0, "LineString")):
        values = {**plane, "dip": (dip, "°")}
        shape = {name: Estimate(*value) for name, value in values.items()}
        both = replace(inversion, parameters={**inversion.parameters, **shape})
        *_, outline = features(geojson(both, PLACED))
        assert outline["geometry"]["type"] == kind
        if kind == "Polygon":
            assert signed_area(ring_in_metres(outline)) == pytest.approx(1e6, rel=2e-3)


def test_scattered_points_and_cells_have_data_model_and_residual(tmp_path):
    observation = observed()
    spread = np.full((len(observation.tracks[0].x), 2), 100.0)
    spread[0] = 0.0
    random = np.random.default_rng(0)
    tracks = [
        replace(track, x=track.x + random.normal(0, 30, len(track.x)))
        for track in observation.tracks
    ]
    tracks[0] = replace(tracks[0], spread=spread, count=np.full(len(spread), 9.0))
    inverted = qexp.invert(replace(observation, tracks=tuple(tracks)), starts=2, to=tmp_path / "to")
    cells, points = (
        features((tmp_path / "to" / f"{track.name}.geojson").read_bytes()) for track in tracks
    )
    assert {feature["geometry"]["type"] for feature in points} == {"Point"}
    assert [feature["geometry"]["type"] for feature in cells[:2]] == ["Point", "Polygon"]
    sides = np.ptp(ring_in_metres(cells[1]), axis=0)
    np.testing.assert_allclose(sides, 2 * np.sqrt(3) * 100, rtol=1e-4)
    result = inverted.tracks[tracks[1].name]
    for feature, model, residual in zip(points, result.model, result.residual, strict=True):
        assert feature["properties"]["model (m)"] == pytest.approx(model, abs=1e-9)
        assert feature["properties"]["residual (m)"] == pytest.approx(residual, abs=1e-9)
    longitude, latitude = points[3]["geometry"]["coordinates"]
    place = PLACED.transform(tracks[1].x[3], tracks[1].y[3])
    assert (longitude, latitude) == pytest.approx(place, abs=1e-7)


@pytest.mark.heavy
def test_of_a_posterior_the_ellipse_holds_90_percent_of_the_draws_and_says_so():
    drawn = qexp.invert(observed(), source="mogi", starts=2, posterior=True, draws=4000)
    _, ellipse = features(geojson(drawn, PLACED))
    assert ellipse["properties"]["shape"] == "90 % ellipse of the centre"
    assert ellipse["properties"]["coverage"] == 0.9
    places = np.stack([drawn.posterior.draws_of(name).ravel() for name in ("east", "north")], 1)
    inside = Path(ring_in_metres(ellipse)).contains_points(places)
    assert inside.mean() == pytest.approx(0.9, abs=0.02)
    assert "line: 90 % ellipse of the centre" in kml(drawn, PLACED).decode()
    figure = maps_of(drawn)
    outlines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 73]
    assert np.max(outlines[0].get_xydata(), axis=0) == pytest.approx(
        np.max(ring_in_metres(ellipse), axis=0) / 1000, abs=1e-4
    )
    assert "ellipse 90 %" in figure.texts[0].get_text().replace("\u00a0", " ")
