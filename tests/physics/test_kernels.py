"""What holds for the kernel of every source of the table: batches, precision, gradients, and
sources that cannot be.
"""

import math

import numpy as np
import pytest
import torch

from qexp import testing
from qexp.base.quantities import QUANTITIES
from qexp.physics import crack, ellipsoid
from qexp.physics.crack import penny
from qexp.physics.dislocation import cdm, okada
from qexp.physics.ellipsoid import yang
from qexp.physics.point import mctigue, mogi, pcdm
from qexp.simulation.generators import GENERATORS
from tests.half_space import DOUBLE, STATIONS, sources
from tests.simulation.test_generators import RANGES, source_of

ROTATIONS = [(0, 0, 0), (math.pi / 2, 0, 0), (1e-9, 1e-7, 0.4), (0.03, 0.02, -0.4)]

SPECIAL = {
    "penny": [[0.0, 0.0, 2.0, 0.6, -1.0]],
    "yang": [
        [0.0, 0.0, 2.0, 1.2, 0.5, 0.4, math.pi / 2, 1.0],
        [0.0, 0.3, 1.5, 1.2, 0.7, 0.0, 0.0, 1.0],
        [0.0, 0.3, 3.0, 0.9, 0.899, 0.0, 0.0, 1.0],
        [0.0, 0.0, 1.3, 1.2, 0.2, 0.3, 1.5, 1.0],
    ],
    "okada": [
        source
        for dip in (
            0.0,
            0.8,
            math.pi / 2,
            math.pi / 2 - 1e-12,
            math.pi / 2 - 1e-7,
            math.pi / 2 - 2e-3,
        )
        for source in (
            [0.1, -0.2, 1.0, 1.2, 0.8, 0.4, dip, 1, -0.5, 0.7],
            [0, 0, 1, 1, 0.8, 0.0, dip, 0.5, 1, 1],
        )
    ],
    "cdm": [[0.1, -0.2, 3.0, *rotation, 0.7, 1.1, 0.5, 1.0] for rotation in ROTATIONS],
    "pcdm": [[0.1, -0.2, 3.0, *rotation, 1.0, -2.0, 3.0] for rotation in ROTATIONS],
}
"""Source → values in the units of specs for which its kernel takes another way; all others are
drawn.
"""

ABOVE_EDGES = {"okada": [(0.0, 0.5), (0.0, 2.0)]}
"""Source → stations above the edges of the special ones, and on their lines."""


def values_of(name, count):
    """Sources in the units of specs: so many that are drawn among the possible ones, and the
    special ones.
    """
    source, random = source_of(name), np.random.default_rng(0)
    drawn = {
        variable: random.uniform(*RANGES[variable], 50 * count) for variable in source.variables
    }
    in_si = {
        variable: QUANTITIES[variable].si_factor * values for variable, values in drawn.items()
    }
    possible = ~np.any(
        [np.zeros(50 * count, bool), *GENERATORS[name].build().unmet(in_si).values()], axis=0
    )
    return sources(
        *np.stack([*drawn.values()], axis=-1)[possible][:count].tolist(), *SPECIAL.get(name, [])
    )


def kernels_of(name):
    source = source_of(name)
    factors = sources([QUANTITIES[variable].si_factor for variable in source.variables])
    return source.kernel, source.image_kernel, factors * values_of(name, 20)


KERNELS = {name: kernels_of(name) for name in GENERATORS}
"""Source of the table → kernel, the same for images where there is one, and sources in SI units."""


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_a_source_passes_what_authors_of_others_have_to_pass(name):
    testing.check_source(
        source_of(name), RANGES, SPECIAL.get(name, ()), [(1.0, -0.5), *ABOVE_EDGES.get(name, ())]
    )


@pytest.mark.parametrize(("name", "module"), [("penny", crack), ("yang", ellipsoid)])
def test_blocks_of_a_batch_give_what_it_gives_as_a_whole(name, module, monkeypatch):
    kernel, _, batch = KERNELS[name]
    together = kernel(batch, STATIONS)
    monkeypatch.setattr(module, "BLOCK", 8)
    torch.testing.assert_close(kernel(batch, STATIONS), together, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("name", ["penny", "yang"])
def test_stations_in_double_precision_are_enough_for_it(name):
    kernel, _, batch = KERNELS[name]
    assert kernel(batch.float(), STATIONS).dtype == DOUBLE


CRACK = [0.0, 0.0, 1000.0, 500.0, 0.01]
SPHERE = [0.0, 0.0, 1000.0, 500.0, 0.01]
POINT = [0.0, 0.0, 1000.0, 1e6]
PLANE = [0.0, 0.0, 3000.0, 1000.0, 1000.0, 0.0, math.pi / 2, 0.0, 0.0, 1.0]
SPHEROID = [100.0, -200.0, 2500.0, 1500.0, 600.0, 0.7, 0.9, 0.01]
UNIT = [300.0, -400.0, 3000.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
REFUSED = [
    *((mogi, POINT, {2: depth}, "depth must be positive") for depth in (0.0, -1000.0, math.nan)),
    (
        mctigue,
        SPHERE,
        {3: 1000.0},
        "source 1 breaks the surface: its centre is 1000 m deep and its top 1000 m above",
    ),
    (mctigue, SPHERE, {2: math.nan}, "depth must be positive"),
    (mctigue, SPHERE, {3: 0.0}, "radius must be positive"),
    (mctigue, SPHERE, {3: math.nan}, "radius must be positive"),
    (
        okada,
        PLANE,
        {2: 400.0},
        "source 1 breaks the surface: its centre is 400 m deep and its top 500 m above",
    ),
    (okada, PLANE, {2: -3000.0}, "depth must be positive"),
    (okada, PLANE, {2: math.nan}, "depth must be positive"),
    (okada, PLANE, {3: -1.0}, "length must not be negative"),
    (okada, PLANE, {4: math.nan}, "width must not be negative"),
    *((cdm, [*UNIT, 1.0], {2: value}, "depth must") for value in (-1.0, math.nan)),
    *((cdm, [*UNIT, 1.0], {7: value}, "semi-axes must") for value in (-1.0, math.nan)),
    *((pcdm, UNIT, {2: value}, "depth must") for value in (-1.0, math.nan)),
    (penny, CRACK, {2: 0.0}, "depth must be positive"),
    (penny, CRACK, {2: math.nan}, "depth must be positive"),
    (penny, CRACK, {3: -1.0}, "radius must be positive"),
    (
        penny,
        CRACK,
        {2: 9.0, 3: 1e3},
        "source 1 is too wide for its depth: it is 9 m deep and its radius is 1000 m",
    ),
    (
        yang,
        SPHEROID,
        {2: 1000.0},
        "source 1 breaks the surface: its centre is 1000 m deep and its top 1232.76 m above",
    ),
    (yang, SPHEROID, {2: -2500.0}, "depth must be positive"),
    (yang, SPHEROID, {2: math.nan}, "depth must be positive"),
    (yang, SPHEROID, {6: math.nan}, "source 1 breaks the surface"),
    (
        yang,
        SPHEROID,
        {4: 1600.0},
        "semi_major must be at least semi_minor; source 1 has 1500 m and 1600 m",
    ),
    (yang, SPHEROID, {4: 0.0}, "semi_minor must be positive"),
    (
        yang,
        SPHEROID,
        {2: 1175.0, 4: 0.5},
        "source 1 is too slender for how close it comes to the surface",
    ),
]


@pytest.mark.parametrize(("kernel", "usual", "changes", "message"), REFUSED)
def test_sources_that_cannot_be_are_refused_wherever_they_stand_in_the_batch(
    kernel, usual, changes, message
):
    batch = sources(usual, [changes.get(column, value) for column, value in enumerate(usual)])
    axis = torch.linspace(-1e3, 1e3, 3, dtype=DOUBLE)[None]
    up = sources([0.0, 0.0, 1.0]).expand(2, -1)
    for call in (
        lambda: kernel(batch, STATIONS),
        lambda: KERNELS[kernel.__name__][1](batch, axis, axis, up),
    ):
        with pytest.raises(ValueError, match=message):
            call()
