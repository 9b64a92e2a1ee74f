"""The unrest of Campi Flegrei in 2011-2013, seen by two tracks, where its data are: the same minimum from any start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import qexp
from qexp.base.quantities import QUANTITIES
from qexp.deformation.estimate import Candidate, centre_of, estimate_sources
from qexp.deformation.options import InvertOptions
from qexp.inference.parameters import Units, sources_named
from qexp.simulation.generators import GENERATORS

FOLDER = Path(os.environ.get("QEXP_DATA", "").split(os.pathsep)[0]) / "campi_flegrei"
FILES = [FOLDER / f"obs_sar{number}.txt" for number in (1, 2)]

pytestmark = pytest.mark.skipif(
    not all(path.is_file() for path in FILES), reason="QEXP_DATA names no folder with campi_flegrei/obs_sar1.txt"
)


@pytest.mark.parametrize("offsets", ["per-track", "none"])
def test_a_refinement_ends_where_the_search_from_32_starts_does(offsets):
    seen = qexp.observe(FILES, crs="EPSG:32633").observation
    searched = qexp.invert(seen, offsets=offsets)
    units = Units(QUANTITIES, centre_of(seen))
    start = {"x": 1000.0, "y": -2000.0, "depth": 2000.0, "delta_volume": 2e6}
    candidate = Candidate("mogi", sources_named("mogi", GENERATORS), units, start)
    refined = estimate_sources(seen, candidate, InvertOptions(offsets=offsets))
    for name, of in searched.parameters.items():
        assert refined.parameters[name].value == pytest.approx(of.value, rel=1e-4)
    assert refined.chi2 == pytest.approx(searched.chi2, rel=1e-9)
    assert 2.3 < refined.parameters["depth"].value < 3.2
    assert 2 <= searched.agreeing <= 32
