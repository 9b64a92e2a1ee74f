"""Cramér–Rao bounds of the cells of a matrix."""

import json

import numpy as np
import pytest
import torch

import qexp as package
from qexp.inference.refinement import MatrixAxis, Refinement, bounds_of_cells
from qexp.kinds.matrix_figures import held_out_of, matrix_panels
from qexp.kinds.objects import dataset_of
from qexp.kinds.tables import BUILT_IN
from qexp.web.drawings import matrices
from tests.conftest import call, shared_folder

OUTPUTS = ["depth", "delta_volume"]
FIXED = {
    "azimuth": 0.0,
    "incidence": 0.33,
    "x_res": 0.1,
    "y_res": 0.1,
    "x": 0.0,
    "y": 0.0,
    "noise": 0.01,
}
PRIOR = {"type": "log_normal", "parameters": {"mu": 0, "sigma": 1}}
AT = MatrixAxis("depth", 0.5, 2.0, 3), MatrixAxis("delta_volume", 0.5, 4.0, 3)


def document(noise, size=(64, 64), **changes):
    return {
        "type": "generated",
        "generation_type": "mogi",
        "size": list(size),
        "fixed": FIXED,
        "varyings": {name: [[0.2, 0.4]] for name in OUTPUTS},
        "distributions": dict.fromkeys(OUTPUTS, PRIOR),
        "noise_model": noise,
        **changes,
    }


def found(kind, grid, size=(64, 64)):
    source = dataset_of(document(kind, size), BUILT_IN)
    at = {
        name: value for name, value in FIXED.items() if name not in [axis.variable for axis in grid]
    }
    return bounds_of_cells(Refinement(source, grid, at, OUTPUTS), torch.Generator().manual_seed(0))


def cell(depth, delta_volume):
    """A matrix of one cell at these values."""
    values = {"depth": depth, "delta_volume": delta_volume}
    return [MatrixAxis(name, value - 1e-6, value + 1e-6, 1) for name, value in values.items()]


def test_the_bound_in_white_noise_is_the_published_one():
    bounds = found({"type": "white"}, cell(1.0, 1.0))
    assert bounds.deviations["depth"][0] == pytest.approx(4.98e-3, rel=1e-3)
    assert bounds.deviations["delta_volume"][0] == pytest.approx(0.00613, rel=1e-3)


@pytest.mark.parametrize(("depth", "volume"), [(0.6, 0.3), (2.5, 1.7)])
def test_the_bound_in_correlated_noise_is_that_of_automatic_differentiation_and_a_dense_covariance(
    depth, volume
):
    size, reach = (12, 16), 2.0
    bounds = found(
        {"type": "exponential", "parameters": {"range": reach}}, cell(depth, volume), size
    )
    source = dataset_of(document({"type": "white"}, size), BUILT_IN)
    geometry = {name: torch.tensor([value], dtype=torch.float64) for name, value in FIXED.items()}
    geometry |= {name: 1e3 * geometry[name] for name in ("x_res", "y_res")}
    looking = source.generator.direction("displacement", geometry).double()
    places = source.layout("displacement", geometry).positions()[0].double()
    assert places[:, 0].max() - places[:, 0].min() == pytest.approx(100 * (size[1] - 1))

    # Mogi (1958) by hand: displacement [m] by a source in the middle, in double precision
    def seen(values):
        depth, volume = values
        strength = (
            0.75 / torch.pi * 1e6 * volume / (places.square().sum(-1) + (1e3 * depth) ** 2) ** 1.5
        )
        displacement = (
            torch.cat([places, 1e3 * depth * torch.ones(len(places), 1)], dim=1) * strength[:, None]
        )
        return (displacement * looking).sum(-1)

    at = torch.tensor([depth, volume], dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(seen, at).numpy()
    apart = torch.cdist(places, places).numpy() / 1e3
    precision = np.linalg.inv(0.01**2 * np.exp(-apart / reach))
    expected = np.sqrt(np.diag(np.linalg.inv(slopes.T @ precision @ slopes)))
    np.testing.assert_allclose(
        [bounds.deviations[name][0] for name in OUTPUTS], expected, rtol=1e-5
    )
    signal = seen(at).numpy()
    assert bounds.signal[0] == pytest.approx(np.sqrt(signal @ precision @ signal), rel=1e-5)


def test_weak_sources_are_not_seen_and_the_bound_of_others_falls_with_the_volume_change():
    bounds = found(
        {"type": "white"},
        [MatrixAxis("depth", 2.9, 3.1, 1), MatrixAxis("delta_volume", 0.0, 1.0, 50)],
    )
    assert bounds.seen[0] == 0
    assert bounds.seen[-1] == 1
    assert np.all(np.diff(bounds.seen) >= 0)
    assert 3 < bounds.signal[np.flatnonzero(bounds.seen)[0]] < 6
    np.testing.assert_allclose(
        bounds.deviations["depth"] * bounds.signal, bounds.deviations["depth"][0] * bounds.signal[0]
    )


def test_the_bound_is_proportional_to_the_noise_also_along_an_axis_of_it():
    grid = [*cell(1.0, 1.0), MatrixAxis("noise", 0.0, 0.04, 2)]
    bounds = found({"type": "exponential", "parameters": {"range": 2.0}}, grid, (16, 16))
    np.testing.assert_allclose(
        bounds.deviations["depth"][1], 3 * bounds.deviations["depth"][0], rtol=1e-9
    )
    np.testing.assert_allclose(bounds.signal[0], 3 * bounds.signal[1], rtol=1e-9)


@pytest.mark.parametrize("planes", [False, True])
def test_cells_that_do_not_show_the_source_are_hatched_and_not_coloured(planes):
    values = np.linspace(0.5, 3, 12).reshape(3, 4)
    unseen = values > 2
    axes = [("depth", np.arange(3.0), (-0.5, 2.5)), ("delta_volume", np.arange(4.0), (-0.5, 3.5))]
    if not planes:
        values, unseen, axes = values[0], unseen[2], axes[1:]
    panels = {"depth": {"estimate": values, "error": values, "bound": values, "over_bound": values}}
    units = {"depth": "km", "delta_volume": "10⁶ m³"}
    figure = matrix_panels(
        panels, axes, units, held_out_of({"fixed": {}}, axes, {}), "run", unseen=unseen
    )
    assert figure.texts[0].get_text() == "hatched: the data do not show the source"
    (ratio,) = [
        axis
        for axis in figure.axes
        if "/ bound" in (axis.get_title() + axis.get_ylabel()).replace("\n", " ")
    ]
    shown = ratio.images[-1].get_array().filled(np.nan).T if planes else ratio.lines[0].get_ydata()
    assert (np.isnan(shown) == unseen).all()
    hatches = (
        [ratio.patch.get_hatch()] if planes else [patch.get_hatch() for patch in ratio.patches]
    )
    assert set(hatches) == {"////"}


@shared_folder
def root(root):
    assert call("init", root).code == 0
    of_size = {"dataset.size": [24, 24], "model.inputs.displacement.size": [24, 24, 1]}
    small = {"epochs": 3, "sizes": [500, 64, 64], **of_size}
    package.run(
        "mogi_quick", name="mogi_quick_3", seed=3, overrides=small, device="cpu", workspace=root
    )
    noise = {"type": "exponential", "parameters": {"range": 2.0}}
    (root / "specs/datasets/noisy.json").write_text(json.dumps(document(noise, (24, 24))))


@pytest.mark.heavy
def test_least_squares_reach_the_bound_and_the_table_says_by_how_much_they_miss_it(root):
    axes = {one.variable: (one.low, one.high, one.cells) for one in AT}
    options = {"axes": axes, "repeats": 400, "refine": True, "bound": True}
    table = package.matrix("mogi_quick_3", "noisy", workspace=root, **options)
    assert (table["seen"].values == 1).all()
    for name in OUTPUTS:
        ratio = table[f"{name}_refined_over_bound"].values
        deviation = table[f"{name}_refined_standard_deviation"].values
        np.testing.assert_allclose(ratio, deviation / table[f"{name}_bound"].values)
        assert ratio.max() < 1.2  # the deviation of 400 draws is known to 3.5 %
        assert 0.95 < np.median(ratio) < 1.05
        assert table[f"{name}_over_bound"].attrs["units"] == "1"
        assert table[f"{name}_bound"].attrs["units"] == table[f"{name}_estimate"].attrs["units"]
    run = package.open_run("mogi_quick_3", workspace=root)
    (shown,) = matrices(run.directory)
    ratios = [layer for layer in shown.layers if "over the bound" in layer.words]
    assert len(ratios) == 2 * len(OUTPUTS)
    for layer in ratios:
        assert layer.colours == "ratio"
        assert np.prod(layer.limits) == pytest.approx(1)
    command = ("matrix", "mogi_quick_3", "--bound", "--workspace", root)
    axes = ("--axis", "depth=0.5:4:4", "--axis", "delta_volume=0:1:4")
    code, stdout, _ = call(
        *command, "--dataset", "noisy", *axes, "--repeats", "4", "--name", "weak"
    )
    assert (code, "median sd / bound" in stdout) == (0, True)


def test_a_dataset_without_noise_is_refused_and_nothing_is_written(root):
    quiet = document({"type": "white"}, (24, 24), fixed={**FIXED, "noise": 0.0})
    (root / "specs/datasets/quiet.json").write_text(json.dumps(quiet))
    axes = ("--axis", "depth=1:2:2", "--axis", "delta_volume=1:2:2")
    code, _, stderr = call(
        "matrix", "mogi_quick_3", "--dataset", "quiet", *axes, "--bound", "--workspace", root
    )
    assert (
        code,
        "which alone makes a bound; give it a level, such as --fix noise=0.01" in stderr,
    ) == (2, True), stderr
    assert not (root / "runs/mogi_quick_3/matrices/quiet").exists()
