"""What notebooks and terminals show of a run, a comparison, a study, a matrix and estimates."""

from __future__ import annotations

import html
import io

import numpy as np
import pytest
import rich.console

import qexp as package
from tests.web.test_report import HOSTILE
from tests.web.test_reports_of_several import names


def in_terminal(shown) -> str:
    printed = io.StringIO()
    rich.console.Console(file=printed, width=160).print(shown)
    return printed.getvalue()


def pretty(shown) -> str:
    said = []
    shown._repr_pretty_(type("Printer", (), {"text": lambda self, text: said.append(text)})(), False)
    return said[0]


def test_a_run_shows_its_results_its_curves_and_how_to_make_it_again(trained):
    run = package.open_run("mogi_quick_1")
    error = f"{run.results['test']['depth']['mae']:.4g}"
    seen = run._repr_html_()
    assert error in seen
    assert 'src="data:image/svg+xml;base64,' in seen
    assert "<svg" not in seen  # of which an untrusted notebook leaves the words alone
    assert "qexp run mogi_quick --seed 1" in seen
    assert error in in_terminal(run)
    assert error in pretty(run)
    assert repr(run) == "<run mogi_quick_1: done>"


def test_texts_of_others_stay_texts_in_notebooks_and_terminals(trained):
    run = package.open_run("mogi_quick_1")
    run.note(HOSTILE)
    seen = run._repr_html_()
    assert html.escape("<script>document", quote=False) in seen
    assert "<script" not in seen
    assert "\x1b" not in in_terminal(run)
    assert "\\x1b[31mred" in in_terminal(run)


@pytest.mark.heavy
@pytest.mark.parametrize(("paper", "ink"), [("#ffffff", "#000000"), ("#111111", "#ffffff")])
def test_what_is_shown_is_readable_in_light_and_dark_notebooks(trained, opened, findings, tmp_path, paper, ink):
    run = package.open_run("mogi_quick_1")
    run.note(HOSTILE)
    page_of = (
        f'<!doctype html><html lang="en"><head><title>notebook</title></head><body style="background: {paper}; '
        f'color: {ink}"><main><h1>notebook</h1><h2>run</h2>{run._repr_html_()}</main></body></html>'
    )
    (tmp_path / "notebook.html").write_text(page_of)
    page = opened(tmp_path / "notebook.html")
    page.locator("summary").evaluate_all("all => all.forEach((one) => { one.parentElement.open = true; })")
    assert findings(page) == []
    widths = page.locator("img").evaluate_all("all => all.map((one) => one.naturalWidth)")
    assert min(widths) > 100
    assert page.title() == "notebook"


@pytest.mark.slow
def test_a_whole_matrix_is_a_picture_and_a_part_of_it_a_dataset(trained):
    matrix = package.open_run("mogi_quick_1").matrix("mogi_test")
    assert 'src="data:image/svg+xml;base64,' in matrix._repr_html_()
    assert matrix.folder == trained / "runs/mogi_quick_1/matrices/mogi_test"
    part = matrix.isel(depth=0)
    assert "<img" not in part._repr_html_()
    assert "xr-" in part._repr_html_()
    np.testing.assert_array_equal((2 * matrix)["depth_estimate"], 2 * matrix["depth_estimate"])


def test_estimates_of_arrays_show_their_range_and_unit(trained):
    made = package.open_run("mogi_quick_1").predict(displacement=np.full((3, 64, 64), 0.01))
    assert f"{float(np.median(made['depth'])):.4g}" in made._repr_html_()
    assert "km" in in_terminal(made)
    assert made == {name: made[name] for name in ("depth", "delta_volume")}


@pytest.mark.slow
@pytest.mark.parametrize("which", ["*", "names"])
def test_a_comparison_shows_its_tables(sweep, which):
    compared = package.compare(*(["mogi_quick_*"] if which == "*" else names(sweep)[:2]))
    row = compared.document()["results"][0]
    value = row["values"][0] if which == "names" else row["mean"]
    assert f"{value:.3g}"[:5] in compared._repr_html_()
    assert (f"{value:.3g}"[:5] if which == "names" else "learning_rate=0.004") in in_terminal(compared)
    assert "<script" not in compared._repr_html_()
    assert repr(compared).startswith("<comparison")


@pytest.mark.slow
def test_a_study_shows_its_figure_and_its_table(sweep):
    order = package.Order(
        "mogi_quick", range(2), {"learning_rate": [0.001, 0.004]}, overrides={"epochs": 2, "sizes": [64, 16, 16]}
    )
    made = package.study(order, metric="depth.mae")
    assert 'src="data:image/png;base64,' in made._repr_html_()
    assert "learning_rate" in in_terminal(made)
    assert repr(made) == "<study of depth mae over learning_rate>"
