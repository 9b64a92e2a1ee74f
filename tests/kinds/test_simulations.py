"""Simulations in files: what is read of them, how they are divided, what is refused, and runs
trained on them.
"""

import csv
import importlib.util
import json
import re

import h5py
import numpy as np
import pandas
import pytest
import torch
import xarray

import qexp as package
from qexp.base.seeds import Seeds
from qexp.errors import DatasetError
from qexp.kinds.objects import data_kind
from qexp.kinds.tables import BUILT_IN
from qexp.physics.point import mogi_image
from qexp.simulation.stored import SIMULATION
from qexp.spec.kinds import filled_in
from qexp.spec.reading import digest
from qexp.spec.validation import findings
from tests.conftest import call, copied, shared_folder

COUNT, SIDE, NOISE = 400, 16, 0.002
WIDTH = 0.6
"""Of a pixel [km]."""


def simulations(count=COUNT, seed=0):
    """Depth [km] and volume change [10⁶ m³], (simulation,), and two views [m], (simulation, view,
    y, x).
    """
    random = np.random.default_rng(seed)
    depth, volume = np.exp(random.normal(0.8, 0.3, count)), random.uniform(1, 10, count)
    source = torch.tensor(
        np.stack([0 * depth, 0 * depth, 1e3 * depth, 1e6 * volume], axis=1)
    ).float()
    along = torch.arange(SIDE).sub(SIDE / 2).mul(1e3 * WIDTH).expand(count, -1)
    looks = ([0.0, 0.0, 1.0], [-0.6, 0.0, 0.8])
    views = [
        mogi_image(source, along, along, torch.tensor([look]).expand(count, -1)).numpy()
        for look in looks
    ]
    return depth, volume, np.stack(views, axis=1)


def document(path, **changes):
    spec = {
        "type": "simulated",
        "path": str(path),
        "observations": ["displacement"],
        "fixed": {"noise": NOISE},
    }
    return {**spec, "varyings": {"depth": [], "delta_volume": []}, **changes}


def opened(path, **changes):
    spec = document(path, **changes)
    return data_kind(spec).checked_dataset(filled_in(spec), BUILT_IN, None)


def refused(path, **changes):
    with pytest.raises(DatasetError) as error:
        opened(path, **changes)
    return str(error.value)


@pytest.fixture
def values():
    return simulations()


@pytest.fixture
def archive(tmp_path, values):
    depth, volume, views = values
    np.savez(tmp_path / "all.npz", depth=depth, delta_volume=volume, displacement=views[:, 0])
    return tmp_path / "all.npz"


def signals(dataset, numbers):
    """Observations of some simulations, without noise."""
    return dataset.signals(dataset.simulations.select(np.asarray(numbers)))


# What is read.


def test_netcdf_hdf5_npz_folders_and_tables_hold_the_same_simulations(tmp_path, values, archive):
    depth, volume, views = values
    x = (np.arange(SIDE) - SIDE / 2) * WIDTH
    netcdf = xarray.Dataset(
        {
            "displacement": (("run", "y", "x"), 1e3 * views[:, 0, ::-1], {"units": "mm"}),
            "depth": ("run", 1e3 * depth, {"units": "m"}),
            "delta_volume": ("run", volume, {"units": "10⁶ m³"}),
        },
        coords={"x": ("x", x, {"units": "km"}), "y": ("y", x[::-1], {"units": "km"})},
    )
    netcdf.to_netcdf(tmp_path / "all.nc", engine="h5netcdf")
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder/displacement.npy", views[:, 0].astype(np.float32))
    with (tmp_path / "table.csv").open("w") as file:
        csv.writer(file).writerows([["depth", "volume"], *zip(depth, volume, strict=True)])
    table = {"parameters": str(tmp_path / "table.csv"), "columns": {"delta_volume": "volume"}}
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.update({"depth": depth, "delta_volume": volume, "displacement": views[:, 0]})
        theta = np.stack([volume, depth], axis=1)
        file.update({"run/2/theta": theta, "run/2/x": views[:, 0], "run/1/x": views[:, 1]})
    np.save(tmp_path / "alone.npy", views[:, 0])
    in_groups = {
        "displacement": "run/2/x",
        "depth": "run/2/theta[1]",
        "delta_volume": "run/2/theta[0]",
    }
    # is another one in the cache
    opened(tmp_path / "all.h5", columns={**in_groups, "displacement": "run/1/x"})
    of_all = [
        opened(archive),
        opened(tmp_path / "all.nc"),
        opened(tmp_path / "folder", **table),
        opened(tmp_path / "all.h5"),
        opened(tmp_path / "all.h5", columns=in_groups),
        opened(tmp_path / "alone.npy", **table),
    ]
    for dataset in of_all:
        assert dataset.shapes() == {
            **{"displacement": (1, SIDE, SIDE), "depth": (1,), "delta_volume": (1,)},
            "noise": (1,),
        }
        assert dataset.simulations.parameters["depth"] == pytest.approx(depth, rel=1e-12)
        assert signals(dataset, [3, 7])["displacement"].numpy()[:, 0] == pytest.approx(
            views[[3, 7], 0], rel=1e-5
        )
    width, height = of_all[1].pixel_sizes("displacement", {})
    assert (width, height) == (pytest.approx(1e3 * WIDTH), pytest.approx(1e3 * WIDTH))
    assert "has 2 values for each simulation" in refused(
        tmp_path / "all.h5", columns={**in_groups, "depth": "run/2/theta"}
    )
    assert not of_all[1].warnings
    assumed = (
        rf"are 'depth' in km \(up to {depth.max():.4g}\), 'delta_volume' in 10⁶ m³ .*,"
        r" 'displacement' in m"
    )
    assert re.search(assumed, " ".join(of_all[0].warnings))


def test_a_file_for_each_simulation_and_what_is_missing_or_unlike(tmp_path, values):
    depth, volume, views = values
    names = [f"run_{number}.npy" for number in range(30)]
    for name, view in zip(names, views, strict=False):
        np.save(tmp_path / name, view[0])
    (tmp_path / names[4]).unlink()
    with (tmp_path / "table.csv").open("w") as file:
        csv.writer(file).writerows(
            [["depth", "delta_volume", "mesh"], *zip(depth, volume, names, strict=False)]
        )
    own = {"parameters": str(tmp_path / "table.csv"), "files": "mesh"}
    dataset = opened(tmp_path, **own)
    assert "1 of 30 simulations have missing or infinite values" in " ".join(dataset.warnings)
    assert signals(dataset, [5])["displacement"].numpy()[0, 0] == pytest.approx(
        views[5, 0], rel=1e-5
    )
    rows = list(zip(depth, volume, names, strict=False))[::-1]
    with (tmp_path / "table.csv").open("w") as file:
        csv.writer(file).writerows([["depth [m]", "delta_volume", "mesh"], *rows])
    own["columns"] = {"depth": "depth [m]"}
    # not the observations in their former order, from the cache
    reordered = opened(tmp_path, **own)
    assert reordered.simulations.parameters["depth"][24] == pytest.approx(depth[5] / 1e3)
    assert signals(reordered, [24])["displacement"].numpy()[0, 0] == pytest.approx(
        views[5, 0], rel=1e-5
    )
    np.save(tmp_path / names[7], views[7, 0, :3])
    assert f"{names[7]}: 'displacement' has the shape (3, 16)" in refused(tmp_path, **own)
    assert "add 'parameters'" in " ".join(
        text for _, text in findings("dataset", document(tmp_path, files="mesh"), BUILT_IN)
    )


def test_channels_are_observations_of_their_own_whichever_axis_they_have(tmp_path, values):
    depth, volume, views = values
    for name, array in (("first", views), ("last", np.moveaxis(views, 1, -1))):
        np.savez(tmp_path / f"{name}.npz", depth=depth, delta_volume=volume, displacement=array)
        dataset = opened(tmp_path / f"{name}.npz")
        assert dataset.images == ["displacement", "displacement_1"]
        assert signals(dataset, [5])["displacement_1"].numpy()[0, 0] == pytest.approx(
            views[5, 1], rel=1e-5
        )


FIRST, LAST = ["simulation", "channel", "y", "x"], ["simulation", "y", "x", "channel"]


def test_axes_that_could_be_others_are_asked_for_and_told_by_names_views_or_a_key(tmp_path):
    random = np.random.default_rng(0)
    a, u = random.uniform(1, 5, 40), random.normal(size=(40, 8, 6, 4))
    path, of = tmp_path / "all.npz", {"observations": ["u"], "varyings": {"a": []}}
    np.savez(path, a=a, u=u)
    assert (
        f'"axes": {{"u": {json.dumps(FIRST)}}} or "axes": {{"u": {json.dumps(LAST)}}}'
        in refused(path, **of)
    )
    xarray.Dataset({"u": (("run", "y", "x", "band"), u), "a": ("run", a)}).to_netcdf(
        tmp_path / "all.nc"
    )
    for (count, side), dataset in (
        ((8, 6), opened(path, axes={"u": FIRST}, **of)),
        ((4, 8), opened(path, axes={"u": LAST}, **of)),
        ((8, 6), opened(path, views=[{}] * 8, **of)),
        ((4, 8), opened(tmp_path / "all.nc", **of)),
    ):
        assert (len(dataset.images), dataset.shapes()["u_3"][1]) == (count, side)
        expected = u[7, 3] if count == 8 else u[7, ..., 3]
        assert signals(dataset, [7])["u_3"].numpy()[0, 0] == pytest.approx(expected, rel=1e-6)
    for wrong, text in (
        (FIRST[:3], "name each axis"),
        (["simulation", "y", "y", "x"], "name each axis"),
    ):
        assert text in refused(path, axes={"u": wrong}, **of)
    said = findings(
        "dataset", document(path, axes={"v": FIRST, "displacement": ["chanel"]}), BUILT_IN
    )
    assert {where for where, _ in said} >= {("axes", "displacement", 0)}
    np.savez(path, a=a, u=u[:, :, :4])
    assert f'is read with "axes": {{"u": {json.dumps(FIRST)}}}' in " ".join(
        opened(path, **of).warnings
    )
    moved = np.zeros((40, 3, 3))  # (simulation, station, component), of which only "up" moves
    moved[..., 2] = a[:, None] * [1, 2, 3]
    np.savez(path, a=a, u=moved)
    gnss = {"type": "gnss", "points": [[0, 0], [1, 0], [2, 0]], "errors": [0.001] * 3}
    assert "which axis is which" in refused(path, views=[gnss], **of)
    named = {"axes": {"u": ["simulation", "station", "component"]}, "views": [gnss], "fixed": {}}
    assert signals(opened(path, **named, **of), [7])["u"][0, :, :, 0].numpy() == pytest.approx(
        moved[7].T
    )


def test_rows_from_the_north_are_declared_and_it_is_said_if_nothing_tells_where_north_is(
    archive, values
):
    north_first = opened(archive, rows="southwards")
    assert signals(north_first, [5])["displacement"].numpy()[0, 0, ::-1] == pytest.approx(
        values[2][5, 0], rel=1e-5
    )
    words = "rows of 'displacement' count as running northwards"
    assert words in " ".join(opened(archive).warnings)
    assert words not in " ".join(
        [*north_first.warnings, *opened(archive, rows="northwards").warnings]
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_whose_index_says_that_its_rows_were_in_another_order_is_refused(
    tmp_path, values, ending
):
    depth, volume, views = values
    np.save(tmp_path / "u.npy", views[:, 0])
    table = pandas.DataFrame({"depth": depth, "delta_volume": volume})
    rows = {
        "sorted": table,
        "shuffled": table.sample(frac=1, random_state=0),
        "named": table.set_index(1 + table.index),
    }
    for name, of_rows in rows.items():
        getattr(of_rows, f"to_{ending}")(tmp_path / f"{name}.{ending}")
    words = "its rows are in another order than their index"
    assert words in refused(tmp_path / "u.npy", parameters=str(tmp_path / f"shuffled.{ending}"))
    for name in ("sorted", "named"):
        dataset = opened(tmp_path / "u.npy", parameters=str(tmp_path / f"{name}.{ending}"))
        assert dataset.simulations.parameters["depth"] == pytest.approx(depth)


def test_reversed_axes_of_matlab_are_told_by_its_mark_or_by_the_key_that_the_error_names(
    tmp_path, values
):
    depth, volume, views = values
    views = views[:, 0, :, :12]
    for name, mark in (("marked.mat", True), ("bare.h5", False)):
        with h5py.File(tmp_path / name, "w") as file:
            file.update(
                {"depth": depth[None], "delta_volume": volume[None], "displacement": views.T}
            )
            for array in file.values() if mark else ():
                array.attrs["MATLAB_class"] = np.bytes_("double")
    (said,) = re.findall(r'"axes": ({.*?})', refused(tmp_path / "bare.h5"))
    for dataset in (
        opened(tmp_path / "marked.mat"),
        opened(tmp_path / "bare.h5", axes=json.loads(said)),
    ):
        assert dataset.simulations.parameters["depth"] == pytest.approx(depth)
        assert signals(dataset, [5])["displacement"].numpy()[0, 0] == pytest.approx(
            views[5], rel=1e-5
        )
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file.update({"depth": depth[None], "delta_volume": volume[:, None], "displacement": views})
    assert opened(tmp_path / "rows.h5").simulations.parameters["depth"] == pytest.approx(depth)


def test_vectors_and_stations(tmp_path, values):
    depth, volume, views = values
    stations = views[:, :1, 0, :5].repeat(3, axis=1)
    arrays = {
        "depth": depth,
        "delta_volume": volume,
        "spectrum": views[:, 0, 3],
        "displacement": stations,
    }
    np.savez(tmp_path / "all.npz", **arrays)
    points = [[float(place), 0.0] for place in range(5)]
    gnss = {"type": "gnss", "points": points, "errors": [0.001, 0.001, 0.003]}
    dataset = opened(
        tmp_path / "all.npz", observations=["displacement", "spectrum"], views=[gnss, {}]
    )
    assert dataset.shapes()["displacement"] == (3, 5, 1)
    assert dataset.shapes()["spectrum"] == (1, 1, SIDE)
    sample = dataset.sample(dataset.whole, COUNT, Seeds(0), ("all",), torch.device("cpu"))
    truth = signals(dataset, sample[SIMULATION][:, 0].long().numpy())
    deviations = {name: (sample[name] - truth[name]).std(dim=(0, 2, 3)).tolist() for name in truth}
    assert deviations["displacement"] == pytest.approx([0.001, 0.001, 0.003], rel=0.1)
    assert deviations["spectrum"] == pytest.approx([NOISE], rel=0.05)


def test_a_zarr_store_is_read_as_netcdf_is_or_its_library_asked_for(tmp_path, values, archive):
    depth, volume, views = values
    x = {"x": ("x", (np.arange(SIDE) - SIDE / 2) * WIDTH, {"units": "km"})}
    data = {"displacement": (("run", "y", "x"), views[:, 0], {"units": "m"})}
    store = xarray.Dataset(
        {**data, "depth": ("run", depth), "delta_volume": ("run", volume)}, coords=x
    )
    if importlib.util.find_spec("zarr") is None:
        (tmp_path / "all.zarr").mkdir()
        assert "this needs zarr, which is not installed; the extra zarr" in refused(
            tmp_path / "all.zarr"
        )
        return
    store.to_zarr(tmp_path / "all.zarr")
    dataset, other = opened(tmp_path / "all.zarr"), opened(archive)
    assert dataset.simulations.parameters["depth"] == pytest.approx(
        other.simulations.parameters["depth"], rel=1e-12
    )
    assert torch.equal(*(signals(of, [3, 7])["displacement"] for of in (dataset, other)))
    before = dataset.origin["fingerprint"]
    store.assign(depth=("run", 2 * depth)).to_zarr(tmp_path / "all.zarr", mode="w")
    assert opened(tmp_path / "all.zarr").origin["fingerprint"] != before
    store.fillna(0).where(store["depth"] > 2, 0).to_zarr(
        tmp_path / "two.zarr", zarr_format=2, encoding={"displacement": {"_FillValue": 0.0}}
    )
    said = " ".join(opened(tmp_path / "two.zarr", varyings={"delta_volume": []}).warnings)
    assert "missing" not in said, "0 is a value where zarr fills chunks with it"
    assert "0 throughout" in said
    some, chunks = store.isel(run=slice(60)), {"displacement": {"chunks": (30, SIDE, SIDE)}}
    for name, first in (("early", 0), ("late", 30)):
        images = some["displacement"].copy(data=np.full((60, SIDE, SIDE), np.nan, np.float32))
        images[first : first + 30] = views[:30, 0]
        some.assign(displacement=images).to_zarr(tmp_path / f"{name}.zarr", encoding=chunks)
    fingerprints = {
        opened(tmp_path / f"{name}.zarr").origin["fingerprint"] for name in ("early", "late")
    }
    assert len(fingerprints) == 2  # a chunk in another place has other parameters
    (tmp_path / "empty.zarr").mkdir()
    assert "cannot be read as Zarr" in refused(tmp_path / "empty.zarr")


def test_a_parameter_whose_name_is_that_of_a_direction_says_nothing_of_vectors(tmp_path, values):
    y, _, views = values
    data = {
        "y": ("run", -np.sort(y), {"units": "km"}),
        "spectrum": (("run", "band"), views[:, 0, 3], {"units": "m"}),
    }
    xarray.Dataset(data).to_netcdf(tmp_path / "all.nc", engine="h5netcdf")
    dataset = opened(tmp_path / "all.nc", observations=["spectrum"], varyings={"y": []})
    assert signals(dataset, [3])["spectrum"].numpy()[0, 0, 0] == pytest.approx(
        views[3, 0, 3], rel=1e-5
    )


def test_noise_is_added_anew_in_every_epoch_and_each_simulation_is_seen_once(archive):
    dataset, spec = opened(archive), {"split": [0.75, 0.1]}
    data = data_kind({"type": "simulated"}).data(
        spec, dataset, BUILT_IN, Seeds(4), torch.device("cpu")
    )
    epochs = []
    for epoch in (1, 2, 1):
        batch = data.epoch(epoch, 32, dict)
        batches = [batch(index) for index in range(-(-data.train_size // 32))]
        epochs.append({name: torch.cat([one[name] for one in batches]) for name in batches[0]})
    assert all(
        torch.equal(first, again)
        for first, again in zip(epochs[0].values(), epochs[2].values(), strict=True)
    )
    numbers = [epoch[SIMULATION][:, 0].long() for epoch in epochs]
    assert not torch.equal(numbers[0], numbers[1]), "another order"
    assert torch.equal(numbers[0].sort().values, numbers[1].sort().values)
    assert len(numbers[0].unique()) == data.train_size == 300
    first, second = (
        epoch["displacement"][order.argsort()]
        for epoch, order in list(zip(epochs, numbers, strict=True))[:2]
    )
    assert (first - second).std().item() == pytest.approx(NOISE * 2**0.5, rel=0.05)
    assert torch.equal(batch(5)["depth"], data.epoch(1, 32, dict)(5)["depth"]), "a batch by itself"


# How they are divided.


def parts_of(dataset, split, seed=0):
    return {
        part: set(numbers.tolist()) for part, numbers in dataset.parts(split, Seeds(seed)).items()
    }


def test_the_test_part_is_what_the_shares_leave_and_the_same_for_all_seeds(archive):
    first, second = (parts_of(opened(archive), [0.7, 0.1], seed) for seed in (0, 1))
    assert {part: len(numbers) for part, numbers in first.items()} == {
        "train": 280,
        "validation": 40,
        "test": 80,
    }
    assert first["test"] == second["test"]
    assert first["train"] != second["train"]
    assert first["train"] | first["validation"] | first["test"] == set(range(COUNT))


def test_held_out_intervals_are_tested_and_nothing_in_them_is_trained_on(archive, values):
    dataset = opened(archive, varyings={"depth": [[0.2, 0.4]], "delta_volume": [[0.5, 0.8]]})
    parts, (depth, volume, _) = parts_of(dataset, [0.8, 0.2]), values
    ends = np.quantile(depth, [0.2, 0.4]), np.quantile(volume, [0.5, 0.8])
    inside = [
        (of >= low) & (of <= high) for of, (low, high) in zip((depth, volume), ends, strict=True)
    ]
    assert parts["test"] == set(np.flatnonzero(inside[0] & inside[1]).tolist())
    assert parts["train"] | parts["validation"] == set(
        np.flatnonzero(~inside[0] & ~inside[1]).tolist()
    )


def test_groups_and_equal_parameters_stay_in_one_part(tmp_path, values):
    depth, volume, views = values
    depth, volume = depth.copy(), volume.copy()
    depth[200:], volume[200:] = depth[:200], volume[:200]
    mesh = np.arange(COUNT) // 7
    np.savez(
        tmp_path / "all.npz", depth=depth, delta_volume=volume, displacement=views[:, 0], mesh=mesh
    )
    dataset = opened(tmp_path / "all.npz")
    assert "200 of 400 simulations repeat the parameters of others" in " ".join(dataset.warnings)
    for parts in (
        parts_of(dataset, [0.7, 0.1]),
        parts_of(opened(tmp_path / "all.npz", groups="mesh"), [0.7, 0.1]),
    ):
        of_pairs = {number % 200: part for part, numbers in parts.items() for number in numbers}
        assert all(
            of_pairs[number % 200] == part for part, numbers in parts.items() for number in numbers
        )
    kept = {part: {mesh[number] for number in numbers} for part, numbers in parts.items()}
    assert not kept["train"] & (kept["test"] | kept["validation"])


# What is refused, or said.


def test_failed_simulations_are_counted_and_left_out(tmp_path, values):
    depth, volume, views = (of.copy() for of in values)
    views[3], views[9, 0, 2, 2], depth[20], views[30, 0, 1, 1] = np.nan, np.nan, np.nan, np.inf
    np.savez(tmp_path / "all.npz", depth=depth, delta_volume=volume, displacement=views[:, 0])
    for _ in range(2):  # the second time from the cache
        dataset = opened(tmp_path / "all.npz")
        assert (
            "4 of 400 simulations have missing or infinite values (1 in 'depth', 3 in"
            " 'displacement')" in " ".join(dataset.warnings)
        )
        assert set(range(COUNT)) - set(dataset.simulations.usable.tolist()) == {3, 9, 20, 30}
    views[5, 0, :3] = -9999
    volume[6] = -999.9
    np.savez(tmp_path / "codes.npz", depth=depth, delta_volume=volume, displacement=views[:, 0])
    for units in ({}, {"delta_volume": "m³", "displacement": "mm"}):  # in which the codes are, too
        said = " ".join(opened(tmp_path / "codes.npz", file_units=units).warnings)
        assert "'displacement' has -9999, far from all other values" in said
        assert "'delta_volume' has -999.9, far from all other values" in said


def test_simulations_that_were_never_written_or_are_those_of_others_are_counted(
    tmp_path, values, qexp
):
    depth, volume, views = values
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_dataset("displacement", (COUNT, SIDE, SIDE), "f4")[:300] = views[:300, 0]
        file.update({"depth": depth, "delta_volume": volume})
    (tmp_path / "set.json").write_text(json.dumps(document(tmp_path / "all.h5")))
    never = "'displacement' is 0 throughout in 100 of 400 simulations (300 to 399)"
    for _ in range(2):  # the second time from the cache
        assert never in qexp("validate", tmp_path / "set.json").stderr
    views[50:60, 0] = views[3, 0]
    np.savez(tmp_path / "all.npz", depth=depth, delta_volume=volume, displacement=views[:, 0])
    assert "that of another one in 10 of 400 simulations" in " ".join(
        opened(tmp_path / "all.npz").warnings
    )
    mask = np.ones((SIDE, SIDE))
    mask[:4] = 0
    np.save(tmp_path / "mask.npy", mask)
    views[7, 0] = 3 * mask
    np.savez(tmp_path / "all.npz", depth=depth, delta_volume=volume, displacement=views[:, 0])
    said = " ".join(
        opened(tmp_path / "all.npz", views=[{"mask": str(tmp_path / "mask.npy")}]).warnings
    )
    assert "is 3 throughout in 1 of 400 simulations" in said


def test_pixels_that_no_simulation_has_are_declared_by_a_mask(tmp_path, values):
    depth, volume, views = (of.copy() for of in values)
    views[:, 0, 4:6] = np.nan
    np.savez(tmp_path / "all.npz", depth=depth, delta_volume=volume, displacement=views[:, 0])
    assert "a view's mask" in refused(tmp_path / "all.npz")
    mask = np.ones((SIDE, SIDE))
    mask[4:6] = 0
    np.save(tmp_path / "mask.npy", mask)
    dataset = opened(tmp_path / "all.npz", views=[{"mask": str(tmp_path / "mask.npy")}])
    assert len(dataset.simulations.usable) == COUNT
    seen = dataset.sample(dataset.whole, 10, Seeds(0), ("all",), torch.device("cpu"))
    assert torch.equal(seen["mask"][0, 0], torch.from_numpy(mask).float())
    assert not seen["displacement"][:, :, 4:6].any()


def test_parameters_outside_or_unlike_their_declared_distribution(archive):
    narrow = {"depth": {"type": "uniform", "parameters": {"a": 2.0, "b": 3.0}}}
    text = refused(archive, distributions=narrow)
    assert "simulations lie beyond its ends, 2 and 3" in text
    assert "leave it out" in text
    right = {"depth": {"type": "log_normal", "parameters": {"mu": 0.8, "sigma": 0.3}}}
    assert "do not look drawn" not in " ".join(opened(archive, distributions=right).warnings)
    wide = {"depth": {"type": "uniform", "parameters": {"a": 0.1, "b": 9.0}}}
    assert "do not look drawn from the declared distribution of 'depth'" in " ".join(
        opened(archive, distributions=wide).warnings
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"path": "nowhere.npz"}, "no file or folder 'nowhere.npz'"),
        ({"observations": ["displacment"]}, "did you mean 'displacement'"),
        (
            {"observations": ["depth"], "varyings": {"delta_volume": []}},
            "it must be (simulation, value)",
        ),
        ({"varyings": {"dept": []}}, "no parameter 'dept'"),
        ({"groups": "mesh"}, "no 'mesh'"),
        ({"columns": {"displacement": "run/x"}}, "no variable 'run/x'"),
        ({"file_units": {"depth": "s"}}, "its unit is 's', but 'depth' is in km"),
        ({"fixed": {"noise": 0.01, "depth": 1.0}}, "fixed are the noise and the numbers of views"),
        (
            {"distributions": {"radius": {"type": "uniform", "parameters": {"a": 0, "b": 1}}}},
            "does not vary",
        ),
        ({"views": [{}, {}]}, "2 views are described, but the files have 1"),
        ({"views": [{"size": [4, 4]}]}, "leave it out"),
        ({"noise_model": {"type": "exponential", "parameters": {"range": 2.0}}}, "x_res"),
        ({"parameters": "nowhere.csv"}, "no file 'nowhere.csv'"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_work(archive, changes, text):
    assert text in refused(changes.pop("path", archive), **changes)


def test_tables_and_arrays_of_other_lengths_and_parameters_that_do_not_vary(
    tmp_path, archive, values
):
    with (tmp_path / "table.csv").open("w") as file:
        csv.writer(file).writerows([["depth", "delta_volume"], [1, 2], [3, 4]])
    assert "2 values of 'depth', but there are 400" in refused(
        archive, parameters=str(tmp_path / "table.csv")
    )
    depth, volume, views = values
    np.savez(
        tmp_path / "same.npz", depth=depth, delta_volume=0 * depth + 2, displacement=views[:, 0]
    )
    assert "is 2 in all simulations" in refused(tmp_path / "same.npz")
    np.savez(
        tmp_path / "two.npz",
        depth=depth,
        delta_volume=volume,
        displacement=views[:, 0],
        other=views[:7, 1],
    )
    assert "different numbers of simulations" in refused(
        tmp_path / "two.npz", observations=["displacement", "other"]
    )


def test_a_digest_does_not_depend_on_where_the_files_are(tmp_path, values):
    digests = set()
    for name in ("here", "there"):
        (folder := tmp_path / name).mkdir()
        np.savez(folder / "all.npz", displacement=values[2][:, 0])
        with (folder / "table.csv").open("w") as file:
            csv.writer(file).writerows([["depth", "delta_volume"], *zip(*values[:2], strict=True)])
        digests.add(digest(opened(folder / "all.npz", parameters=str(folder / "table.csv")).origin))
    assert len(digests) == 1


def test_units_of_files_and_variables_of_ones_own(tmp_path, values):
    depth, volume, views = values
    arrays = {"depth": 1e3 * depth, "modulus": volume, "displacement": views[:, 0]}
    np.savez(tmp_path / "all.npz", **arrays)
    own = {
        "varyings": {"depth": [], "modulus": []},
        "units": {"modulus": "GPa"},
        "file_units": {"depth": "m"},
    }
    dataset = opened(tmp_path / "all.npz", **own)
    assert dataset.simulations.parameters["depth"] == pytest.approx(depth)
    assert dataset.quantities["modulus"].unit == "GPa"
    taken_for_km = opened(tmp_path / "all.npz", **{**own, "file_units": {}}).warnings
    assert "beyond what its quantity calls plausible, 0 km to 1000 km" in " ".join(taken_for_km)
    np.savez(tmp_path / "all.npz", **{**arrays, "modulus": volume + 1e6})
    assert "single precision rounds values of its size to 0.0625" in " ".join(
        opened(tmp_path / "all.npz", **own).warnings
    )
    np.savez(tmp_path / "all.npz", **{**arrays, "modulus": 1e30 * volume})
    assert "write it in a larger unit" in refused(tmp_path / "all.npz", **own)


# Runs.

MODEL = {
    "inputs": {"displacement": {"size": [SIDE, SIDE, 1]}},
    "outputs": ["depth", "delta_volume"],
    "operations": {
        "dense": {
            "module": "denses",
            "parameters": {"filters": [32, 32], "activation": "silu", "bias": True},
        },
        "posterior": {"module": "gaussian_posterior"},
    },
    "branches": [
        {
            "x_name": "displacement",
            "y_name": ["depth", "delta_volume"],
            "operations": ["dense", "posterior"],
        }
    ],
}
EXPERIENCE = {
    "model": "small",
    "dataset": "elements",
    "inputs": ["displacement"],
    "outputs": ["depth", "delta_volume"],
    "split": [0.75, 0.1],
    "epochs": 30,  # twelve reach as much on some processors alone
    "batch_size": 20,
    "optimizer": "adam",
    "learning_rate": 0.003,
    "transforms": {"displacement": {"type": "asinh", "parameters": {"scale": 0.01}}},
    "losses": "negative_log_likelihood",
    "metrics": {"depth": "mae", "delta_volume": "mae"},
}


@shared_folder
def trained(root):
    """A workspace with simulations and a posterior that was trained on them."""
    assert call("init", root).code == 0
    depth, volume, views = simulations(1200)
    np.savez(root / "data/elements.npz", depth=depth, delta_volume=volume, displacement=views[:, 0])
    specs = {
        "datasets/elements": document("elements.npz"),
        "models/small": MODEL,
        "experiences/inverse": EXPERIENCE,
    }
    for name, spec in specs.items():
        (root / f"specs/{name}.json").write_text(json.dumps(spec))
    package.run("inverse", seed=1, workspace=root, device="cpu")


@pytest.fixture
def workspace(trained, tmp_path, monkeypatch):
    return copied(trained, tmp_path, monkeypatch)


def test_a_run_is_trained_tested_calibrated_and_asked(workspace, qexp):
    run = package.open_run("inverse_1")
    assert run.results["test"]["depth"]["r2"] > 0.8
    spec = json.loads((run.path / "spec.json").read_text())["dataset"]
    assert spec["distributions"]["depth"]["type"] == "quantiles", (
        "the prior is that of the simulations"
    )
    tested = xarray.load_dataset(run.path / "results/test_predictions.nc", engine="h5netcdf")
    with np.load("data/elements.npz") as archive:
        assert tested["depth"].values == pytest.approx(
            archive["depth"][tested[SIMULATION].values.astype(int)], rel=1e-6
        )
        np.save("data/observed.npy", archive["displacement"][:20])
    assert "volume change" in qexp("calibrate", "inverse_1").done()
    (calibration,) = run.path.glob("results/calibration*.json")
    assert {"part": "test", "observations": 180}.items() <= json.loads(
        calibration.read_text()
    ).items()
    assert (
        "trained or validated on some of these"
        in qexp("calibrate", "inverse_1", "--part", "all").stdout
    )
    wider = qexp(
        "predict", "inverse_1", "data/observed.npy", "--output", "w.nc", "--recalibrated", "test"
    )
    assert "recalibrated by 180 observations of the test part" in wider.stderr
    again = qexp("calibrate", "inverse_1", "--recalibrated", "test", "--seed", "7")
    assert "the test part is not tried with them" in again.stderr
    trained = qexp(
        "predict", "inverse_1", "data/observed.npy", "--output", "a.nc", "--recalibrated", "all"
    )
    assert "trained or validated on these simulations" in trained.stderr
    qexp("predict", "inverse_1", "data/observed.npy", "--output", "estimates.csv").done()
    evaluated = qexp("evaluate", "inverse_1", "--dataset", "elements", "--part", "test").done()
    assert "no sample has the parameters of simulations that were trained on" in evaluated
    assert (
        "evaluated on validation data"
        in qexp("evaluate", "inverse_1", "--part", "validation").done()
    )
    assert (
        "partly evaluated on training data (1,020 of 1,200)"
        in qexp("evaluate", "inverse_1", "--part", "all").done()
    )


def test_what_needs_a_model_is_refused(workspace, qexp):
    for command in (
        ("matrix", "--run", "inverse_1", "--axis", "depth=1:3:4", "--fix", "delta_volume=2"),
        ("limit", "inverse_1"),
    ):
        assert "'emulator'" in qexp(*command).failed(2)


def test_a_run_whose_simulations_are_elsewhere_estimates_and_cannot_be_evaluated(workspace, qexp):
    qexp("run", "inverse", "--name", "moved", "--set", "epochs=1").done()
    with np.load("data/elements.npz") as archive:
        # some beyond the training data
        np.save("data/observed.npy", 3 * archive["displacement"][:20])
    before = qexp("predict", "moved", "data/observed.npy", "--output", "before.csv")
    (workspace / "data/elements.npz").rename("elsewhere.npz")
    after = qexp("predict", "moved", "data/observed.npy", "--output", "after.csv")
    assert "inputs outside the range of the training data" in before.stderr
    assert after.stderr.replace("after.csv", "before.csv") == before.stderr
    assert (workspace / "before.csv").read_text() == (workspace / "after.csv").read_text()
    assert "no file or folder 'elements.npz'" in qexp(
        "evaluate", "moved", "--part", "test", "--seed", "3"
    ).failed(2)


def test_a_file_that_changed_since_the_run_was_prepared_is_not_used(workspace, qexp):
    run = package.open_run("inverse_1")
    spec = json.loads((run.path / "spec.json").read_text())["dataset"]
    depth, volume, views = simulations(30)
    np.savez(workspace / "other.npz", depth=depth, delta_volume=volume, displacement=views[:, 0])
    assert "has changed since the run was prepared" in refused(
        workspace / "other.npz", fingerprint=spec["fingerprint"]
    )


@pytest.mark.heavy
def test_interrupted_and_resumed_runs_and_stacks_have_the_same_bits(workspace, qexp):
    assert "identical, bit for bit" in qexp("verify", "inverse_1").done()
    qexp("run", "inverse", "--seeds", "5:7", "--set", "epochs=2", "--stack", "2").done()
    assert [run["state"] for run in package.runs()] == ["done"] * 3
