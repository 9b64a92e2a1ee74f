"""What notebooks and terminals show of a run, a comparison, a study, a matrix and estimates."""

import base64
import html
import io
import re
import subprocess
import sys

import IPython.lib.pretty
import nbclient
import nbformat
import numpy as np
import pytest
import rich.console

import qexp as package
from qexp.errors import QexpError
from qexp.observations.observation import write_observation
from qexp.web.notebook import Posterior
from tests.deformation.observed import observed
from tests.inference.tracks import EXPONENTIAL
from tests.web.conftest import SMALL
from tests.web.test_report import HOSTILE
from tests.web.test_reports_of_several import names


def in_terminal(view) -> str:
    printed = io.StringIO()
    rich.console.Console(file=printed, width=160).print(view)
    return printed.getvalue()


def pretty(view) -> str:
    texts = []
    view._repr_pretty_(
        type("Printer", (), {"text": lambda self, text: texts.append(text)})(), False
    )
    return texts[0]


@pytest.mark.heavy
def test_a_run_shows_its_results_its_curves_and_how_to_make_it_again_and_texts_of_others_as_texts(
    trained,
):
    run = package.open_run("mogi_quick_1")
    error = f"{run.results['test']['depth']['mae']:.4g}"
    page_of_run = run._repr_html_()
    assert error in page_of_run
    assert 'src="data:image/svg+xml;base64,' in page_of_run
    assert "<svg" not in page_of_run  # of which an untrusted notebook leaves the words alone
    assert "qexp run mogi_quick --seed 1" in page_of_run
    assert error in in_terminal(run)
    assert error in pretty(run)
    assert repr(run) == "<run mogi_quick_1: done>"
    run.note(HOSTILE)  # texts of others stay texts
    page_of_run = run._repr_html_()
    assert html.escape("<script>document", quote=False) in page_of_run
    assert "<script" not in page_of_run
    assert "\x1b" not in in_terminal(run)
    assert "\\x1b[31mred" in in_terminal(run)


@pytest.mark.heavy
@pytest.mark.parametrize(("paper", "ink"), [("#ffffff", "#000000"), ("#111111", "#ffffff")])
def test_what_is_shown_is_readable_in_light_and_dark_notebooks(
    trained, open_page, findings, tmp_path, paper, ink
):
    run = package.open_run("mogi_quick_1")
    run.note(HOSTILE)
    page_of = (
        '<!doctype html><html lang="en"><head><title>notebook</title></head><body'
        f' style="background: {paper}; color:'
        f' {ink}"><main><h1>notebook</h1><h2>run</h2>{run._repr_html_()}</main></body></html>'
    )
    (tmp_path / "notebook.html").write_text(page_of)
    page = open_page(tmp_path / "notebook.html")
    page.locator("summary").evaluate_all(
        "all => all.forEach((one) => { one.parentElement.open = true; })"
    )
    assert findings(page) == []
    assert min(page.locator("img").evaluate_all("all => all.map((one) => one.naturalWidth)")) > 100
    assert page.title() == "notebook"


@pytest.mark.heavy
def test_a_whole_matrix_is_a_picture_and_a_part_of_it_a_dataset(trained):
    matrix = package.open_run("mogi_quick_1").matrix("mogi_test")
    assert 'src="data:image/svg+xml;base64,' in matrix._repr_html_()
    assert matrix.folder == trained / "runs/mogi_quick_1/matrices/mogi_test"
    part = matrix.isel(depth=0)
    assert "<img" not in part._repr_html_()
    assert "xr-" in part._repr_html_()
    np.testing.assert_array_equal((2 * matrix)["depth_estimate"], 2 * matrix["depth_estimate"])


def test_estimates_of_arrays_show_their_range_and_unit(trained):
    result = package.open_run("mogi_quick_1").predict(displacement=np.full((3, 64, 64), 0.01))
    assert f'data-value="{float(np.median(result["depth"]))!r}"' in result._repr_html_()
    assert "km" in in_terminal(result)
    assert result == {name: result[name] for name in ("depth", "delta_volume")}


@pytest.mark.heavy
@pytest.mark.parametrize("which", ["*", "names"])
def test_a_comparison_shows_its_tables(sweep, which):
    compared = package.compare(*(["mogi_quick_*"] if which == "*" else names(sweep)[:2]))
    row = compared.document()["results"][0]
    value = row["values"][0] if which == "names" else row["mean"]
    assert f"{value:.3g}"[:5] in compared._repr_html_()
    assert (f"{value:.3g}"[:5] if which == "names" else "learning_rate=0.004") in in_terminal(
        compared
    )
    assert "<script" not in compared._repr_html_()
    assert repr(compared).startswith("<comparison")


@pytest.mark.heavy
def test_a_study_shows_its_figure_and_its_table(sweep):
    order = package.Order(
        "mogi_quick", range(2), {"learning_rate": [0.001, 0.004]}, overrides=SMALL
    )
    result = package.study(order, metric="depth.mae")
    assert 'src="data:image/png;base64,' in result._repr_html_()
    assert "learning_rate" in in_terminal(result)
    assert repr(result) == "<study of depth mae over learning_rate>"


@pytest.mark.heavy
def test_an_observation_and_an_inversion_show_their_tables_and_maps_and_print_on_a_page(tmp_path):
    write_observation(observed(EXPONENTIAL), tmp_path / "seen.nc")
    seen = package.observe(tmp_path / "seen.nc")
    inversion = package.invert(seen, starts=4, posterior=True, draws=100)
    posterior = inversion.posterior
    for shown in (
        seen,
        seen.observation,
        seen.observation.tracks,
        inversion,
        inversion.tracks,
        posterior,
    ):
        assert len(repr(shown)) < 200
        assert len(str(shown).splitlines()) < 40
        assert max(map(len, str(shown).splitlines())) <= 200
    assert "depth" in repr(inversion)
    for shown, words in (
        (seen, "incidence"),
        (inversion, "standard error"),
        (posterior, "95 % interval"),
    ):
        assert words in shown._repr_html_()
        assert words in str(shown) == pretty(shown)
        assert 'src="data:image/svg+xml;base64,' in shown._repr_html_()
    (corner,) = re.findall(r"svg\+xml;base64,([^\"]+)", posterior._repr_html_())
    assert "best fit" in base64.b64decode(corner).decode()
    assert all(f"<td>{name}</td>" in inversion._repr_html_() for name in inversion.parameters)
    assert all(track.name in str(seen) for track in seen.observation.tracks)
    assert isinstance(inversion.document()["parameters"]["depth"]["value"], float)


@pytest.mark.heavy
def test_all_that_functions_return_is_short_inside_of_others_and_shows_its_numbers_and_pictures(
    workspace,
):
    """A dataclass of paths and numbers would be thousands of characters, and no picture."""
    runs = package.sweep("mogi_quick", seeds=[0, 1], overrides=SMALL)
    run = runs[0]
    network = package.export_network(run, to="network")
    shown = {
        "2 runs": runs,
        "epochs": run.metrics,
        "Evaluation": run.evaluate("mogi_noisy", part="test"),
        "identical, bit for bit": run.verify(),
        "1 picture": run.figures(only="learning_curve"),
        "max |value|": package.show_data("mogi", "test", count=2),
        "model.onnx": network,
        "errors of the exact posterior": package.limit("mogi_noisy", samples=4),
        "2 done": package.status(),
        "No problems": package.doctor(),
        "specs are right": package.api.validate(),
    }
    for words, one in shown.items():
        assert words in one._repr_html_()
        assert words in str(one) == pretty(one)
        assert len(repr(one)) < 200
    assert run.figures(only="learning_curve")[0].name == "learning_curve.png"
    pictures = {"1 picture", "max |value|"}
    assert {words for words, one in shown.items() if "<img" in one._repr_html_()} == pictures
    assert run.metrics.to_pandas()["validation.depth.mae"].size == len(run.metrics) == 2
    assert run.evaluations["mogi_noisy"].results["test"]["depth"]["mae"] > 0
    nested = IPython.lib.pretty.pretty(
        [*runs, run.evaluations, package.api.prepare(package.Order("mogi_quick"))]
    )
    assert len(nested) < 500


IN_CELLS = [
    "import qexp",
    f"run = qexp.run('mogi_quick', overrides={SMALL})",
    f"runs = qexp.sweep('mogi_quick', seeds=[1, 2], overrides={SMALL})",
    f"qexp.run('mogi_quick', seed=3, overrides={SMALL}, display=False);",
    "run.verify();",
    "qexp.limit('mogi_noisy', samples=2);",
    "qexp.runs('seed > 1')",
]


@pytest.mark.heavy
def test_a_notebook_shows_progress_in_its_cells_and_a_script_whose_messages_go_to_a_file_nothing(
    workspace,
):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in IN_CELLS]
    )
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": workspace}}
    ).execute()
    nothing, run, sweep, quiet, verified, limit, listed = (cell.outputs for cell in notebook.cells)
    assert nothing == quiet == []
    assert [output.output_type for output in (*run, *sweep, *verified, *limit)] == [
        "display_data"
    ] * 4
    assert ": epoch 2/2  loss " in run[0].data["text/plain"] == verified[0].data["text/plain"]
    assert limit[0].data["text/plain"] == ""  # it goes when the work is done
    assert sweep[0].data["text/plain"] == "2 runs: 2 done"
    assert "\x1b" not in str(notebook)
    assert listed[0].data["text/plain"].startswith("2 runs\n")
    assert "</table>" in listed[0].data["text/html"]
    script = "\n".join(IN_CELLS).replace("[1, 2]", "[4, 5]")
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=workspace, capture_output=True, text=True, check=True
    )
    assert (ended.stdout, ended.stderr) == ("", "")


def drawn_of_a_line(seen, noise, count=4000):
    """Exact draws of slope and level given a line seen at five places with independent noise, and
    wide priors.
    """
    places = np.stack([np.linspace(-1, 1, 5), np.ones(5)], axis=1)
    precision = places.T @ places / noise**2
    mean = np.linalg.solve(precision, places.T @ seen / noise**2)
    draws = np.random.default_rng(1).multivariate_normal(mean, np.linalg.inv(precision), count)
    return Posterior(
        {
            name: (("chain", "draw"), draws[None, :, at], {"units": unit})
            for at, (name, unit) in enumerate(LINE.items())
        }
    ), lambda theta: theta @ places.T + noise * np.random.normal(size=(len(theta), 5))


LINE = {"slope": "mm/km", "level": "mm"}


def test_a_posterior_in_memory_sums_itself_up_and_draws_its_corner_plot():
    posterior, _ = drawn_of_a_line(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), 0.5)
    table = posterior.summary()
    assert list(table.columns) == ["unit", "mean", "sd", "5 %", "median", "95 %"]
    assert table["mean"].to_numpy() == pytest.approx([2, 2], abs=0.02)
    assert table["sd"]["level"] == pytest.approx(0.5 / 5**0.5, rel=0.05)
    assert (table["95 %"] - table["5 %"])["level"] == pytest.approx(3.29 * 0.5 / 5**0.5, rel=0.05)
    several = posterior.expand_dims(sample=2, axis=-1).summary(0.5)
    assert [*several.index] == [(name, sample) for name in LINE for sample in range(2)]
    with pytest.raises(QexpError, match="a share of the draws"):
        posterior.summary(90)
    figure = posterior.corner(truth={"slope": 2.0})
    assert {axis.get_xlabel() for axis in figure.axes} >= {"slope (mm/km)", "level (mm)"}


def test_a_posterior_in_memory_tells_an_observation_that_it_cannot_predict():
    random, noise = np.random.default_rng(0), 0.5
    values = {1.0: [], 6.0: []}
    for times, found in values.items():
        for _ in range(40):
            seen = np.linspace(0, 4, 5) + times * noise * random.normal(size=5)
            posterior, simulator = drawn_of_a_line(seen, noise)
            found.append(posterior.check(simulator, seen).p_value)
    assert np.mean(np.array(values[1.0]) < 0.05) <= 0.1
    assert np.mean(np.array(values[6.0]) < 0.05) > 0.6
    made = posterior.check(lambda theta: [*simulator(theta[None])[0]], seen, draws=50)
    assert made.sizes == {"draw": 50, "value": 5}
    with pytest.raises(QexpError, match="no finite values for any of the draws"):
        posterior.check(lambda theta: np.nan * theta @ np.ones((2, 5)), seen)
    with pytest.raises(QexpError, match="has 3 values"):
        posterior.check(simulator, seen[:3])
