"""What pages show first on a wide screen and on a phone: all columns, the main ones, words that can
be read.
"""

from datetime import datetime

import pytest
from PIL import Image

from qexp.base.text import Table
from qexp.base.workspace import Workspace
from qexp.web.html import for_readers
from qexp.web.start_page import start_page

TABLE = """() => { const box = document.querySelector('.scroller'), table = box.querySelector('table');
  return { within: box.clientWidth - table.offsetWidth, below: box.clientHeight - table.offsetHeight,
    rows: [...new Set([...table.querySelectorAll('.shown tr')].map((row) => Math.round(row.offsetHeight)))],
    head: table.tHead.offsetHeight }; }"""

LEAST_WORDS = """() => Math.min(...[...document.querySelectorAll('svg.frame text')].map((words) => {
  const whole = words.ownerSVGElement;
  return parseFloat(getComputedStyle(words).fontSize) * whole.clientWidth / whole.viewBox.baseVal.width; }))"""


def opened_runs(server, visit, **options):
    page = visit(f"{server.address}runs", **options)
    page.locator(".scroller a").first.wait_for()
    return page


@pytest.mark.heavy
def test_a_wide_table_of_runs_shows_both_parts_of_both_outputs_without_scrolling(
    sweep, serve, visit
):
    page = opened_runs(serve(sweep), visit, width=1400)
    assert {"test depth MAE", "test volume change MAE"} <= {
        words.partition(" (")[0] for words in page.locator(".scroller th").all_inner_texts()
    }
    shown = page.evaluate(TABLE)
    assert shown["within"] >= 0
    assert shown["head"] <= 90, "of five lines at most"
    assert len(shown["rows"]) == 1, "the place of a row follows from its number"


@pytest.mark.heavy
@pytest.mark.parametrize("width", [400, 1400])
def test_the_table_of_runs_is_as_high_as_its_rows(sweep, serve, visit, width):
    server = serve(sweep)
    page = opened_runs(server, visit, width=width)
    assert page.evaluate(TABLE)["below"] <= 0
    page.get_by_label("Search").fill("nothing has this name")
    page.locator(".scroller").wait_for(state="hidden")


@pytest.mark.heavy
def test_a_phone_shows_name_state_and_an_error_of_each_run_and_a_name_is_ticked_to_compare(
    sweep, serve, visit
):
    page = opened_runs(serve(sweep), visit, width=400)
    titles = page.locator(".scroller th:not(.loss)").all_inner_texts()[1:4]
    assert [title.split()[:2] for title in titles] == [["name"], ["state"], ["validation", "depth"]]
    head = page.locator(".scroller th", has_text="validation depth")
    box = head.bounding_box()
    assert (box["x"] + box["width"] <= 400, head.get_attribute("title")) == (
        True,
        "validation.depth.mae",
    )
    compare = page.get_by_role("button", name="Compare selected runs")
    assert compare.inner_text().endswith("tick two or more")
    page.locator(".scroller input").first.check()
    assert (compare.inner_text().endswith("tick one more"), compare.is_enabled()) == (True, False)
    page.locator(".scroller input").nth(1).check()
    assert (compare.inner_text(), compare.is_enabled()) == ("Compare selected runs (2)", True)


@pytest.mark.heavy
def test_a_phone_finds_what_was_asked_by_a_link_on_top_and_reads_all_words_of_drawings(
    trained, serve, visit
):
    server = serve(trained)
    page = visit(f"{server.address}runs/mogi_quick_1", width=400)
    links = page.locator(".contents a")
    assert links.all_inner_texts() == [
        words.strip() for words in page.locator("h2").all_inner_texts()
    ]
    assert links.first.bounding_box()["y"] < 900
    links.filter(has_text="What was asked").click()
    assert abs(page.locator("h2", has_text="What was asked").bounding_box()["y"]) < 40
    assert page.evaluate(LEAST_WORDS) >= 10.9
    assert visit(f"{server.address}runs/mogi_quick_1", width=1400).locator(".contents").is_hidden()


@pytest.mark.heavy
def test_pictures_are_dimmed_in_the_dark_and_no_colour_becomes_another(trained, serve, visit):
    Image.new("RGB", (40, 25)).save(trained / "runs/mogi_quick_1/matrices/mogi_test/matrix.png")
    server = serve(trained)
    for scheme, expected in (("dark", "brightness"), ("light", "none")):
        page = visit(server.address, color_scheme=scheme)
        style = page.locator(".thumbnails img").first.evaluate(
            "(image) => getComputedStyle(image).filter"
        )
        assert style.partition("(")[0] == expected


def run_with_pictures(root, name: str, experience: str, *files: str) -> dict[str, object]:
    (root / f"runs/{name}/results/figures").mkdir(parents=True)
    for file in files:
        Image.new("RGB", (4, 4)).save(root / f"runs/{name}/results/figures/{file}.png")
    known = {
        "state": "done",
        "results": {},
        "error": None,
        "created": None,
        "path": root / "runs" / name,
    }
    return {**known, "name": name, "experience": experience, "ended": datetime.now().isoformat()}


def test_the_last_pictures_are_one_of_each_kind_of_an_experience_and_two_at_least(tmp_path):
    def shown(*runs: dict[str, object]) -> list[tuple[str, str]]:
        return [
            (one["run"], one["words"]) for one in start_page(Workspace(tmp_path), runs)["pictures"]
        ]

    alike = [
        run_with_pictures(tmp_path, f"a_{seed}", "a", "curve", "test_estimates")
        for seed in range(4)
    ]
    assert shown(*alike) == [("a_3", "test estimates"), ("a_3", "curve")]
    other = run_with_pictures(tmp_path, "b_0", "b", "curve")
    assert shown(*alike, other) == [("b_0", "curve"), ("a_3", "test estimates")]
    steps = [run_with_pictures(tmp_path, f"c_{seed}", "c", f"map_00000{seed}") for seed in (1, 2)]
    assert shown(*alike, other, *steps)[0] == ("c_2", "map 000002")
    assert len(shown(*alike, other, *steps)) == 3


def test_a_column_without_any_cell_is_not_shown_and_a_table_without_rows_has_its_columns():
    columns = ["how", "notes"]
    assert [one.title.text for one in for_readers(Table("", columns, [["a", ""], ["b", ""]]))] == [
        "how"
    ]
    assert [
        one.title.text for one in for_readers(Table("", columns, [["a", ""], ["b", "c"]]))
    ] == columns
    assert [one.title.text for one in for_readers(Table("", columns, []))] == columns


def test_where_a_quantity_is_in_words_its_name_as_it_is_typed_is_a_tooltip(trained, serve):
    server = serve(trained)
    assert '<dt title="test.delta_volume.mae">test volume change MAE</dt>' in server.get("/").text
    assert (
        'title="delta_volume">volume change (10⁶ m³)</td>' in server.get("/runs/mogi_quick_1").text
    )
