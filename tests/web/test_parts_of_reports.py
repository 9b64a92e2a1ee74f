"""What a report of one run shows besides its matrices: lineage, group, baselines, rows, cores, frames."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import xarray

import qexp as package
from qexp.web.html import Arrow, Box, Measured, graph, intervals, logarithmic_ticks, ticks
from tests import stones

HOSTILE = "<script>alert(1)</script>&\"'"


def section(page, title: str):
    return page.locator("section", has=page.locator(f"h2:text-is('{title}')"))


def readout(page, place: str, *keys: str) -> str:
    page.locator(place).first.focus()
    for key in keys:
        page.keyboard.press(key)
    return page.locator("figure", has=page.locator(place)).locator(".readout").first.inner_text()


@pytest.mark.parametrize("length", range(1, 40))
def test_names_beside_a_drawing_have_the_room_that_they_need(length):
    name = "n" * length
    assert f">{name}</text>" in str(intervals([Measured(name, 1.0)], "depth (km)"))


def test_texts_in_drawings_are_escaped_and_tell_all_to_those_who_do_not_see_them():
    drawn = str(intervals([Measured(HOSTILE, 1.0, (0.5, 2.0), words=HOSTILE)], HOSTILE))
    drawn += str(graph([Box("a", HOSTILE, HOSTILE, [HOSTILE]), Box("b", "run", "b")], [Arrow("a", "b", HOSTILE)], "x"))
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn
    assert 'role="img"' in drawn
    assert "style=" not in drawn  # which the policy of a page refuses


def test_a_drawing_of_intervals_needs_finite_numbers_and_takes_any_of_them():
    assert "no finite values" in intervals([Measured("a", None), Measured("b", float("nan"))], "x")
    for values in ((0.0, 0.0), (1e-300, 1e300), (-5.0, -5.0), (1.0, float("inf"))):
        assert "<circle" in intervals([Measured("a", value) for value in values], "x")


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 7.9), (1e-9, 2e-9), (5e8, 6e8)])
def test_ticks_are_round_numbers_between_the_ends(low, high):
    found = ticks(low, high, 6)
    assert 3 <= len(found) <= 8
    assert low <= found[0] < found[-1] <= high * (1 + 1e-9)
    assert np.allclose(np.diff(found), found[1] - found[0])
    assert all(1 <= value <= 1e6 for value in logarithmic_ticks(1, 1e6))


def test_boxes_stand_to_the_right_of_what_they_came_from():
    drawn = graph([Box(key, "run", key) for key in "dcba"], [Arrow("a", "b"), Arrow("b", "c"), Arrow("d", "c")], "x")
    at = {name: float(x) for x, name in re.findall(r'x="([\d.]+)"[^<]*font-weight="bold">(\w)<', drawn)}
    assert at["a"] < at["b"] < at["c"]
    assert at["d"] == at["b"]


@pytest.fixture
def family(trained):
    """A run whose weights come from another one, and one with another learning rate."""
    small = {"epochs": 1, "sizes": [64, 16, 16]}
    package.run("mogi_quick", seed=2, name="child", pretrain="mogi_quick_1", overrides=small, device="cpu")
    package.run("mogi_quick", name="mogi_quick_2", seed=2, overrides={**small, "learning_rate": 0.25}, device="cpu")
    return trained


@pytest.mark.heavy
def test_the_lineage_names_the_run_that_the_weights_came_from_and_those_that_took_them(family, opened, tmp_path):
    page = opened(package.open_run("child").report(tmp_path / "child.html"))
    assert "run mogi_quick_1 to this run child" in page.locator("svg[role=img]").get_attribute("aria-label")
    page = opened(package.open_run("mogi_quick_1").report(tmp_path / "parent.html"))
    said = page.locator("svg[role=img]").get_attribute("aria-label")
    assert "this run mogi_quick_1 to matrix mogi_test" in said
    assert "this run mogi_quick_1 to run child" in said


@pytest.mark.slow
def test_a_run_differs_from_the_others_of_its_experience_in_the_keys_that_were_changed(family, opened, tmp_path):
    page = opened(package.open_run("mogi_quick_1").report(tmp_path / "one.html"))
    rows = section(page, "What was asked").locator("table tr").all_inner_texts()
    (rate,) = [row.split("\t") for row in rows if row.startswith("learning_rate")]
    assert rate[:2] == ["learning_rate", "0.003"]
    assert set(rate[2].split(", ")) == {"0.25 (1 run)", "0.003 (1 run)"}


@pytest.mark.heavy
def test_rows_are_named_and_the_network_is_drawn_among_its_baselines(trained, opened, tmp_path):
    stones.write(trained, None, baselines=["mean", "ridge"])
    run = package.run("stones", device="cpu")
    page = opened(run.report(tmp_path / "stones.html"))
    with xarray.open_dataset(run.path / "results/test_predictions.nc", engine="h5netcdf") as table:
        least = int(np.argmin(table["iron"].values))
        name = str(table["stone"].values[least])
        expected = float(table["iron"].values[least])
    said = readout(page, ".scatter", "ArrowRight")
    assert name in said
    assert float(re.search(r"true ([\d.]+)", said)[1]) == pytest.approx(expected, rel=1e-3)
    drawn = page.locator(".intervals svg").first
    for row in run.record["comparison"]:
        assert row["estimator"] in drawn.get_attribute("aria-label")
    assert drawn.locator("circle").count() == 3


@pytest.mark.heavy
def test_cells_of_test_frames_show_what_the_run_kept_of_them(trained, opened, made_up_data, tmp_path):
    small = {"epochs": 1, "patches": [16, 8]}
    run = package.run("ice_cnn", name="ice_cnn_0", overrides=small, device="cpu")
    page = opened(run.report(tmp_path / "ice.html"))
    (path,) = (run.path / "results/frames").glob("*.nc")
    with xarray.open_dataset(path, engine="h5netcdf", decode_timedelta=False) as kept:
        page.locator(".map").first.focus()
        text = page.locator(".matrix-drawing .readout").first.inner_text()
        column, row, frame = map(int, re.search(r"cell (\d+), (\d+), (\d+)", text).groups())
        truth = float(kept["ubar"].values[frame, row, column])
    shown = json.loads(page.locator('[data-draw="matrix"] script').first.text_content())
    assert [layer["words"] for layer in shown["outputs"][0]["layers"]] == ["true", "estimate", "error"]
    said = re.search(r"ubar: true (−?[\d.e−+]+|none)", text)[1].replace("−", "-")
    assert np.isnan(truth) if said == "none" else float(said) == pytest.approx(truth, rel=1e-3)
