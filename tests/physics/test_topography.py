import pytest
import torch

from qexp.physics import geometry
from qexp.physics.dislocation import okada
from qexp.physics.geometry import over_topography
from validation.topography import Cone, corrected, flat, reference

SOURCE = torch.tensor(
    [[100.0, -50, 2000, 1500, 900, 0.3, 1.1, 0.2, -0.1, 1.0], [0, 0, 3000, 900, 700, 2.0, 0.4, 0, 0, 2.0]],
    dtype=torch.float64,
)
COARSE = 30, 24
"""Elements of the mesh."""

STATIONS = torch.tensor([[0.0, 0.0], [800.0, -300.0], [-2500.0, 4000.0]], dtype=torch.float64)


def test_every_station_sees_the_source_as_deep_below_it_as_it_is(monkeypatch):
    elevation = torch.tensor([1200.0, -150.0, 0.0], dtype=torch.float64)
    displacement = over_topography(okada, SOURCE, STATIONS, elevation)
    for index, height in enumerate(elevation):
        deeper = SOURCE.clone()
        deeper[:, 2] += height
        torch.testing.assert_close(displacement[:, index], okada(deeper, STATIONS)[:, index], rtol=1e-12, atol=0)
    monkeypatch.setattr(geometry, "STATIONS", 1)  # one source at a time
    torch.testing.assert_close(over_topography(okada, SOURCE, STATIONS.expand(2, -1, -1), elevation), displacement)


def test_a_source_above_the_lowest_station_is_refused():
    with pytest.raises(ValueError, match=r"surface|depth"):
        over_topography(okada, SOURCE, STATIONS, torch.tensor([0.0, -1900.0, 0.0]))


def test_the_finite_elements_give_the_half_space_where_the_ground_is_flat():
    distance, outward, up = reference(Cone(5000.0, 0.0), 2000.0, *COARSE)
    expected = flat(2000.0, distance)
    for displacement, true in zip((outward, up), expected, strict=True):
        near = distance < 10_000
        assert abs(displacement - true)[near].max() < 0.003 * expected[1].max()


@pytest.mark.parametrize(("height", "share"), [(450.0, 0.05), (1800.0, 0.15)])
def test_under_a_cone_the_correction_is_much_nearer_to_the_finite_elements_than_flat_ground(height, share):
    cone = Cone(5000.0, height)
    distance, _, up = reference(cone, 3000.0, *COARSE)
    largest = up.max()
    with_correction = abs(corrected(cone, 3000.0, distance)[1] - up).max()
    assert with_correction < share * largest
    assert with_correction < 0.2 * abs(flat(3000.0, distance)[1] - up).max()
