"""Intervals of held-out rows and spectra: made at the end of training, from the errors of the
others alone.
"""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import xarray

import qexp as package
from qexp.base.text import Table
from qexp.kinds.held_out import HeldOutEstimates, count_covered
from qexp.metrics.conformal import Scale
from qexp.results.intervals import USUAL_COVERAGE, interval_tables
from qexp.store.directory import RunDirectory
from tests import cores, stones
from tests.conftest import call

ONE_BY_ONE = {"split": "leave_one_out", "inner": None, "keep": "last", "epochs": 60}
BY_QUARRY = {**ONE_BY_ONE, "split": {"type": "group_k_fold", "parameters": {"by": "quarry"}}}
IN_LOGARITHMS = {
    "transforms": {**stones.EXPERIENCE["transforms"], "iron": {"type": "log", "parameters": {}}}
}


def rows_of(directory: RunDirectory) -> list[dict[str, str]]:
    with (directory.results / "intervals.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(lines, name):
    return np.array([float(line[name]) for line in lines])


def held_out_errors(directory, scale=lambda values: values):
    table = xarray.load_dataset(directory.results / "test_predictions.nc", engine="h5netcdf")
    return np.abs(scale(table["iron"].values) - scale(table["iron_estimate"].values)), table


@pytest.mark.heavy
def test_an_interval_is_as_wide_as_the_errors_of_the_other_rows_demand_and_coverage_is_counted_by_group_and_listed(
    run,
):
    directory = run(**ONE_BY_ONE)
    errors, table = held_out_errors(directory)
    lines = rows_of(directory)
    assert [line["stone"] for line in lines] == list(table["stone"].values)
    place = math.ceil(USUAL_COVERAGE * stones.ROWS) - 1
    radius = np.array([np.sort(np.delete(errors, row))[place] for row in range(stones.ROWS)])
    low, estimate, high = (numbers(lines, f"iron_{end}") for end in ("low", "estimate", "high"))
    assert low == pytest.approx(estimate - radius, rel=1e-6)
    assert high == pytest.approx(estimate + radius, rel=1e-6)

    intervals = package.open_run(str(directory.path)).held_out_intervals()
    assert (intervals.unit, intervals.units) == ("row", stones.ROWS)
    inside = (low <= numbers(lines, "iron")) & (numbers(lines, "iron") <= high)
    of_usual = {
        coverage.name: coverage
        for coverage in intervals.coverages
        if coverage.interval == USUAL_COVERAGE
    }
    # by counting
    assert of_usual[""].covered == inside.sum() == math.ceil(USUAL_COVERAGE * stones.ROWS)
    for quarry in "ABCD":
        same_group = np.array([line["quarry"] == quarry for line in lines])
        assert (of_usual[quarry].covered, of_usual[quarry].n) == (
            inside[same_group].sum(),
            same_group.sum(),
        )
    assert of_usual[""].mean_width == pytest.approx((high - low).mean())
    assert of_usual[""].range[0] < of_usual[""].covered / stones.ROWS < of_usual[""].range[1]
    listed = call(
        "ls", "--csv", "--columns", "name,calibration.iron.coverage_90,calibration.iron.width"
    ).stdout
    (line,) = csv.DictReader(listed.splitlines())
    assert float(line["calibration.iron.coverage_90"]) == of_usual[""].covered / of_usual[""].n
    assert float(line["calibration.iron.width"]) == of_usual[""].mean_width
    assert (
        "has intervals from held-out errors, not posteriors"
        in call("calibrate", directory.path).failed()
    )


@pytest.mark.heavy
def test_where_the_loss_is_of_logarithms_intervals_are_factors_and_stay_positive(run):
    directory = run(**ONE_BY_ONE, **IN_LOGARITHMS)
    lines = rows_of(directory)
    low, estimate, high = (
        numbers(lines, name) for name in ("iron_low", "iron_estimate", "iron_high")
    )
    assert high / estimate == pytest.approx(estimate / low)
    assert (low > 0).all()
    errors, _ = held_out_errors(directory, np.log)
    factor = np.sort(np.delete(errors, 0))[math.ceil(USUAL_COVERAGE * stones.ROWS) - 1]
    assert high[0] / estimate[0] == pytest.approx(math.exp(factor), rel=1e-6)


@pytest.mark.heavy
def test_limits_of_an_output_hold_for_its_intervals(run):
    lines = rows_of(run(**ONE_BY_ONE, limits={"iron": [2.5, 5]}))
    assert (numbers(lines, "iron_low").min(), numbers(lines, "iron_high").max()) == (2.5, 5)


@pytest.mark.heavy
def test_a_group_gets_its_intervals_from_other_groups_and_what_few_groups_cannot_promise_is_said(
    run,
):
    directory = run(**BY_QUARRY)
    errors, _ = held_out_errors(directory)
    lines = rows_of(directory)
    for quarry in "ABCD":
        same_group = np.array([line["quarry"] == quarry for line in lines])
        radius = errors[~same_group].max()  # three other groups promise 75 % and no more
        assert (numbers(lines, "iron_high") - numbers(lines, "iron_estimate"))[
            same_group
        ] == pytest.approx(radius)
    intervals = package.open_run(str(directory.path)).held_out_intervals()
    assert (intervals.unit, intervals.units) == ("quarry", 4)
    promised = {coverage.interval: coverage.promised for coverage in intervals.coverages}
    assert promised == {0.5: 0.5, 0.68: 0.68, 0.9: 0.75, 0.95: 0.75}
    said = call("show", directory.path).stdout
    assert (
        "intervals of held-out estimates, each from the errors of 3 other groups (quarry)" in said
    )
    assert (
        "3 other groups (quarry) can promise only 75 %: these intervals are as wide as the largest"
        " error" in said
    )
    table = next(part for part in interval_tables(intervals, {}) if isinstance(part, Table))
    assert [row[1] for row in table.rows] == ["50 %", "68 %", "75 %"], (
        "what is promised names an interval, once"
    )


def test_a_truth_at_the_end_of_its_interval_is_covered_whatever_its_last_bits():
    truth, none = np.array([0.14330000000000004, 0.1434]), np.zeros(2, dtype=np.int64)
    rows = HeldOutEstimates(
        "toc", Scale(), truth, truth, {}, "core", none, None, none.astype(str), (), none
    )
    (counted,) = count_covered(rows, USUAL_COVERAGE, 0.5, (np.zeros(2), np.full(2, 0.1433)))
    assert counted.covered == 1


@pytest.mark.heavy
def test_a_run_of_an_older_version_gets_them_and_nothing_else_in_it_changes(run, tmp_path):
    directory = run(**ONE_BY_ONE)
    contents = {
        name: (directory.results / name).read_bytes()
        for name in ("intervals.json", "intervals.csv")
    }
    for name in contents:
        (directory.results / name).unlink()
    before = {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()}
    assert "intervals of held-out" not in call("show", directory.path).stdout
    assert "90 % intervals by quarry" in call("intervals", directory.path).done()
    after = {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()}
    assert {path.name for path in after.keys() - before.keys()} == contents.keys()
    assert before.items() <= after.items()
    assert {name: (directory.results / name).read_bytes() for name in contents} == contents
    assert json.loads(call("intervals", directory.path, "--json").stdout) == json.loads(
        contents["intervals.json"]
    )
    report = package.open_run(str(directory.path)).report(tmp_path / "stones.html").read_text()
    assert "intervals of held-out estimates" in report
    assert (
        r"\caption{90 \% intervals by quarry}"
        in call("intervals", directory.path, "--latex").stdout
    )


@pytest.mark.heavy
def test_spectra_of_a_core_get_their_intervals_from_the_other_test_cores_and_a_single_one_gets_none(
    workspace,
):
    cores.write(workspace)
    directory = RunDirectory(package.run("scratch", device="cpu").path)
    assert package.open_run(str(directory.path)).held_out_intervals().coverages == ()
    assert not (directory.results / "intervals.csv").exists()
    assert "all held-out data are of one core" in call("intervals", directory.path).stderr
    assert "intervals of held-out" not in call("show", directory.path).stdout
    shutil.rmtree(workspace / "data/few")
    cores.write_folders(workspace / "data/few", {**cores.CORES, "test": ("D1", "D2", "D3")})
    directory = RunDirectory(package.run("scratch", name="three", device="cpu").path)
    intervals = package.open_run(str(directory.path)).held_out_intervals()
    assert (intervals.unit, intervals.units) == ("core", 3)
    (of_d2,) = (
        coverage
        for coverage in intervals.coverages
        if coverage.name == "D2" and coverage.interval == USUAL_COVERAGE
    )
    assert (of_d2.n, of_d2.promised) == (cores.SPECTRA, pytest.approx(2 / 3))
    lines = rows_of(directory)
    error = np.abs(numbers(lines, "toc") - numbers(lines, "toc_estimate"))
    same_group = np.array([line["core"] == "D2" for line in lines])
    half = (numbers(lines, "toc_high") - numbers(lines, "toc_low")) / 2
    assert half[same_group] == pytest.approx(error[~same_group].max())


@pytest.mark.heavy
def test_other_runs_are_refused_with_what_would_work(train, run):
    assert (
        "datasets of the type 'generated' make no intervals"
        in call("intervals", train(epochs=1).path).failed()
    )
    directory = run(**ONE_BY_ONE)
    (directory.results / "test_predictions.nc").unlink()
    assert "some of its results are missing" in call("intervals", directory.path).failed()


@pytest.mark.heavy
def test_intervals_from_errors_that_were_selected_on_the_test_data_say_so(run):
    directory = run(**{**ONE_BY_ONE, "keep": "best", "epochs": 4, **stones.AS_PUBLISHED})
    assert {line["caution"] for line in rows_of(directory)} == {stones.CAUTION}
    assert stones.CAUTION in call("intervals", directory.path).stdout
