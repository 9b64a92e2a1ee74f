"""`qexp predict`: what holds for files of every kind of data."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pandas
import pytest
import xarray

from qexp.base.machine import threads
from qexp.base.outputs import TrainedRange
from qexp.errors import QexpError
from tests.conftest import without_unit
from tests.kinds import (
    test_predict_fields,
    test_predict_images,
    test_predict_rows,
    test_predict_spectra,
)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def three_threads():
    with threads(3):
        yield


def rows(folder):
    test_predict_rows.write_csv(folder / "source.csv")
    return test_predict_rows.MODEL, folder / "source.csv", folder / "made.csv"


def fields(folder):
    test_predict_fields.write(folder / "source.nc")
    return test_predict_fields.thickness_model(), folder / "source.nc", folder / "made.nc"


def spectra(folder):
    return (
        test_predict_spectra.model_of(),
        test_predict_spectra.write_spectra(folder / "source"),
        folder / "made.csv",
    )


def images(folder):
    images = test_predict_images.IMAGES * np.float32(1)
    images[0] = np.nan  # a remark and a count of what has no estimate
    source = test_predict_images.saved(folder / "source.npy", images)
    return test_predict_images.model_of("displacement", "mask"), source, folder / "made.csv"


KINDS = pytest.mark.parametrize(
    "kind", [rows, fields, spectra, images], ids=lambda kind: kind.__name__
)


def columns_of(path):
    return (
        xarray.load_dataset(path)
        if path.suffix == ".nc"
        else pandas.read_csv(path).rename(columns=without_unit)
    )


def never(*_):
    raise AssertionError("nothing is to be estimated")


@pytest.mark.heavy
@KINDS
def test_what_the_same_run_made_of_the_same_data_is_left_as_it_is_and_nothing_else(kind, tmp_path):
    model, source, target = kind(tmp_path)
    first = model.predict(source, target)
    before = target.stat().st_mtime_ns
    again = replace(model, estimate=never).predict(source, target)
    assert (first.made, again.made) == (True, False)
    assert replace(again, made=True) == first
    with pytest.raises(QexpError, match="was made by another run; overwrite=True replaces it"):
        replace(model, origin={"run": "other"}).predict(source, target)
    file = source / "spe" / "s_007.csv" if source.is_dir() else source
    os.utime(file, ns=(1, 1))
    with pytest.raises(QexpError, match=r"was made before .* was changed"):
        model.predict(source, target)
    assert target.stat().st_mtime_ns == before
    assert model.predict(source, target, overwrite=True).made
    target.write_bytes(b"do not touch")
    with pytest.raises(QexpError, match="was changed since it was made"):
        model.predict(source, target)
    target.with_name(f"{target.name}.json").unlink()
    with pytest.raises(QexpError, match="no record beside it"):
        model.predict(source, target)
    assert target.read_bytes() == b"do not touch"


@pytest.mark.heavy
@KINDS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupted_call_leaves_nothing_and_can_be_given_again(kind, number, tmp_path):
    model, source, target = kind(tmp_path)

    def interrupted(*_):
        os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        model.predict(source, target, progress=interrupted)
    assert list(tmp_path.iterdir()) == [source]
    assert model.predict(source, target).made


@pytest.mark.heavy
@KINDS
def test_estimates_outside_the_range_of_the_training_data_are_counted_and_no_byte_depends_on_the_chunk(
    kind, tmp_path
):
    model, source, target = kind(tmp_path)
    columns = columns_of(model.predict(source, target).target)
    output = next(iter(model.outputs))
    estimates = np.asarray(
        columns[output if output in columns else f"{output}_estimate"], np.float32
    )
    least, greatest = np.nanquantile(estimates, (0.25, 0.75))
    beyond = (estimates < least) | (estimates > greatest)
    ranged = replace(model.outputs[output], trained=TrainedRange(least, greatest))
    model, contents = replace(model, outputs={**model.outputs, output: ranged}), set()
    for chunk in (1, 65, 100_000):
        made = model.predict(source, target, chunk=chunk, overwrite=True)
        counted = (
            f"{beyond.sum():,} with estimates outside {model.extent} ({output}: {beyond.sum():,})"
        )
        assert counted in " ".join(made.remarks)
        contents.add(target.read_bytes())
    assert len(contents) == 1
    assert model.predict(source, target).remarks == made.remarks
    assert (
        json.loads(target.with_name(f"{target.name}.json").read_text())["estimates_outside"]
        == beyond.sum()
        > 0
    )
    if target.suffix == ".csv":
        np.testing.assert_array_equal(columns_of(target)["estimates_outside"], beyond)


@KINDS
def test_an_error_while_computing_leaves_no_file(kind, tmp_path):
    model, source, target = kind(tmp_path)
    with pytest.raises(AssertionError, match="nothing is to be estimated"):
        replace(model, estimate=never).predict(source, target)
    assert list(tmp_path.iterdir()) == [source]
