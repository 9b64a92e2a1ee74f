"""Reports of several runs: the numbers are those of the runs, and drawings, table and keys belong
together.
"""

import csv
import io
import json
import shlex
import shutil
from pathlib import Path

import pytest

import qexp as package
from qexp.figures.canvas import COLOURS
from tests.web.test_parts_of_reports import section
from tests.web.test_report import HOSTILE, numbers


def names(trained) -> list[str]:
    return sorted(path.parent.name for path in trained.glob("runs/mogi_quick*/run.json"))


def table(page):
    return page.locator("table[data-runs]")


def column(page, title: str) -> list[str]:
    return table(page).evaluate(
        """(table, title) => {
            const index = [...table.tHead.rows[0].cells].findIndex((one) => one.textContent.startsWith(title));
            return [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[index].textContent);
        }""",
        title,
    )


@pytest.mark.heavy
@pytest.mark.parametrize(
    "asked", [["mogi_quick_*"], ["studies/mogi_quick_learning_rate"], ["--launch", "last"]]
)
def test_patterns_studies_and_launches_stand_for_their_runs(sweep, open_page, qexp, asked):
    done = qexp("report", *asked, "--to", "several.html")
    assert (done.code, done.stdout.strip()) == (0, "several.html")
    expected = ["broken_0", "broken_1"] if "--launch" in asked else names(sweep)
    assert sorted(column(open_page(sweep / "several.html"), "run")) == expected


@pytest.mark.heavy
def test_a_file_is_named_after_what_is_asked_and_what_cannot_be_reported_leaves_none(sweep, qexp):
    assert qexp("report", "nothing_*").code == 3
    assert qexp("report", "--launch", "never").code == 3
    assert "no run matches; no run has the tag 'never'" in qexp("report", "--tag", "never").stderr
    assert "no run has the tag 'never'" in qexp("compare", "--tag", "never").stderr
    assert qexp("report", "mogi_quick_*", "--to", "nowhere/x.html").code == 2
    (sweep / "studies/other").mkdir()
    (sweep / "studies/other/study.csv").write_text("experience\nmogi\n")
    assert "names no runs" in qexp("report", "studies/other").stderr
    assert list(sweep.glob("*.html")) == []
    for asked, name in (
        (["mogi_quick_*"], "mogi_quick_"),
        ([], "all-runs"),
        (["broken_1"], "broken_1"),
    ):
        assert qexp("report", *asked).stdout == f"{name}.html\n"


@pytest.fixture
def page(sweep, open_page, tmp_path):
    """The report of the runs of a sweep."""
    return open_page(package.report("mogi_quick_*", to=tmp_path / "several.html"))


@pytest.mark.heavy
def test_cells_are_the_results_of_the_runs_and_columns_sort_as_numbers(page):
    runs = [package.open_run(name) for name in column(page, "run")]
    errors = [run.results["test"]["depth"]["mae"] for run in runs]
    assert [numbers(text)[0] for text in column(page, "depth MAE")] == pytest.approx(
        errors, rel=1e-3
    )
    assert [float(text) for text in column(page, "learning_rate")] == [
        run.spec["learning_rate"] for run in runs
    ]
    table(page).locator("th button", has_text="depth MAE").click()
    assert [numbers(text)[0] for text in column(page, "depth MAE")] == pytest.approx(
        sorted(errors), rel=1e-3
    )


def saved(page, button) -> bytes:
    with page.expect_download() as download:
        button.click()
    return Path(download.value.path()).read_bytes()


@pytest.mark.heavy
def test_a_table_is_saved_with_names_as_they_are_typed_and_all_digits(page):
    box = page.locator("div.scrolled:has(table[data-runs])")
    text = saved(page, box.locator("xpath=following-sibling::p[1]/button")).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["run"] for row in rows] == column(page, "run")
    for row in rows:
        results = package.open_run(row["run"]).results["test"]["delta_volume"]
        assert float(row["delta_volume.mae (10⁶ m³)"]) == results["mae"]
        assert float(row["delta_volume.r2"]) == results["r2"]
    assert "volume change MAE" in table(page).locator('th[title^="delta_volume.mae"]').inner_text()


@pytest.mark.heavy
def test_every_drawing_is_saved_as_a_picture_and_those_of_svg_have_their_title(page):
    beginnings = {"SVG": (b"<svg", b"<?xml"), "PNG": (b"\x89PNG",)}
    buttons = page.locator("figure .save").all()
    assert {button.inner_text() for button in buttons} == {*beginnings}
    for button in buttons:
        picture = saved(page, button)
        assert picture.startswith(beginnings[button.inner_text()])
        title = button.locator("xpath=..").inner_text().removesuffix(button.inner_text()).strip()
        assert button.inner_text() == "PNG" or title in picture.decode()


@pytest.mark.heavy
def test_results_over_seeds_are_drawn_and_their_number_is_said(page):
    compared = package.compare("mogi_quick_*").document()["results"]
    words = page.locator(".forest").first.get_attribute("aria-label")
    assert "2 seeds" in page.locator(".forest-drawing .quiet").inner_text()
    for row in compared:
        if (row["output"], row["metric"]) == ("depth", "mae"):
            assert numbers(words.partition(f"={row['group'].rpartition('=')[2]} ")[2])[
                0
            ] == pytest.approx(row["mean"], rel=0.02)


@pytest.mark.heavy
def test_keys_go_through_the_runs_of_a_drawing_and_mark_them_in_the_table_which_any_text_filters(
    sweep, page
):
    for place in (".scatter", ".over-lines"):
        page.locator(place).focus()
        seen = set()
        for _ in names(sweep):
            page.keyboard.press("ArrowRight")
            marked = table(page).locator("tr.shown td").first.inner_text()
            assert page.locator(".sweep-drawing .readout b").inner_text() == marked
            seen.add(marked)
        assert seen == set(names(sweep))
    page.locator('input[type="search"]').last.fill(names(sweep)[0])
    assert column(page, "run") == names(sweep)[:1]


@pytest.mark.heavy
def test_a_number_in_the_filter_is_a_whole_value_and_a_column_can_be_named(sweep, page):
    rates = {name: package.open_run(name).spec["learning_rate"] for name in names(sweep)}
    errors = {name: package.open_run(name).results["test"]["depth"]["mae"] for name in names(sweep)}
    least = min(errors.values())
    asked = {
        "0.001": {name for name, rate in rates.items() if rate == 0.001},
        "0.00": {name for name in rates if name.endswith("_0")},
        "learning_rate = 0.004": {name for name, rate in rates.items() if rate == 0.004},
        "seed=1": {name for name in rates if name.endswith("_1")},
        f"depth mae < {1.001 * least}": {name for name, error in errors.items() if error == least},
        "QUICK": set(rates),
    }
    for text, expected in asked.items():
        page.locator('input[type="search"]').last.fill(text)
        assert (text, set(column(page, "run"))) == (text, expected)


@pytest.mark.heavy
def test_the_axes_of_the_scatter_can_be_chosen(page):
    places = ".scatter circle[fill]"
    before = page.locator(places).evaluate_all("all => all.map((one) => one.getAttribute('cx'))")
    page.get_by_label("x axis", exact=True).select_option("seed")
    after = page.locator(places).evaluate_all("all => all.map((one) => one.getAttribute('cx'))")
    assert len(before) == len(after) == 4
    assert before != after


@pytest.mark.heavy
def test_failed_runs_are_named_at_the_top_and_count_nowhere(sweep, open_page, tmp_path):
    page = open_page(package.report(to=tmp_path / "all.html"))
    assert (
        "failed, and not counted: broken_0, broken_1" in page.locator("header .notice").inner_text()
    )
    assert "broken_0" in column(page, "run")


@pytest.mark.heavy
def test_runs_that_wait_are_no_failures(sweep, open_page, tmp_path):
    record = sweep / "runs" / names(sweep)[0] / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "state": "created"}))
    page = open_page(package.report("mogi_quick_*", to=tmp_path / "several.html"))
    assert page.locator("header .notice").all_inner_texts() == [
        f"created, and not counted: {names(sweep)[0]}"
    ]
    assert page.locator("header .failed").count() == 0


@pytest.mark.heavy
def test_the_commands_make_the_same_runs(page, qexp):
    for line in section(page, "How to make them again").locator("pre").inner_text().splitlines():
        assert qexp(*shlex.split(line)[1:], "--dry-run").done().strip() == ""  # they are all done


@pytest.mark.heavy
def test_texts_of_others_stay_texts_in_reports_of_several(sweep, open_page, tmp_path):
    for name in names(sweep):
        run = package.open_run(name)
        run.note(HOSTILE)
        run.tag("seen")
    page = open_page(package.report("mogi_quick_*", to=tmp_path / "several.html"))
    assert page.title() == "mogi_quick · qexp"
    assert column(page, "note")[0] == HOSTILE
    assert page.locator("main img:not(.drawn img), main b:not(.readout b)").count() == 0


CELLS = {"depth": (0.5, 4.0, 5), "delta_volume": (0.5, 2.0, 4)}


@pytest.fixture
def mapped(sweep) -> list[str]:
    """Three runs with a matrix, the last over other cells."""
    three = names(sweep)[:3]
    for name in three:
        axes = (
            CELLS if name != three[-1] else {"depth": (0.5, 4.0, 3), "delta_volume": (0.5, 2.0, 6)}
        )
        package.matrix(name, "mogi_test", axes=axes)
    return three


def places(page, selector: str) -> list[list[float]]:
    """Where elements are on the page, however far it is scrolled."""
    script = (
        "all => all.map((one) => { const at = one.getBoundingClientRect(); return [at.x, at.y +"
        " scrollY, at.width]; })"
    )
    return page.locator(selector).evaluate_all(script)


def titles_of_maps(page) -> list[str]:
    script = (
        "all => all.map((one) => [...one.childNodes].map((node) => (node.nodeType === 3 ? node.data"
        " : '')).join(''))"
    )
    titles: list[str] = page.locator(".matrices-drawing figcaption").evaluate_all(script)
    return titles


def values_in_maps(page) -> list[float]:
    return [numbers(text)[0] for text in page.locator(".matrices-drawing .value").all_inner_texts()]


@pytest.mark.heavy
@pytest.mark.parametrize(
    "value", ["depth: error", "volume change: estimate", "volume change: relative error"]
)
def test_matrices_stand_side_by_side_with_all_values_at_the_place_under_the_mouse(
    mapped, open_page, tmp_path, value
):
    page = open_page(package.report(*mapped, to=tmp_path / "three.html"))
    chosen = page.get_by_label("values")
    chosen.select_option(
        value=str(
            [text.startswith(value) for text in chosen.locator("option").all_inner_texts()].index(
                True
            )
        )
    )
    before = places(page, ".map, .readout")
    page.locator(".map").nth(mapped.index(mapped[0])).focus()
    page.keyboard.press("ArrowLeft")
    output, _, kind = value.replace("volume change", "delta_volume").partition(": ")
    expected = []
    for name in mapped:
        layer = package.open_run(name).matrix("mogi_test")[f"{output}_{kind.replace(' ', '_')}"]
        at = layer.sel(depth=1.55, delta_volume=1.4375, method="nearest")
        expected.append(float(at) * (100 if kind == "relative error" else 1))
    titles = titles_of_maps(page)
    assert values_in_maps(page) == pytest.approx(
        [expected[mapped.index(title)] for title in titles], rel=1e-3
    )
    assert places(page, ".map, .readout") == before
    assert (
        f"each on its own axes: {mapped[2]}"
        in page.locator(".matrices-drawing .quiet").first.inner_text()
    )


@pytest.mark.heavy
def test_the_difference_of_two_matrices_is_drawn_and_of_other_cells_it_is_said_why_not(
    mapped, open_page, tmp_path
):
    page = open_page(package.report(*mapped, to=tmp_path / "three.html"))
    maps = page.locator(".matrices-drawing .map")
    page.get_by_label("difference of").select_option(mapped[0])
    page.get_by_label("minus").select_option(mapped[1])
    assert maps.count() == 4
    maps.first.focus()
    page.keyboard.press("ArrowRight")
    titles = titles_of_maps(page)
    of = dict(zip(titles, values_in_maps(page), strict=True))
    assert of[f"{mapped[0]} − {mapped[1]}"] == pytest.approx(
        of[mapped[0]] - of[mapped[1]], rel=2e-2
    )
    page.get_by_label("minus").select_option(mapped[2])
    assert maps.count() == 3
    assert "no difference" in page.locator(".matrices-drawing").inner_text()


@pytest.mark.heavy
def test_a_server_gives_the_numbers_of_further_matrices_on_demand(
    mapped, sweep, serve, visit, monkeypatch
):
    monkeypatch.setattr("qexp.web.drawings.MOST_MAPS", 2)
    page = visit(f"{serve(sweep).address}compare?{'&'.join(f'run={name}' for name in mapped)}")
    assert page.locator(".matrices-drawing .map").count() == 2
    page.locator(".of-runs input:not(:checked)").check()
    page.locator(".matrices-drawing .map").nth(2).wait_for()
    assert sorted(titles_of_maps(page)) == sorted(mapped)


@pytest.mark.heavy
def test_compare_draws_matrices_over_other_cells_in_a_figure_of_their_own(mapped, sweep):
    figures = [path.name for path in package.compare(*mapped).figures]
    assert [name for name in figures if name.startswith("matrix")] == [
        "matrix_mogi_test.png",
        "matrix_mogi_test_2.png",
    ]


@pytest.mark.heavy
def test_pictures_of_runs_stand_in_a_grid_by_kind_in_the_browser_and_in_small_reports(
    sweep, serve, visit, open_page
):
    two = names(sweep)[:2]
    package.figures(names(sweep), only="learning_curve")
    address = serve(sweep).address
    pages = [
        visit(f"{address}compare?{'&'.join(f'run={name}' for name in names(sweep))}"),
        open_page(package.report(*two, to=sweep / "two.html")),
    ]
    for page, shown in zip(pages, (names(sweep), two), strict=True):
        assert page.locator(".picture-grid img").count() == 0
        page.locator(".pictures-drawing select").select_option(index=1)
        images = page.locator(".picture-grid img")
        assert (
            sorted(
                one.rpartition(" ")[2]
                for one in images.evaluate_all("all => all.map((one) => one.alt)")
            )
            == shown
        )
        images.first.scroll_into_view_if_needed()
        page.wait_for_function("() => document.querySelector('.picture-grid img').naturalWidth > 0")


@pytest.mark.heavy
def test_one_slider_goes_over_the_steps_of_pictures_of_all_runs(sweep, serve, visit):
    two = names(sweep)[:2]
    package.figures(two, only="learning_curve")
    for name, steps in zip(two, ((10, 20), (10, 20, 40)), strict=True):
        figures = sweep / "runs" / name / "results/figures"
        for step in steps:
            shutil.copy(figures / "learning_curve.png", figures / f"residual_{step:06}.png")
    page = visit(f"{serve(sweep).address}compare?run={two[0]}&run={two[1]}")
    page.locator(".pictures-drawing select").select_option(label="residual (2 runs)")
    shown = page.locator(".picture-grid img")

    def files() -> list[str]:
        return [
            one.rpartition("/")[2] for one in shown.evaluate_all("all => all.map((one) => one.src)")
        ]

    assert files() == ["residual_000020.png", "residual_000040.png"]
    assert page.locator(".picture-grid figcaption").first.inner_text().endswith("(step 20)")
    page.locator(".pictures-drawing input").fill("0")
    assert files() == ["residual_000010.png", "residual_000010.png"]


@pytest.mark.heavy
def test_a_group_is_hidden_in_all_drawings_by_its_legend_and_nothing_else_moves(sweep, page):
    drawings = ".forest-drawing, .sweep-drawing, .curves-drawing, .curves, .scatter"
    before = places(page, drawings.replace(".forest-drawing, ", ""))
    marks = page.locator(".scatter circle[fill]").count()
    legend = page.locator(".groups-drawing button")
    hidden = legend.nth(1).inner_text()
    assert hidden in page.locator(".forest").first.get_attribute("aria-label")
    page.locator(".curves .u-over").first.hover()
    assert places(page, drawings.replace(".forest-drawing, ", "")) == before
    legend.nth(1).click()
    assert hidden not in page.locator(".forest").first.get_attribute("aria-label")
    assert page.locator(".scatter circle[fill]").count() == marks - 2
    panels = places(page, ".curves")
    assert len({(y, width) for _, y, width in panels}) == 1, "panels line up"
    legend.nth(1).click()
    assert places(page, drawings.replace(".forest-drawing, ", "")) == before


@pytest.mark.heavy
def test_rows_and_colours_of_groups_are_the_same_in_all_drawings_and_those_of_figures(sweep, page):
    colours = page.locator(".groups-drawing .swatch").evaluate_all(
        "all => all.map((one) => getComputedStyle(one).backgroundColor)"
    )
    expected = [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS]
    assert [numbers(colour) for colour in colours] == [
        list(colour) for colour in expected[: len(colours)]
    ]
    names_of_rows = page.locator(".forest").evaluate_all(
        "all => all.map((one) => one.getAttribute('aria-label'))"
    )
    rates = [
        [text.split(" ")[0] for text in row.partition(": ")[2].split("; ")] for row in names_of_rows
    ]
    assert rates[0] == rates[1] == ["learning_rate=0.001", "learning_rate=0.004"]
