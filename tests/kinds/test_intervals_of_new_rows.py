"""Intervals of new rows and spectra: what `qexp predict` writes, against the definition, and how
often they hold.
"""

import csv
import math

import numpy as np
import pandas
import pytest
import torch
import xarray

import qexp as package
from qexp.kinds.networks import load_folds
from qexp.networks.estimator import Ensemble
from qexp.store.directory import RunDirectory
from tests import cores, stones
from tests.conftest import call, without_unit

ONE_BY_ONE = {"split": "leave_one_out", "inner": None, "keep": "last", "epochs": 60}
REPEATED = {**ONE_BY_ONE, "split": {"type": "k_fold", "parameters": {"folds": 3, "repeats": 2}}}
BY_QUARRY = {**ONE_BY_ONE, "split": {"type": "group_k_fold", "parameters": {"by": "quarry"}}}
NEW = np.random.default_rng(8).uniform(0.1, 0.9, (40, 3)).astype(np.float32)


@pytest.fixture
def finished(workspace):
    def run(**changes):
        stones.write(workspace, **changes)
        return RunDirectory(package.run("stones", device="cpu").path)

    return run


def predicted(directory, tmp_path, *options, name="new.csv"):
    """Column → numbers of the file that is made of new stones."""
    with (tmp_path / name).open("w", newline="") as file:
        csv.writer(file).writerows([stones.COLUMNS, *NEW.tolist()])
    made = tmp_path / f"made_of_{name}"
    code, _, stderr = call("predict", directory.path, tmp_path / name, "--output", made, *options)
    assert code == 0, stderr
    return {
        without_unit(column): values.to_numpy() for column, values in pandas.read_csv(made).items()
    }, stderr


def estimates_of_folds(directory):
    """Fold → the mean of its networks for the new stones, (row,)."""
    sample = {"colour": torch.from_numpy(NEW)}
    folds = load_folds(directory, torch.device("cpu"))
    return {
        name: Ensemble(models).estimated(sample)["iron"].middle[:, 0].numpy()
        for name, models in folds.items()
    }


def held_out(directory):
    """Names of folds, and the absolute errors of the rows, in the order of the rows; by row if
    folds are repeated.
    """
    lines = pandas.read_csv(directory.results / "predictions.csv", dtype={"fold": str})
    made = xarray.load_dataset(directory.results / "test_predictions.nc", engine="h5netcdf")
    errors = np.abs(made["iron"].values - made["iron_estimate"].values)
    return [lines.loc[lines["row"] == row, "fold"].tolist() for row in made["row"].values], errors


@pytest.mark.heavy
@pytest.mark.parametrize("changes", [ONE_BY_ONE, REPEATED])
def test_each_held_out_error_is_laid_around_the_estimate_of_the_folds_that_held_it_out(
    finished, tmp_path, changes
):
    directory = finished(**changes)
    columns, stderr = predicted(directory, tmp_path)
    of_fold, (folds, errors) = estimates_of_folds(directory), held_out(directory)
    assert (len(of_fold), len(folds)) == (6 if changes is REPEATED else stones.ROWS, stones.ROWS)
    centres = np.array([np.mean([of_fold[name] for name in names], axis=0) for names in folds])
    rank = math.ceil(0.9 * (stones.ROWS + 1))
    assert columns["iron_high"] == pytest.approx(
        np.sort(centres + errors[:, None], axis=0)[rank - 1], rel=1e-4
    )
    assert columns["iron_low"] == pytest.approx(
        -np.sort(errors[:, None] - centres, axis=0)[rank - 1], rel=1e-4
    )
    low, high = package.open_run(str(directory.path)).predict_interval(0.9, colour=NEW)["iron"]
    assert (columns["iron_low"], columns["iron_high"]) == (pytest.approx(low), pytest.approx(high))
    frame = pandas.DataFrame(NEW, columns=stones.COLUMNS).iloc[3, ::-1]
    one = package.open_run(str(directory.path)).predict_interval(0.9, colour=frame)["iron"]
    assert one == pytest.approx((low[3], high[3]))
    assert list(columns)[:4] == ["iron", "iron_low", "iron_high", "iron_spread"]
    assert "90 % intervals for new rows like those of the training data" in stderr


@pytest.mark.heavy
def test_new_stones_lie_in_their_intervals_as_often_as_these_say(finished, tmp_path):
    directory = finished(**ONE_BY_ONE)
    iron = 2 + 6 * NEW[:, 0] * NEW[:, 1] + np.random.default_rng(9).normal(0, 0.1, len(NEW))
    for share in (0.5, 0.9):
        columns, _ = predicted(directory, tmp_path, "--interval", str(share), "--overwrite")
        covered = ((columns["iron_low"] <= iron) & (iron <= columns["iron_high"])).mean()
        assert abs(covered - share) < 3 * math.sqrt(
            share * (1 - share) * (1 / len(NEW) + 1 / stones.ROWS)
        )


@pytest.mark.heavy
def test_the_largest_error_of_all_groups_is_what_four_groups_can_promise(finished, tmp_path):
    directory = finished(**BY_QUARRY)
    columns, stderr = predicted(directory, tmp_path)
    assert "80 % intervals for rows of a new quarry" in stderr
    of_fold, (folds, errors) = estimates_of_folds(directory), held_out(directory)
    ends = np.array([of_fold[names[0]] + error for names, error in zip(folds, errors, strict=True)])
    assert columns["iron_high"] == pytest.approx(ends.max(axis=0), rel=1e-4)
    words = ("predict", directory.path, tmp_path / "new.csv", "--output", tmp_path / "x.csv")
    refused = "held out 4 groups (quarry), which promise no more than 0.8; ask for that"
    assert refused in call(*words, "--interval", "0.9").failed()
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.heavy
def test_a_file_says_what_its_intervals_promise_and_is_not_taken_for_one_with_others(
    finished, tmp_path
):
    directory = finished(**ONE_BY_ONE)
    predicted(directory, tmp_path)
    words = ("predict", directory.path, tmp_path / "new.csv", "--output")
    assert call(*words, tmp_path / "made.nc", "--interval", "0.68").code == 0
    with xarray.open_dataset(tmp_path / "made.nc", engine="h5netcdf") as made:
        assert (
            made.attrs["interval"] == "68 % intervals for new rows like those of the training data"
        )
        assert made["iron_low"].attrs["units"] == "wt%"
        assert made["iron_low"].attrs["long_name"].startswith("lower end of 68 % intervals")
        assert (made["iron_low"] < made["iron_high"]).all()
    assert "was made with other intervals" in call(*words, tmp_path / "made.nc").failed()
    assert "exists already" in call(*words, tmp_path / "made.nc", "--interval", "0.68").stderr


@pytest.mark.heavy
@pytest.mark.parametrize("share", ["0", "1", "-0.5", "90", "nan"])
def test_a_share_that_is_none_is_refused(finished, tmp_path, share):
    directory = finished(epochs=1)
    (tmp_path / "new.csv").write_text("red,green,blue\n0.5,0.5,0.5\n")
    words = ("predict", directory.path, tmp_path / "new.csv", "--output", tmp_path / "made.csv")
    assert "such as 0.9" in call(*words, "--interval", share).failed()


@pytest.mark.heavy
def test_the_intervals_of_spectra_are_those_of_the_errors_of_its_test_cores(workspace, tmp_path):
    cores.write(workspace)
    directory = RunDirectory(package.run("scratch", device="cpu").path)
    target = tmp_path / "made.csv"
    given = ("predict", directory.path, workspace / "data/few", "--output", target)
    code, _, stderr = call(*given)
    assert code == 0
    assert "50 % intervals for rows of a new core" in stderr  # of the one core that was held out
    made = xarray.load_dataset(directory.results / "test_predictions.nc", engine="h5netcdf")
    largest = np.abs(made["toc"].values - made["toc_estimate"].values).max()
    estimate, low, high = (
        pandas.read_csv(target)
        .rename(columns=without_unit)[["toc_estimate", "toc_low", "toc_high"]]
        .to_numpy()
        .T
    )
    assert high - estimate == pytest.approx(largest, rel=1e-4)
    assert estimate - low == pytest.approx(largest, rel=1e-4)
    assert "promise no more than 0.5" in call(*given, "--interval", "0.9", "--overwrite").stderr


@pytest.mark.heavy
def test_images_without_a_posterior_head_have_no_intervals(specs, tmp_path):
    assert call("run", "sound").code == 0
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 8), dtype=np.float32))
    words = ("predict", "sound_0", tmp_path / "x.npy", "--output", tmp_path / "made.csv")
    assert (
        "the network of sound_0 ends in no posterior head"
        in call(*words, "--interval", "0.9").failed()
    )


@pytest.mark.heavy
def test_rows_of_an_evaluation_lie_in_the_intervals_that_they_would_be_predicted_with(
    finished, tmp_path
):
    directory = finished(**ONE_BY_ONE)
    columns, _ = predicted(directory, tmp_path)
    iron = 2 + 6 * NEW[:, 0] * NEW[:, 1] + np.random.default_rng(9).normal(0, 0.1, len(NEW))
    lines = [[f"{'ABCD'[row % 4]}{row}", *NEW[row].tolist(), iron[row]] for row in range(len(NEW))]
    with (tmp_path / "stones.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["stone", *stones.COLUMNS, "Fe"], *lines])
    stdout = call("evaluate", directory.path, "--input", tmp_path / "stones.csv").done()
    assert f"intervals from the errors of {stones.ROWS} held-out rows of the run" in stdout
    made = package.open_run(str(directory.path))
    found = made.held_out_intervals("stones")
    covered = (columns["iron_low"] <= iron) & (iron <= columns["iron_high"])
    of_usual = {one.name: one for one in found.coverages if one.interval == 0.9}
    assert (of_usual[""].covered, of_usual[""].n) == (covered.sum(), len(NEW))
    assert (of_usual["B"].covered, of_usual["B"].n) == (covered[1::4].sum(), 10)
    assert of_usual[""].mean_width == pytest.approx(
        (columns["iron_high"] - columns["iron_low"]).mean(), rel=1e-4
    )
    (left,) = made.figures(evaluation="stones", only=["coverage"])
    assert left.name == "coverage.png"
    assert "90 % intervals by quarry" in call("show", directory.path).stdout
