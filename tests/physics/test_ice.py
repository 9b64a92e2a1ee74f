import math

import numpy as np
import pytest
import torch

from qexp.physics.ice import DENSITY, GRAVITY, Velocity, coupled, evolve, slope, step, velocity

YEAR = 31556926.0
ARRHENIUS, SLIDING = 78e-18 / YEAR, 10e3 * 1e-18 / YEAR
CENTRE, MARGIN = 3600.0, 750e3
SOFT = 1e-16 / YEAR
"""Rate factor [Pa-3 s-1] with which a dome of CENTRE and MARGIN is 422 years old, as in Bueler and
others (2005).
"""


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def no_balance(surface, time):
    return torch.zeros_like(surface)


def landscape(rows=24, columns=31, seed=4):
    """Thickness, bed and balance of rough ice that ends inside the frame, on cells of 150 m."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, rows).double(), torch.linspace(-1, 1, columns).double(), indexing="ij"
    )
    hills = torch.rand(
        1, rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    bed = 800 - 600 * (x.square() + 0.7 * y) + 60 * hills
    thickness = (220 - 400 * (x.square() + y.square()) + 40 * hills).clamp(min=0)
    return thickness, bed, (bed - 900) * 0.006 / YEAR


def halfar(radius, time, centre, margin, arrhenius):
    """Thickness of a dome that spreads over a flat bed without gain, loss or sliding: an exact
    solution [m].

    radius     distance from the centre of the dome [m]
    time       since it was a point of infinite height [s]; at `halfar_time` it is `centre` high and
               `margin` wide
    centre     thickness in its middle then [m]
    margin     its radius then [m]
    arrhenius  [Pa-3 s-1]

    Halfar (1983), J. Geophys. Res. 88(C10), 6043-6051; Bueler and others (2005), J. Glaciol.
    51(173), 291-306, test B.
    """
    age = halfar_time(centre, margin, arrhenius) / time
    reach = age ** (1 / 18) * radius / margin
    return centre * age ** (1 / 9) * (1 - reach ** (4 / 3)).clamp(min=0) ** (3 / 7)


def halfar_time(centre, margin, arrhenius):
    """Age at which a dome after Halfar is `centre` [m] high and `margin` [m] wide [s]."""
    return (
        (7 / 4) ** 3 * margin**4 / (18 * 2 / 5 * arrhenius * (DENSITY * GRAVITY) ** 3 * centre**7)
    )


def test_a_slab_flows_down_its_slope_as_fast_as_the_closed_forms_say():
    thickness, inclination = doubles(150.0), doubles([0.06, 0.08])
    stress = DENSITY * GRAVITY * 150 * 0.1
    basal, mean, surface = velocity(thickness, inclination, doubles(ARRHENIUS), doubles(SLIDING))
    downhill = -doubles([0.6, 0.8])
    torch.testing.assert_close(basal, SLIDING * stress**3 * downhill)
    torch.testing.assert_close(mean - basal, 2 * ARRHENIUS / 5 * stress**3 * 150 * downhill)
    torch.testing.assert_close(surface - basal, 2 * ARRHENIUS / 4 * stress**3 * 150 * downhill)


def test_the_mean_velocity_is_the_integral_of_glens_law_over_the_depth():
    thickness, inclination = 150.0, 0.1
    height = torch.linspace(0, thickness, 20001, dtype=torch.float64)
    strain_rate = 2 * ARRHENIUS * (DENSITY * GRAVITY * inclination * (thickness - height)) ** 3
    profile = torch.cumulative_trapezoid(strain_rate, height)
    moving = velocity(
        doubles(thickness), doubles([inclination, 0.0]), doubles(ARRHENIUS), doubles(0.0)
    )
    assert -moving.surface[0, 0].item() == pytest.approx(profile[-1].item(), rel=1e-6)
    assert -moving.mean[0, 0].item() == pytest.approx(profile.mean().item(), rel=1e-3)


def test_slopes_are_those_of_numpy():
    surface = landscape()[1]
    along_y, along_x = np.gradient(surface.numpy(), 150.0, axis=(1, 2))
    np.testing.assert_array_equal(
        slope(surface, 150.0).numpy(), np.stack([along_x, along_y], axis=-1)
    )


def test_the_dome_of_halfar_is_422_years_old_when_it_is_3600_m_high_and_750_km_wide():
    assert halfar_time(CENTRE, MARGIN, SOFT) / YEAR == pytest.approx(422.45, abs=0.01)
    height = halfar(
        doubles(0.0, MARGIN, 2 * MARGIN), halfar_time(CENTRE, MARGIN, SOFT), CENTRE, MARGIN, SOFT
    )
    assert height.tolist() == [CENTRE, 0, 0]


def spread_of_a_dome(cells, years=20000.0):
    """Thickness at the beginning, at the end, and as Halfar says it should be, of a dome in a frame
    of 1800 km.
    """
    spacing = 2.4 * MARGIN / (cells - 1)
    line = (torch.arange(cells).double() - (cells - 1) / 2) * spacing
    radius = torch.hypot(line[None, :], line[:, None])
    start = halfar_time(CENTRE, MARGIN, SOFT)
    end = start + years * YEAR
    before, exact = (halfar(radius, time, CENTRE, MARGIN, SOFT)[None] for time in (start, end))
    ground, ages = torch.zeros_like(before), (doubles(start), doubles(end))
    after = evolve(
        before, ground, no_balance, spacing, doubles(SOFT), doubles(0.0), *ages, longest=math.inf
    )
    assert after.duration.item() == pytest.approx(years * YEAR)
    return before, after.thickness, exact


@pytest.mark.heavy
def test_a_dome_spreads_as_halfar_says_and_better_so_on_finer_grids():
    errors = []
    for cells in (21, 41, 61):
        before, after, exact = spread_of_a_dome(cells)
        middle = cells // 2
        assert after[0, middle, middle].item() == pytest.approx(
            exact[0, middle, middle].item(), rel=0.005
        )
        assert after.sum().item() == pytest.approx(before.sum().item(), rel=1e-12)
        errors.append((after - exact).abs().mean().item())
    assert errors[0] > 2.5 * errors[1] > 2.5 * 1.8 * errors[2]


def test_a_dome_stays_as_symmetric_as_its_grid():
    _, after, _ = spread_of_a_dome(41)
    for turned in (after.rot90(1, (1, 2)), after.mT, after.flip(1)):
        torch.testing.assert_close(after, turned, rtol=0, atol=1e-8)
    # 3² + 4² = 5²: as far from the middle, but along no axis of the grid.
    along, aside = after[0, 20, 20 + 10], after[0, 20 + 6, 20 + 8]
    assert along.item() == pytest.approx(aside.item(), rel=1e-3)


@pytest.mark.parametrize("sliding", [0.0, SLIDING])
def test_ice_is_neither_made_nor_lost_on_steep_ground_and_thickness_is_never_negative(sliding):
    thickness, bed, rate = landscape()
    volume = thickness.sum().item()
    gained, least = 0.0, math.inf
    for _ in range(300):
        last = step(
            thickness, bed, rate, 150.0, doubles(ARRHENIUS), doubles(sliding), doubles(0.5 * YEAR)
        )
        thickness, gained = last.thickness, gained + last.gained.sum().item()
        least = min(least, thickness.min())
    assert least >= 0
    assert thickness.sum().item() == pytest.approx(volume + gained, rel=1e-12)
    assert abs(gained) > 0.01 * volume


def test_a_step_that_is_too_long_takes_no_more_ice_from_a_cell_than_it_has(monkeypatch):
    monkeypatch.setattr("qexp.physics.ice.STEP_FRACTION", 50.0)
    thickness, bed, _ = landscape()
    after = thickness
    for _ in range(20):
        constants = (doubles(ARRHENIUS), doubles(0.0), doubles(math.inf))
        after = step(after, bed, no_balance(bed, None), 150.0, *constants).thickness
        assert after.min() >= 0
    assert after.sum().item() == pytest.approx(thickness.sum().item(), rel=1e-12)
    assert (after - thickness).abs().max() > 10


def test_no_more_ice_melts_than_there_is():
    thickness = doubles([[3.0, 0.0], [1.0, 5.0]])
    ground, melt = torch.zeros_like(thickness), torch.full_like(thickness, -4.0 / YEAR)
    last = step(thickness, ground, melt, 1e5, doubles(ARRHENIUS), doubles(0.0), doubles(YEAR))
    torch.testing.assert_close(last.thickness, doubles([[0.0, 0.0], [0.0, 1.0]]), rtol=0, atol=1e-6)
    torch.testing.assert_close(last.gained, doubles([[-3.0, 0.0], [-1.0, -4.0]]), rtol=0, atol=1e-6)


def test_ice_on_a_bed_that_leads_out_of_the_grid_stays_on_it():
    bed = torch.linspace(800, 0, 20, dtype=torch.float64).expand(1, 8, 20)
    before = torch.full_like(bed, 100.0)
    constants = (doubles(ARRHENIUS), doubles(SLIDING), doubles(0.0), doubles(80 * YEAR))
    after = evolve(before, bed, no_balance, 150.0, *constants, YEAR).thickness
    assert after.sum().item() == pytest.approx(before.sum().item(), rel=1e-12)
    assert after[0, 0, -1] > 2 * after[0, 0, 0]


def test_a_level_lake_of_ice_stays_as_it_is():
    _, bed, _ = landscape()
    thickness = (bed.max() + 50 - bed).contiguous()
    last = step(
        thickness,
        bed,
        no_balance(bed, None),
        150.0,
        doubles(ARRHENIUS),
        doubles(SLIDING),
        doubles(YEAR),
    )
    torch.testing.assert_close(last.thickness, thickness, rtol=0, atol=1e-9)
    assert last.duration.item() == YEAR


@pytest.mark.heavy
def test_a_glacier_comes_to_the_same_bits_alone_and_among_others():
    thickness, bed, rate = (
        torch.cat(maps) for maps in zip(*[landscape(seed=seed) for seed in range(5)], strict=True)
    )
    arrhenius, sliding = ARRHENIUS * torch.arange(1, 6).double(), SLIDING * torch.arange(5).double()
    start, end = torch.zeros(5).double(), 3 * YEAR * torch.arange(1, 6).double()

    def grown(which):
        def balance(surface, time):
            return rate[which] + (1e-9 * (surface - 900) + 1e-12 * time[:, None, None]) / YEAR

        of_each = [values[which] for values in (arrhenius, sliding, start, end)]
        return evolve(thickness[which], bed[which], balance, 150.0, *of_each, longest=YEAR / 10)

    together = grown(slice(None))
    for number in range(5):
        alone = grown(slice(number, number + 1))
        assert torch.equal(alone.thickness[0], together.thickness[number])
        assert torch.equal(alone.gained[0], together.gained[number])


def test_a_step_can_be_differentiated_by_all_that_it_depends_on():
    thickness, bed, rate = landscape(5, 6)
    # The length of the step is a choice and no function of the ice: here it is given.
    arguments = [100 + thickness / 10, bed / 10, rate * 1e6]
    for argument in arguments:
        argument.requires_grad_()
    scale = doubles(1.0).requires_grad_()

    def later(thickness, bed, balance, scale):
        last = step(
            thickness,
            bed,
            balance / 1e6,
            150.0,
            ARRHENIUS * scale,
            SLIDING * scale,
            doubles(0.01 * YEAR),
        )
        assert last.duration.item() == 0.01 * YEAR
        return last.thickness

    assert torch.autograd.gradcheck(later, (*arguments, scale), eps=1e-5, atol=1e-6)


def test_a_step_from_bare_ground_has_a_gradient_that_is_finite():
    _, bed, _ = landscape(6, 6)
    rate = torch.full_like(bed, 1 / YEAR, requires_grad=True)
    thickness = torch.zeros_like(bed)
    for _ in range(3):
        thickness = step(
            thickness, bed, rate, 150.0, doubles(ARRHENIUS), doubles(SLIDING), doubles(YEAR)
        ).thickness
    (gradient,) = torch.autograd.grad(thickness.sum(), rate)
    torch.testing.assert_close(gradient, torch.full_like(bed, 3 * YEAR))


@pytest.fixture(scope="module")
def carried() -> tuple[torch.Tensor, Velocity]:
    thickness, bed, _ = landscape()
    inclination = slope(bed[0] + thickness[0], 150.0)
    return thickness[0], velocity(thickness[0], inclination, doubles(ARRHENIUS), doubles(SLIDING))


@pytest.mark.parametrize("length", [0.01, 1.0, 4.0, 10.0, 50.0])
def test_coupling_keeps_the_flux_over_the_frame_and_moves_no_ice_that_is_not_there(carried, length):
    thickness, local = carried
    for before in local:
        after = coupled(before, thickness, 150.0, length)
        flux, was = (((thickness[..., None] * u).sum((0, 1))) for u in (after, before))
        torch.testing.assert_close(flux, was, rtol=1e-10, atol=0)
        assert not after[thickness == 0].any()
        assert after.isfinite().all()


def test_coupling_deals_each_flux_out_in_proportion_to_thickness_times_a_gaussian_of_the_distance(
    carried,
):
    thickness, local = carried
    rows, columns = thickness.shape
    y, x = torch.meshgrid(
        150.0 * torch.arange(rows).double(), 150.0 * torch.arange(columns).double(), indexing="ij"
    )
    after = torch.zeros_like(local.mean)
    for row, column in (thickness > 0).nonzero().tolist():
        depth = thickness[row, column]
        weight = torch.exp(
            -((x - x[row, column]) ** 2 + (y - y[row, column]) ** 2) / (2 * (4.0 / 2 * depth) ** 2)
        )
        dealt = (
            depth
            * local.mean[row, column]
            * (thickness * weight / (thickness * weight).sum())[..., None]
        )
        after += torch.nan_to_num(dealt / thickness[..., None])
    torch.testing.assert_close(
        coupled(local.mean, thickness, 150.0, 4.0), after, rtol=1e-9, atol=1e-20
    )
