"""The sources of the table: their variables are the columns of their kernels, in the units of
specs.
"""

import numpy as np
import pytest
import torch

from qexp.base.quantities import QUANTITIES, quantity
from qexp.base.seeds import Seeds
from qexp.physics.geometry import grid, line_of_sight, pixel_axis, project
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.distributions import uniform
from qexp.simulation.generators import GENERATORS
from qexp.simulation.noise_models import NoiseModel

RANGES = {
    "x": (-1, 1),
    "y": (-1, 1),
    "depth": (0.3, 3),
    "delta_volume": (-5, 5),
    "radius": (0.1, 2),
    "pressure_over_mu": (-0.01, 0.01),
    "semi_major": (0.2, 2),
    "semi_minor": (0.1, 1),
    "strike": (0, 6.2),
    "plunge": (0, 1.57),
    "dip": (0, 1.57),
    "length": (0.1, 5),
    "width": (0.1, 4),
    "strike_slip": (-1, 1),
    "dip_slip": (-1, 1),
    "opening": (-1, 1),
    "omega_x": (-3, 3),
    "omega_y": (-3, 3),
    "omega_z": (-3, 3),
    "a_x": (0, 1),
    "a_y": (0, 1),
    "a_z": (0, 1),
    "potency_x": (-5, 5),
    "potency_y": (-5, 5),
    "potency_z": (-5, 5),
}
"""Variable → values in its unit, many of which no source can have together."""

VIEW = {"azimuth": 0.7, "incidence": 0.6, "x_res": 0.3, "y_res": 0.25}
SIZE = (5, 6)


def source_of(name):
    (source,) = GENERATORS[name].build().sources
    return source


def dataset(name):
    variables = source_of(name).variables
    distributions = {variable: uniform(*RANGES[variable]) for variable in variables}
    test = {one: [(0.0, 0.5)] for one in variables}
    return GeneratedDataset(
        GENERATORS[name].build(), SIZE, VIEW, test, distributions, NoiseModel([])
    )


def columns_in_si(name, values):
    return np.stack(
        [
            values[variable] * QUANTITIES[variable].si_factor
            for variable in source_of(name).variables
        ],
        axis=-1,
    )


@pytest.mark.parametrize("name", GENERATORS)
def test_an_image_is_the_kernel_s_displacement_in_si_units_along_the_line_of_sight(name):
    source = dataset(name)
    quantiles = {variable: [(0.0, 1.0)] for variable in source_of(name).variables}
    drawn = source.values(quantiles, 7, Seeds(0), ("images",))
    image = source.observe(drawn, torch.Generator())["displacement"][:, 0]
    east, north = (
        pixel_axis(count, torch.tensor([1000 * VIEW[size]]))
        for count, size in ((SIZE[1], "x_res"), (SIZE[0], "y_res"))
    )
    direction = line_of_sight(*(torch.tensor([VIEW[angle]]) for angle in ("azimuth", "incidence")))
    moved = source_of(name).kernel(
        torch.from_numpy(columns_in_si(name, drawn)), grid(east, north)[0].double()
    )
    expected = project(moved, direction.double().expand(7, -1)).float().view_as(image)
    assert ((image - expected).abs() < 1e-4 * expected.abs().amax((1, 2), keepdim=True)).all()


@pytest.mark.parametrize("name", GENERATORS)
def test_the_help_of_a_source_lists_its_variables_in_their_order(name):
    assert ", ".join(source_of(name).variables) in GENERATORS[name].help
    for variable in source_of(name).variables:
        assert quantity(variable, QUANTITIES).description


@pytest.mark.parametrize("name", ["mctigue", "yang", "okada", "cdm"])
def test_the_requirements_of_a_source_are_those_of_its_kernel(name):
    source = dataset(name)
    drawn = {
        variable: np.random.default_rng(index).uniform(*RANGES[variable], 300)
        for index, variable in enumerate(source_of(name).variables)
    }
    possible = source.possible(drawn, 300)
    assert 20 < possible.sum() < 280
    columns = torch.from_numpy(columns_in_si(name, drawn))
    station = torch.zeros(1, 2, dtype=torch.float64)
    assert source_of(name).kernel(columns[possible].float(), station.float()).isfinite().all()
    for refused in columns[~possible]:
        with pytest.raises(ValueError, match=r"surface|semi_major"):
            source_of(name).kernel(refused[None], station)


def test_a_crack_may_be_as_wide_as_its_kernel_can_compute():
    source = dataset("penny")
    drawn = {
        "x": np.zeros(2),
        "y": np.zeros(2),
        "depth": np.full(2, 0.01),
        "radius": np.array([0.999, 1.001]),
    }
    assert source.possible({**drawn, "pressure_over_mu": np.ones(2)}, 2).tolist() == [True, False]
