"""Pages of the server in a real browser."""

import json
import re
import shutil
import signal
from pathlib import Path

import matplotlib.figure
import pytest
from PIL import Image

import qexp as package
from benchmarks.startup import workspace_of_runs
from qexp.base.workspace import Workspace
from qexp.store.directory import RunDirectory
from qexp.web.run_page import epochs_done, key_numbers, progress_in_words
from qexp.web.start_page import start_page
from tests.conftest import call, shared_folder, started
from tests.runs.test_catalog import write_record
from tests.web.test_report import HOSTILE, numbers

COMPARISON = "compare?run=mogi_quick_1&run=broken_0"
PAGES = ("", "runs", "runs/mogi_quick_1", COMPARISON, "launches", "launches/L1", "studies", "studies/s", "workspace",
         "runs/none")  # fmt: skip


@shared_folder
def many(root: Path) -> None:
    """Ten thousand runs."""
    workspace_of_runs(root, 10_000)
    assert call("--workspace", root, "reindex").code == 0


@pytest.fixture
def root(trained, qexp):
    """A workspace with a finished run, a failed one, a launch and a study, in all of which
    strangers have written.
    """
    command = ["sh", "-c", 'echo "$1"; exit 7', "sh", HOSTILE]
    document = {
        "type": "command",
        "command": command,
        "dataset": HOSTILE,
        "model": "m",
        "description": HOSTILE,
    }
    (trained / "specs/experiences/broken.json").write_text(json.dumps(document))
    assert qexp("run", "broken", "--note", HOSTILE).code == 1
    launch = trained / "runs/.launches/L1"
    launch.mkdir(parents=True)
    record = {"id": "L1", "created": "2026-01-01T00:00:00+00:00", "argv": ["qexp", "run", HOSTILE], "launcher": "local",
              "settings": {}, "runs": ["mogi_quick_1", "gone_1"]}  # fmt: skip
    (launch / "launch.json").write_text(json.dumps(record))
    study = trained / "studies/s"
    study.mkdir(parents=True)
    (study / "study.csv").write_text(
        f'experience,rate,seed,run,start,state\nm,"{HOSTILE}",0,mogi_quick_1,,done\n'
    )
    return trained


@pytest.mark.heavy
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_fits_a_phone_and_shows_texts_as_texts(
    root, serve, visit, findings, scheme
):
    server = serve(root)
    page = visit(server.address, color_scheme=scheme, viewport={"width": 400, "height": 800})
    for path in PAGES[:-1]:
        page.goto(server.address + path)
        page.wait_for_function(
            "() => !document.querySelector('[role=status].quiet')?.textContent.includes('…')"
        )
        assert page.title().endswith("qexp"), path
        foreign = (
            "main img:not([src*='figure'], [src*='/pictures/'], .drawn img), main"
            " script:not([type='application/json'])"
        )
        assert page.locator(foreign).count() == 0, path
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, path
        assert findings(page) == [], path
    page.goto(server.address + "runs/broken_0")
    assert HOSTILE.partition("\x1b")[0] in page.locator("header p").last.inner_text()
    assert HOSTILE.partition("\x1b")[0] in page.locator("details[open] pre").inner_text()


@pytest.mark.heavy
def test_a_cell_under_the_mouse_shows_the_numbers_of_the_matrix(root, serve, visit):
    page = visit(serve(root).address + "runs/mogi_quick_1")
    table = package.open_run("mogi_quick_1").matrix("mogi_test")
    page.locator(".map").first.scroll_into_view_if_needed()
    box = page.locator(".map canvas").first.bounding_box()
    page.mouse.move(box["x"] + 7.5 / 12 * box["width"], box["y"] + (1 - 2.5 / 10) * box["height"])
    readout = page.locator(".matrix-drawing .readout p").all_inner_texts()
    assert "(cell 7, 2)" in readout[0]
    assert numbers(readout[1])[0] == pytest.approx(float(table["depth_estimate"][7, 2]), rel=1e-3)


@pytest.mark.heavy
def test_ten_thousand_runs_scroll_sort_and_are_found_by_keyboard(many, serve, visit):
    page = visit(serve(many).address + "runs")
    page.locator("tbody.shown a", has_text="made_").first.wait_for()
    assert page.locator("tbody.shown tr").count() < 100
    assert "10,000 runs" in page.locator(".counts").inner_text()
    page.get_by_role("button", name="seed").focus()
    page.keyboard.press("Enter")
    page.locator("tbody.shown a").get_by_text("made_0", exact=True).wait_for()
    page.locator(".scroller").focus()
    page.keyboard.press("End")
    page.locator("tbody.shown a").get_by_text("made_9999", exact=True).wait_for()
    field = page.get_by_label("Where")
    field.focus()
    page.keyboard.type("see")
    page.locator(".offers li", has_text="seed").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert field.input_value() == "seed"
    page.keyboard.type(" > 9997")
    page.locator(".counts", has_text="2 runs").wait_for()
    assert page.locator("tbody.shown a").all_inner_texts() == ["made_9998", "made_9999"]
    assert "where=seed+%3E+9997" in page.url
    field.fill("")
    page.get_by_label("Group by").fill("state")
    page.locator("tbody.shown a").get_by_text("done", exact=True).click()
    page.locator(".counts", has_text="10,000 runs").wait_for()
    assert page.get_by_label("Where").input_value() == 'state == "done"'


@pytest.mark.heavy
def test_a_run_that_trains_appears_and_its_curve_grows_until_it_is_stopped(root, serve, visit):
    page = visit(serve(root, allow_changes=True).address.replace("?", "runs?"))
    page.locator("tbody.shown a", has_text="mogi_quick_1").wait_for()
    options = ["--seed", "2", "--set", "epochs=5000", "--set", "sizes=[64,32,32]"]
    training = started(root, "run", "mogi_quick", *options)
    try:
        page.locator("tbody.shown a", has_text="mogi_quick_").nth(1).wait_for(timeout=120_000)
        page.locator("tbody.shown a", has_text="mogi_quick_").first.click()  # the newest
        page.locator(".growing canvas").first.wait_for(timeout=120_000)
        first = numbers(page.locator(".growing .progress").inner_text())[0]
        later = (
            "least => parseInt(document.querySelector('.progress').textContent.slice(6)) > least"
        )
        page.wait_for_function(later, arg=first + 2)
        assert re.search(
            r"of 5000, [\d,]+ a minute, [\d hms.in]+ left",
            page.locator(".growing .progress").inner_text(),
        )
        drawn = page.locator(".growing canvas").first.evaluate("one => one.toDataURL()")
        page.wait_for_function(
            "old => document.querySelector('.growing canvas').toDataURL() !== old", arg=drawn
        )
        page.locator(".growing pre", has_text=f"epoch {first + 2:.0f}:").wait_for()
        page.get_by_role("button", name="Stop…").click()
        page.get_by_role("dialog").get_by_role("button", name="Stop").click()
        page.locator("h1 .state", has_text="interrupted").wait_for(timeout=120_000)
    finally:
        training.send_signal(signal.SIGINT)
        training.communicate(timeout=120)


@pytest.mark.heavy
def test_runs_are_tagged_removed_and_restored_where_that_is_allowed(root, serve, visit):
    server = serve(root, allow_changes=True)
    page = visit(server.address.replace("?", "runs?"))
    page.get_by_label("select mogi_quick_1").check()
    page.get_by_role("button", name="Tag…").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("good draft")
    page.keyboard.press("Enter")
    page.locator("tbody.shown td", has_text="good draft").wait_for()
    assert package.open_run("mogi_quick_1").tag() == ["good", "draft"]
    page.goto(f"{server.address.partition('?')[0]}runs/mogi_quick_1")
    page.get_by_role("button", name="Remove…").click()
    page.get_by_role("dialog").get_by_role("button", name="Move to the trash").click()
    page.locator(".counts", has_text="1 run").wait_for()
    assert not (root / "runs/mogi_quick_1").exists()
    page.get_by_role("link", name="Workspace").click()
    page.get_by_role("button", name="Restore").click()
    page.get_by_text("The trash is empty").wait_for()
    assert (root / "runs/mogi_quick_1/run.json").exists()


def test_a_damaged_run_is_no_fault_of_the_server_and_a_removed_one_is_not_there(workspace, serve):
    write_record(workspace, "a_0")
    server = serve(workspace)
    (workspace / "runs/a_0/run.json").write_text("{")
    assert server.get("/runs/a_0").status == 422
    shutil.rmtree(workspace / "runs/a_0")
    assert server.get("/runs/a_0").status == 404


@pytest.mark.heavy
def test_the_start_page_shows_what_is_best_with_its_seeds_the_last_pictures_and_what_failed(
    root, serve, visit
):
    Image.new("RGB", (400, 250)).save(root / "runs/mogi_quick_1/matrices/mogi_test/matrix.png")
    server = serve(root)
    page = visit(server.address)
    errors = package.open_run("mogi_quick_1").results["test"]
    card = page.locator(".card", has_text="mogi_quick")
    shown = [numbers(text)[0] for text in card.locator("b").all_inner_texts()]
    assert shown == pytest.approx([errors[output]["mae"] for output in errors], rel=1e-3)
    assert "one seed" in card.inner_text()
    page.wait_for_function("() => document.querySelector('.thumbnails img').naturalWidth > 300")
    # to which a card leads that has several groups
    compared = server.get("/compare?experience=mogi_quick")
    assert (compared.status, "mogi_quick_1" in compared.text) == (200, True)
    assert server.get("/compare?experience=none").status == 400
    page.locator("li a", has_text="broken_0").click()
    assert page.locator("h1").inner_text().startswith("broken_0")
    # an address of earlier versions
    assert "runs?where=seed+%3C+2" in visit(server.address + "?where=seed+%3C+2").url


def test_the_best_is_chosen_by_validation_and_shown_with_its_test_error(tmp_path):
    def run(name: str, validated: float | None, tested: float) -> dict[str, object]:
        results = {"test": {"depth": {"mae": tested}}}
        results |= {} if validated is None else {"validation": {"depth": {"mae": validated}}}
        shared = {
            "experience": "e",
            "state": "done",
            "units": {"depth": "km"},
            "overrides": [],
            "error": None,
        }
        return {
            **shared,
            "name": name,
            "digest": name,
            "results": results,
            "path": tmp_path / name,
            "ended": name,
        }

    def best(*runs: dict[str, object]) -> dict[str, object]:
        (card,) = start_page(Workspace(tmp_path), runs)["best"]
        return card

    card = best(run("a", 1.0, 20.0), run("b", 2.0, 10.0))
    assert (card["run"], card["results"][0]["value"], card["by"][:10]) == (
        "a",
        "20 km",
        "validation",
    )
    assert card["results"][0]["words"].startswith("test ")
    card = best(run("a", None, 1.0), run("b", None, 2.0))
    assert (card["run"], card["by"]) == ("b", ""), "the newest, where nothing was validated"


@pytest.mark.heavy
def test_pages_of_an_empty_workspace_say_what_to_do(workspace, serve, visit):
    server = serve(workspace)
    for path, command in (("", "run"), ("runs", "run"), ("launches", "run"), ("studies", "study")):
        page = visit(server.address + path)
        assert page.locator(".empty pre").inner_text().startswith(f"qexp {command} ")


@pytest.mark.heavy
def test_columns_are_chosen_by_check_boxes_and_stand_in_the_address(root, serve, visit):
    page = visit(serve(root).address + "runs?columns=name")
    page.get_by_text("Choose columns").click()
    page.get_by_placeholder("find a column").fill("test.depth.r2")
    page.get_by_role("checkbox", name="test.depth.r2", exact=True).check()
    page.locator(".scroller th", has_text="test depth R²").wait_for()
    assert page.url.endswith("columns=name%2C+test.depth.r2")


SHIFTS = """window.shifted = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });"""


@pytest.mark.heavy
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_jumps_while_a_page_is_drawn(root, serve, visit, width):
    server = serve(root)
    page = visit(server.address, width=width)
    page.context.add_init_script(SHIFTS)
    for path in ("", "runs", "runs/mogi_quick_1", COMPARISON, "launches", "studies", "workspace"):
        page.goto(server.address + path)
        page.wait_for_function(
            "() => !document.querySelector('[role=status].quiet')?.textContent.includes('…')"
        )
        page.wait_for_timeout(300)  # shifts are told of after a frame
        assert page.evaluate("window.shifted") < 0.1, path


@pytest.mark.heavy
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_jumps_when_the_first_epoch_of_a_tracked_run_comes_and_its_figures_are_seen(
    workspace, serve, visit, findings, width
):
    server = serve(workspace)
    page = visit(server.address, width=width, color_scheme="dark")
    page.context.add_init_script(SHIFTS)
    with package.track("fit", workspace=workspace) as run:
        page.goto(server.address + "runs/fit_0")
        page.get_by_text("No epoch has ended yet.").wait_for()
        for _ in range(2):
            run.log({"val/depth/mae": 1, "val/width/mae": 2}, loss=1, val_loss=1)
        page.locator(".curves-drawing canvas").nth(2).wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("window.shifted") < 0.1
        run.figure(matplotlib.figure.Figure(), "residual", step=1)
        page.locator(".logged img").wait_for()
        assert findings(page) == []
        page.goto(server.address + "runs/fit_0")
        above = (
            "() =>"
            " document.querySelector('.logged').compareDocumentPosition(document.querySelector('.growing"
            " pre'))"
        )
        assert page.evaluate(above) == 4, "the log follows the figures"
    page.goto(server.address)
    assert (
        page.locator(".thumbnails img")
        .get_attribute("src")
        .endswith("fit_0/figures/residual_000001.png")
    )


@pytest.mark.heavy
def test_drawings_have_their_height_when_the_scripts_have_run_and_not_a_frame_later(
    root, serve, visit
):
    server = serve(root)
    page = visit(server.address, width=400)

    def measured(route):
        answer = route.fetch()
        at_the_end = "queueMicrotask(() => { window.high = document.body.scrollHeight; });"
        route.fulfill(response=answer, body=answer.text() + at_the_end)

    page.route("**/page.js*", measured)
    for path in (COMPARISON, "studies/s", "runs/mogi_quick_1"):
        page.goto(server.address + path)
        page.wait_for_timeout(300)
        assert page.evaluate("document.body.scrollHeight - window.high") == 0, path


def test_a_run_at_work_has_one_number_of_epochs_that_of_the_file_which_grows_with_each(workspace):
    write_record(workspace, "a_0", state="running", epochs={"done": 49, "of": 120, "best": None})
    directory = RunDirectory(workspace / "runs/a_0")
    directory.metrics_file.write_text(
        json.dumps(
            {
                "epoch": 51,
                "train": {"loss": 1.0},
                "validation": {"loss": 1.0},
                "best": True,
                "learning_rate": 1e-3,
            }
        )
        + "\n"
    )
    record = directory.record()
    done = epochs_done(directory, record)
    assert progress_in_words(directory, record, done).startswith("epoch 51 of 120")
    assert key_numbers(record, done)[-1]["value"] == "51 of 120 epochs"
