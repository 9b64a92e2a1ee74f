import json
import re

import numpy as np
import pytest
import xarray

import qexp as package

HOSTILE = (
    "<script>document.title = 'taken'</script><img src=x onerror=alert(1)> javascript:alert(1)"
    " \x1b[31mred"
)


@pytest.fixture
def page(trained, open_page):
    return open_page(package.open_run("mogi_quick_1").report())


DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def numbers(text: str) -> list[float]:
    """The numbers in a text. Powers of ten above 1 are taken for units, such as 10⁶ m³."""
    small = re.sub(r" × 10⁻([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda power: f"e-{power[1].translate(DIGITS)}", text)
    return [
        float(number.replace("−", "-")) for number in re.findall(r"−?\d+\.?\d*(?:e-\d+)?", small)
    ]


@pytest.mark.heavy
def test_the_command_writes_one_file_and_names_it_and_what_cannot_be_written_leaves_nothing(
    trained, qexp
):
    assert (
        "there is no folder nowhere"
        in qexp("report", "mogi_quick_1", "--to", "nowhere/sent.html").failed()
    )
    assert qexp("report", "no_such_run").code == 3
    assert list(trained.glob("*.html")) == []
    assert qexp("report", "mogi_quick_1", "--to", "sent.html").done() == "sent.html\n"
    assert (trained / "sent.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.heavy
def test_only_a_report_is_replaced_without_a_question(trained, qexp):
    (trained / "notes.html").write_text("<!doctype html><p>mine</p>")
    ending = "let its name end"
    for name, error in {"notes.html": "--overwrite", "notes.json": ending, "notes": ending}.items():
        assert error in qexp("report", "mogi_quick_1", "--to", name).failed()
    assert (trained / "notes.html").read_text() == "<!doctype html><p>mine</p>"
    assert qexp("report", "mogi_quick_1", "--to", "notes.html", "--overwrite").code == 0
    assert qexp("report", "mogi_quick_*", "--to", "notes.html").code == 0
    (trained / "notes.pdf").write_text("mine")
    qexp("report", "mogi_quick_1", "--to", "notes.pdf").failed()
    assert (trained / "notes.pdf").read_text() == "mine"


def test_results_are_those_of_the_run(page):
    run = package.open_run("mogi_quick_1")
    rows = page.locator("table").first.locator("tbody tr")
    depth = next(
        row
        for row in (rows.nth(index).inner_text() for index in range(rows.count()))
        if "test\tdepth" in row
    )
    asked, mae = (run.results["test"]["depth"][name] for name in ("median_relative_error", "mae"))
    # those of the experience come first
    assert numbers(depth)[:2] == pytest.approx([asked, mae], rel=1e-3)


@pytest.mark.slow
def test_a_cell_under_the_mouse_shows_the_numbers_of_the_matrix(page):
    table = package.open_run("mogi_quick_1").matrix("mogi_test")
    page.locator(".map").first.scroll_into_view_if_needed()
    box = page.locator(".map canvas").first.bounding_box()
    for column, row in ((0, 0), (7, 2), (11, 9)):
        across, up = (column + 0.5) / 12, (row + 0.5) / 10
        page.mouse.move(box["x"] + across * box["width"], box["y"] + (1 - up) * box["height"])
        readout = page.locator(".matrix-drawing .readout p").all_inner_texts()
        assert f"(cell {column}, {row})" in readout[0]
        assert numbers(readout[0])[:1] == pytest.approx([float(table["depth"][column])], rel=1e-3)
        for line, name in zip(readout[1:], ("depth", "delta_volume"), strict=True):
            words = [part.rsplit(" km", 1)[0] for part in line.partition(": ")[2].split(", ")]
            factors = {"estimate": 1, "error": 1, "relative_error": 100}
            expected = [
                factor * float(table[f"{name}_{kind}"][column, row])
                for kind, factor in factors.items()
            ]
            np.testing.assert_allclose([numbers(part)[0] for part in words], expected, rtol=1e-3)


@pytest.mark.slow
def test_arrow_keys_move_over_the_cells_of_all_maps_and_numbers_have_one_kind_of_minus(page):
    for value, words in ((-2.31e-5, "−2.31 × 10⁻⁵"), (-0.25, "−0.25"), (4e9, "4 × 10⁹"), (0, "0")):
        assert page.evaluate("value => digits(value)", value) == words
    page.locator(".map").first.focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    assert "(cell 5, 7)" in page.locator(".matrix-drawing .readout p").first.inner_text()
    crosses = page.locator(".map .cross").evaluate_all(
        "all => all.map((one) => one.getAttribute('d'))"
    )
    assert len(set(crosses)) == 1


@pytest.mark.slow
def test_the_colour_scale_can_be_changed_and_columns_sort(page):
    picture = "canvas => canvas.toDataURL()"
    canvas = page.locator(".map canvas").first
    before = canvas.evaluate(picture)
    page.locator(".scale summary").first.click()
    page.locator(".scale input").nth(1).fill("100")
    page.locator(".scale input").nth(1).blur()
    assert canvas.evaluate(picture) != before
    page.locator("th button", has_text="mae").first.click()
    assert page.locator("table").first.locator("tbody tr").count() == 4
    assert page.locator("th[aria-sort]").count() == 1


@pytest.mark.heavy
def test_texts_of_others_stay_texts_and_a_run_that_failed_shows_its_error_and_its_log_as_they_are(
    trained, open_page, qexp, tmp_path
):
    run = package.open_run("mogi_quick_1")
    run.note(HOSTILE)
    page = open_page(run.report(tmp_path / "hostile.html"))
    assert page.title() == "mogi_quick_1 · qexp"
    assert "<script>document.title" in page.locator("header").inner_text()
    assert page.locator("header img, header script").count() == 0
    command = ["sh", "-c", 'echo "$1"; exit 7', "sh", HOSTILE]
    document = {"type": "command", "command": command, "dataset": "d", "model": "m"}
    (trained / "specs/experiences/broken.json").write_text(json.dumps(document))
    assert qexp("run", "broken").code == 1
    page = open_page(package.open_run("broken_0").report(tmp_path / "failed.html"))
    assert "7" in page.locator(".notice.failed").inner_text()
    assert HOSTILE.partition("\x1b")[0] in page.locator("details[open] pre").inner_text()
    assert page.title() == "broken_0 · qexp"
    assert page.locator("main img, main script").count() == 0


@pytest.mark.slow
def test_every_matrix_value_is_in_the_file(trained, page):
    table = xarray.load_dataset(
        trained / "runs/mogi_quick_1/matrices/mogi_test/matrix.nc", engine="h5netcdf"
    )
    payload = json.loads(page.locator('[data-draw="matrix"] script').text_content())
    decoded = page.evaluate(
        "text => Array.from(new Float64Array(Uint8Array.from(atob(text), (one) =>"
        " one.charCodeAt(0)).buffer))",
        payload["layers"][0]["values"],
    )
    np.testing.assert_array_equal(np.reshape(decoded, (12, 10)), table["depth_estimate"].values)


@pytest.mark.heavy
def test_a_report_begins_with_its_title_its_author_s_text_and_what_the_experience_is(
    trained, open_page, qexp
):
    text = (
        "# Remarks\n\nThe **first** of `mogi`:\n\n- <b>one</b>\n-"
        " two\n\n[docs](https://example.org) [no](javascript:1)\n\n| run | error |\n| --- | ---:"
        " |\n| a | *small* |"
    )
    (trained / "words.md").write_text(text)
    assert (
        qexp(
            "report",
            "mogi_quick_1",
            "--title",
            'A "<title>"',
            "--text",
            "words.md",
            "--to",
            "r.html",
        ).code
        == 0
    )
    page = open_page(trained / "r.html")
    header = page.locator("header")
    assert page.locator("h1").inner_text() == 'A "<title>"'
    assert page.title() == 'A "<title>" · qexp'
    assert package.open_run("mogi_quick_1").spec["description"] in header.inner_text()
    assert header.locator(".prose li").all_inner_texts() == ["<b>one</b>", "two"]
    assert header.locator(".prose th, .prose td").all_inner_texts() == [
        "run",
        "error",
        "a",
        "small",
    ]
    assert header.locator("a").evaluate_all("all => all.map((one) => one.href)") == [
        "https://example.org/"
    ]
    assert "[no](javascript:1)" in header.inner_text()
    assert qexp("report", "mogi_quick_1", "--text", "nothing.md").code == 2
    assert (
        "The *words* themselves"
        not in package.report("mogi_quick_1", text="The *words* themselves").read_text()
    )


@pytest.mark.heavy
def test_a_report_says_nothing_of_the_machine_unless_it_is_asked_to(trained, tmp_path):
    run = package.open_run("mogi_quick_1")
    host = run.directory.record().attempts[-1].process.host
    for full in (False, True):
        pages = [run.report(tmp_path / "one.html", full=full, overwrite=True).read_text()]
        pages.append(
            package.report(
                "mogi_quick_1", "mogi_quick_1", to=tmp_path / "o.html", full=full
            ).read_text()
        )
        assert [str(trained) in page for page in pages] == [full, full]
        assert (f"the last on {host}" in pages[0]) is full
    assert run.report(tmp_path / "t.html", title="T").read_text().count("<h1>T") == 1
