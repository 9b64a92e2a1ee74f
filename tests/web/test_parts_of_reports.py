"""What a report of one run shows besides its matrices: lineage, group, baselines, rows, cores,
frames.
"""

import base64
import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray
from safetensors import safe_open

import qexp as package
from qexp.figures.seeds import OfSeeds, values_in_rows
from qexp.figures.writing import compact_svg
from qexp.web.html import drawn
from tests import stones
from tests.web.test_report import numbers

HOSTILE = "<script>alert(1)</script>&\"'"


def section(page, title: str):
    return page.locator("section", has=page.locator(f"h2:text-is('{title}')"))


def svg_of(image: str) -> bytes:
    return base64.b64decode(re.search(r"data:image/svg\+xml;base64,([^\"]*)", image)[1])


def test_a_drawing_is_an_image_that_tells_all_to_those_who_do_not_see_it():
    values = {HOSTILE: OfSeeds((), 1.0, (0.5, 2.0))}
    drawing = drawn("title", lambda: values_in_rows(values, HOSTILE), HOSTILE)
    image = drawing.draw()
    assert image == drawing.draw()
    assert "<script" not in image
    assert "&lt;script&gt;" in image
    # as it is on its own, whatever the texts in it are
    content = ElementTree.fromstring(svg_of(image))
    assert HOSTILE in [
        "".join(text.itertext()) for text in content.iter("{http://www.w3.org/2000/svg}text")
    ]


@pytest.mark.heavy
def test_any_values_can_be_drawn_in_rows():
    for values in ((0.0, 0.0), (1e-30, 1e30), (-5.0, -5.0), (1.0, math.inf), (math.nan, 1.0)):
        rows = {str(row): OfSeeds((), value, None) for row, value in enumerate(values)}
        assert compact_svg(values_in_rows(rows, "x"))


@pytest.mark.heavy
def test_the_lineage_names_the_runs_of_the_weights_and_the_keys_that_differ_are_those_that_were_changed(
    trained, open_page, tmp_path
):
    small = {"epochs": 1, "sizes": [64, 16, 16]}
    package.run(
        "mogi_quick", seed=2, name="child", pretrain="mogi_quick_1", overrides=small, device="cpu"
    )
    package.run(
        "mogi_quick",
        name="mogi_quick_2",
        seed=2,
        overrides={**small, "learning_rate": 0.25},
        device="cpu",
    )

    def rows(run: str, title: str) -> list[list[str]]:
        page = open_page(package.open_run(run).report(tmp_path / f"{run}.html"))
        return [row.split("\t")[:3] for row in section(page, title).locator("tr").all_inner_texts()]

    assert ["weights from", "run", "mogi_quick_1"] in rows("child", "Where it came from")
    of_parent = rows("mogi_quick_1", "Where it came from")
    assert ["was made", "matrix", "mogi_test"] in of_parent
    assert ["weights to", "run", "child"] in of_parent
    (rate,) = [row for row in rows("mogi_quick_1", "What was asked") if row[0] == "learning_rate"]
    assert rate[1] == "0.003"
    assert set(rate[2].split(", ")) == {"0.25 (1 run)", "0.003 (1 run)"}


@pytest.mark.heavy
def test_rows_are_named_and_the_network_is_drawn_among_its_baselines(trained, open_page, tmp_path):
    stones.write(trained, None, baselines=["mean", "ridge"])
    run = package.run("stones", device="cpu")
    page = open_page(run.report(tmp_path / "stones.html"))
    with xarray.open_dataset(run.path / "results/test_predictions.nc", engine="h5netcdf") as table:
        least = int(np.argmin(table["iron"].values))
        name = str(table["stone"].values[least])
        expected = float(table["iron"].values[least])
    page.locator(".scatter").first.focus()
    page.keyboard.press("ArrowRight")
    readout_text = (
        page.locator("figure", has=page.locator(".scatter")).locator(".readout").first.inner_text()
    )
    assert name in readout_text
    assert float(re.search(r"true ([\d.]+)", readout_text)[1]) == pytest.approx(expected, rel=1e-3)
    drawing = page.locator(".drawn img").first
    assert drawing.evaluate("image => image.naturalWidth") > 100
    for row in run.record["comparison"]:
        assert row["estimator"] in drawing.get_attribute("alt")
        assert row["estimator"].encode() in svg_of(f'"{drawing.get_attribute("src")}"')


@pytest.mark.heavy
def test_cells_of_test_frames_show_what_the_run_kept_of_them(
    trained, open_page, made_up_data, tmp_path
):
    small = {"epochs": 1, "patches": [16, 8]}
    run = package.run("ice_cnn", name="ice_cnn_0", overrides=small, device="cpu")
    page = open_page(run.report(tmp_path / "ice.html"))
    (path,) = (run.path / "results/frames").glob("*.nc")
    with xarray.open_dataset(path, engine="h5netcdf", decode_timedelta=False) as frames:
        page.locator(".map").first.focus()
        text = page.locator(".matrix-drawing .readout").first.inner_text()
        column, row, frame = map(int, re.search(r"cell (\d+), (\d+), (\d+)", text).groups())
        truth = float(frames["ubar"].values[frame, row, column])
    drawn = json.loads(page.locator('[data-draw="matrix"] script').first.text_content())
    assert [layer["words"] for layer in drawn["layers"][:3]] == ["true", "estimate", "error"]
    shown = numbers(re.search(r"ubar: true ([^,]+),", text)[1])
    assert np.isnan(truth) if not shown else shown[0] == pytest.approx(truth, rel=1e-3)


@pytest.mark.heavy
def test_a_difference_of_two_models_says_their_layers_and_how_many_weights_they_have(
    trained, open_page, tmp_path
):
    small = {"epochs": 1, "sizes": [64, 16, 16]}
    model = json.loads((trained / "specs/models/mogi_cnn.json").read_text())
    model["operations"]["dense"]["parameters"]["filters"] = [16]
    (trained / "specs/models/narrow.json").write_text(json.dumps(model))
    run = package.run(
        "mogi_quick", seed=1, overrides={**small, "model": "narrow"}, name="narrow_1", device="cpu"
    )
    page = open_page(package.report("mogi_quick_1", "narrow_1", to=tmp_path / "two.html"))
    asked = section(page, "What was asked").inner_text()
    assert "dense (denses 16)" in asked
    assert "dense (denses 128, 128, 64)" in asked
    with safe_open(run.path / "checkpoints/best.safetensors", framework="numpy") as file:
        names = [name for name in file.keys() if name.startswith("network.")]  # noqa: SIM118
        assert f"{sum(file.get_tensor(name).size for name in names):,}" in asked
