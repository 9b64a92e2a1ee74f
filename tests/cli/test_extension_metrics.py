"""A metric of a workspace says which of its values are better, and their unit; whoever reads
results goes by that.
"""

import json
import shutil

import pytest

from qexp.kinds.networks import of_sums_only
from qexp.kinds.tables import tables_with
from tests.conftest import SOUND, Specs, call, copied, prepare_with, shared_folder

METRICS = """
import math

import numpy as np

from qexp.extend import Additive, Entry, Metric


def correlation(estimate, truth):
    return np.corrcoef(estimate.ravel(), truth.ravel())[0, 1]


fourth = Additive(
    terms=lambda estimate, truth, centre: [(estimate - truth) ** 4], value=lambda sums, count: sums[0] / count
)

METRICS = {
    "r": Entry(lambda: Metric(correlation, best="highest", unit=""), {}, "Pearson's correlation.", {"type": "r"}),
    "m4": Entry(lambda: Metric(fourth, best="lowest", unit="({unit})⁴"), {}, "Fourth power of errors.", {"type": "m4"}),
}
"""


@shared_folder
def trained(root):
    """A workspace with metrics of its own, and runs whose records say 0.9 and 0.2 for r, in the
    test 0.95 and 0.1.
    """
    specs = Specs(root)
    (root / "specs/extensions.py").write_text(METRICS)
    specs.write(
        "experience", {**SOUND["experience"], "metrics": {"depth": ["r", "m4"]}, "epochs": 1}
    )
    for seed, results in (
        (0, {"validation": 0.9, "test": 0.95}),
        (1, {"validation": 0.2, "test": 0.10}),
    ):
        call("run", "sound", "--seed", str(seed), "--device", "cpu", "--workspace", root).done()
        for part, r in results.items():
            changed(
                root,
                f"sound_{seed}",
                lambda record, at=part, r=r: record["results"][at]["depth"].update(r=r),
            )


@pytest.fixture
def measured(trained, tmp_path, monkeypatch):
    """A copy of it, which is the current directory."""
    return copied(trained, tmp_path, monkeypatch)


def changed(root, name, change):
    file = root / "runs" / name / "run.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


def row_of(qexp, metric, *runs):
    document = json.loads(qexp("compare", *runs, "--json").stdout)
    (row,) = [
        row for row in document["results"] if (row["output"], row["metric"]) == ("depth", metric)
    ]
    return row


@pytest.mark.heavy
def test_a_higher_correlation_is_the_better_one_and_has_no_unit(measured, qexp):
    row = row_of(qexp, "r", "sound_0", "sound_1")
    assert (row["values"], row["best"], row["unit"], row["direction"]) == (
        [0.95, 0.10],
        [0],
        "",
        "highest",
    )
    lines = [
        line.split()
        for line in qexp("compare", "sound_0", "sound_1", "--metric", "r").stdout.splitlines()
    ]
    assert ["A", "0.900", "*", "0.950"] in lines
    assert ["B", "0.200", "0.100"] in lines


def test_every_metric_of_a_run_is_in_its_record_with_direction_and_unit(measured, qexp):
    record = json.loads(qexp("show", "sound_0", "--json").stdout)["metrics"]
    assert record["r"] == {"best": "highest", "unit": ""}
    assert record["m4"] == {"best": "lowest", "unit": "({unit})⁴"}
    assert record["mse" if "mse" in record else "mae"]["best"] == "lowest"
    assert record["bias"] == {"best": "zero", "unit": "{unit}"}
    assert set(record) == {"mae", "rmse", "bias", "r2", "mre", "r", "m4"}


def test_listings_show_the_units_that_the_record_says_although_the_extension_is_gone(
    measured, qexp
):
    (measured / "specs/extensions.py").unlink()
    head = qexp(
        "ls", "--columns", "name,test.depth.r,test.depth.m4,test.depth.mae"
    ).stdout.splitlines()[0]
    assert head.split("  ")[-1].strip() == "test.depth.mae (km)"
    assert "test.depth.r  " in head
    assert "test.depth.m4 ((km)⁴)" in head
    output = qexp("show", "sound_0").stdout
    assert "0.95 km" not in output
    assert " (km)⁴" in output


def test_a_run_that_has_yet_to_train_has_the_column_of_its_own_metric(measured, qexp):
    changed(measured, "sound_0", lambda record: record.update(results={}))
    changed(measured, "sound_1", lambda record: record.update(results={}))
    assert (
        json.loads(qexp("ls", "--columns", "test.depth.r", "--json").stdout)
        == [{"test.depth.r": None}] * 2
    )


@pytest.mark.heavy
def test_where_no_record_says_how_a_metric_is_read_nothing_is_best_and_it_is_said(measured, qexp):
    for name in ("sound_0", "sound_1"):
        changed(measured, name, lambda record: record.pop("metrics"))
    row = row_of(qexp, "r", "sound_0", "sound_1")
    assert (row["best"], row["unit"], row["direction"]) == ([], "", None)
    assert (
        "the runs do not say which values of r are better"
        in qexp("compare", "sound_0", "sound_1", "--all").stdout
    )
    assert row_of(qexp, "r2", "sound_0", "sound_1")["direction"] == "highest"


@pytest.mark.heavy
def test_over_seeds_the_group_with_the_higher_correlation_is_the_better_one(measured, qexp):
    runs = measured / "runs"
    for name, values in (("good", (0.95, 0.96)), ("bad", (0.10, 0.12))):
        for seed, value in enumerate(values):
            run = f"{name}_{seed}"
            shutil.copytree(runs / "sound_0", runs / run)
            fields = {
                "name": run,
                "experience": name,
                "seed": seed,
                "results": {"test": {"depth": {"r": value}}},
            }
            changed(measured, run, lambda record, fields=fields: record.update(fields))
            prepare_with(runs / run, lambda spec, name=name: spec.update(group=name))
    document = json.loads(qexp("compare", "good_*", "bad_*", "--json").stdout)
    ((difference,),) = [pair["differences"] for pair in document["pairs"]]
    assert (difference["metric"], difference["better"], difference["unit"]) == ("r", "good", "")
    assert {row["direction"] for row in document["results"]} == {"highest"}


@pytest.mark.parametrize(
    ("metric", "complaint"),
    [
        (
            "Metric(correlation, unit='')",
            'does not say which values are better; write best="lowest", "highest" or',
        ),
        (
            "Metric(correlation, best='high', unit='')",
            "says 'high', which is no word for which values are better",
        ),
        (
            "Metric(correlation, best='highest')",
            'does not say the unit of its values; write unit="" for none',
        ),
        (
            "correlation",
            "must build a qexp.extend.Metric: Metric(function of estimate and truth, best=",
        ),
        ("1 / 0", "ZeroDivisionError"),
        (
            (
                "Metric(Additive(lambda e, t, c: [e - t], lambda s, n: math.sqrt(s[0] / n)),"
                " best='lowest', unit='')"
            ),
            "has a value that does not accept arrays of sums, as intervals need: only ",
        ),
    ],
)
def test_a_metric_that_does_not_say_how_it_is_read_is_an_error_that_says_what_to_write(
    specs, qexp, metric, complaint
):
    text = METRICS.replace('Metric(correlation, best="highest", unit="")', metric)
    (specs.root / "specs/extensions.py").write_text(text)
    stderr = qexp("validate").refused()
    assert "extensions.py: METRICS['r'] " in stderr
    assert complaint in stderr


def test_an_additive_metric_of_ones_own_is_judged_piece_by_piece_and_another_is_refused_there(
    tmp_path,
):
    (tmp_path / "extensions.py").write_text(METRICS)
    tables = tables_with(tmp_path / "extensions.py")
    assert list(of_sums_only({"metrics": {"u": ["m4"]}}, ["u"], "frames", tables)) == []
    ((where, message),) = of_sums_only({"metrics": {"u": "r"}}, ["u"], "frames", tables)
    assert where == ("metrics", "u")
    assert message.startswith("'r' needs all values at once")
