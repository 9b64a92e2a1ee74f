import numpy as np
import pytest
import xarray

import qexp
from qexp.errors import QexpError


@pytest.mark.heavy
def test_predictions_of_the_kept_test_samples_are_the_kept_estimates(run):
    """Images made again from the kept true values give the kept estimates."""
    import torch

    from qexp.kinds.objects import dataset_of
    from qexp.kinds.tables import BUILT_IN

    kept = xarray.load_dataset(run.path / "results/test_predictions.nc", engine="h5netcdf")
    dataset = dataset_of(run.spec["dataset"], BUILT_IN)
    values = {name: kept[name].values.astype(float) for name in ("depth", "delta_volume")}
    images = dataset.observe(values, torch.Generator())["displacement"].numpy()[:, 0]
    estimates = run.predict(displacement=images)
    np.testing.assert_allclose(estimates["depth"], kept["depth_estimate"], rtol=1e-3)
    assert estimates["depth"].shape == (len(images),)


def test_a_single_image_gives_single_values_and_channels_may_be_written_out(run):
    image = np.random.default_rng(0).normal(0, 0.01, (64, 64))
    alone = run.predict(displacement=image)["depth"]
    assert alone.shape == ()
    for same in (image[None], image[None, :, :, None]):
        np.testing.assert_allclose(run.predict(displacement=same)["depth"], [alone], rtol=1e-6)
    assert run.predict(displacement=image[:, :, None])["depth"].shape == ()


def test_arrays_of_xarray_are_turned_and_converted_as_those_of_files(run):
    images, north = np.random.default_rng(0).normal(0, 0.01, (2, 64, 64)), np.arange(64)
    expected = run.predict(displacement=images)["depth"]

    def given(values, unit="mm", dims=("time", "y", "x"), **coordinates):
        return xarray.DataArray(values, coordinates, dims, attrs={"units": unit})

    for same in (
        given(1000 * images),
        given(1000 * images[:, ::-1], y=north[::-1]),
        given(images[:, :, ::-1].swapaxes(1, 2), "m", ("time", "x", "y"), x=north[::-1]),
    ):
        np.testing.assert_allclose(run.predict(displacement=same)["depth"], expected, rtol=1e-4)
    with pytest.raises(QexpError, match="'displacement' has the unit 'rad', but must be in m"):
        run.predict(displacement=given(images, "rad"))
    masked = np.ma.masked_array(images, np.abs(images) > 0.03)
    assert np.isnan(run.predict(displacement=masked)["depth"]).all()


def test_images_unlike_the_training_data_are_said_to_be_that_and_others_not(run, recwarn):
    run.predict(displacement=0.01 * np.ones((3, 64, 64)))
    assert "3 of 3 samples have inputs outside the range of the training data" in str(
        recwarn.pop(UserWarning).message
    )
    recwarn.clear()
    samples = qexp.samples("mogi", "test", count=3, workspace=run.path.parent.parent)
    run.predict(displacement=samples["displacement"].values)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({}, "needs the input 'displacement'"),
        ({"displacment": np.zeros((64, 64))}, "did you mean 'displacement'"),
        (
            {"displacement": np.zeros((5, 32, 32))},
            r"shape \[64, 64, 1\] or \[64, 64\], several .*, but the array is \[5, 32, 32\]",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(run, inputs, says):
    with pytest.raises(QexpError, match=says):
        run.predict(**inputs)
