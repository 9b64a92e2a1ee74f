"""Each noise against what it declares, over many samples: closed forms written here, not qexp's
own.
"""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from qexp.base.tables import built
from qexp.simulation.noise import Blocks, Grid, Noise, Points
from qexp.simulation.noise_models import BLOCK, NOISES, Component, NoiseModel

DRAWS = 6000
RANDOM = np.random.default_rng(8)


def seeded(seed=5):
    return torch.Generator().manual_seed(seed)


def metres(*values):
    return torch.tensor(values)


GRID = Grid(6, 8, metres(500.0), metres(400.0), torch.from_numpy(RANDOM.uniform(0, 3000, (6, 8))))
POINTS = Points(
    torch.from_numpy(RANDOM.uniform(-3000, 3000, (30, 2))),
    torch.from_numpy(RANDOM.uniform(0, 3000, 30)),
)
LAYOUTS = pytest.mark.parametrize("layout", [GRID, POINTS], ids=["grid", "points"])

DECLARED = [
    {"type": "white"},
    {"type": "white", "parameters": {"standard_deviation": 0.01}},
    {"type": "exponential", "parameters": {"range": 2.0}},
    {"type": "exponential", "parameters": {"range": 2.0, "sill": 2.3e-5, "nugget": 3e-6}},
    {"type": "gaussian", "parameters": {"range": 2.0}},
    {"type": "gaussian", "parameters": {"range": 1.0, "sill": 4e-4, "nugget": 1e-4}},
    {"type": "power_law"},
    {"type": "power_law", "parameters": {"difference_at_1_km": 0.005, "outer_scale": 4.0}},
    {"type": "power_law", "parameters": {"outer_scale": 50.0, "spectral_slope": -5 / 3}},
    {"type": "stratified", "parameters": {"slope": 0.02}},
    {"type": "ramp", "parameters": {"slope": 0.002}},
    {"type": "ramp", "parameters": {"slope": 0.002, "quadratic": 0.001}},
    {"type": "offset"},
    {"type": "offset", "parameters": {"standard_deviation": 0.03}},
]


def noise(kind, **parameters):
    return built(NOISES, {"type": kind, "parameters": parameters})


def positions_of(layout):
    """East and north of each pixel or point [km], computed apart from the layout."""
    if isinstance(layout, Points):
        return layout.stations.numpy() / 1e3
    rows, columns = np.mgrid[: layout.height, : layout.width]
    east = (columns - layout.width / 2) * layout.pixel_width.item() / 1e3
    north = (rows - layout.height / 2) * layout.pixel_height.item() / 1e3
    return np.stack([east.ravel(), north.ravel()], -1)


def power_law_covariance(
    distance, difference_at_1_km=None, outer_scale=20.0, spectral_slope=-8 / 3
):
    """From the two-dimensional power spectrum (1 + (kL)²)^-p, by the Hankel transform; distances in
    km.
    """
    power = (1 - spectral_slope) / 2

    def integral(separation):
        """∫ S(k) J0(k r) k dk up to a factor, S(k) as a sum of Gaussians: ∫ t^(p-2) exp(-t -
        (r/L)²/4t) dt, t = s².
        """
        scaled = separation / outer_scale
        return (
            2
            * quad(
                lambda s: s ** (2 * power - 3) * math.exp(-s * s - (scaled / s) ** 2 / 4), 0, 12
            )[0]
        )

    lags = {1.0, *np.unique(distance.round(9))} - {0.0}
    correlations = {lag: integral(lag) / integral(1e-9) for lag in lags} | {0.0: 1.0}
    sill = (
        1.0 if difference_at_1_km is None else difference_at_1_km**2 / 2 / (1 - correlations[1.0])
    )
    return sill * np.vectorize(correlations.__getitem__)(distance.round(9))


def expected_covariance(description, layout):
    positions, parameters = positions_of(layout), description.get("parameters", {})
    distance = np.linalg.norm(positions[:, None] - positions, axis=-1)
    match description["type"]:
        case "white":
            return parameters.get("standard_deviation", 1) ** 2 * np.eye(len(positions))
        case "exponential" | "gaussian" as kind:
            power = {"exponential": 1, "gaussian": 2}[kind]
            correlated = parameters.get("sill", 1) * np.exp(
                -((distance / parameters["range"]) ** power)
            )
            return correlated + parameters.get("nugget", 0) * np.eye(len(positions))
        case "power_law":
            return power_law_covariance(distance, **parameters)
        case "offset":
            return np.full(distance.shape, parameters.get("standard_deviation", 1) ** 2)
        case "stratified":
            elevation = layout.elevation.numpy().ravel() / 1e3
            above = elevation - elevation.mean()
            return parameters["slope"] ** 2 * np.outer(above, above)
        case "ramp":
            (east, north), curve = positions.T, parameters.get("quadratic", 0)
            columns = np.stack([east, north, east**2, east * north, north**2], -1)
            return columns * np.array([parameters["slope"]] * 2 + [curve] * 3) ** 2 @ columns.T


def described(value):
    return "-".join([value["type"], *map(str, value.get("parameters", {}).values())])


def test_every_noise_is_tested_here():
    assert {description["type"] for description in DECLARED} | {"decorrelation"} == set(NOISES)


@pytest.mark.slow
@LAYOUTS
@pytest.mark.parametrize("description", DECLARED, ids=described)
def test_the_covariance_is_the_declared_one_and_that_of_the_samples(description, layout):
    component = built(NOISES, description)
    stated = component.covariance(layout).numpy()
    expected = expected_covariance(description, layout)
    np.testing.assert_allclose(stated, expected, rtol=1e-6, atol=1e-9 * expected.max())
    drawn = component.draw(DRAWS, layout, seeded())
    assert drawn.shape == (DRAWS, *layout.shape)
    assert drawn.dtype == torch.float32
    scale = np.sqrt(
        np.outer(np.diag(expected), np.diag(expected)).clip(1e-12 * expected.max() ** 2)
    )
    sampled = np.cov(drawn.flatten(1).double().numpy().T)
    # Five standard errors of a covariance of normal numbers, which is at most sqrt(2 / 6000) of the
    # variances.
    assert np.abs((sampled - expected) / scale).max() < 5 * math.sqrt(2 / DRAWS)
    assert np.abs(
        drawn.flatten(1).double().numpy().mean(0) / np.sqrt(np.diag(scale))
    ).max() < 5 / math.sqrt(DRAWS)


@pytest.mark.parametrize("description", DECLARED, ids=described)
def test_the_covariance_between_means_of_blocks_is_the_mean_covariance_of_their_pixels(description):
    component, blocks = built(NOISES, description), Blocks(*GRID.shape, 3)
    rows, columns = np.mgrid[: GRID.height, : GRID.width] // 3
    of_pixel = (rows * (columns.max() + 1) + columns).ravel()
    mean = (of_pixel == np.arange(of_pixel.max() + 1)[:, None]).astype(float)
    mean /= mean.sum(axis=1, keepdims=True)
    expected = mean @ expected_covariance(description, GRID) @ mean.T
    for covariance in (
        component.covariance_of_means(GRID, blocks),
        Noise.covariance_of_means(component, GRID, blocks),
    ):
        np.testing.assert_allclose(
            covariance.numpy(), expected, rtol=1e-6, atol=1e-9 * expected.max()
        )


@LAYOUTS
@pytest.mark.parametrize("description", DECLARED, ids=described)
def test_a_covariance_is_symmetric_and_has_no_negative_eigenvalue_but_for_rounding(
    description, layout
):
    covariance = built(NOISES, description).covariance(layout)
    assert covariance.dtype == torch.float64
    assert torch.equal(covariance, covariance.T)
    eigenvalues = torch.linalg.eigvalsh(covariance)
    assert eigenvalues[0] > -1e-12 * eigenvalues[-1]


@pytest.mark.parametrize("description", DECLARED, ids=described)
def test_the_mean_of_an_image_varies_as_its_covariance_says_because_no_image_is_normalised(
    description,
):
    means = built(NOISES, description).draw(DRAWS, GRID, seeded(7)).double().mean((1, 2))
    # The variance of a variance of 6000 numbers: five standard errors are 9 %.
    assert means.var().item() == pytest.approx(
        expected_covariance(description, GRID).mean(), rel=0.1, abs=1e-14
    )


def test_the_semivariogram_of_exponential_noise_is_nugget_plus_partial_sill():
    grid = Grid(48, 48, metres(1700.0), metres(1700.0))
    drawn = (
        noise("exponential", range=10.2, sill=2.3e-5, nugget=3e-6)
        .draw(400, grid, seeded())
        .double()
    )

    def semivariogram(lag):
        east = (drawn[:, :, lag:] - drawn[:, :, :-lag]).square().mean()
        return (east + (drawn[:, lag:] - drawn[:, :-lag]).square().mean()).item() / 4

    assert 3e-6 + 2.3e-5 * (1 - math.exp(-1)) == pytest.approx(1.754e-5, rel=1e-4)
    assert semivariogram(6) == pytest.approx(1.754e-5, rel=0.02)  # 6 pixels of 1.7 km
    assert semivariogram(1) == pytest.approx(3e-6 + 2.3e-5 * (1 - math.exp(-1 / 6)), rel=0.02)
    assert semivariogram(30) == pytest.approx(3e-6 + 2.3e-5 * (1 - math.exp(-5)), rel=0.03)


KOLMOGOROV = {"type": "power_law", "parameters": {"difference_at_1_km": 0.005}}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("description", "widths"),
    [
        (DECLARED[3], (250.0,)),
        (DECLARED[5], (250.0,)),
        (KOLMOGOROV, (250.0,)),
        (KOLMOGOROV, (250.0, 700.0)),
    ],
    ids=["exponential", "gaussian", "power law", "power law with pixels of two sizes"],
)
def test_the_power_spectrum_along_a_line_is_that_of_the_declared_covariance(description, widths):
    line = Grid(
        9, 64, metres(*widths).repeat_interleave(500 if len(widths) > 1 else 1), metres(4000.0)
    )
    drawn = (
        built(NOISES, description).draw(500 * len(widths), line, seeded()).double().numpy()[:500]
    )
    window = np.hanning(64)
    spectrum = np.square(np.abs(np.fft.rfft(drawn * window))).mean((0, 1))
    alone = expected_covariance(description, Grid(1, 64, metres(250.0), metres(250.0)))
    waves = np.fft.fft(np.eye(64))[:33] * window
    expected = np.einsum("kx,xy,ky->k", waves, alone, waves.conj()).real
    np.testing.assert_allclose(spectrum, expected, rtol=0.12)
    if description["type"] == "power_law":
        # between the outer scale and the window's resolution, and aliases of shorter waves
        middle = np.arange(4, 17)
        slope = np.polyfit(np.log(middle), np.log(spectrum[middle]), 1)[0]
        assert slope == pytest.approx(-8 / 3, abs=0.1)


@pytest.mark.parametrize("correlation_range", [0.5, 3.0, 30.0])
@pytest.mark.parametrize(("kind", "tolerance"), [("exponential", 0.04), ("gaussian", 0.15)])
def test_neighbouring_pixels_differ_as_declared_however_long_the_range(
    kind, tolerance, correlation_range
):
    grid = Grid(20, 24, metres(100.0), metres(100.0))
    drawn = noise(kind, range=correlation_range, sill=1.0).draw(1000, grid, seeded()).double()
    power = {"exponential": 1, "gaussian": 2}[kind]
    for lag in (1, 5):
        expected = 1 - math.exp(-((lag * 0.1 / correlation_range) ** power))
        for axis in (1, 2):
            moved = drawn.narrow(axis, lag, drawn.shape[axis] - lag) - drawn.narrow(
                axis, 0, drawn.shape[axis] - lag
            )
            assert moved.square().mean().item() / 2 == pytest.approx(expected, rel=tolerance)


@pytest.mark.heavy
@pytest.mark.parametrize("outer_scale", [2.0, 20.0, 500.0])
def test_two_points_a_kilometre_apart_differ_by_the_declared_amount_whatever_the_outer_scale(
    outer_scale,
):
    """Also in each sample, where pixels differ in width and height."""
    component = noise("power_law", difference_at_1_km=0.005, outer_scale=outer_scale)
    alike = component.draw(1000, Grid(40, 50, metres(100.0), metres(200.0)), seeded()).double()
    widths = metres(100.0, 250.0).repeat_interleave(1000)
    heights = metres(200.0, 500.0).repeat_interleave(1000)
    drawn = component.draw(2000, Grid(24, 30, widths, heights), seeded()).double()
    for few, east, north in ((alike, 10, 5), (drawn[:1000], 10, 5), (drawn[1000:], 4, 2)):
        assert (
            few[:, :, east:] - few[:, :, :-east]
        ).square().mean().sqrt().item() == pytest.approx(0.005, rel=0.02)
        assert (few[:, north:] - few[:, :-north]).square().mean().sqrt().item() == pytest.approx(
            0.005, rel=0.02
        )
    scattered = Points(torch.tensor([[0.0, 0.0], [600.0, 800.0]]))
    apart = (
        component.draw(20_000, scattered, seeded()).double().diff().square().mean().sqrt().item()
    )
    assert apart == pytest.approx(0.005, rel=0.02)


@pytest.mark.heavy
def test_noise_of_varying_pixel_sizes_is_each_samples_own():
    east = torch.linspace(100, 900, 40).repeat_interleave(100)
    grid = Grid(5, 6, east, metres(300.0))
    for description in DECLARED:
        component = built(NOISES, description)
        if component.trouble_with(grid):
            assert description["type"] == "stratified"
            continue
        drawn = component.draw(len(east), grid, seeded()).double()
        for size in (east[0], east[-1]):
            few = drawn[east == size].flatten(1)
            expected = expected_covariance(description, Grid(5, 6, size[None], metres(300.0)))
            ends = few[:, 0] * few[:, 5]  # the two ends of the first row
            error = 5 * math.sqrt(2 * expected[0, 0] * expected[5, 5] / len(few))
            assert ends.mean().item() == pytest.approx(expected[0, 5], abs=error), description


def test_parts_of_a_layout_are_those_of_their_samples():
    grid = Grid(5, 6, torch.linspace(100, 900, 10), metres(300.0))
    part = grid.of_samples(slice(2, 5))
    torch.testing.assert_close(part.positions(), grid.positions()[2:5])
    assert part.pixel_height is grid.pixel_height


@LAYOUTS
@pytest.mark.parametrize(("share", "patch_size"), [(0.1, 1.0), (0.5, 3.0), (0.8, 2.0)])
def test_decorrelation_hides_the_declared_share_on_average(layout, share, patch_size):
    hidden = noise("decorrelation", share=share, patch_size=patch_size).draw(3000, layout, seeded())
    assert set(hidden.unique().tolist()) == {0.0, 1.0}
    of_images = hidden.flatten(1).mean(1)
    assert of_images.mean().item() == pytest.approx(
        share, abs=5 * of_images.std().item() / math.sqrt(3000)
    )
    assert of_images.std() > 0.01


@pytest.mark.parametrize(("share", "patch_size"), [(0.2, 1.0), (0.6, 2.0)])
def test_the_hidden_stretches_along_a_line_have_the_declared_mean_length(share, patch_size):
    grid = Grid(20, 400, metres(50.0), metres(700.0))
    hidden = noise("decorrelation", share=share, patch_size=patch_size).draw(60, grid, seeded())
    # one for each stretch, except at the left border
    begun = (hidden[:, :, 1:] > hidden[:, :, :-1]).sum().item()
    assert hidden.sum().item() * 0.05 / begun == pytest.approx(patch_size, rel=0.1)


VIEWS = ("displacement", "displacement_1")
WHITE, CORRELATED, OFFSET = DECLARED[1], DECLARED[3], DECLARED[-1]
UNSCALED = {"type": "exponential", "parameters": {"range": 2.0}}
HIDING = {"type": "decorrelation", "parameters": {"share": 0.3, "patch_size": 1.0}}


def model_of(*descriptions, images=None):
    """A list of components of different types, all on the same images."""
    return NoiseModel(
        [
            Component(built(NOISES, description), images, (description["type"], 0))
            for description in descriptions
        ]
    )


def added(model, count=BLOCK + 3, level=0.0, views=VIEWS, seed=3):
    images = {name: torch.zeros(count, 1, 6, 8) for name in views}
    return images, model.add(
        images, lambda name: GRID, torch.as_tensor(level).view(-1), seeded(seed)
    )


def test_the_components_of_a_list_add_up():
    (both, _), (first, _), (second, _) = (
        added(model_of(*which)) for which in ((WHITE, OFFSET), (WHITE,), (OFFSET,))
    )
    for name in VIEWS:
        torch.testing.assert_close(both[name], first[name] + second[name])
        assert first[name].std() > 0.005
        assert second[name].std() > 0.015


def test_a_component_or_a_view_that_is_added_changes_the_random_numbers_of_no_other():
    alone = added(model_of(WHITE))[0]
    both, offset = (
        added(model_of(*which))[0]["displacement_1"] for which in ((OFFSET, WHITE), (OFFSET,))
    )
    torch.testing.assert_close(both, alone["displacement_1"] + offset)
    assert torch.equal(
        added(model_of(WHITE), views=VIEWS[1:])[0]["displacement_1"], alone["displacement_1"]
    )
    assert torch.equal(
        added(model_of(WHITE), views=("first", *VIEWS))[0]["displacement"], alone["displacement"]
    )


def test_every_component_view_and_call_has_realisations_of_its_own():
    images, _ = added(model_of(CORRELATED))
    random = seeded(3)
    again = {name: torch.zeros(BLOCK + 3, 1, 6, 8) for name in VIEWS}
    for _ in range(2):
        again["displacement"].zero_()
        model_of(CORRELATED).add(again, lambda name: GRID, metres(0.0), random)
    draws = torch.stack([*images.values(), again["displacement"]]).flatten(1)
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.1
    assert torch.cdist(draws[0].view(-1, 48), draws[0].view(-1, 48)).fill_diagonal_(1).min() > 1e-3


def test_only_what_declares_no_amplitude_is_scaled_by_the_variable_noise():
    quiet, scaled = (
        added(model_of(UNSCALED, WHITE), level=level)[0]["displacement"] for level in (0.0, 0.5)
    )
    field = added(model_of(UNSCALED), level=1.0)[0]["displacement"]
    torch.testing.assert_close(scaled - quiet, 0.5 * field)
    levels = torch.linspace(0, 2, BLOCK + 3)
    varying = added(model_of(UNSCALED), level=levels)[0]["displacement"]
    torch.testing.assert_close(varying, levels[:, None, None, None] * field)


def test_a_component_is_on_its_views_alone():
    offset = model_of(OFFSET, images=frozenset(["displacement_1"]))
    model = NoiseModel([*model_of(WHITE).components, *offset.components])
    images, plain = added(model)[0], added(model_of(WHITE))[0]
    assert torch.equal(images["displacement"], plain["displacement"])
    apart = images["displacement_1"] - plain["displacement_1"]
    assert apart.flatten(1).std(1).max() < 1e-8
    assert apart[:, 0, 0, 0].std().item() == pytest.approx(0.03, rel=0.2)
    stated = model.covariance("displacement", GRID, 0.0)
    np.testing.assert_allclose(stated, expected_covariance(WHITE, GRID), rtol=1e-12)


def test_images_are_zero_where_they_are_hidden_and_only_views_that_can_hide_have_a_mask():
    model = NoiseModel(
        [
            *model_of(OFFSET).components,
            *model_of(HIDING, images=frozenset(["displacement"])).components,
        ]
    )
    images, masks = added(model, count=400)
    assert set(masks) == {"displacement"}
    assert masks["displacement"].shape == images["displacement"].shape
    assert set(masks["displacement"].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(images["displacement"] != 0, masks["displacement"] == 1)
    assert 1 - masks["displacement"].mean().item() == pytest.approx(0.3, abs=0.05)
    assert (images["displacement_1"] != 0).all()


def test_the_covariance_of_a_list_is_the_sum_with_unit_variance_scaled_by_noise():
    stated = model_of(UNSCALED, WHITE, HIDING).covariance("displacement", GRID, 0.2).numpy()
    expected = 0.04 * expected_covariance(UNSCALED, GRID) + expected_covariance(WHITE, GRID)
    np.testing.assert_allclose(stated, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "descriptions",
    [(CORRELATED,), (DECLARED[7],), (UNSCALED, OFFSET), (WHITE, DECLARED[4], DECLARED[7])],
)
def test_the_inverse_of_a_sum_undoes_its_covariance(descriptions):
    model = model_of(*descriptions)
    images = torch.randn(3, 6, 8, generator=seeded(), dtype=torch.float64)
    whitened = model.without_correlation("displacement", images, GRID, 0.01)
    covariance = sum(
        (0.01**2 if component.noise.of_unit_variance else 1)
        * torch.from_numpy(expected_covariance(description, GRID))
        for component, description in zip(model.components, descriptions, strict=True)
    )
    torch.testing.assert_close(
        (whitened.flatten(1) @ covariance).view_as(images), images, rtol=1e-5, atol=1e-5
    )
    assert model.trouble_with_inverse("displacement", 48) is None


def test_noise_without_an_independent_part_has_no_inverse_and_says_what_to_add():
    for smooth in (model_of(OFFSET), model_of(OFFSET, DECLARED[4])):
        assert "add 'white'" in smooth.trouble_with_inverse("displacement", 48)
    with pytest.raises(ValueError, match="add a component that is independent"):
        model_of(OFFSET).without_correlation("displacement", torch.ones(1, 6, 8), GRID, 1.0)


def test_points_at_the_same_place_have_the_same_smooth_noise():
    drawn = noise("gaussian", range=2.0, sill=4.0).draw(
        1000, Points(POINTS.stations[[0, 1, 0]]), seeded()
    )
    assert (drawn[:, 0] - drawn[:, 2]).abs().max() < 0.02
    assert drawn.var(0).tolist() == pytest.approx([4.0] * 3, rel=0.2)


def test_stratified_noise_says_that_it_needs_an_elevation():
    flat = Grid(4, 4, metres(100.0), metres(100.0))
    assert noise("stratified", slope=0.01).trouble_with(flat) == "needs the elevation of its view"
    assert noise("stratified", slope=0.01).trouble_with(GRID) is None
