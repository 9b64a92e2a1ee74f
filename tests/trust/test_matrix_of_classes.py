"""Matrices of classifiers: probabilities over true values of one class, and what is detected."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

import qexp
from qexp.errors import QexpError
from qexp.kinds.networks import load_model
from qexp.trust.detection import _least
from tests.conftest import call, copied, shared_folder

AXES = {"depth": (2.0, 5.0, 3), "delta_volume": (0.5, 8.0, 6)}
CENTRE = {"x": 0.3, "y": -0.5}


@shared_folder
def classifier(root: Path) -> None:
    """A workspace with a brief run of `mechanism`."""
    assert call("init", root).code == 0
    brief = {"epochs": 2, "sizes": [1000, 64, 64]}
    qexp.run("mechanism", name="mechanism_1", seed=1, overrides=brief, device="cpu", workspace=root)


@pytest.fixture
def run(classifier, tmp_path, monkeypatch):
    copied(classifier, tmp_path, monkeypatch)
    return qexp.open_run("mechanism_1")


def own_noise(count, random):
    """Noise of 32 × 32 pixels of 400 m, 1 cm, exponential with 2 km, and its covariance."""
    line = np.arange(32) * 400.0
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    covariance = 1e-4 * np.exp(-distances / 2000)
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(1024))
    return (root @ random.normal(size=(1024, count))).T, covariance


def own_mogi(depth, volume):
    """Displacement towards a satellite in the east or west at 35°, of a source at `CENTRE`."""
    line = (np.arange(32) - 16) * 400.0
    east, north = np.meshgrid(line - 1e3 * CENTRE["x"], line - 1e3 * CENTRE["y"])
    cubed = (east**2 + north**2 + (1e3 * depth) ** 2) ** 1.5
    scale = 0.75 / np.pi * 1e6 * volume / cubed
    angle = np.radians(35)
    return (scale * (1e3 * depth * np.cos(angle) - east * np.sin(angle))).ravel()


@pytest.mark.heavy
@pytest.mark.usefixtures("drawn")
def test_shares_are_those_of_images_and_thresholds_of_another_program(run):
    table = qexp.matrix(
        run, axes=AXES, fixed=CENTRE, true_class="mogi", repeats=200, false_alarms=0.05
    )
    random = np.random.default_rng(7)
    network = load_model(run.directory, torch.device("cpu"))

    def probabilities(images):
        shown = torch.from_numpy(images.reshape(-1, 1, 32, 32)).float()
        return network.estimate({"displacement": shown})["mechanism"].numpy()

    noise, _ = own_noise(8000, random)
    threshold = np.quantile(probabilities(noise)[:, 3], 0.05)
    for row, column in ((0, 0), (1, 2), (2, 5)):
        depth, volume = float(table["depth"][row]), float(table["delta_volume"][column])
        found = probabilities(own_noise(2000, random)[0] + own_mogi(depth, volume))
        cell = table.isel(depth=row, delta_volume=column)
        share = (found[:, 3] < threshold).mean()
        assert float(cell["mechanism_detected"]) == pytest.approx(share, abs=0.12)
        for code, name in enumerate(("mogi", "sill", "dike", "none")):
            mean = float(cell[f"mechanism_probability_{name}"])
            assert mean == pytest.approx(found[:, code].mean(), abs=0.03)
    assert (table.folder / "matrix.png").is_file()
    assert "90 of 100 images at 5 ± 0.3 % false alarms" in table["mechanism_detected_from"].seen


@pytest.mark.heavy
def test_a_known_source_is_detected_as_neyman_and_pearson_say_and_none_detects_more(run):
    axes = {"depth": (2.0, 5.0, 2), "delta_volume": (0.5, 3.5, 3)}
    table = qexp.matrix(
        run, axes=axes, fixed=CENTRE, true_class="mogi", repeats=20, exact=True, false_alarms=0.1
    )
    _, covariance = own_noise(1, np.random.default_rng(0))
    for depth in table["depth"].values:
        for volume in table["delta_volume"].values:
            signal = own_mogi(depth, volume)
            ratio = np.sqrt(signal @ np.linalg.solve(covariance, signal))
            cell = table.sel(depth=depth, delta_volume=volume)
            power = norm.cdf(ratio - norm.ppf(0.9))
            assert float(cell["mechanism_known_detected"]) == pytest.approx(power, abs=2e-3)
            assert cell["mechanism_exact_detected"] <= power + 3 * np.sqrt(0.25 / 20)


@pytest.mark.heavy
def test_noise_is_detected_as_often_as_false_alarms_and_other_classes_have_their_own_axes(run):
    axes = {"noise": (0.009, 0.011, 2)}
    table = qexp.matrix(run, axes=axes, true_class="none", repeats=50, name="noises")
    assert "mechanism_detected" not in table  # images without a source differ from cell to cell
    axes = {"x_res": (0.39, 0.41, 1), "y_res": (0.39, 0.41, 1)}
    with pytest.raises(QexpError, match="noise and geometry must be the declared ones"):
        qexp.matrix(run, axes=axes, true_class="none", exact=True, name="pixels")
    sill = {"depth": (2.0, 5.0, 2), "opening": (0.2, 2.0, 3)}
    table = qexp.matrix(
        run, axes=sill, true_class="sill", fixed={**CENTRE, "length": 2.0, "width": 2.0}
    )
    total = sum(table[f"mechanism_probability_{name}"] for name in ("mogi", "sill", "dike", "none"))
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    right = table["mechanism_probability_sill"]
    np.testing.assert_allclose(table["mechanism_error"], right - 1, atol=1e-6)
    record = json.loads((table.folder / "record.json").read_text())
    assert record["of_class"] == ["sill", 0.01, False]
    with pytest.raises(QexpError, match="other settings"):
        qexp.matrix(
            run,
            axes=sill,
            true_class="sill",
            fixed={**CENTRE, "length": 2.0, "width": 2.0},
            false_alarms=0.02,
        )


@pytest.mark.heavy
def test_a_class_must_be_named_and_have_the_axes(run):
    with pytest.raises(QexpError, match=r"true_class=None.*mogi, sill, dike, none"):
        qexp.matrix(run, axes=AXES, fixed=CENTRE)
    with pytest.raises(QexpError, match=r"mogy.*mogi, sill, dike, none"):
        qexp.matrix(run, axes=AXES, fixed=CENTRE, true_class="mogy")
    with pytest.raises(QexpError, match="delta_volume"):
        qexp.matrix(run, axes=AXES, fixed=CENTRE, true_class="sill")
    for rate in (0.0, 1.0, float("nan")):
        with pytest.raises(QexpError, match="false_alarms"):
            qexp.matrix(run, axes=AXES, fixed=CENTRE, true_class="mogi", false_alarms=rate)


def test_the_least_value_is_where_rising_shares_reach_ninety_percent():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert _least(np.array([0.0, 0.5, 1.0, 1.0]), values) == pytest.approx(2.8)
    assert _least(np.array([np.nan, 0.8, 1.0, np.nan]), values) == pytest.approx(2.5)
    falling = np.array([1.0, 0.9, 0.5, 0.1])
    for nowhere in (falling, np.full(4, np.nan), np.full(4, 0.3), np.full(4, 0.95)):
        assert np.isnan(_least(nowhere, values))
