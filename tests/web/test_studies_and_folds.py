"""Pages of studies, with the comparison of their runs, and of folds."""

import csv
import re

import pytest

import qexp as package
from qexp.base.formats import write_json
from qexp.tuning.results import ABOUT, Objective, TrialRecord, Tuned

FOLDS = {"split": {"type": "k_fold", "parameters": {"folds": 2}}, "epochs": 2, "baselines": []}


@pytest.mark.heavy
def test_a_study_shows_its_values_and_the_comparison_of_its_runs(sweep, serve, visit):
    page = visit(serve(sweep).address + "studies/mogi_quick_learning_rate")
    with (sweep / "studies/mogi_quick_learning_rate/table.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    studied = page.locator("section", has_text="What was studied").first
    in_full = (
        "rows => rows.map((row) => [...row.cells].map((cell) => cell.dataset.value ??"
        " cell.innerText))"
    )
    shown = studied.locator("tbody tr").evaluate_all(in_full)
    assert len(shown) == len(written)
    for cells, row in zip(shown, written, strict=True):
        assert float(cells[4]) == int(row["n"])
        assert cells[5].split() == [row["mean"], row["standard_deviation"]]
        assert cells[6].split() == [row["interval_low"], row["interval_high"]]
    assert studied.locator("img").evaluate("image => image.naturalWidth") > 300
    assert page.locator(".scatter circle[fill]").count() == 4
    page.get_by_text("all runs of the study").click()
    page.locator("details[open] a").first.click()
    assert page.locator("h1").inner_text().startswith("mogi_quick_")


@pytest.mark.heavy
def test_a_study_whose_runs_are_gone_still_shows_what_was_written(sweep, serve, visit, qexp):
    assert qexp("rm", "--yes", "mogi_quick_*").code == 0
    server = serve(sweep)
    page = visit(server.address + "studies/mogi_quick_learning_rate")
    assert "none of these runs can be read" in page.locator("header .notice").inner_text()
    assert page.locator("section", has_text="What was studied").locator("tbody tr").count() == 2
    assert page.locator(".scatter").count() == 0
    (sweep / "studies/mogi_quick_learning_rate/tune.json").write_text("{")
    assert server.get("/studies/mogi_quick_learning_rate").status == 422


@pytest.mark.heavy
def test_a_run_and_its_folds_lead_to_each_other(trained, serve, visit):
    run = package.run("lunar_tio2_dlim", overrides=FOLDS, device="cpu", workspace=trained)
    page = visit(serve(trained).address + f"runs/{run.name}")
    page.get_by_text("Folds (2)").click()
    page.locator(".folds a").last.click()
    page.locator("h1", has_text=f"{run.name}/folds/").wait_for()
    assert "Runs that differ" not in page.locator("main").inner_text()
    again = page.locator("section", has_text="How to make it again").locator("pre").inner_text()
    assert "epochs=2" in again
    page.locator("a", has_text=run.name).first.click()
    page.locator("h1", has_text=run.name).wait_for()
    assert page.url.endswith(f"/runs/{run.name}")


def test_the_best_trial_of_a_search_comes_first_in_its_table_and_is_called_so(workspace, serve):
    folder = workspace / "studies/s"
    folder.mkdir(parents=True)
    trials = tuple(
        TrialRecord(trial=n, state="done", set={"rate": n}, values=(loss,))
        for n, loss in enumerate([3, 1, 2])
    )
    objectives, space = (Objective(metric="loss", best="lowest"),), {"rate": "0,1,2"}
    search = Tuned(
        folder=str(folder),
        experience="m",
        space=space,
        objectives=objectives,
        overrides={},
        seeds=(0,),
        digest="",
        trials=trials,
        best_trials=(1,),
    )
    write_json(folder / ABOUT, search.document())
    (folder / "study.csv").write_text("experience,trial,use,rate,run\n")
    (folder / "table.csv").write_text(
        "trial,state,rate,validation.loss\n0,done,0,3\n1,done,1,1\n2,done,2,2\n"
    )
    text = serve(workspace).get("/studies/s").text
    rows = [re.findall(r"<td[^>]*>\s*(?:<[^>]*>)?([^<]*)", row) for row in text.split("<tr>")[2:]]
    assert [row[:2] for row in rows] == [["1", "best"], ["0", "done"], ["2", "done"]]
