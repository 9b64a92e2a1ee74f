"""What emulators are made of: values between pixels, components of images, and their errors."""

import numpy as np
import pytest
import torch

from qexp.inference.weighting import Weighting, track_block
from qexp.kinds.images.emulator import between_pixels, errors_of_similar
from qexp.networks.transforms import PrincipalComponents
from tests.inference.tracks import track


def test_values_between_pixels_are_exact_for_polynomials_of_second_degree():
    row, column = torch.meshgrid(torch.arange(9.0), torch.arange(12.0), indexing="ij")
    row, column = row.double(), column.double()
    image = 1 + 2 * column - row + 0.3 * column**2 + 0.1 * column * row - 0.2 * row**2
    x, y = torch.rand(2, 1, 40).double() * 5 + 2
    exact = 1 + 2 * x - y + 0.3 * x**2 + 0.1 * x * y - 0.2 * y**2
    found = between_pixels(image[None, None].expand(3, 2, -1, -1), torch.stack([x, y], dim=-1))
    assert found == pytest.approx(exact[..., None].expand(3, -1, 2))


def test_principal_components_restore_what_they_span_and_keep_the_size_of_errors():
    random = torch.Generator().manual_seed(0)
    images = torch.randn(50, 3, generator=random) @ torch.randn(3, 40, generator=random)
    images = images.view(50, 1, 8, 5) + 7
    transform = PrincipalComponents(count=3)
    transform.fit(images)
    coefficients = transform(images)
    assert transform.inverse(coefficients) == pytest.approx(images, abs=1e-4)
    assert coefficients.square().mean() == pytest.approx(1.0, rel=1e-4)
    moved = transform.inverse(coefficients + torch.tensor([0.1, -0.2, 0.05])) - images
    again = transform.inverse(coefficients + torch.tensor([-0.2, 0.05, 0.1])) - images
    assert moved.square().sum() == pytest.approx(again.square().sum(), rel=1e-4)
    with pytest.raises(ValueError, match="at most 40"):
        PrincipalComponents(count=60).fit(images)


def test_samples_of_errors_add_their_covariance_to_that_of_the_noise():
    look = np.array([0.6, 0.0, 0.8])
    data = track("seen", look, (0.0, 0.0, 2000.0, 5e6), None, seed=0, size=14, spacing=500.0)
    errors = torch.from_numpy(np.random.default_rng(0).normal(0, 0.01, (7, data.size)))
    plain = Weighting([track_block(data, offset=False, ramp=False)])
    total = np.diag(data.error**2) + (errors.T @ errors).numpy()
    residual = torch.from_numpy(data.displacement)
    assert plain.with_errors(errors)(residual).square().sum() == pytest.approx(
        data.displacement @ np.linalg.solve(total, data.displacement)
    )
    assert plain.with_errors(errors).log_determinant == pytest.approx(np.linalg.slogdet(total)[1])


# Errors of an emulator's images, as of test samples whose images are similar.

SIDE = 24


def hills(width, size, column=12.0, row=12.0):
    """Images, (sample, 1, row, column), of hills of such widths, heights and places."""
    columns, rows = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="xy")
    of_samples = (torch.as_tensor(one, dtype=torch.float64) for one in (width, size, column, row))
    width, size, column, row = (one.expand(60)[:, None, None] for one in of_samples)
    return (size * torch.exp(-((columns - column) ** 2 + (rows - row) ** 2) / width**2))[:, None]


def among(images, asked):
    """Images of test samples after the one that is asked for."""
    return {"seen": torch.cat([asked[:1], images])}


def test_errors_are_in_proportion_to_the_size_of_the_images():
    small = hills(4.0, torch.linspace(0.5, 2.0, 60))
    for size in (1.0, 20.0):
        asked = hills(4.0, size)
        found, deviations, alike = errors_of_similar(among(small, asked), {"seen": 0.1 * small}, [])
        assert found["seen"] == pytest.approx(0.1 * asked[:1], rel=0.1, abs=1e-6)
        assert deviations["seen"].square().sum(dim=0).sqrt().max() < 0.03 * size
        assert alike >= 10 or size > 1, "other sizes are another source"


def test_errors_lie_where_the_signal_is():
    random = torch.Generator().manual_seed(0)
    column, row = 6 + 12 * torch.rand(2, 60, generator=random)
    images, asked = hills(3.0, 1.0, column, row), hills(3.0, 1.0, 8.0, 15.0)
    found, deviations, _ = errors_of_similar(among(images, asked), {"seen": 0.1 * images}, [])
    assert found["seen"] == pytest.approx(0.1 * asked[:1], abs=0.01)
    assert deviations["seen"].square().sum(dim=0).sqrt().max() < 0.02
    # stations have no place in an image, and their errors stay where they are
    stays, *_ = errors_of_similar(among(images, asked), {"seen": 0.1 * images}, ["seen"])
    assert (stays["seen"] - 0.1 * asked[:1]).abs().max() > 0.03


def test_errors_are_those_of_samples_whose_images_have_the_same_form():
    width = torch.linspace(2.0, 7.0, 60)
    images = hills(width, 1.0)
    errors = torch.where((width < 3.5)[:, None, None, None], 0.2, -0.1) * images
    for wide, expected in ((2.5, 0.2), (6.0, -0.1)):
        asked = hills(wide, 1.0)
        found, _, alike = errors_of_similar(among(images, asked), {"seen": errors}, [])
        assert 0.7 < found["seen"][0, 0, 12, 12] / expected < 1.01
        assert alike >= 10
    _, _, alike = errors_of_similar(among(images, hills(0.5, 30.0)), {"seen": errors}, [])
    assert alike == 0
