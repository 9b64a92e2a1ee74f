from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

import qexp as package

pytestmark = pytest.mark.slow


def test_only_what_differs_is_shown_and_the_better_value_is_marked(workspace, qexp):
    code, stdout, stderr = qexp("compare", "mogi_quick_1", "mogi_quick_2")
    assert code == 0, stderr
    lines = stdout.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["spec", "mogi_quick_1", "mogi_quick_2"],
        ["learning_rate", "0.003", "0.001"],
    ]
    first, second = (
        package.open_run(name).results["test"]["depth"]["mae"] for name in ("mogi_quick_1", "mogi_quick_2")
    )
    row = next(line for line in lines if line.startswith("depth") and " mae " in line)
    marked = row.split("*")[0].split()[-1]
    assert float(marked) == float(f"{min(first, second):.4g}")
    assert row.endswith("km")


def test_larger_is_better_for_r2_and_nearer_to_zero_for_bias(workspace, qexp):
    document = json.loads(qexp("compare", "mogi_quick_1", "mogi_quick_2", "--json").stdout)
    for row in document["results"]:
        key = {"r2": lambda value: -value, "bias": abs}.get(row["metric"], lambda value: value)
        assert row["best"] == [min((0, 1), key=lambda index: key(row["values"][index]))]


def test_curves_and_matrices_are_drawn_side_by_side(workspace, qexp):
    for name in ("mogi_quick_1", "mogi_quick_2"):
        package.matrix(name, "mogi_test", axes={"depth": (0.1, 4, 6), "delta_volume": (0.1, 4, 5)})
    figures = json.loads(qexp("compare", "mogi_quick_1", "mogi_quick_2", "--json").stdout)["figures"]
    assert [path.rpartition("/")[2] for path in figures] == ["learning_curves.png", "matrix_mogi_test.png"]
    assert all((workspace / path).read_bytes().startswith(b"\x89PNG") for path in figures)


def test_runs_of_one_spec_have_no_differences(workspace, qexp):
    package.run(
        "mogi_quick", seed=9, overrides={"epochs": 4, "sizes": [500, 64, 64], "learning_rate": 3e-3}, device="cpu"
    )
    assert "the specs are the same" in qexp("compare", "mogi_quick_1", "mogi_quick_9").stdout


def test_bad_selections_are_refused(workspace, qexp):
    assert qexp("compare", "mogi_quick_1").code == 2
    assert qexp("compare", "mogi_quick_1", "mogi_quick_1").code == 2
    assert qexp("compare", "mogi_quick_1", "nothing_like_it").code == 3


def test_csv_has_the_results_of_runs_with_all_digits(workspace, qexp):
    rows = list(csv.DictReader(io.StringIO(qexp("compare", "mogi_quick_1", "mogi_quick_2", "--csv").stdout)))
    for row in rows:
        for name in ("mogi_quick_1", "mogi_quick_2"):
            assert float(row[name]) == package.open_run(name).results["test"][row["output"]][row["metric"]]
    assert {(row["output"], row["metric"]) for row in rows} >= {("depth", "mae"), ("delta_volume", "r2")}


@pytest.mark.parametrize(("form", "bold"), [("--markdown", "**{}**"), ("--latex", r"\textbf{{{}}}")])
def test_documents_have_what_differs_and_the_better_values_in_bold(workspace, qexp, form, bold):
    stdout = qexp("compare", "mogi_quick_1", "mogi_quick_2", form).stdout
    assert "0.003" in stdout
    first, second = (
        package.open_run(name).results["test"]["depth"]["mae"] for name in ("mogi_quick_1", "mogi_quick_2")
    )
    assert bold.format(f"{min(first, second):.4g}") in stdout
    assert bold.format(f"{max(first, second):.4g}") not in stdout


def test_trained_runs_that_a_pattern_matches_are_grouped_by_what_was_changed(workspace, qexp):
    document = json.loads(qexp("compare", "mogi_quick_*", "--json").stdout)
    assert [group["name"] for group in document["groups"]] == [
        "mogi_quick learning_rate=0.003",
        "mogi_quick learning_rate=0.001",
    ]
    assert document["pairs"][0]["not_paired"] == "no seed in common; an interval needs two"
    assert [path.rpartition("/")[2] for path in document["figures"]] == ["learning_bands.png", "test_errors.png"]


@pytest.mark.parametrize("runs", [["mogi_quick_1", "mogi_quick_2"], ["mogi_quick_*"]])
def test_comparing_does_not_wait_for_torch(workspace, runs):
    script = (
        "import sys; from qexp.cli import app\n"
        "try: app(['compare', *sys.argv[1:]])\nexcept SystemExit as ended: assert not ended.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, *runs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
