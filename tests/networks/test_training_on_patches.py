"""Training on patches of fields: the same bits again, interrupted wherever, and never on what is
held out.
"""

import numpy as np
import pytest
import torch
import xarray

from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.kinds.experiments import experience
from qexp.kinds.objects import data_kind, dataset_of, fit_transforms, initial_model, recipe_of
from qexp.kinds.tables import BUILT_IN
from qexp.networks.training import Trainer
from qexp.runs.order import read_overrides
from tests import domes
from tests.networks.parts import Journal, after, never

CPU = torch.device("cpu")


@pytest.fixture
def place(specs):
    domes.write(specs.root)
    return Workspace(specs.root)


def trainer(place, folder, *overrides):
    spec = experience("domes", read_overrides("--set", overrides), place).document
    seeds = Seeds(4)
    data = data_kind(spec["dataset"]).data(
        spec, dataset_of(spec["dataset"], BUILT_IN), BUILT_IN, seeds, CPU
    )
    model = initial_model(spec, BUILT_IN, seeds)
    fit_transforms(model, data.to_fit)
    folder.mkdir(exist_ok=True)
    return Trainer(model, data, recipe_of(spec, BUILT_IN), seeds, CPU, folder)


def weights(trained):
    return {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("batches", [1, 3, 4, 7])
def test_interrupted_after_any_batch_and_resumed_is_uninterrupted_to_the_last_bit(
    place, tmp_path, batches
):
    whole, listener = trainer(place, tmp_path / "whole"), Journal()
    assert whole.run(listener, never)
    first, told = trainer(place, tmp_path / "parts"), Journal()
    assert not first.run(told, after(batches))
    second = trainer(place, tmp_path / "parts")
    second.resume()
    rest = Journal()
    assert second.run(rest, never)
    assert told.lines + rest.lines == listener.lines
    assert all(
        torch.equal(weights(second)[name], tensor) for name, tensor in weights(whole).items()
    )


@pytest.mark.heavy
def test_what_validation_and_test_frames_hold_leaves_the_weights_as_they_are(place, tmp_path):
    first = trainer(place, tmp_path / "first", "keep=last")
    first.run(Journal(), never)
    kept = {frames.name for frames in (part.frames for part in first.data._patches.parts)}
    for part, names in (("train", {"d0", "d1", "d2"} - kept), ("test", {"d0"})):
        assert names
        for name in names:
            file = place.root / "data/domes" / part / name / "ex.nc"
            with xarray.open_dataset(file, decode_times=False) as data:
                poisoned = data.load() * 3 + 1
            poisoned.assign_coords(x=poisoned["x"], y=poisoned["y"]).to_netcdf(
                file, engine="h5netcdf"
            )
    again = trainer(place, tmp_path / "again", "keep=last")
    again.run(Journal(), never)
    assert all(torch.equal(weights(again)[name], tensor) for name, tensor in weights(first).items())


def test_every_epoch_sees_other_patches_to_which_a_transform_is_fitted_and_validation_always_the_same(
    place, tmp_path
):
    data = trainer(place, tmp_path / "one").data
    first, second, again = (
        data.epoch(number, 8, lambda samples: samples)(0)["thk"] for number in (1, 2, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(
        data.validation["ubar"], trainer(place, tmp_path / "other").data.validation["ubar"]
    )
    trained = trainer(place, tmp_path / "run", 'transforms.thk="standardize"')
    thickness = trained.model.transformed("thk", trained.data.to_fit()["thk"])
    assert thickness.mean().item() == pytest.approx(0, abs=1e-4)
    assert thickness.std().item() == pytest.approx(1, rel=1e-2)


@pytest.mark.heavy
def test_losses_fall_and_metrics_are_of_cells_with_ice(place, tmp_path):
    trained = trainer(place, tmp_path / "run", "epochs=40", "learning_rate=3e-3")
    listener = Journal()
    trained.run(listener, never)
    assert listener.documents[-1]["train"]["loss"] < 0.8 * listener.documents[0]["train"]["loss"]
    samples = trained.data.validation
    ice = samples["thk"].numpy() > 1
    error = trained.model.estimate(samples)["ubar"].numpy() - samples["ubar"].numpy()
    assert trained.evaluate(samples)["ubar"]["mae"] == pytest.approx(
        np.abs(error[ice]).mean(), rel=1e-5
    )
    assert ice.mean() < 1
