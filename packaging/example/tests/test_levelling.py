"""What only the author can know, and the checks of `qexp.testing` for the rest."""

from pathlib import Path

import pytest
import torch
from qexp_levelling.sill import point_sill
from qexp_levelling.tables import LEVELLING

from qexp import testing

LINE = Path(__file__).parents[1] / "data/line.lev"


def test_all_that_the_package_adds_is_found():
    assert testing.check_package("qexp-levelling") == ["generators.point_sill", "readers.levelling"]


def test_the_source_is_what_qexp_relies_on():
    from qexp_levelling.sill import POINT_SILL

    (source,) = POINT_SILL.build().sources
    testing.check_source(
        source, {"x": (-1, 1), "y": (-1, 1), "depth": (0.5, 5), "delta_volume": (-5, 5)}
    )


def test_the_uplifted_volume_is_that_of_the_opening():
    radius = torch.linspace(0, 200, 200_001, dtype=torch.float64)
    stations = torch.stack([radius, torch.zeros_like(radius)], dim=-1)
    up = point_sill(torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64), stations)[0, :, 2]
    assert torch.trapezoid(2 * torch.pi * radius * up, radius).item() == pytest.approx(1, rel=1e-5)


def test_the_reader_is_what_qexp_relies_on():
    testing.check_reader(LEVELLING, LINE)


def test_uplift_is_read_in_metres():
    from qexp.extend import ReadOptions

    (track,) = LEVELLING.read(LINE, ReadOptions()).tracks
    assert (track.name, track.direction[4].tolist()) == ("line", [0, 0, 1])
    assert track.displacement[4] == pytest.approx(0.1079)
