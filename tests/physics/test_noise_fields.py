import numpy as np
import pytest
import torch

from qexp.physics import random_fields
from qexp.physics.random_fields import (
    COVARIANCE_TOLERANCE,
    correlated_field,
    exponential,
    field_of_rows,
    row_factors,
    torus_amplitude,
    without_correlation,
)

DRAWS = 4000
HEIGHT, WIDTH = 10, 16
PIXEL_WIDTH, PIXEL_HEIGHT, RANGE = 100.0, 40.0, 150.0


def seeded(seed=5):
    return torch.Generator().manual_seed(seed)


def correlated_over(correlation_range):
    return lambda distance: exponential(distance, 1.0, correlation_range)


def metres(*values):
    return torch.tensor(values)


def on_a_torus(count=DRAWS, seed=5):
    amplitude = torus_amplitude(
        HEIGHT, WIDTH, metres(PIXEL_WIDTH), metres(PIXEL_HEIGHT), correlated_over(RANGE)
    )
    return correlated_field(count, HEIGHT, WIDTH, amplitude, seeded(seed)).double()


def by_rows(count=DRAWS, seed=5):
    factors = row_factors(HEIGHT, WIDTH, PIXEL_WIDTH, PIXEL_HEIGHT, correlated_over(RANGE))
    return field_of_rows(count, WIDTH, factors, seeded(seed)).double()


@pytest.fixture(params=[on_a_torus, by_rows])
def fields(request):
    return request.param


def implied_covariance(amplitude, height, width):
    """The covariance between pixel [0, 0] and the others of the grid, of fields drawn with this
    amplitude.
    """
    spectrum = amplitude.double() ** 2
    return (torch.fft.ifft2(spectrum).real * spectrum[0].numel())[:, :height, :width]


def exact_covariance(height, width, pixel_width, pixel_height, correlation_range):
    rows, columns = np.meshgrid(
        np.arange(height) * pixel_height, np.arange(width) * pixel_width, indexing="ij"
    )
    return torch.from_numpy(np.exp(-np.hypot(rows, columns) / correlation_range))


GRIDS = pytest.mark.parametrize(
    ("height", "width", "pixel_width", "pixel_height", "correlation_range"),
    [
        (64, 64, 100.0, 100.0, 500.0),
        (64, 64, 100.0, 100.0, 2000.0),
        (64, 64, 100.0, 100.0, 5000.0),
        (16, 24, 100.0, 300.0, 2000.0),
        (24, 16, 300.0, 100.0, 5000.0),
        (7, 31, 50.0, 80.0, 100.0),
        (1, 8, 100.0, 100.0, 2000.0),
    ],
)


def test_correlated_noise_has_unit_variance_and_no_mean_at_every_pixel(fields):
    drawn = fields()
    # The standard errors are sqrt(2 / 4000) = 0.022 and 0.016.
    assert (drawn.var(0) - 1).abs().max() < 0.1
    assert drawn.mean(0).abs().max() < 0.075


@pytest.mark.parametrize(
    ("rows", "columns"), [(0, 1), (1, 0), (3, 0), (0, 3), (2, 2), (8, 1), (9, 15)]
)
def test_the_covariance_of_drawn_fields_falls_exponentially_with_the_distance_in_metres(
    fields, rows, columns
):
    drawn = fields()
    product = drawn[:, rows:, columns:] * drawn[:, : HEIGHT - rows, : WIDTH - columns]
    expected = np.exp(-np.hypot(rows * PIXEL_HEIGHT, columns * PIXEL_WIDTH) / RANGE)
    # Four standard errors of a single pair of pixels; most lags average over many pairs.
    assert product.mean().item() == pytest.approx(expected, abs=0.02 if rows < 9 else 0.07)


def test_covariance_is_the_same_toward_northeast_and_northwest(fields):
    drawn = fields()
    northeast = (drawn[:, 2:, 1:] * drawn[:, :-2, :-1]).mean().item()
    northwest = (drawn[:, 2:, :-1] * drawn[:, :-2, 1:]).mean().item()
    assert northeast == pytest.approx(northwest, abs=0.02)
    assert northwest == pytest.approx(np.exp(-np.hypot(80, 100) / RANGE), abs=0.02)


@GRIDS
def test_the_amplitude_implies_an_exponential_covariance_over_the_whole_grid(
    height, width, pixel_width, pixel_height, correlation_range
):
    amplitude = torus_amplitude(
        height, width, metres(pixel_width), metres(pixel_height), correlated_over(correlation_range)
    )
    covariance = implied_covariance(amplitude, height, width)[0]
    expected = exact_covariance(height, width, pixel_width, pixel_height, correlation_range)
    assert covariance[0, 0].item() == pytest.approx(1, abs=1e-6)
    # Cutting a share off and scaling the rest back moves a covariance by at most twice the share.
    assert (covariance - expected).abs().max() < 2 * COVARIANCE_TOLERANCE


@GRIDS
def test_the_row_factors_imply_an_exponential_covariance_between_all_pixels(
    height, width, pixel_width, pixel_height, correlation_range
):
    factors = row_factors(
        height, width, pixel_width, pixel_height, correlated_over(correlation_range)
    ).double()
    between_rows = torch.fft.fft(factors @ factors.mT, dim=0).real[:width]
    lags = (torch.arange(height)[:, None] - torch.arange(height)).abs()
    expected = exact_covariance(height, width, pixel_width, pixel_height, correlation_range)[
        lags
    ].permute(2, 0, 1)
    torch.testing.assert_close(between_rows[0].diagonal(), torch.ones(height, dtype=torch.float64))
    assert (between_rows - expected).abs().max() < 2 * COVARIANCE_TOLERANCE


def test_what_has_lost_its_correlation_gets_it_back_from_the_exact_covariance():
    rows, columns = np.meshgrid(np.arange(16) * 40.0, np.arange(24) * 100.0, indexing="ij")
    position = np.stack([rows.ravel(), columns.ravel()], -1)
    covariance = torch.from_numpy(
        np.exp(-np.linalg.norm(position[:, None] - position[None], axis=-1) / 500)
    )
    images = torch.randn(3, 16, 24, generator=seeded(), dtype=torch.float64)
    solved = without_correlation(
        images, torus_amplitude(16, 24, metres(100.0), metres(40.0), correlated_over(500.0))
    )
    torch.testing.assert_close(
        (solved.flatten(1) @ covariance).view_as(images), images, rtol=0, atol=0.02
    )


@pytest.mark.heavy
def test_fields_that_are_whitened_have_a_power_of_one_per_pixel(fields):
    # x C⁻¹ x of a Gaussian field follows a chi-square distribution with as many degrees of freedom
    # as pixels.
    drawn = fields(400)
    amplitude = torus_amplitude(
        HEIGHT, WIDTH, metres(PIXEL_WIDTH), metres(PIXEL_HEIGHT), correlated_over(RANGE)
    )
    power = (drawn * without_correlation(drawn, amplitude)).sum((1, 2))
    pixels = HEIGHT * WIDTH
    assert power.mean().item() == pytest.approx(pixels, abs=4 * np.sqrt(2 * pixels / 400))
    assert power.var().item() == pytest.approx(2 * pixels, rel=0.3)


def test_the_torus_is_twice_the_grid_for_a_short_range_and_grows_with_the_range_up_to_the_largest():
    def size(correlation_range):
        return torus_amplitude(
            16, 24, metres(100.0), metres(100.0), correlated_over(correlation_range)
        ).shape[1:]

    assert size(200.0) == (32, 48)
    assert size(1000.0)[0] > 32
    assert size(3000.0)[0] > size(1000.0)[0]
    assert size(2e4)[0] <= random_fields.LARGEST_EMBEDDING * 16


def test_white_is_the_limit_of_a_short_range_and_one_value_everywhere_that_of_a_long_one():
    short = implied_covariance(
        torus_amplitude(8, 8, metres(100.0), metres(100.0), correlated_over(1.0)), 8, 8
    )[0]
    long = implied_covariance(
        torus_amplitude(8, 8, metres(100.0), metres(100.0), correlated_over(1e8)), 8, 8
    )[0]
    identity = torch.zeros(8, 8, dtype=torch.float64)
    identity[0, 0] = 1
    torch.testing.assert_close(short, identity, atol=1e-6, rtol=0)
    torch.testing.assert_close(long, torch.ones(8, 8, dtype=torch.float64), atol=1e-3, rtol=0)


def test_the_two_fields_of_one_complex_draw_are_uncorrelated(fields):
    drawn = fields(2 * DRAWS)
    first, second = drawn[:DRAWS], drawn[DRAWS:]
    assert (first * second).mean(0).abs().max() < 0.07
    for rows, columns in ((0, 1), (1, 0), (2, 3)):
        for left_field, right_field in ((first, second), (second, first)):
            product = (
                left_field[:, rows:, columns:] * right_field[:, : HEIGHT - rows, : WIDTH - columns]
            )
            assert product.mean().abs() < 0.02


def test_single_images_are_not_normalised_so_their_means_vary_as_the_covariance_says(fields):
    rows, columns = np.meshgrid(
        np.arange(HEIGHT) * PIXEL_HEIGHT, np.arange(WIDTH) * PIXEL_WIDTH, indexing="ij"
    )
    position = np.stack([rows.ravel(), columns.ravel()], -1)
    expected = np.exp(-np.linalg.norm(position[:, None] - position[None], axis=-1) / RANGE).mean()
    assert fields().mean((1, 2)).var().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_fields_can_be_drawn_no_two_are_equal_and_a_seed_gives_them_again(
    fields, count
):
    drawn = fields(count)
    assert drawn.shape == (count, HEIGHT, WIDTH)
    assert torch.equal(fields(count), drawn)
    assert not torch.equal(fields(count, seed=2), drawn)
    assert len({field.numpy().tobytes() for field in drawn}) == count


@pytest.mark.slow
def test_each_field_can_have_its_own_pixel_size():
    pixel_width = torch.tensor([30.0, 300.0]).repeat_interleave(DRAWS // 2)
    pixel_height = torch.tensor([200.0, 50.0]).repeat_interleave(DRAWS // 2)
    amplitude = torus_amplitude(HEIGHT, WIDTH, pixel_width, pixel_height, correlated_over(RANGE))
    drawn = correlated_field(DRAWS, HEIGHT, WIDTH, amplitude, seeded()).double()
    for part, across, along in (
        (drawn[: DRAWS // 2], 30.0, 200.0),
        (drawn[DRAWS // 2 :], 300.0, 50.0),
    ):
        assert part.var(0).mean().item() == pytest.approx(1, abs=0.03)
        assert (part[:, :, 1:] * part[:, :, :-1]).mean().item() == pytest.approx(
            np.exp(-across / RANGE), abs=0.03
        )
        assert (part[:, 1:] * part[:, :-1]).mean().item() == pytest.approx(
            np.exp(-along / RANGE), abs=0.03
        )


def test_pixel_sizes_of_a_batch_give_the_amplitudes_that_each_gives_alone():
    pixel_width, pixel_height = metres(100.0, 200.0, 50.0), metres(80.0, 40.0, 160.0)
    together = torus_amplitude(6, 9, pixel_width, pixel_height, correlated_over(100.0))
    assert together.shape[0] == 3
    for index in range(3):
        alone = torus_amplitude(
            6, 9, pixel_width[index, None], pixel_height[index, None], correlated_over(100.0)
        )
        torch.testing.assert_close(together[index], alone[0])
    shared, repeated = (torus_amplitude(6, 9, width, metres(80.0, 40.0), correlated_over(100.0))
                        for width in (metres(100.0), metres(100.0, 100.0)))  # fmt: skip
    torch.testing.assert_close(shared, repeated)
