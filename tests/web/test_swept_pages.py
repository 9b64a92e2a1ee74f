"""The drawings of a sweep: ranges on its axes, and differences from a group that the reader
chooses.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import qexp as package
from qexp.metrics.intervals import quantile
from qexp.web.workspace_pages import bundle
from tests.conftest import call, copied, shared_folder
from tests.web.test_report import numbers
from tests.web.test_reports_of_several import table

NOISES, SEEDS = (0.01, 0.02, 0.04), range(3)


@shared_folder
def noises(root: Path) -> None:
    """A program without a network, with three noises and three seeds each."""
    assert call("init", root).code == 0
    for noise in NOISES:
        for seed in SEEDS:
            changes = {"parameters.noise": noise, "parameters.samples": 40}
            package.run(
                "half_width",
                seed=seed,
                overrides=changes,
                name=f"noise_{noise:g}_{seed}",
                workspace=root,
            )


@pytest.fixture
def page(noises: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_page: Any) -> Any:
    copied(noises, tmp_path, monkeypatch)
    return open_page(package.report("noise_*", to=tmp_path / "noises.html"), has_touch=True)


def error(noise: float, seed: int) -> float:
    return error_of(f"noise_{noise:g}_{seed}")


def error_of(run: str) -> float:
    mae: float = package.open_run(run).results["test"]["depth"]["mae"]
    return mae


def runs_in_table(page: Any) -> list[str]:
    """The runs in the table, as far as they are seen."""
    rows = table(page).locator("tbody tr:visible")
    return sorted(rows.nth(index).locator("td").first.inner_text() for index in range(rows.count()))


def runs(*noises: float) -> list[str]:
    return sorted(f"noise_{noise:g}_{seed}" for noise in noises for seed in SEEDS)


def drag(page: Any, axis: int, *shares: float) -> None:
    """Drag on an axis, from one share of its height to others; a single one is a click."""
    handle = page.locator(".axis-handle").nth(axis)
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, [box["y"] + (1 - share) * box["height"] for share in shares]
    page.mouse.move(x, y[0])
    page.mouse.down()
    for step in y[1:]:
        page.mouse.move(x, step)
    page.mouse.up()


def faded(page: Any) -> tuple[int, int]:
    return page.locator(".run-line.out").count(), page.locator(".scatter circle.out").count()


@pytest.mark.heavy
def test_each_axis_has_its_name_and_its_numbers(page):
    texts = page.locator(".beside text").all_text_contents()
    titles = page.locator(".beside text > title").all_text_contents()
    assert titles == ["parameters.noise", "depth MAE (km)"]
    assert [f"{noise:g}" for noise in NOISES] == [text for text in texts if text.startswith("0.0")][
        : len(NOISES)
    ]


def test_no_two_scripts_of_a_page_declare_the_same_name():
    scripts = bundle("page.js")[0].decode()
    declared = Counter(
        re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", scripts, re.MULTILINE)
    )
    assert "axisWithTitle" in declared
    assert [name for name, count in declared.items() if count > 1] == []


@pytest.mark.heavy
def test_a_range_on_an_axis_fades_the_other_runs_and_filters_the_table_and_arrow_keys_skip_them(
    page,
):
    assert runs_in_table(page) == runs(*NOISES)
    drag(page, 0, 0.0, 0.3)
    assert runs_in_table(page) == runs(0.01)
    assert faded(page) == (6, 6)
    assert "3 of 9 runs are in the chosen ranges" in page.locator(".sweep-drawing").inner_text()
    for drawing in (".scatter", ".over-lines"):
        page.locator(drawing).focus()
        named = set()
        for key in [*["ArrowLeft"] * 9, *["ArrowRight"] * 9]:
            page.keyboard.press(key)
            named.add(page.locator(".sweep-drawing .readout b").inner_text())
        assert sorted(named) == runs(0.01)
    drag(page, 0, 0.6)
    assert runs_in_table(page) == runs(*NOISES)
    assert faded(page) == (0, 0)


@pytest.mark.heavy
def test_ranges_combine_with_each_other_and_with_the_filter(page):
    drag(page, 0, 0.9, 0.3)
    page.locator(".ranges summary").click()
    middle = sorted(error(noise, seed) for noise in NOISES[1:] for seed in SEEDS)[2]
    page.get_by_label("depth MAE (km) to").fill(repr(middle))
    page.keyboard.press("Tab")
    expected = sorted(
        f"noise_{n:g}_{seed}" for n in NOISES[1:] for seed in SEEDS if error(n, seed) <= middle
    )
    assert len(expected) == 3
    assert runs_in_table(page) == expected
    page.locator('input[type="search"]').last.fill(expected[0])
    assert runs_in_table(page) == expected[:1]
    page.get_by_role("button", name="Clear all ranges").click()
    page.locator('input[type="search"]').last.fill("")
    assert runs_in_table(page) == runs(*NOISES)


@pytest.mark.heavy
def test_keys_alone_choose_a_range_and_so_does_a_finger(page):
    page.locator(".ranges summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("0.02")
    page.keyboard.press("Tab")
    assert runs_in_table(page) == runs(0.02, 0.04)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")
    assert runs_in_table(page) == runs(*NOISES)
    page.locator(".axis-handle").first.scroll_into_view_if_needed()
    box = page.locator(".axis-handle").first.bounding_box()
    fingers = page.context.new_cdp_session(page)
    x = box["x"] + box["width"] / 2
    for kind, shares in (
        ("Start", [0.02]),
        ("Move", [0.2]),
        ("Move", [0.9]),
        ("Move", [0.3]),
        ("End", []),
    ):
        points = [{"x": x, "y": box["y"] + (1 - share) * box["height"]} for share in shares]
        fingers.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    page.locator("tr.out").nth(5).wait_for(state="attached")
    assert runs_in_table(page) == runs(0.01)


@pytest.mark.heavy
@pytest.mark.parametrize("base", range(3))
def test_differences_from_each_group_are_those_of_a_comparison_of_two(page, base):
    page.get_by_label("differences from").select_option(str(base))
    chosen = page.get_by_label("differences from").locator("option").nth(base).inner_text()
    rows = page.locator(".differences-drawing tbody tr")
    assert rows.count() == 2
    in_full = "row => [...row.cells].map((cell) => cell.dataset.value ?? cell.innerText)"
    cells = [rows.nth(index).evaluate(in_full) for index in range(2)]
    noise = float(chosen.partition("=")[2].split()[0])
    for name, verdict, _, difference, alone, together, n in cells:
        other = float(name.partition("=")[2].split()[0])
        compared = package.compare(f"noise_{other:g}_*", f"noise_{noise:g}_*").document()["pairs"][
            0
        ]
        (expected,) = [
            row
            for row in compared["differences"]
            if (row["output"], row["metric"]) == ("depth", "mae")
        ]
        mean, deviation = map(float, difference.split())
        assert mean == pytest.approx(expected["mean"], rel=1e-3)
        assert deviation == pytest.approx(expected["standard_deviation"], rel=1e-3)
        assert [float(end) for end in alone.split()] == pytest.approx(
            expected["interval"], rel=2e-3
        )
        half = quantile(1 - 0.05 / 3 / 2, 2) * expected["standard_deviation"] / 3**0.5
        ends = [expected["mean"] - half, expected["mean"] + half]
        assert [float(end) for end in together.split()] == pytest.approx(ends, rel=2e-3)
        assert n == "3"
        beyond = abs(expected["mean"]) > half
        assert verdict == (["worse", "better"][other < noise] if beyond else verdict)
        assert beyond or verdict.endswith(("different", "only"))


@pytest.mark.heavy
def test_the_number_of_comparisons_is_said(page):
    text = page.locator(".differences-drawing .quiet").inner_text()
    assert "is compared with 2 groups" in text
    assert "Bonferroni" in text
    page.locator(".differences-drawing select").nth(1).select_option(label="depth RMSE")
    assert "(km)" in page.locator(".differences-drawing thead").inner_text()


@pytest.mark.heavy
def test_groups_that_cannot_be_paired_say_why(noises, tmp_path, monkeypatch, open_page):
    copied(noises, tmp_path, monkeypatch)
    package.run(
        "half_width",
        seed=0,
        overrides={"parameters.noise": 0.08, "parameters.samples": 40},
        name="noise_once",
    )
    page = open_page(package.report("noise_*", to=tmp_path / "noises.html"))
    rows = page.locator(".differences-drawing tbody tr").all_inner_texts()
    assert "noise=0.08\tfewer than two seeds in common" in rows[-1]
    assert "is compared with 2 groups" in page.locator(".differences-drawing .quiet").inner_text()


@pytest.mark.heavy
def test_groups_without_common_seeds_are_compared_on_the_page_as_by_compare(
    noises, tmp_path, monkeypatch, open_page
):
    copied(noises, tmp_path, monkeypatch)
    for seed in (7, 8):
        changed = {"parameters.noise": 0.08, "parameters.samples": 40}
        package.run("half_width", seed=seed, overrides=changed, name=f"noise_other_{seed}")
    page = open_page(package.report("noise_*", to=tmp_path / "noises.html"))
    row = page.locator(".differences-drawing tbody tr", has_text="noise=0.08").first
    assert row.inner_text().endswith("unpaired")
    assert "is compared with 3 groups" in page.locator(".differences-drawing .quiet").inner_text()
    shown = [float(end) for end in row.locator("td").nth(5).get_attribute("data-value").split()]
    pairs = package.compare("noise_*").document()["pairs"]
    same = [
        row
        for pair in pairs
        if pair["not_paired"] == "no seed in common"
        for row in pair["differences"]
    ]
    ends = [
        sign * end
        for row in same
        for sign in (-1, 1)
        for end in sorted(row["interval"], reverse=sign < 0)
    ]
    assert any(shown == pytest.approx(ends[at : at + 2], rel=1e-6) for at in range(0, len(ends), 2))


@pytest.mark.heavy
@pytest.mark.parametrize(
    "text", ["9" * 400, "NaN", "-Infinity", "[" * 20_000], ids=["digits", "nan", "inf", "nested"]
)
def test_a_text_that_is_almost_a_number_is_shown_as_text(noises, tmp_path, monkeypatch, text):
    root = copied(noises, tmp_path, monkeypatch)
    for seed in SEEDS:
        file = root / f"runs/noise_{NOISES[0]:g}_{seed}/run.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "dataset": text}))
    call("report", "--to", "all.html").done()
    assert text[:40] in (root / "all.html").read_text()


@pytest.mark.heavy
def test_groups_are_joined_by_keys_and_then_have_means_without_an_interval(
    noises, tmp_path, monkeypatch, open_page
):
    copied(noises, tmp_path, monkeypatch)
    for seed in (0, 1):
        changes = {"parameters.noise": 0.01, "parameters.samples": 60}
        package.run("half_width", seed=seed, overrides=changes, name=f"noise_more_{seed}")
    page = open_page(package.report("noise_*", to=tmp_path / "noises.html"))
    legend = page.locator(".groups-drawing button")
    assert legend.count() == 4
    page.get_by_label("group by").select_option(label="parameters.noise")
    assert legend.all_inner_texts() == [f"parameters.noise={noise:g}" for noise in NOISES]
    label = page.locator(".forest").first.get_attribute("aria-label")
    errors = [error(0.01, seed) for seed in SEEDS] + [
        error_of(f"noise_more_{seed}") for seed in (0, 1)
    ]
    shown = numbers(label.partition("=0.01 ")[2])
    assert shown[0] == pytest.approx(sum(errors) / 5, rel=0.02)
    assert "no interval" in page.locator(".forest-drawing .quiet").inner_text()
    page.get_by_label("and by").select_option(label="parameters.samples")
    assert legend.count() == 4
    page.reload()  # the address has the choices
    assert (
        page.get_by_label("and by").locator("option:checked").inner_text() == "parameters.samples"
    )
    assert legend.count() == 4
