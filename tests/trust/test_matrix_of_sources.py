"""Matrices of named sources: variables with a dot, angles in degrees, impossible cells."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray

import qexp as package
from qexp.errors import QexpError
from qexp.kinds.matrix_figures import held_out_of, matrix_panels
from tests.conftest import call, drawing, shared_folder, write_dense

pytestmark = pytest.mark.xdist_group("run_of_a_dike")  # both write into its folder

DATASET = {
    "type": "generated",
    "angles": "degrees",
    "size": [8, 8],
    "sources": [{"type": "okada", "name": "dike"}, {"type": "mogi", "name": "chamber"}],
    "views": [{"heading": -12, "incidence": 39, "x_res": 1, "y_res": 1}],
    "fixed": {
        "dike.x": 0,
        "dike.y": 0,
        "dike.length": 4,
        "dike.width": 2,
        "dike.dip": 90,
        "dike.strike_slip": 0,
        "dike.dip_slip": 0,
        "chamber.x": 1,
        "chamber.y": 0,
        "chamber.delta_volume": 1,
        "noise": 0.001,
    },
    "varyings": {
        name: [[0.4, 0.5]]
        for name in ("dike.strike", "dike.depth", "dike.opening", "chamber.depth")
    },
    "distributions": {
        name: {"type": "uniform", "parameters": {"a": low, "b": high}}
        for name, low, high in (
            ("dike.strike", 0, 360),
            ("dike.depth", 1.2, 5),
            ("dike.opening", 0.5, 2),
            ("chamber.depth", 3, 6),
        )
    },
}
OUTPUTS = ["dike.strike", "dike.depth"]


@shared_folder
def root(root: Path) -> None:
    """A workspace with a run that has hardly been trained."""
    scales = {"dike.strike": {"type": "scale", "parameters": {"typical": 100}}}
    write_dense(root, "dike", DATASET, OUTPUTS, transforms=scales)
    package.run("dike", device="cpu", workspace=root)


FIXED = {"dike.opening": 1.0, "chamber.depth": 4.0}


@pytest.mark.heavy
def test_errors_of_a_strike_are_taken_by_the_shorter_way_round(root):
    axes = {"dike.strike": (0.0, 360.0, 8), "dike.depth": (2.0, 4.0, 3)}
    table = package.matrix("dike_0", "dike", axes=axes, fixed=FIXED, repeats=3, workspace=root)
    error = table["dike.strike_error"]
    assert error.dims == ("dike.strike", "dike.depth")
    assert (abs(error) <= 180).all()
    np.testing.assert_allclose(table["dike.strike_estimate"] - table["dike.strike"], error)
    np.testing.assert_allclose(table["dike.strike_relative_error"], error / 180)
    # The hardly trained network gives about the same everywhere: without turns, some errors would
    # be over 180°.
    assert float(table["dike.strike_estimate"].max() - table["dike.strike_estimate"].min()) > 180
    assert (table["dike.strike_standard_deviation"] < 90).all()
    assert (table["dike.strike"].attrs["units"], error.attrs["units"], error.attrs["period"]) == (
        "°",
        "°",
        360,
    )
    assert "period" not in table["dike.depth_error"].attrs


@pytest.mark.heavy
def test_cells_in_which_a_source_would_break_the_surface_are_left_out_and_counted(root, tmp_path):
    arguments = ["matrix", "dike_0", "--dataset", "dike", "--workspace", str(root)]
    fixed = [word for name, value in FIXED.items() for word in ("--fix", f"{name}={value}")]
    with drawing():
        axes = ["--axis", "dike.strike=0:360:4", "--axis", "dike.depth=0:4:8"]
        code, _, stderr = call(*arguments, *axes, "--name", "cut", *fixed)
    assert code == 0, stderr
    # The upper edge of a vertical dike of 2 km lies at the surface at a depth of 1 km.
    assert "8 of 32 cells are left out: the source 'dike' must " in stderr
    folder = package.open_run("dike_0", workspace=root).path / "matrices/cut"
    table = xarray.load_dataset(folder / "matrix.nc", engine="h5netcdf")
    for output in OUTPUTS:
        values = table[f"{output}_estimate"]
        assert np.isnan(values.sel({"dike.depth": slice(0, 1)})).all()
        assert np.isfinite(values.sel({"dike.depth": slice(1, 4)})).all()
    record = json.loads((folder / "record.json").read_text())
    assert record["left_out"] == 8
    assert np.isfinite(list(record["mean_absolute_error"].values())).all()
    assert (folder / "matrix.png").read_bytes().startswith(b"\x89PNG")
    shallow = {
        "axes": {"dike.depth": (0.1, 0.9, 3)},
        "fixed": {**FIXED, "dike.strike": 1},
        "name": "shallow",
    }
    with pytest.raises(
        QexpError, match=r"no cell has an estimate: the source 'dike' must .* choose other axes"
    ):
        package.matrix("dike_0", "dike", **shallow, workspace=root)


def test_all_variables_that_need_a_value_are_named_with_their_medians(root):
    with pytest.raises(QexpError) as caught:
        package.matrix("dike_0", "dike", axes={"dike.strike": (0.0, 360.0, 8)}, workspace=root)
    assert (
        str(caught.value)
        == "'dike.depth', 'dike.opening', 'chamber.depth' vary but are not axes; give them values,"
        ' for example the median: fixed={"dike.depth": 3.1, "dike.opening": 1.25,'
        ' "chamber.depth": 4.5}'
    )


def test_a_picture_leaves_the_relative_error_of_an_angle_out_and_says_why_cells_are_blank():
    values = np.linspace(-1, 1, 12).reshape(3, 4)
    axes = [
        ("dike.strike", np.array([60.0, 180.0, 300.0]), (0.0, 360.0)),
        ("dike.depth", np.arange(4.0), (0.0, 4.0)),
    ]
    panels = {
        "dike.strike": {"estimate": values, "error": values},
        "dike.depth": {"estimate": values, "error": values, "relative_error": values},
    }
    units = {"dike.strike": "°", "dike.depth": "km"}
    marks = held_out_of({"fixed": {}}, axes, {})
    figure = matrix_panels(
        panels, axes, units, marks, "run on dike", "the source must lie below the surface"
    )
    assert figure.get_suptitle() == "run on dike"
    assert figure.texts[0].get_text() == "blank: the source must lie below the surface"
    titles = [axis.get_title() for axis in figure.axes if axis.get_title() and axis.axison]
    assert titles == [
        "error of dike strike (°)",
        "error of dike depth (km)",
        "relative error of dike depth (%)",
    ]
    assert [tick for tick in figure.axes[0].get_xticks() if 0 <= tick <= 360] == [
        0,
        90,
        180,
        270,
        360,
    ]
    assert figure.axes[2].get_xlabel() == "true dike strike (°)"  # of the panel below it


@pytest.mark.parametrize(
    ("volume", "tested", "note"),
    [
        ((2.0, 3.0), True, "between dashed lines: values that training lacked; box: test samples"),
        ((2.0, 3.0), False, "between dashed lines: values that training lacked"),
        ((8.0, 9.0), True, "between dashed lines: values that training lacked"),
    ],
)
def test_all_that_training_lacked_is_outlined_and_only_values_of_test_samples_are_called_so(
    volume, tested, note
):
    axes = [
        ("depth", np.arange(4) + 0.5, (0.0, 4.0)),
        ("delta_volume", np.arange(5) + 0.5, (0.0, 5.0)),
    ]
    held_out = {
        "depth": [(1.0, 2.0), (3.5, None)],
        "delta_volume": [volume],
        "strike": [(0.0, 90.0)],
    }
    units = {"depth": "km", "delta_volume": "10⁶ m³"}
    marks = held_out_of(
        {"fixed": {"strike": 45.0 if tested else 135.0}, "held_out": held_out}, axes, {}
    )
    figure = matrix_panels({"depth": {"error": np.ones((4, 5))}}, axes, units, marks, "run")
    assert figure.get_suptitle() == "run"
    assert " ".join(figure.texts[0].get_text().split()) == note
    panel = figure.axes[0]
    ends = {(*line.get_xdata(), *line.get_ydata()) for line in panel.lines}
    inside = {(0, 1, end, end) for end in volume if end < 5}
    assert ends == {(end, end, 0, 1) for end in (1.0, 2.0, 3.5)} | inside
    boxes = {tuple(patch.get_bbox().extents) for patch in panel.patches}
    assert boxes == ({(1.0, 2.0, 2.0, 3.0), (3.5, 2.0, 4.0, 3.0)} if "box" in note else set())


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("spread", [False, True])
def test_a_picture_of_angles_alone_has_no_empty_panels(axes, spread):
    cells = [
        ("strike", np.array([60.0, 180.0, 300.0]), (0.0, 360.0)),
        ("depth", np.arange(4.0), (0.0, 4.0)),
    ][:axes]
    values = (
        np.linspace(-1, 1, 12).reshape(3, 4)[:, 0]
        if axes == 1
        else np.linspace(-1, 1, 12).reshape(3, 4)
    )
    panels = {
        "strike": {
            "estimate": values,
            "error": values,
            **({"standard_deviation": values} if spread else {}),
        }
    }
    marks = held_out_of({"fixed": {}}, cells, {})
    figure = matrix_panels(panels, cells, {"strike": "°", "depth": "km"}, marks, "run on dike")
    drawn = [axis for axis in figure.axes if axis.get_xlabel()]
    # over planes errors say what estimates would
    assert len(drawn) == (1 if axes == 2 else 2) + spread
    assert all(axis.axison for axis in figure.axes)
    assert "standard deviation" in (drawn[-1].get_ylabel() + drawn[-1].get_title()) or not spread
