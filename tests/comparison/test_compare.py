import csv
import io
import json
import re
import shutil
import subprocess
import sys

import pytest

import qexp as package
from qexp.comparison.compare import Comparison, plain_rows
from qexp.comparison.figures import folder_name
from qexp.errors import QexpError

PAIR = ("mogi_quick_1", "mogi_quick_2")


def errors_of_depth(part: str = "validation") -> list[float]:
    return [package.open_run(name).results[part]["depth"]["mae"] for name in PAIR]


@pytest.mark.heavy
def test_only_what_differs_is_shown_and_the_better_value_is_marked(workspace, qexp):
    stdout = qexp("compare", *PAIR).done()
    first, depth, *_ = stdout.splitlines()
    assert (
        first == "2 runs on the test part, one seed each: with other seeds the order may be another"
    )
    better, worse = sorted(errors_of_depth())
    best = errors_of_depth().index(better)
    letter, tested = "AB"[best], errors_of_depth("test")[best]
    assert (
        depth == f"depth mae: lowest in {letter} by validation, {better:.4g} km; on the test part"
        f" {tested:.4g} km"
    )
    lines = [line.split() for line in stdout.splitlines()]
    assert ["A", "mogi_quick_1"] in lines
    assert lines[lines.index(["key", "A", "B"]) + 1] == ["learning_rate", "0.003", "0.001"]
    assert next(line for line in lines if line[:3] == [letter, f"{better:.4g}", "*"])
    assert next(line for line in lines if line[:2] == ["BA"[letter == "B"], f"{worse:.4g}"])


@pytest.mark.heavy
def test_metrics_and_outputs_are_chosen_and_the_main_ones_shown_else(workspace, qexp):
    def metrics(*options: str) -> set[str]:
        rows = json.loads(qexp("compare", *PAIR, "--json", *options).done())["results"]
        return {f"{row['output']}.{row['metric']}" for row in rows}

    assert metrics("--metric", "rmse", "--metric", "bias", "--output", "depth") == {
        "depth.rmse",
        "depth.bias",
    }
    assert metrics("--output", "depth") < metrics()
    text = qexp("compare", *PAIR).done()
    assert "rmse (km)" not in text
    assert re.search("not shown: .*rmse.*--metric", text)
    assert "rmse (km)" in qexp("compare", *PAIR, "--metric", "rmse").done()
    assert {"test rmse (km)", "test r2"} <= {
        *re.split("  +", qexp("compare", *PAIR, "--all").done().replace("\n", "  "))
    }
    assert (
        "no such metric; did you mean 'rmse'?"
        in qexp("compare", *PAIR, "--metric", "rsme").failed()
    )
    assert (
        "write --metric rmse --output depth"
        in qexp("compare", *PAIR, "--metric", "depth.rmse").failed()
    )
    assert (
        "--output deep: these runs have no such output"
        in qexp("compare", *PAIR, "--output", "deep").failed()
    )
    assert (
        "leave out --all, or --metric"
        in qexp("compare", *PAIR, "--all", "--metric", "mae").refused()
    )
    some = package.compare(*PAIR, metrics=["mae"], outputs=["depth"], figures=False)
    assert [(row.output, row.metric) for row in some.results] == [("depth", "mae")]
    assert "depth mae: lowest in " in str(package.compare(*PAIR, metrics="mae", figures=False))


@pytest.mark.heavy
def test_a_table_for_another_program_comes_without_pictures(workspace, qexp):
    shutil.rmtree(workspace / "comparisons", ignore_errors=True)
    for form in ("--csv", "--markdown", "--latex"):
        qexp("compare", *PAIR, form).done()
    assert not (workspace / "comparisons").exists()
    assert "learning_curves.png" in qexp("compare", *PAIR).done()


@pytest.mark.heavy
def test_larger_is_better_for_r2_and_nearer_to_zero_for_bias(workspace, qexp):
    document = json.loads(qexp("compare", *PAIR, "--json").stdout)
    for row in document["results"]:
        key = {"r2": lambda value: -value, "bias": abs}.get(row["metric"], lambda value: value)
        assert row["best"] == [min((0, 1), key=lambda index: key(row["validation"][index]))]


def test_the_best_by_validation_is_called_so_though_its_test_error_is_greater_and_nothing_if_test_parts_differ(
    workspace,
):
    records = [workspace / "runs" / name / "run.json" for name in PAIR]
    for file, validated, tested in zip(records, (1.0, 2.0), (20.0, 10.0), strict=True):
        record = json.loads(file.read_text())
        parts = {"validation": validated, "test": tested}
        record["results"] = {part: {"depth": {"mae": mae}} for part, mae in parts.items()}
        file.write_text(json.dumps(record))
    comparison = package.compare(*PAIR, figures=False)
    assert "depth mae: lowest in A by validation, 1 km; on the test part 20 km" in str(comparison)
    (row,) = comparison.results
    assert (row.best, row.values) == ([0], [20.0, 10.0])
    spec = workspace / "runs" / PAIR[1] / "spec.json"
    document = json.loads(spec.read_text())
    document["dataset"]["fixed"]["noise"] = 0.5
    spec.write_text(json.dumps(document))
    records[1].write_text(json.dumps({**json.loads(records[1].read_text()), "digest": ""}))
    comparison = package.compare(*PAIR, figures=False)
    assert not any(row.best for row in comparison.results)
    text = str(comparison)
    assert "lowest" not in text
    assert text.index("the runs answer different questions") < text.index("one seed each")


@pytest.mark.heavy
def test_curves_and_matrices_are_drawn_side_by_side(workspace, qexp):
    for name in PAIR:
        package.matrix(name, "mogi_test", axes={"depth": (0.1, 4, 6), "delta_volume": (0.1, 4, 5)})
    figures = json.loads(qexp("compare", *PAIR, "--json").stdout)["figures"]
    assert [path.rpartition("/")[2] for path in figures] == [
        "learning_curves.png",
        "matrix_mogi_test.png",
    ]
    assert all((workspace / path).read_bytes().startswith(b"\x89PNG") for path in figures)
    axes = {"depth": (0.2, 4, 6), "delta_volume": (0.1, 4, 5)}
    package.matrix("mogi_quick_2", "mogi_test", axes=axes, force=True)
    figures = json.loads(qexp("compare", *PAIR, "--json").stdout)["figures"]
    maps = [path.rpartition("/")[2] for path in figures if "matrix" in path]
    assert maps == ["matrix_mogi_test.png", "matrix_mogi_test_2.png"], (
        "other cells, as many of them: each has its own"
    )


@pytest.mark.heavy
def test_runs_of_one_spec_have_no_differences(workspace, qexp):
    overrides = {"epochs": 4, "sizes": [500, 64, 64], "learning_rate": 3e-3}
    package.run("mogi_quick", name="mogi_quick_9", seed=9, overrides=overrides, device="cpu")
    assert "the specs are the same" in qexp("compare", "mogi_quick_1", "mogi_quick_9").stdout


@pytest.mark.heavy
def test_runs_are_named_by_objects_texts_and_lists_of_them(workspace, tmp_path):
    first, second = runs = [package.open_run("mogi_quick_1"), package.open_run("mogi_quick_2")]
    wanted = package.compare("mogi_quick_1", "mogi_quick_2").document()
    for named_runs in (runs, [runs], [first, "mogi_quick_2"], [first.path, [second]], [iter(runs)]):
        assert package.compare(*named_runs).document() == wanted
    report = package.report(first, [second], to=tmp_path / "made.html").read_text()
    assert {"mogi_quick_1", "mogi_quick_2"} <= {*re.findall(r"mogi_quick_\d", report)}
    assert [run.name for run in package.api.open_runs(first)] == ["mogi_quick_1"]
    assert [run.name for run, _ in package.api.wait([first, "mogi_quick_2"])] == [
        "mogi_quick_1",
        "mogi_quick_2",
    ]
    with pytest.raises(QexpError, match="the list of runs is empty"):
        package.report([])


def test_a_run_of_another_workspace_is_meant_and_not_its_namesake(workspace, tmp_path):
    copied = package.open_run("mogi_quick_2").path
    for folder in ("runs", "specs"):
        (tmp_path / "elsewhere" / folder).mkdir(parents=True)
    shutil.copytree(copied, tmp_path / "elsewhere/runs/mogi_quick_1")
    elsewhere = package.open_run("mogi_quick_1", workspace=tmp_path / "elsewhere")
    assert [run.path for run in package.api.open_runs([elsewhere])] == [elsewhere.path]


@pytest.mark.slow
def test_csv_has_the_results_of_runs_with_all_digits(workspace, qexp):
    rows = list(csv.DictReader(io.StringIO(qexp("compare", *PAIR, "--csv").stdout)))
    for row in rows:
        for name in PAIR:
            assert (
                float(row[name])
                == package.open_run(name).results[row["part"]][row["output"]][row["metric"]]
            )
    assert {(row["output"], row["metric"]) for row in rows} >= {
        ("depth", "mae"),
        ("delta_volume", "r2"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "bold"), [("--markdown", "**{}**"), ("--latex", r"\textbf{{{}}}")]
)
def test_documents_have_what_differs_and_the_better_values_in_bold(workspace, qexp, form, bold):
    stdout = qexp("compare", *PAIR, form).stdout
    assert "0.003" in stdout
    better, worse = sorted(errors_of_depth())
    assert bold.format(f"{better:.4g}") in stdout
    assert bold.format(f"{worse:.4g}") not in stdout


@pytest.mark.heavy
def test_trained_runs_that_a_pattern_matches_are_grouped_by_what_was_changed(workspace, qexp):
    document = json.loads(qexp("compare", "mogi_quick_*", "--json").stdout)
    names = [f"mogi_quick learning_rate={rate}" for rate in (0.001, 0.003)]
    assert [group["name"] for group in document["groups"]] == names
    assert document["pairs"][0]["not_paired"] == "no seed in common; an interval needs two"
    assert [path.rpartition("/")[2] for path in document["figures"]] == [
        "learning_bands.png",
        "test_errors.png",
    ]


@pytest.mark.heavy
@pytest.mark.parametrize("runs", [["mogi_quick_1", "mogi_quick_2"], ["mogi_quick_*"]])
def test_comparing_does_not_wait_for_torch(workspace, runs):
    script = (
        "import sys; from qexp.cli import app\n"
        "try: app(['compare', *sys.argv[1:]])\nexcept SystemExit as ended: assert not ended.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *runs], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_folder_of_many_runs_has_a_short_name_of_its_own():
    assert folder_name(["a_0", "a_1"]) == "a_0--a_1"
    many = [f"experience_{seed}" for seed in range(40)]
    assert re.fullmatch("experience_0--and-39-more--[0-9a-f]{8}", folder_name(many))
    assert folder_name(many) != folder_name([*many[:-1], "other"])


def test_a_run_without_results_is_said_to_be_interrupted(workspace):
    record = workspace / "runs" / PAIR[1] / "run.json"
    record.write_text(
        json.dumps({**json.loads(record.read_text()), "state": "interrupted", "results": {}})
    )
    assert f"{PAIR[1]} is interrupted, and was not evaluated" in str(
        package.compare(*PAIR, figures=False)
    )


def test_runs_without_numbers_of_a_test_part_are_compared_by_those_of_validation_or_training(
    workspace,
):
    def compared(*results: dict[str, dict[str, dict[str, float]]]) -> Comparison:
        for name, numbers in zip(PAIR, results, strict=True):
            record = workspace / "runs" / name / "run.json"
            record.write_text(json.dumps({**json.loads(record.read_text()), "results": numbers}))
        return package.compare(*PAIR, figures=False)

    trained = [{"train": {"depth": {"mae": error}}} for error in (0.5, 0.25)]
    comparison = compared(*trained)
    assert plain_rows(comparison)[1] == [["depth", "mae", "training", "km", 0.5, 0.25]]
    assert [row.best for row in comparison.results] == [[]], (
        "nothing is chosen by how it was trained"
    )
    assert all(
        words in str(comparison) for words in ("2 runs on the training part", "training depth mae")
    )
    comparison = compared(trained[0], {**trained[1], "test": {"depth": {"mae": 1.5}}})
    assert plain_rows(comparison)[1] == [["depth", "mae", "test", "km", None, 1.5]]
    comparison = compared(trained[0], {**trained[1], "validation": {"depth": {"mae": 0.75}}})
    assert plain_rows(comparison)[1] == [["depth", "mae", "validation", "km", None, 0.75]]
    comparison = compared(*({**numbers, "validation": numbers["train"]} for numbers in trained))
    assert [row.best for row in comparison.results] == [[1]]
    assert "depth mae: lowest in B by validation, 0.25 km\n" in str(comparison)
    assert re.search(r"A +0\.5\n +B +0\.25 \*$", str(comparison), re.MULTILINE)
