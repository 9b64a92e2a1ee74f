import json

import numpy as np
import pytest

from qexp.base.text import markdown
from qexp.metrics.baselines import compared_classifiers, compared_estimators
from qexp.metrics.built_in import METRICS
from qexp.metrics.intervals import difference, interval
from qexp.metrics.meaning import Meaning
from qexp.results.errors import (
    choices_in_words,
    estimator_tables,
    remarks,
    results_with_intervals,
    shown,
)
from qexp.store.record import ComparisonRow, Record, State

RMSE = METRICS["rmse"].build()
ROWS = 30
TRUTH = np.linspace(0.4, 10, ROWS)[:, None]
ERROR = np.random.default_rng(0).normal(0, 1, (ROWS, 1))
NOTE = "selected on the test data"


def table(**arguments):
    estimators = {
        "network": TRUTH + ERROR,
        "ridge": TRUTH + 2 * ERROR,
        "pls": TRUTH + 0.5 * ERROR[::-1],
    }
    return compared_estimators(estimators, TRUTH, {"tio2": "wt%"}, **arguments)


def test_each_estimator_has_its_errors_with_intervals_and_its_difference_to_the_network():
    network, ridge, _ = table()
    assert (network["output"], network["unit"], network["estimator"], network["n"]) == (
        "tio2",
        "wt%",
        "network",
        ROWS,
    )
    assert network["rmse"] == pytest.approx(np.sqrt(np.mean(ERROR**2)))
    assert network["rmse_interval"] == list(interval(RMSE, (TRUTH + ERROR)[:, 0], TRUTH[:, 0]))
    assert (network["difference"], network["difference_interval"]) == (None, None)
    _, ends = difference(RMSE, (TRUTH + 2 * ERROR)[:, 0], (TRUTH + ERROR)[:, 0], TRUTH[:, 0])
    assert ridge["difference"] == pytest.approx(network["rmse"])
    assert ridge["difference_interval"] == list(ends)


def test_rows_that_no_fold_held_out_do_not_count_and_an_estimator_that_failed_on_one_is_not_judged_on_the_others():
    held_out = TRUTH + ERROR
    held_out[3] = np.nan
    row = compared_estimators({"network": held_out}, TRUTH, {"tio2": "wt%"})[0]
    others = np.arange(ROWS) != 3
    assert row["n"] == ROWS - 1
    assert row["mae"] == pytest.approx(np.abs(ERROR[others]).mean())
    failed = TRUTH + ERROR
    failed[3] = np.inf
    rows = compared_estimators({"network": TRUTH + ERROR, "ridge": failed}, TRUTH, {"tio2": "wt%"})
    assert rows[0]["n"] == ROWS
    assert {rows[1][key] for key in ("rmse", "mae", "r2", "bias", "difference")} == {None}
    assert "ridge: not evaluated, because some of its estimates are not finite" in remarks(rows)
    assert estimator_tables(rows)[0].rows[1] == ["ridge", "-", "-", "-", "-", "-"]


def test_whole_groups_are_drawn_where_rows_have_one():
    groups = np.arange(ROWS) // 5
    row = table(groups=groups)[0]
    assert row["groups"] == 6
    assert row["rmse_interval"] == list(interval(RMSE, (TRUTH + ERROR)[:, 0], TRUTH[:, 0], groups))
    assert estimator_tables([row])[0].title == "tio2, 30 held-out rows in 6 groups"
    assert "groups of held-out rows" in remarks([row])[0]


def test_each_output_has_a_table_with_the_best_first_and_digits_that_the_intervals_leave():
    rows = table()
    (printed,) = estimator_tables(rows)
    assert printed.columns == [
        "estimator",
        "RMSE (wt%)",
        "against the network (wt%)",
        "MAE (wt%)",
        "R²",
        "bias (wt%)",
    ]
    assert [row[0] for row in printed.rows] == ["pls", "network", "ridge"]
    assert printed.strong == {(0, 1)}
    low, high = rows[0]["rmse_interval"]
    assert printed.rows[1][1] == f"{rows[0]['rmse']:.3f} [{low:.2f}, {high:.2f}]"
    assert printed.rows[1][2] == "-"
    truth = np.hstack([TRUTH, 10 * TRUTH])
    estimators = {"network": truth + 0.1, "mean": np.broadcast_to(truth.mean(axis=0), truth.shape)}
    rows = compared_estimators(estimators, truth, {"tio2": "wt%", "age": ""})
    tables = estimator_tables(rows)
    assert [each.title for each in tables] == ["tio2, 30 held-out rows", "age, 30 held-out rows"]
    assert tables[1].columns[1] == "RMSE"
    # It is off by the same everywhere, which no resample changes: no digits are made up for an
    # interval.
    assert tables[0].rows[0][1] == "0.1"


def test_an_interval_that_says_nothing_leaves_an_error_its_digits_and_is_said_to_be_over_too_few():
    row = table()[0] | {
        "rmse": 0.2787,
        "rmse_interval": [0.0, 1680.0],
        "r2": 0.68,
        "r2_interval": [-300.0, 1.0],
    }
    (printed,) = estimator_tables([row])
    assert (printed.rows[0][1], printed.rows[0][4]) == ("0.279", "0.680")
    assert f"{row['estimator']}: too few rows for an interval of the RMSE" in remarks([row])


def test_a_note_stands_beside_the_numbers_in_every_form_and_rows_survive_json():
    rows = table(notes={"network": NOTE})
    assert f"network ({NOTE})" in [row[0] for row in estimator_tables(rows)[0].rows]
    assert f"network: {NOTE}" in remarks(rows)
    assert markdown(estimator_tables(rows), remarks(rows)).count(NOTE) == 2
    rows = table(notes={"network": NOTE}, groups=np.arange(ROWS) // 3)
    again = json.loads(json.dumps(rows))
    assert again == rows
    assert estimator_tables(again) == estimator_tables(rows)


def test_the_values_that_folds_chose_are_counted_and_one_at_the_end_of_the_list_is_doubted():
    select = {
        "units": [[4], [8], [16]],
        "epochs": [100],
        "optimizer": ["adam", "sgd"],
        "learning_rate": [1, 2, 3],
    }
    chosen = [{"units": [16], "epochs": 100, "optimizer": "adam", "learning_rate": 2}] * 4
    chosen += [{"units": [8], "epochs": 100, "optimizer": "adam", "learning_rate": 3}] * 2
    assert list(choices_in_words(select, chosen)) == [
        (
            "units, chosen on inner folds: [16] in 4 folds, [8] in 2 folds; [16] ends the list, and"
            " values beyond it may be better"
        ),
        'optimizer, chosen on inner folds: "adam" in 6 folds',
        "learning_rate, chosen on inner folds: 2 in 4 folds, 3 in 2 folds",
    ]


def test_a_small_bias_keeps_its_first_digits_and_a_number_beside_its_interval_three():
    row = {**table()[0], "bias": 0.2482, "bias_interval": [-11.0, 12.0]}
    assert estimator_tables([row])[0].rows[0][5] == "0.25"
    results, intervals = {"mae": 17.7249, "r2": 0.9241}, {"mae": (11.0, 31.0), "r2": (0.8, 0.97)}
    of_test = {"results": {"test": {"T": results}}, "intervals": {"test": {"T": intervals}}}
    record = Record(name="one", seed=0, state=State.DONE, **of_test)
    assert [row[3] for row in next(iter(results_with_intervals(record))).rows] == ["17.7", "0.924"]


def test_relative_errors_are_shown_of_outputs_with_a_zero_of_their_own_alone():
    assert [
        shown(name, "mre", 11.29, Meaning(unit="%")) for name in ("x", "strike", "depth", "own")
    ] == ["-", "-", "11.29", "11.29"]


def classifiers(rows=80, **arguments):
    random = np.random.default_rng(2)
    codes = random.integers(0, 3, rows)
    sharp = random.dirichlet([1, 1, 1], rows) + 3 * np.eye(3)[codes]
    estimators = {
        "network": sharp / 4,
        "forest": (sharp / 4 + 1 / 3) / 2,
        "majority": np.full((rows, 3), 1 / 3),
    }
    return compared_classifiers(estimators, codes, "rock", **arguments), estimators, codes


def test_classifiers_are_compared_by_their_log_scores_and_rows_survive_records():
    rows, estimators, codes = classifiers(notes={"network": NOTE}, groups=np.arange(80) // 4)
    network, forest, majority = rows
    score = METRICS["log_score"].build()
    assert majority["metrics"]["log_score"] == pytest.approx(np.log(3))
    assert network["metrics"]["accuracy"] == np.mean(estimators["network"].argmax(axis=1) == codes)
    apart, ends = difference(
        score, estimators["forest"], estimators["network"], codes, np.arange(80) // 4
    )
    assert (forest["difference"], forest["difference_interval"]) == (apart, list(ends))
    assert (network["difference"], network["rmse"], network["groups"]) == (None, None, 20)
    for row in json.loads(json.dumps(rows)):
        assert ComparisonRow.from_document(row).document() == row
    numbers = table()[0]
    assert "metrics" not in ComparisonRow.from_document(numbers).document()


def test_tables_of_classifiers_have_the_best_log_score_first():
    rows, _, _ = classifiers(notes={"network": NOTE})
    (printed,) = estimator_tables(rows)
    assert printed.title == "rock, 80 held-out rows"
    assert printed.columns == [
        "estimator", "log score", "against the network", "accuracy", "balanced accuracy",
        "Brier score", "calibration error", "AUC",
    ]  # fmt: skip
    assert [row[0] for row in printed.rows] == [f"network ({NOTE})", "forest", "majority"]
    assert "[" in printed.rows[1][1]
    assert "[" in printed.rows[1][2]
    assert "difference of the log score" in " ".join(remarks(rows))
    both = [*table(), *rows]
    assert [each.title[:4] for each in estimator_tables(both)] == ["tio2", "rock"]
    assert "difference of the RMSE or log score" in " ".join(remarks(both))
    undefined = np.full((80, 3), np.nan)
    undefined[0] = 1 / 3
    rows = compared_classifiers({"network": undefined}, np.zeros(80), "rock")
    assert rows[0]["n"] == 1
