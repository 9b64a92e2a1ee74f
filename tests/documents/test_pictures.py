"""Pictures of the documents: small files that look like the figures."""

import io

import numpy as np
import pytest
from PIL import Image

from _generate.pictures import small
from tests.documents.reader import ROOT


@pytest.mark.parametrize(
    "picture", sorted((ROOT / "docs").glob("*.png")), ids=lambda path: path.name
)
def test_a_picture_is_small_and_wide_enough_for_a_page(picture):
    assert picture.stat().st_size <= 150_000
    assert Image.open(picture).width >= 800


@pytest.mark.slow
def test_fewer_colours_change_hardly_a_pixel():
    scales = (
        np.linspace(0, 1, 400)[None, :, None] * np.array([[200, 100, 50]])
        + np.linspace(0, 50, 300)[:, None, None]
    )
    pixels = np.concatenate([scales, np.full_like(scales, 255)]).astype(np.uint8)
    figure = io.BytesIO()
    Image.fromarray(pixels).save(figure, "PNG")
    picture = Image.open(io.BytesIO(small(figure.getvalue())))
    assert picture.mode == "P"
    changed = np.abs(np.asarray(picture.convert("RGB")).astype(int) - pixels).max(axis=2)
    assert (changed[300:] == 0).all()
    assert changed.max() <= 16
    assert changed.mean() <= 4
