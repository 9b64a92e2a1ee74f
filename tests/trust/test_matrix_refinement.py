"""Least squares in the cells of a matrix: they find the values that made an observation, whatever
it is made of.
"""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import xarray

import qexp as package
from qexp.errors import QexpError
from qexp.inference.refinement import MatrixAxis, Refinement
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.matrix_figures import matrix_of
from qexp.kinds.tables import BUILT_IN
from qexp.simulation.dataset import GeneratedDataset
from tests.conftest import call, write_dense
from tests.trust.test_matrix_of_sources import DATASET, FIXED, root

pytestmark = pytest.mark.xdist_group("run_of_a_dike")  # both write into its folder

__all__ = ["root"]

STATIONS = [[-3.0, -2.0], [0.5, 2.5], [3.0, -1.0], [2.0, 3.0]]
VIEWS: dict[str, list[dict[str, Any]]] = {
    "one image": [{"heading": -12, "incidence": 39, "x_res": 1, "y_res": 1}],
    "two tracks": [
        {"heading": -12, "incidence": 39, "x_res": 1, "y_res": 1},
        {
            "heading": 192,
            "incidence": 34,
            "x_res": 0.8,
            "y_res": 0.8,
            "size": [10, 9],
            "look": "left",
        },
    ],
    "points and stations": [
        {
            "heading": -12,
            "incidence": 39,
            "points": [[x / 2, y] for x in range(-5, 6) for y in range(-3, 4)],
        },
        {"type": "gnss", "points": STATIONS, "errors": [0.002, 0.002, 0.005]},
    ],
}
AXES = [MatrixAxis("dike.strike", 20, 340, 4), MatrixAxis("dike.depth", 2, 4, 3)]


def document(
    views: str = "one image", fixed: dict[str, float] | None = None, **changes: Any
) -> dict[str, Any]:
    of_all = {**DATASET["fixed"], **(fixed or {})}
    return copy.deepcopy({**DATASET, "views": VIEWS[views], "fixed": of_all, **changes})


def refined(
    described: dict[str, Any],
    axes: list[MatrixAxis] = AXES,
    outputs: tuple[str, ...] = ("dike.strike", "dike.depth"),
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """True values in all cells, and those that least squares find from starts that are 20° and a
    fifth off.
    """
    source = generated_of(described, BUILT_IN)
    held = {
        **source.fixed,
        **{name: of for name, of in FIXED.items() if name not in [one.variable for one in axes]},
    }
    meshes = np.meshgrid(*(one.centres for one in axes), indexing="ij")
    values = {one.variable: mesh.ravel() for one, mesh in zip(axes, meshes, strict=True)}
    samples = source.with_only_fixed(held).observe(values, torch.Generator().manual_seed(0))
    starts = {
        name: values[name] + 20 if name == "dike.strike" else 1.2 * values[name] for name in outputs
    }
    return values, Refinement(source, axes, held, outputs)(samples, values, starts)


@pytest.mark.heavy
@pytest.mark.parametrize("views", VIEWS)
def test_without_noise_the_true_values_are_found(views):
    described = document(views, fixed={"noise": 0.0})
    if "points" in views:
        described["views"][1]["errors"] = [1e-9, 1e-9, 1e-9]
    values, found = refined(described)
    np.testing.assert_allclose(
        (found["dike.strike"] - values["dike.strike"] + 180) % 360, 180, atol=1e-2
    )
    np.testing.assert_allclose(found["dike.depth"], values["dike.depth"], rtol=1e-4)


OTHER_AXES = [
    (("dike.opening", 0.5, 2, 3), 0.0, 1e-4),
    (("heading", -20, 200, 2), 0.0, 1e-4),
    (("incidence", 20, 50, 2), 0.0, 1e-4),
    (("x_res", 0.8, 1.2, 2), 0.0, 1e-4),
    (("noise", 0, 2e-4, 2), 0.001, 1e-2),
]
"""An axis, the noise where it is none, and how close the estimates are."""


@pytest.mark.heavy
@pytest.mark.parametrize(("axis", "noise", "close"), OTHER_AXES)
def test_on_axes_that_are_not_estimated_every_cell_has_its_own_source_geometry_and_weights(
    axis, noise, close
):
    axes = [MatrixAxis("dike.depth", 2, 4, 3), MatrixAxis(*axis)]
    values, found = refined(
        document(fixed={"noise": noise, "dike.strike": 40.0}), axes, ("dike.depth",)
    )
    np.testing.assert_allclose(found["dike.depth"], values["dike.depth"], rtol=close)


@pytest.mark.heavy
def test_offsets_and_ramps_of_the_declared_noise_do_not_move_the_estimates():
    white = {"type": "white", "parameters": {"standard_deviation": 1e-4}}
    large = [
        {"type": "offset", "parameters": {"standard_deviation": 0.5}},
        {"type": "ramp", "parameters": {"slope": 0.05}},
    ]
    values, quiet = refined(document(noise_model=[white]))
    _, moved = refined(document(noise_model=[white, *large]))
    for found in (quiet, moved):
        np.testing.assert_allclose(found["dike.depth"], values["dike.depth"], rtol=0.02)
    with pytest.raises(QexpError, match="not positive definite"):
        refined(document(noise_model=large))


PATCHES = {"type": "decorrelation", "parameters": {"share": 0.3, "patch_size": 3}}
ATMOSPHERE = {"type": "exponential", "parameters": {"range": 2.5, "sill": 1e-8, "nugget": 1e-9}}
HIDDEN = [ATMOSPHERE, {"type": "offset", "parameters": {"standard_deviation": 3e-4}}, PATCHES]


def samples_of(source: GeneratedDataset, depths: list[float]) -> dict[str, torch.Tensor]:
    fixed = {**source.fixed, **FIXED, "dike.strike": 40.0}
    return source.with_only_fixed(fixed).observe(
        {"dike.depth": np.array(depths)}, torch.Generator().manual_seed(3)
    )


@pytest.mark.heavy
def test_every_cell_is_weighted_by_the_covariance_of_the_pixels_that_it_shows():
    source = generated_of(document("two tracks", noise_model=HIDDEN), BUILT_IN)
    refinement = Refinement(
        source, [], {**source.fixed, **FIXED, "dike.strike": 40.0}, ["dike.depth"]
    )
    samples = samples_of(source, [2.0, 3.0])
    places = []
    for (height, width), size in (((8, 8), 1e3), ((10, 9), 800.0)):
        rows, columns = np.mgrid[:height, :width]
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1) * size)
    cells = list(refinement.alike(samples, {}))
    assert sorted(int(of) for own, _, _ in cells for of in own) == [0, 1]
    for own, known, _ in cells:
        squares = 0.0
        for end, at in zip(("", "_1"), places, strict=True):
            seen = samples[f"mask{end}"][own[0]].numpy().ravel() > 0
            assert 0 < seen.sum() < len(seen)
            distance = np.linalg.norm(at[seen][:, None] - at[seen], axis=-1)
            covariance = 1e-8 * np.exp(-distance / 2.5e3) + 1e-9 * np.eye(seen.sum()) + 3e-4**2
            shown = samples[f"displacement{end}"][own[0]].double().numpy().ravel()[seen]
            squares += shown @ np.linalg.solve(covariance, shown)
        problem = refinement.problem(
            refinement.pixels.numbers_of(samples)[own],
            known,
            refinement.pixels.masks(samples)[own[0]],
        )
        assert float(problem.weighted.square().sum()) == pytest.approx(squares, rel=1e-9)


@pytest.mark.heavy
def test_what_hidden_pixels_hold_does_not_matter_and_what_is_all_hidden_has_no_estimate():
    source = generated_of(document("two tracks", noise_model=HIDDEN), BUILT_IN)
    refinement = Refinement(
        source, [], {**source.fixed, **FIXED, "dike.strike": 40.0}, ["dike.depth"]
    )
    depths = [2.0, 2.5, 3.0]
    samples = samples_of(source, depths)
    samples["mask"][1:] = samples["mask_1"][2] = 0.0
    found = refinement(samples, {}, {"dike.depth": np.full(3, 2.4)})["dike.depth"]
    np.testing.assert_allclose(found[:2], depths[:2], rtol=0.05)
    assert np.isnan(found[2])
    for end in ("", "_1"):
        samples[f"displacement{end}"] += 7.0 * (samples[f"mask{end}"] == 0)
    np.testing.assert_array_equal(
        refinement(samples, {}, {"dike.depth": np.full(3, 2.4)})["dike.depth"], found
    )


@pytest.mark.heavy
def test_of_an_image_with_too_many_pixels_means_of_whole_blocks_are_fitted_that_show_all_of_theirs():
    described = document("two tracks", noise_model=HIDDEN, fixed={"dike.strike": 40.0})
    described["views"][0] |= {"size": [81, 79], "x_res": 0.1, "y_res": 0.1}
    source = generated_of(described, BUILT_IN)
    refinement = Refinement(source, [], {**source.fixed, **FIXED}, ["dike.depth"])
    samples = samples_of(source, [2.0, 3.0])
    problem = refinement.problem(
        refinement.pixels.numbers_of(samples)[:1], mask=refinement.pixels.masks(samples)[0]
    )
    seen, image = samples["mask"][0, 0].numpy() > 0, samples["displacement"][0, 0].double().numpy()
    blocks = [
        (slice(row, row + 2), slice(column, column + 2))
        for row in range(0, 81, 2)
        for column in range(0, 79, 2)
    ]
    expected = [image[block].mean() for block in blocks if seen[block].all()]
    assert 100 < len(expected) < len(blocks)
    second = samples["displacement_1"][0][samples["mask_1"][0] > 0].double().numpy()
    np.testing.assert_allclose(problem.data[0], [*expected, *second], rtol=1e-12)
    start = refinement.starts(problem, {"dike.depth": np.array([2.5])})
    some = torch.tensor([0, 7, len(expected) - 1, len(expected) + 3])
    torch.testing.assert_close(problem.model.select(some)(start), problem.model(start)[:, some])
    found = refinement(samples, {}, {"dike.depth": np.full(2, 2.4)})["dike.depth"]
    np.testing.assert_allclose(found, [2.0, 3.0], rtol=0.01)


def test_too_many_scattered_points_with_correlated_noise_and_what_is_no_parameter_of_a_source_are_refused():
    source = generated_of(document(), BUILT_IN)
    with pytest.raises(QexpError, match="noise is no parameter of a source"):
        Refinement(source, AXES, {**source.fixed, **FIXED}, ["dike.depth", "noise"])
    points = [[x / 20, y / 20] for x in range(80) for y in range(80)]
    views = [{"heading": -12, "incidence": 39, "points": points}]
    source = generated_of({**document(noise_model=[ATMOSPHERE]), "views": views}, BUILT_IN)
    with pytest.raises(QexpError, match="displacement has 6,400 points with correlated noise"):
        Refinement(source, AXES, {**source.fixed, **FIXED}, ["dike.depth"])


@pytest.mark.heavy
def test_weights_for_a_level_of_noise_that_scales_everything_are_found_once():
    described = document(
        noise_model={"type": "exponential", "parameters": {"range": 2.0}},
        fixed={"dike.strike": 40.0},
    )
    axes = [MatrixAxis("noise", 1e-5, 3e-5, 5), MatrixAxis("dike.depth", 2, 4, 2)]
    source = generated_of(described, BUILT_IN)
    refinement = Refinement(source, axes, {**source.fixed, **FIXED}, ["dike.depth"])
    weights = {id(refinement.problem(torch.zeros(1, 64), {**refinement._in_si, "noise": level}).weighting)
               for level in axes[0].centres}  # fmt: skip
    assert len(weights) == 1


@pytest.mark.heavy
def test_the_command_prints_and_keeps_both_estimates(root):
    fixed = [word for name, value in FIXED.items() for word in ("--fix", f"{name}={value}")]
    axes = ["--axis", "dike.strike=0:360:3", "--axis", "dike.depth=0.5:4:4"]
    words = ("matrix", "dike_0", "--dataset", "dike", *axes, *fixed, "--refine", "--repeats", "2")
    head, *rows = call(*words, "--workspace", root).done().splitlines()[:3]
    assert head.split() == [
        "output",
        "unit",
        "mean",
        "|error|",
        "refined",
        "median",
        "|error|",
        "refined",
    ]
    folder = package.open_run("dike_0", workspace=root).path / "matrices/dike"
    table = xarray.load_dataset(folder / "matrix.nc", engine="h5netcdf")
    for row, name in zip(rows, ("dike.strike", "dike.depth"), strict=True):
        errors = [abs(table[f"{name}{end}_error"]) for end in ("", "_refined")]
        averages = [
            float(of) for of in (*(one.mean() for one in errors), *(one.median() for one in errors))
        ]
        cells = row.split()
        assert [cells[0], *cells[2:]] == [name, *(f"{average:.4g}" for average in averages)]
        np.testing.assert_allclose(
            table[f"{name}_refined"] - table[name], table[f"{name}_refined_error"]
        )
        assert (np.isnan(table[f"{name}_refined"]) == np.isnan(table[f"{name}_estimate"])).all()
        assert (
            table[f"{name}_refined_standard_deviation"]
            .attrs["long_name"]
            .startswith("refined by least squares: ")
        )
    assert (abs(table["dike.strike_refined_error"]).fillna(0) <= 180).all()


@pytest.mark.heavy
def test_the_command_says_what_it_refines_how_long_that_takes_and_what_shows_too_little(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("qexp.cli.estimation.QUIET_SECONDS", 0.0)
    name = "dike.depth"
    noise = [ATMOSPHERE, {"type": "decorrelation", "parameters": {"share": 0.7, "patch_size": 200}}]
    described = document(size=[78, 78], noise_model=noise, fixed={"dike.strike": 40.0})
    described["varyings"] = {
        name: of for name, of in described["varyings"].items() if name != "dike.strike"
    }
    del described["fixed"]["noise"]
    write_dense(tmp_path, "dike", described, [name], sizes=[16, 8, 8], batch_size=8)
    package.run("dike", device="cpu", workspace=tmp_path)
    command = ["matrix", "dike_0", "--dataset", "dike", "--axis", f"{name}=2:4:12", "--refine"]
    fixed = [word for name, value in FIXED.items() for word in ("--fix", f"{name}={value}")]
    code, _, stderr = call(*command, *fixed, "--workspace", tmp_path)
    assert code == 0, stderr
    assert "refined are means of 2 × 2 pixels of displacement" in stderr
    folder = package.open_run("dike_0", workspace=tmp_path).path / "matrices/dike"
    lacking = int(
        np.isnan(
            xarray.load_dataset(folder / "matrix.nc", engine="h5netcdf")[f"{name}_refined"]
        ).sum()
    )
    assert 0 < lacking < 12
    assert f"{lacking} of 12 cells are not refined: they show too few pixels" in stderr
    assert "of 12 cells are refined; the others take less than a minute" in stderr


@pytest.mark.heavy
def test_refined_estimates_of_a_trained_network_are_better_by_far(run):
    axes = {"depth": (0.5, 3.5, 6), "delta_volume": (0.5, 3.5, 4)}
    quiet = package.matrix(run, "mogi_test", axes=axes, refine=True)
    for name in axes:
        assert (
            float(abs(quiet[f"{name}_refined_error"]).max())
            < 1e-4
            < float(abs(quiet[f"{name}_error"]).mean())
        )
    noisy = package.matrix(run, "mogi_noisy", axes=axes, refine=True)
    assert float(abs(noisy["depth_refined_error"]).mean()) < 0.5 * float(
        abs(noisy["depth_error"]).mean()
    )
    bare = package.matrix(run, "mogi_noisy", axes=axes, name="bare")
    np.testing.assert_array_equal(bare["depth_error"], noisy["depth_error"])


STRONG = {
    "campi_flegrei": (
        {"depth": (1.5, 3.0, 2), "delta_volume": (15.0, 25.0, 2)},
        {"x": 0.5, "y": -1.0},
    ),
    "dike": (
        {"incidence": (30.0, 42.0, 2)},
        {
            "x": 0.0,
            "y": 0.0,
            "depth": 2.0,
            "length": 5.0,
            "width": 2.0,
            "strike": 15.0,
            "dip": 80.0,
            "opening": 4.0,
        },
    ),
}
"""Shipped experience for observations with hidden pixels → axes, and values of the other variables:
signals of half a metre and more.
"""


@pytest.mark.heavy
@pytest.mark.parametrize("name", STRONG)
def test_clear_signals_are_refined_to_their_sources_from_a_network_that_is_hardly_trained(
    tmp_path, name
):
    workspace = tmp_path / "workspace"
    assert call("init", workspace).code == 0
    brief = {"epochs": 1, "sizes": [128, 16, 16], "batch_size": 32}
    run = package.run(name, overrides=brief, device="cpu", workspace=workspace)
    axes, fixed = STRONG[name]
    table = package.matrix(run, name, axes=axes, fixed=fixed, refine=True, workspace=workspace)
    for output in ("x", "y", "depth"):
        before, after = (abs(table[f"{output}{end}_error"]) for end in ("", "_refined"))
        assert np.isfinite(before).all()
        assert float(after.max()) < 0.3 < float(before.max())


@pytest.mark.heavy
def test_a_picture_has_errors_before_and_after_on_one_scale_and_no_panel_without_a_value(root):
    fixed = {**FIXED, "dike.strike": 40.0}
    package.matrix("dike_0", "dike", axes={"chamber.depth": (3.0, 6.0, 3), "dike.depth": (2.0, 4.0, 3)},
                   fixed={name: of for name, of in fixed.items() if name != "chamber.depth"}, refine=True,
                   name="drawn", workspace=root)  # fmt: skip
    folder = package.open_run("dike_0", workspace=root).path / "matrices/drawn"
    table = xarray.load_dataset(folder / "matrix.nc", engine="h5netcdf")
    table["dike.depth_relative_error"][:] = np.nan
    table.to_netcdf(folder / "matrix.nc", engine="h5netcdf")
    panels = [axis for axis in matrix_of(folder).axes if axis.get_title() and axis.axison]
    assert [axis.get_title() for axis in panels] == [
        f"{what} of {name}"
        for name in ("dike strike (°)", "dike depth (km)")
        for what in ("error", "refined error")
    ]
    for error, refined_error in (panels[:2], panels[2:]):
        assert error.images[0].get_clim() == refined_error.images[0].get_clim()
