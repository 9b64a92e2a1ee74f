"""Fields on a grid: read, made ready, cut into patches and turned."""

import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
import xarray

from qexp.base.seeds import Seeds
from qexp.errors import DatasetError, QexpError
from qexp.kinds.fields import dataset as fields_dataset
from qexp.kinds.fields.dataset import (
    SYMMETRIES,
    ChosenFrames,
    GriddedDataset,
    Patches,
    PatchSamples,
    Positions,
)
from qexp.kinds.fields.folders import PRESETS, FieldMapping, preset, read_mapping
from qexp.physics import ice
from qexp.rows.array_cache import cache_folder
from qexp.spec.kinds import filled_in
from tests.domes import ARRHENIUS, SPACING, YEAR, dome, rewrite, write_folders

F2 = preset("f2")
BARE = FieldMapping({"usurf": 1000.0}, {"ubar": 1000.0})


@pytest.fixture
def folders(tmp_path):
    return write_folders(tmp_path / "domes")


def dataset(path, mapping=F2, **keys):
    return GriddedDataset(
        path, filled_in({"type": "gridded", **vars(mapping), "patch_size": 8, **keys})
    )


def fields(frames, names):
    return frames.read(names, 0, len(frames))


def first_fields(path, names, mapping=F2, **keys):
    """Variables of the first training folder, read."""
    return fields(dataset(path, mapping, **keys).parts["train"][0], names)


def all_positions(patches, symmetry):
    """A patch in the corner of the first frame, turned in one way."""
    of_one = [np.array([0])] * 4
    return Positions(*of_one, np.array([symmetry]))


def test_fields_are_those_of_the_file_and_slopes_are_central_differences_of_the_surface(folders):
    frames = dataset(folders).parts["train"][0]
    source = dome(seed=0)
    read = fields(frames, ["thk", "slopsurfx", "slopsurfy", "vbar"])
    np.testing.assert_array_equal(read["thk"], source["thk"])
    np.testing.assert_array_equal(read["vbar"], source["vbar"])
    along_y, along_x = np.gradient(
        source["usurf"].values.astype(float), SPACING, SPACING, axis=(1, 2)
    )
    np.testing.assert_allclose(read["slopsurfx"], along_x, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(read["slopsurfy"], along_y, rtol=1e-6, atol=1e-9)


@pytest.mark.heavy
def test_slopes_are_recomputed_on_request_and_kept_apart_from_those_of_the_files(folders):
    rewrite(
        folders,
        lambda data: data.assign(slopsurfx=data["usurf"] * 0 + 7, slopsurfy=data["usurf"] * 0 + 7),
    )
    of_file = first_fields(folders, ["slopsurfx", "slopsurfy"])
    computed = first_fields(folders, ["slopsurfx", "slopsurfy"], recompute_slopes=True)
    surface = dome(seed=0)["usurf"].values.astype(float)
    for name, axis in (("slopsurfx", 2), ("slopsurfy", 1)):
        assert (of_file[name] == 7).all()
        np.testing.assert_allclose(
            computed[name], np.gradient(surface, SPACING, axis=axis), rtol=1e-6, atol=1e-9
        )


@pytest.mark.heavy
@pytest.mark.parametrize("descends", [False, True])
def test_the_coordinates_of_the_cells_are_the_fields_x_and_y(folders, descends):
    if descends:
        rewrite(folders, lambda data: data.isel(y=slice(None, None, -1)))
    mapping = FieldMapping({"X": 1000.0, "Y": 1000.0, "thk": 100.0}, {"ubar": 10.0})
    found = dataset(folders, mapping)
    read = fields(found.parts["train"][0], ["X", "Y"])
    along_x, along_y = np.meshgrid(SPACING * np.arange(24), SPACING * np.arange(20))
    for frame in range(3):
        np.testing.assert_array_equal(read["X"][frame], along_x)
        np.testing.assert_array_equal(read["Y"][frame], along_y)
    assert (found.units["X"], found.units["Y"]) == ("m", "m")
    halved = first_fields(folders, ["X"], mapping, resample=2)["X"]
    np.testing.assert_array_equal(halved[0, 0], SPACING * (2 * np.arange(12) + 0.5))


@pytest.mark.heavy
def test_npy_files_old_netcdf_files_and_those_of_another_name_are_read_like_netcdf(
    folders, tmp_path
):
    for file in folders.rglob("ex.nc"):
        folder = tmp_path / "plain" / file.parent.relative_to(folders)
        folder.mkdir(parents=True)
        with xarray.open_dataset(file, decode_times=False) as data:
            data.load().to_netcdf(
                file.with_name("old.nc"), engine="scipy", format="NETCDF3_CLASSIC"
            )
            for name in data.variables:
                np.save(folder / f"{name}.npy", data[name].values)
    expected = dataset(folders).parts["test"]
    for other in (dataset(tmp_path / "plain"), dataset(folders, file="old.nc")):
        for ours, theirs in zip(other.parts["test"], expected, strict=True):
            for name in (*F2.inputs, "ubar"):
                np.testing.assert_array_equal(
                    fields(ours, [name])[name], fields(theirs, [name])[name]
                )


@pytest.mark.heavy
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.isel(x=slice(None, None, -1)),
        lambda data: data.isel(y=slice(None, None, -1)),
        lambda data: data.transpose("time", "x", "y"),
    ],
)
def test_descending_coordinates_and_axes_in_another_order_tell_the_same_fields(folders, change):
    upright = first_fields(folders, F2.inputs)
    rewrite(folders, change)
    frames = dataset(folders).parts["train"][0]
    assert (list(frames.x), list(frames.y)) == (sorted(frames.x), sorted(frames.y))
    for name, values in fields(frames, F2.inputs).items():
        np.testing.assert_allclose(values, upright[name], rtol=1e-5, atol=1e-9)


@pytest.mark.heavy
def test_a_field_without_time_is_the_same_in_every_frame_and_only_such_fields_are_one_frame(
    folders,
):
    rewrite(folders, lambda data: data.assign(topg=data["usurf"].isel(time=0, drop=True)))
    bed = first_fields(folders, ["topg"], FieldMapping({"topg": 1000.0}, {"thk": 100.0}))["topg"]
    np.testing.assert_array_equal(bed, np.broadcast_to(dome(seed=0)["usurf"][0], bed.shape))
    rewrite(folders, lambda data: data.isel(time=1, drop=True))
    np.testing.assert_array_equal(first_fields(folders, ["thk"])["thk"], dome(seed=0)["thk"][1:2])


@pytest.mark.heavy
def test_wider_cells_hold_means_of_blocks_and_stepping_takes_every_so_many_frames(folders):
    frames = dataset(folders, resample=2, stepping=2).parts["train"][0]
    means = dome(seed=0)["thk"].values[::2].reshape(2, 10, 2, 12, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(fields(frames, ["thk"])["thk"], means, rtol=1e-6)
    assert frames.spacing == pytest.approx((2 * SPACING, 2 * SPACING))
    assert frames.time == (0.0, 20.0)


@pytest.mark.heavy
def test_narrower_cells_follow_a_cubic_exactly(folders):
    def cubic(columns, rows):
        column, row = np.meshgrid(columns, rows)
        return 1e-3 * column**3 - 0.02 * row**2 * column + row

    def with_cubic(data):
        values = np.broadcast_to(cubic(np.arange(24), np.arange(20)), data["thk"].shape)
        return data.assign(thk=(("time", "y", "x"), values.astype(np.float32)))

    rewrite(folders, with_cubic)
    frames = dataset(folders, resample=0.5).parts["train"][0]
    assert frames.size == (39, 47)
    expected = cubic(np.arange(47) / 2, np.arange(39) / 2)
    np.testing.assert_allclose(fields(frames, ["thk"])["thk"][0], expected, rtol=1e-4, atol=1e-3)


def test_patches_are_cut_out_of_frames(folders):
    data = dataset(folders)
    patches = data.patches(data.rows)
    positions = Positions(
        *(np.array(numbers) for numbers in ([2, 0], [1, 2], [5, 0], [7, 16], [0, 0]))
    )
    cut = patches.cut(positions, 5, data.vector_positions())
    numbers = (positions.part, positions.frame, positions.row, positions.column)
    for patch, part, frame, row, column in zip(cut, *numbers, strict=True):
        of_frames = fields(patches.parts[part].frames, data.variables)
        for position, name in enumerate(data.variables):
            expected = of_frames[name][frame, row : row + 8, column : column + 8]
            np.testing.assert_array_equal(patch[..., position], expected)


def test_every_good_place_is_drawn_equally_often_and_no_other(folders):
    data = dataset(folders, threshold=40.0)
    patches = data.patches(data.rows)
    positions = patches.draw(40_000, np.random.default_rng(1), turned=False)
    numbers = (positions.part, positions.frame, positions.row, positions.column)
    drawn = Counter(zip(*(of_patch.tolist() for of_patch in numbers), strict=True))
    for part, frame, row, column in drawn:
        assert (
            patches.parts[part].frames.read(["thk"], frame, frame + 1)["thk"][
                0, row + 4, column + 4
            ]
            > 40
        )
    assert len(drawn) == patches.count
    expected = 40_000 / patches.count
    excess = sum((count - expected) ** 2 / expected for count in drawn.values())
    assert excess < patches.count + 4 * math.sqrt(2 * patches.count)


@pytest.mark.heavy
def test_a_single_good_place_is_found(folders):
    def nearly_bare(data):
        data["thk"][:] = 0
        data["thk"][1, 9, 14] = 5
        return data

    rewrite(folders, nearly_bare)
    data = dataset(folders, threshold=1.0)
    positions = data.patches(data.rows[:3]).draw(7, np.random.default_rng(1), turned=False)
    assert [
        set(numbers.tolist()) for numbers in (positions.frame, positions.row, positions.column)
    ] == [{1}, {5}, {10}]


@pytest.mark.slow
@pytest.mark.parametrize("symmetry", range(SYMMETRIES))
def test_a_turned_patch_obeys_the_flow_law_and_its_slopes_are_those_of_the_turned_surface(
    folders, symmetry
):
    f13 = preset("f13")
    data = dataset(
        folders, FieldMapping({**f13.inputs, "usurf": 1000.0}, f13.outputs), patch_size=16
    )
    patches = data.patches(data.rows)
    (patch,) = patches.cut(
        all_positions(patches, symmetry), len(data.variables), data.vector_positions()
    )
    variables = {
        name: torch.from_numpy(patch[..., index].copy()).double()
        for index, name in enumerate(data.variables)
    }
    thickness = variables["thk"]
    slopes = torch.stack([variables["slopsurfx"], variables["slopsurfy"]], dim=-1)
    law = ice.velocity(
        thickness, slopes, torch.full_like(thickness, ARRHENIUS), torch.zeros_like(thickness)
    )
    assert law.mean.abs().max() > 0
    for speeds, names in ((law.mean, ("ubar", "vbar")), (law.surface, ("uvelsurf", "vvelsurf"))):
        for axis, name in enumerate(names):
            torch.testing.assert_close(
                speeds[..., axis] * YEAR, variables[name], rtol=1e-4, atol=1e-4
            )
    inside = slice(1, -1), slice(1, -1)
    for name, axis in (("slopsurfx", 1), ("slopsurfy", 0)):
        along = np.gradient(variables["usurf"].numpy(), SPACING, axis=axis)
        np.testing.assert_allclose(
            variables[name].numpy()[inside], along[inside], rtol=1e-3, atol=1e-6
        )


@pytest.mark.parametrize("keys", [{}, {"threshold": 40.0}])
@pytest.mark.parametrize(
    "mapping", [F2, FieldMapping({"thk": 1.0}, {"vbar": 1.0})], ids=["", "one component"]
)
def test_patches_gathered_from_a_devices_memory_are_those_that_are_cut(
    folders, monkeypatch, keys, mapping
):
    data = dataset(folders, mapping, **keys)
    chosen = data.rows[1::2]
    cut = PatchSamples(data, chosen, data.rows[:1], (50, 4), Seeds(3), torch.device("cpu")).epoch(
        2, 4, dict
    )
    monkeypatch.setattr(fields_dataset, "room_for_data", lambda device: 10**9)
    for at_once in (1, 3 * 4 * len(data.variables) * 64):
        monkeypatch.setattr(fields_dataset, "NUMBERS_AT_ONCE", at_once)
        samples = PatchSamples(data, chosen, data.rows[:1], (50, 4), Seeds(3), torch.device("cpu"))
        gathered = samples.epoch(2, 4, dict)
        assert samples._on_device is not None
        for index in range(13):
            one, other = gathered(index), cut(index)
            assert list(one) == list(other)
            assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.heavy
def test_all_symmetries_are_drawn_where_cells_are_square_and_axes_stay_where_they_are_not(folders):
    square = dataset(folders)
    positions = square.patches(square.rows).draw(400, np.random.default_rng(0), turned=True)
    assert set(positions.symmetry) == set(range(SYMMETRIES))
    rewrite(folders, lambda data: data.assign_coords(x=data["x"] * 1.5))
    oblong = dataset(folders)
    positions = oblong.patches(oblong.rows).draw(400, np.random.default_rng(0), turned=True)
    assert set(positions.symmetry) == {0, 1, 2, 3}


@pytest.mark.heavy
def test_a_component_without_its_like_is_mirrored_but_never_exchanged(folders):
    data = dataset(folders, FieldMapping({"thk": 1.0}, {"vbar": 1.0}))
    patches = data.patches(data.rows)
    assert set(patches.draw(400, np.random.default_rng(0), turned=True).symmetry) == {0, 1, 2, 3}
    upright, mirrored = (
        patches.cut(all_positions(patches, symmetry), 2, data.vector_positions())[0]
        for symmetry in (0, 1)
    )
    np.testing.assert_array_equal(mirrored[::-1, :, 0], upright[..., 0])
    np.testing.assert_array_equal(mirrored[::-1, :, 1], -upright[..., 1])


def test_the_largest_power_of_two_that_fits_is_found(folders):
    assert dataset(folders, patch_size=-1).patch_size == 16


@pytest.mark.heavy
def test_frames_are_made_ready_once_and_anew_where_something_changed(
    folders, tmp_path, monkeypatch
):
    monkeypatch.setenv("QEXP_CACHE", str(tmp_path / "cache"))

    def kept():
        return {path.name: path.stat().st_ino for path in (cache_folder() / "arrays").glob("*.f32")}

    dataset(folders)
    first = kept()
    assert len(first) == 4
    dataset(folders)
    assert kept() == first
    rewrite(folders / "train/d0/ex.nc", lambda data: data.assign(thk=data["thk"] + 1))
    changed = dataset(folders)
    assert len(kept()) == len(first) + 1
    np.testing.assert_array_equal(
        fields(changed.parts["train"][0], ["thk"])["thk"], dome(seed=0)["thk"] + 1
    )


def test_a_torn_file_of_prepared_frames_is_made_anew(folders):
    frames = dataset(folders).parts["train"][0]
    expected = fields(frames, ["thk"])["thk"]
    frames.fields.path.write_bytes(frames.fields.path.read_bytes()[:1000])
    np.testing.assert_array_equal(first_fields(folders, ["thk"])["thk"], expected)


def test_files_that_were_made_ready_are_not_opened_again(folders):
    first = dataset(folders, threshold=1.0)
    for file in folders.rglob("ex.nc"):
        status = file.stat()
        file.write_bytes(b"\0" * status.st_size)
        # so that it seems to be as it was
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert dataset(folders, threshold=1.0).test_patches().count == first.test_patches().count


@pytest.mark.heavy
def test_good_positions_are_counted_once_for_each_field_threshold_and_size(
    folders, tmp_path, monkeypatch
):
    # its own: what is kept there is spoiled
    monkeypatch.setenv("QEXP_CACHE", str(tmp_path / "cache"))

    def positions(**keys):
        return dataset(folders, **keys).test_patches().count

    (frames,) = dataset(folders).parts["test"]
    thickness = fields(frames, ["thk"])["thk"]
    expected = {
        (threshold, size): int(
            (thickness[:, half : half + 21 - size, half : half + 25 - size] > threshold).sum()
        )
        for threshold in (0.5, 90.25)
        for size, half in ((8, 4), (7, 3))
    }
    assert len(set(expected.values())) == 4
    for bare in (False, True):  # the second time there is no ice to count
        if bare:
            frames.fields.path.write_bytes(bytes(frames.fields.path.stat().st_size))
        for (threshold, size), count in expected.items():
            assert positions(threshold=threshold, patch_size=size) == count
    rewrite(folders / "test/d0/ex.nc", lambda data: data.assign(thk=data["thk"] * 2))
    assert positions(threshold=90.25, patch_size=8) == int(
        (2 * thickness[:, 4:17, 4:21] > 90.25).sum()
    )


@pytest.mark.heavy
def test_the_fingerprint_is_that_of_the_content(folders, tmp_path):
    first = dataset(folders).fingerprint
    folders.rename(tmp_path / "moved")
    assert dataset(tmp_path / "moved").fingerprint == first
    rewrite(tmp_path / "moved/test/d0/ex.nc", lambda data: data.assign(thk=data["thk"] + 1))
    assert dataset(tmp_path / "moved").fingerprint != first
    with pytest.raises(DatasetError, match="has changed: the SHA-256 of its fields"):
        dataset(tmp_path / "moved", fingerprint=first)


def test_test_folders_are_trained_on_only_where_that_is_asked_for(folders):
    honest, published = dataset(folders), dataset(folders, include_test_in_train=True)
    assert set(honest.column("folder")) == {"d0", "d1", "d2"}
    assert (len(honest.rows), len(published.rows)) == (9, 12)
    assert "not test errors" in published.warnings[0]


DRAWING = """
import resource, sys
from pathlib import Path
import numpy as np
from qexp.kinds.fields.dataset import GriddedDataset
from qexp.spec.kinds import filled_in
scales = {"inputs": {"thk": 1, "slopsurfx": 1, "slopsurfy": 1}, "outputs": {"ubar": 1, "vbar": 1}}
data = GriddedDataset(Path(sys.argv[1]), filled_in({"type": "gridded", **scales, "patch_size": 16, "threshold": 1.0}))
patches = data.patches(data.rows)
random = np.random.default_rng(0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(300):
    patches.cut(patches.draw(64, random, turned=True), 5, data.vector_positions())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    # 160 MB once made ready
    path = write_folders(tmp_path / "many", train=1, frames=1600, height=64, width=64)
    run = subprocess.run(
        [sys.executable, "-c", DRAWING, path], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 100_000  # KiB; 64 MiB may be mapped before they are given back


def test_dle_s_mappings_have_a_scale_for_every_field_and_mappings_are_read_as_dle_writes_them(
    tmp_path,
):
    for name, (inputs, outputs) in PRESETS.items():
        mapping = preset(name)
        assert (tuple(mapping.inputs), tuple(mapping.outputs)) == (inputs, outputs)
    assert (
        FieldMapping(
            {"thk": 2000, "slopsurfx": 1.5, "slopsurfy": 1.5}, {"ubar": 1000, "vbar": 1000}
        )
        == F2
    )
    (tmp_path / "fieldin.dat").write_text(
        "thk 2000.000000 \nslopsurfx 1.500000 \nslopsurfy 1.500000 \n"
    )
    (tmp_path / "fieldout.dat").write_text("ubar 1000.000000 \n\nvbar 1e3\n")
    assert read_mapping(tmp_path) == F2


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("thk", "fieldin.dat, line 2: 'thk'; write a field and its scale"),
        ("thk two", "line 2: 'thk two'; write a field and its scale"),
        ("thk 0.0", "line 2: the scale of 'thk' is 0; it must not be zero"),
        ("thk nan", "line 2: the scale of 'thk' is nan"),
        ("thk 2000 m", "line 2: more than a field and its scale"),
        ("usurf 2000", "line 2: 'usurf' is listed twice; remove one"),
    ],
)
def test_a_line_that_is_no_mapping_is_named(tmp_path, line, complaint):
    (tmp_path / "fieldin.dat").write_text(f"usurf 1000\n{line}\n")
    (tmp_path / "fieldout.dat").write_text("ubar 1000\n")
    with pytest.raises(QexpError, match=complaint):
        read_mapping(tmp_path)


def without(name):
    return lambda data: data.drop_vars(name)


def with_gap(data):
    data["vbar"][2, 3, 4] = math.nan
    return data


def with_codes(data):
    data["thk"][1, 3:5, 4:7] = -9999
    return data


@pytest.mark.heavy
def test_frames_that_were_never_written_or_are_others_and_inputs_that_are_outputs_are_said(folders):
    assert not dataset(folders).warnings

    def unwritten(data):
        data["vbar"][2:] = 0
        data["ubar"][1] = data["ubar"][0].values
        return data.assign(usurf=2 * data["ubar"] + 1)

    rewrite(folders, unwritten)
    said = " ".join(
        dataset(folders, FieldMapping({"usurf": 1.0}, {"ubar": 1.0, "vbar": 1.0})).warnings
    )
    assert "d0: 'vbar' is 0 throughout in" in said
    assert "d0: 'ubar' is exactly that of another one in 1 of" in said
    assert "'usurf' is a linear function of the output 'ubar'" in said


def uneven(data):
    x = data["x"].values.copy()
    x[5] += 40
    return data.assign_coords(x=x)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("change", "keys", "complaint"),
    [
        (without("vbar"), {}, r"d1/ex\.nc has no variable 'vbar'; did you mean 'ubar'\?"),
        (
            without("usurf"),
            {},
            (
                r"d1/ex\.nc has no variable 'slopsurfx', .* slopes can be computed from a surface"
                r" 'usurf'"
            ),
        ),
        (
            without("x"),
            {},
            r"d1/ex\.nc has no coordinate 'x' of two or more .* needed to compute 'slopsurfx' from",
        ),
        (
            without("y"),
            {},
            r"d1/ex\.nc has no coordinate 'y' of two or more .* needed to compute 'slopsurfy' from",
        ),
        (without("thk"), {"threshold": 1.0}, r"d1 has no thickness 'thk' to compare with"),
        (
            without("thk"),
            {"threshold": 1.0, "mapping": BARE},
            r"d1 has no thickness 'thk' .*; leave 'threshold' out",
        ),
        (with_gap, {}, r"d1/ex\.nc: 'vbar' is not a finite number in 1 cells, first at time 2"),
        (
            with_codes,
            {},
            (
                r"d1/ex\.nc: 'thk' is -9999, far from all others like a code for no data, in 6"
                r" cells, first at"
            ),
        ),
        (uneven, {}, r"d1/ex\.nc: 'x' is not evenly spaced: its steps range from 160 to 240"),
        (
            lambda data: data.assign(vbar=data["vbar"][:2].rename(time="t")),
            {},
            r"'vbar' has the shape 2 × 20 × 24",
        ),
        (
            lambda data: data,
            {"patch_size": 21},
            r"a patch of 21 × 21 cells is larger than the frames of .*20 × 24",
        ),
        (
            lambda data: data,
            {"threshold": 1e4},
            r"no patch of d0, d1, d2 has more than 10000 m of ice in its centre",
        ),
        (
            lambda data: data,
            {"resample": 1.5},
            r"must be a whole number \(wider cells\), or less than 1",
        ),
        (
            lambda data: data,
            {"resample": 30},
            "20 x 24 cells cannot be resampled by 30: no cell is left",
        ),
        (
            lambda data: data,
            {"vectors": [["ubar", "vba"]]},
            "no variable 'vba'; did you mean 'vbar'",
        ),
    ],
)
def test_what_is_wrong_with_fields_is_said(folders, change, keys, complaint):
    rewrite(folders / "train/d1/ex.nc", change)
    with pytest.raises(DatasetError, match=complaint):
        dataset(folders, **keys).patches(np.arange(9))


def test_what_is_wrong_with_folders_is_said(folders, tmp_path):
    test = folders / "test"
    for change, complaint in (
        (
            lambda: test.rename(tmp_path / "old"),
            r"there is no folder .*test; a gridded dataset has train/ and test/",
        ),
        (lambda: test.mkdir(), "holds no folder of fields"),
        (lambda: (test / "empty").mkdir(), r"empty has neither ex\.nc nor npy files"),
        (lambda: (test / "empty/ex.nc").write_bytes(b"no NetCDF"), "cannot be read as NetCDF"),
        (lambda: folders.rename(tmp_path / "elsewhere"), "is not a folder"),
    ):
        change()
        with pytest.raises(DatasetError, match=complaint):
            dataset(folders)


def test_a_part_of_the_frames_gives_patches_of_these_alone(folders):
    patches = Patches([ChosenFrames(dataset(folders).parts["train"][0], np.array([1]))], 8)
    assert set(patches.draw(50, np.random.default_rng(0), turned=False).frame) == {1}
    assert patches.tiles == 3 * 4


@pytest.mark.heavy
def test_what_is_no_longer_used_is_purged_from_the_cache_and_made_again(
    folders, tmp_path, monkeypatch, qexp
):
    monkeypatch.setenv("QEXP_CACHE", str(tmp_path / "cache"))
    first, *others = (
        frames.fields.path for part in dataset(folders).parts.values() for frames in part
    )
    # each with its note, whose time is when it was last used
    unused = [file for path in others for file in path.parent.glob(f"{path.name}*")]
    for file in unused:
        os.utime(file, (0, 0))
    code, _, stderr = qexp("purge", "--cache", "--older-than", "30d")
    assert code == 0
    assert stderr.startswith(f"{len(unused)} files deleted from {tmp_path / 'cache'}")
    assert first.is_file()
    np.testing.assert_array_equal(
        fields(dataset(folders).parts["train"][2], ["thk"])["thk"], dome(seed=2)["thk"]
    )
    assert all(path.is_file() for path in others)
    assert qexp("purge", "--cache").code == 0
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
