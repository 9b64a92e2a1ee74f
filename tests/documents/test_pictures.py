"""Pictures of the documents: small files that look like the figures."""

import importlib

import numpy as np
import pytest
from PIL import Image

from tests.documents.reader import ROOT


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.png")), ids=lambda path: path.name)
def test_a_picture_is_small_and_wide_enough_for_a_page(picture):
    assert picture.stat().st_size <= 150_000
    assert Image.open(picture).width >= 800


@pytest.mark.slow
def test_fewer_colours_change_hardly_a_pixel(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    scales = np.linspace(0, 1, 400)[None, :, None] * np.array([[200, 100, 50]]) + np.linspace(0, 50, 300)[:, None, None]
    pixels = np.concatenate([scales, np.full_like(scales, 255)]).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "figure.png")
    importlib.import_module("_generate.pictures").put(tmp_path / "figure.png", tmp_path / "small.png")
    small = Image.open(tmp_path / "small.png")
    assert small.mode == "P"
    changed = np.abs(np.asarray(small.convert("RGB")).astype(int) - pixels).max(axis=2)
    assert (changed[300:] == 0).all()
    assert changed.max() <= 16
    assert changed.mean() <= 4
