"""Sources as places in KML, for Google Earth and geographic information systems."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pyproj
import pytest

import qexp
from qexp.deformation.inversion import Estimate
from qexp.deformation.output import kml
from tests.deformation.observed import CRS, observed

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
    content = kml(inversion)
    (coordinates,) = texts(content, "Point/kml:coordinates")
    found = [inversion.parameters[name].value for name in ("east", "north")]
    assert in_metres(coordinates)[0] == pytest.approx(found, abs=0.01)
    (description,) = texts(content, "Placemark/kml:description")
    assert all(f"\n{name} " in description for name in inversion.parameters)
    assert description.count("(95 %: ") == 4
    assert texts(content, "Placemark/kml:name") == ["mogi"]
    assert not texts(content, "LineString/kml:coordinates")


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
    content = kml(replace(inversion, source="mogi+okada", parameters=parameters))
    assert texts(content, "Placemark/kml:name") == ["mogi", "okada"]
    (coordinates,) = texts(content, "LineString/kml:coordinates")
    corners = in_metres(coordinates) - [426e3, 4519e3]
    assert corners[0] == pytest.approx(corners[-1], abs=1e-3)
    np.testing.assert_allclose(np.abs(corners), np.tile([east, north], (5, 1)), atol=0.01)


def test_any_name_can_be_read_again(inversion):
    assert texts(kml(replace(inversion, source="run:<b> & c")), "Document/kml:name") == [
        "run:<b> & c"
    ]


@pytest.mark.parametrize("crs", [None, 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
                                 'LENGTHUNIT["metre",1]]'])  # fmt: skip
def test_where_nothing_says_where_on_the_earth_there_is_no_place(inversion, crs):
    assert kml(replace(inversion, observation=replace(inversion.observation, crs=crs))) is None
