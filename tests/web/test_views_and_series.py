"""Views that are saved, figures that a run logs step by step, and what it takes of its machine."""

import json
import math

import pytest
from PIL import Image

import qexp as package
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.store.directory import RunDirectory
from qexp.web.drawings import figures_of, system_panels
from qexp.web.views import delete_view, file_of, save_view, saved_views
from tests.runs.test_catalog import write_record

FILTERED = "runs?where=seed+%3C+1&columns=name%2Cseed&sort=seed&descending=0&selected=a_0"


def test_a_view_is_kept_under_its_name_until_it_is_deleted_and_never_replaced(workspace):
    root = Workspace(workspace)
    save_view(root, " of  seed 0 ", FILTERED)
    save_view(root, "of seed 0", FILTERED)
    assert saved_views(root) == {"of seed 0": FILTERED}
    with pytest.raises(QexpError, match="already"):
        save_view(root, "of seed 0", "runs")
    delete_view(root, "of seed 0")
    assert saved_views(root) == {}
    with pytest.raises(NotFoundError):
        delete_view(root, "of seed 0")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "//evil.org/runs",
        "https://evil.org",
        "javascript:alert(1)",
        "../runs",
        "workspace",
        "runs\n",
        "runsé",
    ],
)
def test_a_view_leads_to_no_place_but_pages_of_runs_on_this_server(workspace, address):
    with pytest.raises(QexpError, match="page of runs"):
        save_view(Workspace(workspace), "a", address)
    file_of(Workspace(workspace)).parent.mkdir(exist_ok=True)
    file_of(Workspace(workspace)).write_text(json.dumps({"a": address}))
    with pytest.raises(DamagedError, match="repair or delete it"):
        saved_views(Workspace(workspace))


def test_the_start_page_says_that_views_are_damaged_and_a_server_that_only_reads_saves_none(
    workspace, serve
):
    write_record(workspace, "a_0")
    file_of(Workspace(workspace)).write_text("[]")
    server = serve(workspace)
    start = server.get("/")
    assert (start.status, "does not hold names" in start.text) == (200, True)
    assert (
        server.get("/changes/view", "POST", json.dumps({"runs": ["a"], "text": "runs"})).status
        == 403
    )
    assert file_of(Workspace(workspace)).read_text() == "[]"


def test_what_was_measured_is_drawn_over_wall_time_in_fitting_units_without_gaps_being_filled(
    tmp_path,
):
    run = RunDirectory(tmp_path)
    assert system_panels(run.system()) == []
    lines = [
        {"time": f"2026-01-01T00:{minute:02}:00+00:00", "cpu": 50.0 + minute, "memory": 3e9}
        for minute in range(9)
    ]
    del lines[4]["cpu"]
    written = [*map(json.dumps, lines), '{"cpu": 1}', '{"time": 7, "cpu": "x"}']
    run.system_file.write_text("\n".join(written) + '\n{"time": "2026')
    cpu, memory = system_panels(run.system())
    assert (cpu.x, cpu.words, cpu.unit) == (list(range(9)), "wall time (min)", "%")
    assert cpu.series[0].values == [50, 51, 52, 53, None, 55, 56, 57, 58]
    assert (memory.title, memory.series[0].values) == ("memory (GB)", [3.0] * 9)


def test_a_clock_that_is_set_back_leads_no_curve_back():
    (panel,) = system_panels(
        [{"time": f"2026-01-01T00:00:{at:02}+00:00", "gpu": 1.0} for at in (5, 15, 2, 25)]
    )
    assert panel.x == [0, 10, 10, 20]


def test_figures_with_a_step_are_series_in_the_order_of_steps_and_torn_ones_are_left_out(tmp_path):
    folder = tmp_path / "results/figures"
    folder.mkdir(parents=True)
    for name in ("loss_map_000200", "loss_map_000030", "loss_map_1000000", "test_2019", "depth"):
        Image.new("RGB", (30, 20)).save(folder / f"{name}.png")
    (folder / "torn_000001.png").write_bytes(b"\x89PNG")
    series, others = figures_of(RunDirectory(tmp_path))
    assert {name: [one.step for one in files] for name, files in series.items()} == {
        "loss map": [30, 200, 1_000_000]
    }
    assert [(one.file, one.width, one.height) for one in others] == [
        ("depth.png", 30, 20),
        ("test_2019.png", 30, 20),
    ]


@pytest.mark.heavy
@pytest.mark.parametrize("allowed", [True, False])
def test_a_view_is_saved_with_its_selection_found_on_the_start_page_and_deleted(
    workspace, serve, visit, allowed
):
    for seed in range(3):
        write_record(workspace, f"a_{seed}", seed=seed)
    server = serve(workspace, allow_changes=allowed)
    page = visit(
        server.address.replace("?", f"{FILTERED}&") if allowed else server.address + FILTERED
    )
    page.get_by_label("select a_0").wait_for()
    assert page.get_by_label("select a_0").is_checked()
    page.get_by_role("button", name="Save this view…").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("the first")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="start page").click()
    page.get_by_role("link", name="the first").click()
    page.locator(".counts", has_text="1 run").wait_for()
    assert page.url.endswith(FILTERED)
    assert (Workspace(workspace).runs / ".views.json").exists() is allowed
    page.get_by_role("link", name="Start").click()
    assert ("this browser alone" in page.locator(".views").inner_text()) is not allowed
    page.get_by_role("button", name="delete the view the first").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("link", name="the first").wait_for(state="detached")
    assert saved_views(Workspace(workspace)) == {}


@pytest.mark.heavy
def test_curves_are_smoothed_by_keys_with_the_measured_ones_behind_as_their_definition_says(
    trained, serve, visit
):
    page = visit(serve(trained).address + "runs/mogi_quick_1?smoothing=0.5")
    losses = [line["validation"]["loss"] for line in package.open_run("mogi_quick_1").metrics]
    wanted, total = 0.0, 0.0
    for loss in losses:
        wanted, total = 0.5 * wanted + 0.5 * loss, 0.5 * total + 0.5
    key = page.locator(".curves .of-curves").first
    assert "smoothed, at the end" in key.inner_text()
    shown = float(key.get_by_role("button", name="validation").locator(".at").inner_text())
    assert math.isclose(shown, wanted / total, rel_tol=1e-3)
    slider = page.get_by_label("smoothing")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.url.endswith("smoothing=0.51")
    page.keyboard.press("Home")
    assert "?" not in page.url
    assert math.isclose(
        float(key.get_by_role("button", name="validation").locator(".at").inner_text()),
        losses[-1],
        rel_tol=1e-3,
    )


@pytest.mark.heavy
@pytest.mark.parametrize("width", [400, 1400])
def test_logged_figures_have_a_slider_over_their_steps_that_keys_move(
    trained, serve, visit, findings, width
):
    run = RunDirectory(trained / "runs/mogi_quick_1")
    (run.results / "figures").mkdir(exist_ok=True)
    for step in (1, 20, 300):
        Image.new("RGB", (600, 400), (step % 256, 0, 0)).save(
            run.results / f"figures/residual_{step:06}.png"
        )
    taken = {"memory": 2e9, "disk_free": 5e10}
    lines = [
        {"time": f"2026-01-01T00:{at:02}:00+00:00", "cpu": 90.0 + at, **taken} for at in range(20)
    ]
    run.system_file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    page = visit(serve(trained).address + "runs/mogi_quick_1", width=width)
    image = page.locator(".logged img")
    assert image.get_attribute("src").endswith("residual_000300.png")
    page.get_by_label("step").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "() => document.querySelector('.logged img').src.endsWith('residual_000020.png')"
    )
    assert "20 (2 of 3)" in page.locator(".logged").inner_text()
    assert page.locator(".system-drawing canvas").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert findings(page) == []
