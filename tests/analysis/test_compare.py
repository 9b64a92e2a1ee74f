from __future__ import annotations

import json
import subprocess
import sys

import qexp as package


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


def test_comparing_does_not_wait_for_torch(workspace):
    script = "import sys; from qexp.cli import app\ntry: app(['compare', 'mogi_quick_1', 'mogi_quick_2'])\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
