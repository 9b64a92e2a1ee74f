"""`qexp predict` on fields: what is estimated, where it lies, and what is wrong with a file."""

import os
import resource
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
import xarray

import qexp as package
from qexp.base.outputs import Number
from qexp.errors import QexpError
from qexp.kinds.fields.folders import folders_of_fields
from qexp.kinds.fields.prediction import FieldModel, field_model, targets
from qexp.kinds.networks import load_model
from tests import domes
from tests.conftest import call, mounted, shared_folder

OUTPUTS = ["ubar", "vbar"]


def thickness_model(**about):
    """A model whose estimate is the thickness."""
    return FieldModel(
        inputs=["thk"],
        outputs={"u": Number("u", "m")},
        estimate=lambda fields: {"u": fields["thk"]},
        **about,
    )


@shared_folder
def root(root):
    """A workspace with runs: domes_0 is of a convolutional network, unet of one that halves
    frames.
    """
    assert call("init", root).code == 0
    domes.write(root, epochs=1)
    package.run("domes", device="cpu", workspace=root)
    unet = {
        "model.operations.network": {
            "module": "dle_unet",
            "parameters": {"outputs": 2, "blocks": 3, "filters": 4},
        }
    }
    package.run("domes", name="unet", overrides=unet, device="cpu", workspace=root)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QEXP_WORKSPACE", raising=False)
    return tmp_path


@pytest.fixture
def predict(root, here):
    """`predict("fields.nc", "made.nc", "--chunk", "2", run="unet")`."""
    return lambda source, target, *options, run="domes_0": call(
        "predict", run, source, "--output", target, *options, "--workspace", root
    )


@pytest.fixture
def estimated(predict):
    """The same, read; the file is named after the source."""

    def predict_and_read(source, *options, **run):
        target = f"made_{source.removesuffix('.nc')}.nc"
        predict(source, target, *options, **run).done()
        return read(target)

    return predict_and_read


def read(path):
    with xarray.open_dataset(path, engine="h5netcdf", decode_times=False) as data:
        return data.load()


def write(path, data=None, **changes):
    data = domes.dome(**changes) if data is None else data
    data.to_netcdf(path, engine="h5netcdf")
    return data


def expected(root, data, run="domes_0"):
    """What the run's model makes of each frame; slopes are those that the fields have."""
    model = load_model(package.open_run(run, workspace=root).directory, torch.device("cpu"))
    fields = {"thk": data["thk"].values, **slopes_of(data)}
    samples = {name: torch.from_numpy(values).unsqueeze(1) for name, values in fields.items()}
    estimates = model.estimate(samples, batch_size=1)
    return {name: values.squeeze(1).numpy() for name, values in estimates.items()}


def slopes_of(data):
    surface, axes = data["usurf"].values.astype(np.float64), {"slopsurfx": 2, "slopsurfy": 1}
    return {
        name: np.gradient(surface, domes.SPACING, axis=axis).astype(np.float32)
        for name, axis in axes.items()
    }


# What is estimated


@pytest.mark.heavy
def test_a_file_of_any_name_gets_what_the_model_makes_of_its_frames_however_many_are_in_memory(
    root, here, predict
):
    data = write("fields.nc", frames=7, seed=7)
    assert predict("fields.nc", "made.nc") == (
        0,
        "made.nc\n",
        "made.nc: 7 frames of 20 x 24 cells\n",
    )
    made = read("made.nc")
    for name, values in expected(root, data).items():
        assert made[name].dtype == np.float32
        np.testing.assert_allclose(made[name], values, rtol=1e-5, atol=1e-6 * np.abs(values).max())
    for chunk in ("1", "3"):
        assert predict("fields.nc", f"made_{chunk}.nc", "--chunk", chunk).code == 0
        assert (here / f"made_{chunk}.nc").read_bytes() == (here / "made.nc").read_bytes()


@pytest.mark.heavy
@pytest.mark.parametrize("size", [(17, 23), (37, 16), (6, 5)])
def test_frames_of_odd_sizes_go_through_a_network_that_halves_them(root, here, estimated, size):
    data = write("fields.nc", height=size[0], width=size[1])
    made = estimated("fields.nc", run="unet")
    for name, values in expected(root, data, "unet").items():
        assert made[name].shape == (3, *size)
        np.testing.assert_allclose(made[name], values, rtol=1e-4, atol=1e-6 * np.abs(values).max())


@pytest.mark.heavy
def test_folders_of_netcdf_and_of_npy_files_are_estimated_alike(here, estimated):
    for folder in ("folder", "arrays"):
        (here / folder).mkdir()
    for name, variable in write("folder/ex.nc").variables.items():
        np.save(here / f"arrays/{name}.npy", variable.values)
    made, of_arrays = estimated("folder"), estimated("arrays")
    for name in (*OUTPUTS, "x", "y", "time"):
        np.testing.assert_array_equal(made[name], of_arrays[name])
    assert of_arrays["x"].attrs["units"] == "m"


@pytest.mark.heavy
@pytest.mark.parametrize("turned", [["x"], ["y"], ["x", "y"]])
def test_fields_in_descending_order_are_given_back_in_that_order(here, estimated, turned):
    data = write("up.nc")
    write("down.nc", data.isel({name: slice(None, None, -1) for name in turned}))
    up, down = estimated("up.nc"), estimated("down.nc")
    for name in turned:
        np.testing.assert_array_equal(down[name], data[name][::-1])
    for name in OUTPUTS:
        # By coordinates, they are the same.
        np.testing.assert_array_equal(down[name].sortby(["y", "x"]), up[name])


@pytest.mark.heavy
def test_slopes_that_a_file_has_are_taken_as_they_are(here, estimated):
    data = write("surface.nc")
    for name, slopes in slopes_of(data).items():
        data[name] = (("time", "y", "x"), slopes)
    write("slopes.nc", data.drop_vars("usurf"))
    write("doubled.nc", data.assign(slopsurfx=2 * data["slopsurfx"]))
    surface, slopes, doubled = (
        estimated(f"{name}.nc")["ubar"] for name in ("surface", "slopes", "doubled")
    )
    np.testing.assert_array_equal(slopes, surface)
    assert not np.array_equal(doubled, surface)


@pytest.mark.heavy
def test_cells_are_resampled_as_for_training_and_no_time_is_left_out(root, here, predict):
    patches = {f"model.inputs.{name}.size": [8, 8, 1] for name in domes.FIELDS}
    coarse = {"dataset.resample": 2, "dataset.stepping": 2, "dataset.patch_size": 8, **patches}
    package.run("domes", name="coarse", overrides=coarse, device="cpu", workspace=root)
    data = write("fields.nc", height=20, width=25)
    code, _, stderr = predict("fields.nc", "made.nc", run="coarse")
    assert (code, "warning" in stderr) == (0, False)
    made = read("made.nc")
    assert made["ubar"].shape == (3, 10, 12)
    np.testing.assert_allclose(made["x"], data["x"][:24].values.reshape(-1, 2).mean(axis=1))
    run = package.open_run("coarse", workspace=root)
    assert run.spec["dataset"]["spacing"] == [[400.0, 400.0]]
    # A frame of the test part, with every second time left out there, is estimated as it was for
    # the results.
    folder = root / "data/domes/test/d0"
    assert predict(str(folder), "test.nc", run="coarse").code == 0
    truth = (
        read(folder / "ex.nc")
        .isel(time=slice(None, None, 2))
        .coarsen(y=2, x=2, boundary="trim")
        .mean()
    )
    errors = (read("test.nc")["ubar"].values[::2] - truth["ubar"].values)[truth["thk"].values > 1.0]
    assert np.abs(errors).mean() == pytest.approx(run.results["test"]["ubar"]["mae"], rel=1e-4)


# What the file says


@pytest.mark.heavy
def test_coordinates_units_and_the_run_are_told_as_cf_wants_them(root, here, estimated):
    data = write("fields.nc")
    latitude, longitude = np.meshgrid(np.linspace(46, 47, 24), np.linspace(8, 9, 20))
    data = data.assign_coords(
        lat=(("y", "x"), latitude, {"units": "degrees_north", "standard_name": "latitude"}),
        lon=(("y", "x"), longitude, {"units": "degrees_east"}),
    )
    mercator = {
        "grid_mapping_name": "transverse_mercator",
        "scale_factor_at_central_meridian": 0.9996,
    }
    data["projection"] = ((), 0, mercator)
    for name in ("thk", "ubar"):
        data[name].attrs |= {"grid_mapping": "projection", "long_name": f"long {name}"}
    data["time"].attrs |= {"units": "days since 1990-01-01", "calendar": "365_day"}
    write("placed.nc", data)
    made = estimated("placed.nc")
    run = package.open_run("domes_0", workspace=root)
    assert made.attrs == {
        "Conventions": "CF-1.11",
        "run": "domes_0",
        "digest": run.record["digest"],
    }
    assert made["ubar"].dims == ("time", "y", "x")
    assert made["ubar"].attrs["units"] == "m a-1"
    assert made["ubar"].attrs["long_name"] == "estimate of: long ubar"
    assert made["ubar"].attrs["grid_mapping"] == "projection"
    assert made["projection"].attrs["grid_mapping_name"] == "transverse_mercator"
    assert made["time"].attrs["units"] == "days since 1990-01-01"
    assert made["x"].attrs["units"] == "m"
    for name in ("x", "y", "time", "lat", "lon"):
        np.testing.assert_array_equal(made[name], data[name])
    assert {"lat", "lon"} <= set(made.coords)
    assert made["lat"].attrs["standard_name"] == "latitude"


@pytest.mark.heavy
def test_a_run_knows_the_ranges_of_its_training_data(root):
    folders = sorted((root / "data").rglob("ex.nc"))
    run = package.open_run("domes_0", workspace=root)
    train = [read(path)["ubar"].values for path in folders if path.parents[1].name == "train"]
    targets = {target["column"]: target for target in run.record["targets"]}
    assert list(targets) == OUTPUTS
    assert targets["ubar"]["greatest"] == pytest.approx(
        max(values.max() for values in train), rel=1e-5
    )
    assert targets["ubar"]["least"] == pytest.approx(
        min(values.min() for values in train), rel=1e-5
    )


@pytest.mark.heavy
def test_cells_of_another_width_are_warned_of(root, here, predict):
    data = write("fields.nc")
    write("wide.nc", data.assign_coords(x=data["x"] * 3))
    code, _, stderr = predict("wide.nc", "made.nc")
    warning = (
        "warning: wide.nc: the cells are 200 x 600 m, but the network was trained on 200 x 200 m"
    )
    assert (code, warning in stderr) == (0, True)
    with pytest.warns(UserWarning, match="200 x 600 m"):
        package.predict("domes_0", "wide.nc", "made_here.nc", workspace=root)


# What is there already


@pytest.mark.heavy
def test_estimates_that_the_same_run_made_of_the_same_fields_are_left_alone_and_no_others(
    root, here, predict
):
    data = write("fields.nc")
    assert predict("fields.nc", "made.nc").code == 0
    before = (here / "made.nc").stat()
    assert predict("fields.nc", "made.nc") == (0, "", "made.nc exists already\n")
    assert (here / "made.nc").stat().st_mtime_ns == before.st_mtime_ns
    assert (
        "made by another run; --overwrite replaces it"
        in predict("fields.nc", "made.nc", run="unet").failed()
    )
    write("fields.nc", data.isel(time=slice(0, 2)))
    assert "was made before fields.nc was changed" in predict("fields.nc", "made.nc").failed()
    assert predict("fields.nc", "made.nc", "--overwrite").code == 0
    assert read("made.nc").sizes["time"] == 2
    (made,) = package.predict("domes_0", "fields.nc", "made.nc", workspace=root)
    assert (made.made, made.frames, made.size) == (False, 2, (20, 24))


def test_a_folder_as_output_gets_a_file_named_after_what_is_read(here):
    (here / "fields").mkdir()
    (here / "made").mkdir()
    (here / "later.nc").touch()
    assert targets(here / "fields", here / "made") == [(here / "fields", here / "made/fields.nc")]
    assert targets(here / "later.nc", here / "made") == [
        (here / "later.nc", here / "made/later.nc")
    ]


def test_folders_of_fields_are_found_behind_links_and_a_link_to_a_folder_around_it_is_left(here):
    for folder in ("fields/here", "fields/.old", "elsewhere"):
        (here / folder).mkdir(parents=True)
        (here / folder / "ex.nc").touch()
    (here / "fields/there").symlink_to(here / "elsewhere")
    (here / "fields/loop").symlink_to(here / "fields")
    for folder, other in (("a", "b"), ("b", "a")):
        (here / folder).mkdir()
        (here / folder / "link").symlink_to(here / other)
    (here / "fields/turns").symlink_to(here / "a")
    found = [here / "fields/here", here / "fields/there"]
    assert folders_of_fields(here / "fields") == found
    assert [source for source, _ in targets(here / "fields", here / "made")] == found
    (here / "fields/mask.nc").touch()
    assert folders_of_fields(here / "fields") == [here / "fields"]
    assert folders_of_fields(here / "fields", known=["ex.nc"]) == found


# What is wrong


@pytest.mark.heavy
def test_a_folder_of_folders_gets_a_file_for_each_and_the_others_go_on_where_one_cannot_be_read(
    root, here, predict
):
    domes.write_folders(here / "domes", train=2, test=1)
    assert predict("domes", "made").done().split() == [
        "made/test/d0.nc",
        "made/train/d0.nc",
        "made/train/d1.nc",
    ]
    for name, values in expected(root, domes.dome(seed=1)).items():
        np.testing.assert_array_equal(read(here / "made/train/d1.nc")[name], values)
    (here / "domes/train/d0/ex.nc").write_bytes(b"torn")
    code, stdout, stderr = predict("domes/train", "others")
    assert (code, stdout.split()) == (4, ["others/d1.nc"])
    assert "domes/train/d0/ex.nc cannot be read as NetCDF" in stderr


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "made.nc",
            (
                "made.nc: domes has 2 folders of fields, each with its own file of estimates; give"
                " a folder"
            ),
        ),
        ("domes/made", "domes/made lies inside domes and would be read as fields next time"),
    ],
)
def test_the_estimates_of_several_folders_need_a_folder_beside_them(here, predict, target, said):
    domes.write_folders(here / "domes", train=1, test=1)
    assert said in predict("domes", target).failed()
    assert not (here / target).exists()


@pytest.mark.heavy
def test_a_run_on_recomputed_slopes_recomputes_those_of_the_files_that_it_predicts(
    root, here, predict
):
    data = domes.dome()
    wrong = data.assign(slopsurfx=data["usurf"] * 0, slopsurfy=data["usurf"] * 0)
    model = field_model(package.open_run("domes_0", workspace=root).directory)
    recomputing = replace(model, reading=replace(model.reading, recompute_slopes=True))
    for source, name in ((wrong, "wrong"), (data, "right")):
        write(here / f"{name}.nc", source)
        recomputing.predict(here / f"{name}.nc", here / f"{name}_made.nc")
    xarray.testing.assert_equal(
        read(here / "wrong_made.nc")["ubar"], read(here / "right_made.nc")["ubar"]
    )


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("wrong.nc", "made.nc", "wrong.nc has no variable 'thk'; did you mean 'thck'?"),
        ("flat.nc", "made.nc", "slopes can be computed from a surface 'usurf'"),
        ("gap.nc", "made.nc", "gap.nc: 'thk' is not a finite number in 1 cells, first at time 4"),
        (
            "fields.nc",
            "made.npy",
            "made.npy: estimates of fields are written as NetCDF; let its name end in .nc",
        ),
        ("no_x.nc", "made.nc", "has no coordinate 'x'"),
        ("fields.nc", "fields.nc", "fields.nc: the estimates would be written over what is read"),
        ("nothing", "made.nc", "nothing: there is no such file or folder"),
        ("empty", "made.nc", "empty has neither ex.nc nor npy files"),
        ("other", "made.nc", "other has no ex.nc, but out.nc; name the file itself"),
        ("notes.txt", "made.nc", "notes.txt cannot be read as NetCDF"),
    ],
)
def test_what_cannot_be_read_or_written_is_told_and_leaves_nothing(
    here, predict, source, target, said
):
    data = write("fields.nc", frames=6)
    write("wrong.nc", data.rename(thk="thck"))
    write("flat.nc", data.drop_vars("usurf"))
    write("no_x.nc", data.drop_vars("x"))
    data["thk"][4, 3, 3] = np.nan
    write("gap.nc", data)
    for folder in ("empty", "other"):
        (here / folder).mkdir()
    write("other/out.nc")
    (here / "notes.txt").write_text("no fields")
    files = set(here.iterdir())
    assert said in predict(source, target, "--chunk", "2").refused(3 if source == "nothing" else 2)
    assert set(here.iterdir()) == files


@pytest.mark.heavy
def test_a_network_that_takes_one_size_only_refuses_frames_of_another_and_a_caution_stands_in_the_file(
    root, here
):
    model = field_model(package.open_run("domes_0", workspace=root).directory, "cpu")
    assert model.refusal(7, 9) is None
    odd = thickness_model(refusal=lambda height, width: f"no frames of {height} x {width} cells")
    write("fields.nc")
    with pytest.raises(QexpError, match=r"fields\.nc: no frames of 20 x 24 cells"):
        odd.predict(here / "fields.nc", here / "made.nc")
    thickness_model(origin={"run": "r", "caution": "beware"}).predict(
        here / "fields.nc", here / "made.nc"
    )
    assert read("made.nc").attrs["caution"] == "beware"


# A disk that is full

CRAMPED = """
import sys
from pathlib import Path
from qexp.base.outputs import Number
from qexp.errors import QexpError
from qexp.kinds.fields.prediction import FieldModel

def full(*_):
    with open("disk/filler", "wb", buffering=0) as filler:
        for size in (65536, 1):
            try:
                while filler.write(bytes(size)):
                    pass
            except OSError:
                pass

model = FieldModel(inputs=["thk"], outputs={"u": Number("u", "m")}, estimate=lambda fields: {"u": fields["thk"]})
if sys.argv[1:]:
    full()
try:
    model.predict(Path("fields.nc"), Path("disk/made.nc"), chunk=1, progress=full)
except QexpError as error:
    print(error)
"""


@pytest.mark.heavy
@pytest.mark.parametrize("before", [[], ["full before"]])
def test_a_disk_that_is_full_is_told_and_ends_nothing_else(here, before):
    write("fields.nc", height=60, width=60, frames=50)
    (here / "disk").mkdir()
    with mounted("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(here / "disk")):
        done = subprocess.run(
            [sys.executable, "-c", CRAMPED, *before], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("cannot write disk/made.nc: ")
        assert [path.name for path in (here / "disk").iterdir()] == ["filler"]


@pytest.mark.heavy
@pytest.mark.parametrize("most", [4_000, 100_000])
def test_a_file_that_becomes_larger_than_it_may_be_is_told_and_ends_nothing_else(here, most):
    write("fields.nc", height=60, width=60, frames=50)
    (here / "disk").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CRAMPED],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "cannot write disk/made.nc: File too large\n"
    assert list((here / "disk").iterdir()) == []


# Memory

MEASURED = """
import sys
from pathlib import Path
from qexp.cli import app
try:
    app(sys.argv[1:], prog_name="qexp")
except SystemExit as ended:
    assert not ended.code
# Not getrusage, which knows of the process that this one was forked from, too.
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_number_of_frames(root, here):
    """600 frames of 100 × 100 cells are 24 MB a variable, 5 of which are read and written."""
    peaks = {}
    for frames in (60, 600):
        write(f"long_{frames}.nc", domes.dome(100, 100, 60).isel(time=np.arange(frames) % 60))
        options = [
            "--run",
            "domes_0",
            "--input",
            f"long_{frames}.nc",
            "--output",
            f"made_{frames}.nc",
            "--device",
            "cpu",
        ]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "predict", *options, "--workspace", str(root)],
            capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks[frames] = int(done.stdout.split()[-1]) / 1024
    assert peaks[600] - peaks[60] < 20, peaks
    with h5py.File("made_600.nc") as made:
        assert made["ubar"].shape == (600, 100, 100)
