"""Folders of simulated glaciers: what is in a file holds together, and a seed says all that is in
it.
"""

from dataclasses import replace
from pathlib import Path

import h5netcdf.legacyapi
import numpy as np
import pytest
import xarray

from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.examples import ice, xrf
from qexp.examples.folders import new_folder
from qexp.examples.ice import VARIABLES, glacier, roughness, write
from qexp.examples.options import IceOptions, XrfOptions
from qexp.kinds.fields.folders import PRESETS
from qexp.physics.ice import DENSITY, GRAVITY
from tests.conftest import shared_folder

CORES = XrfOptions("xrf", cores=3, spectra=10, labelled=4)

SMALL = IceOptions(
    "ice", frames=3, size=24, spacing=400.0, arrhenius=(30.0, 120.0), sliding=(0.0, 20.0)
)


def read(folder: Path) -> dict[str, xarray.Dataset]:
    return {
        path.parent.name: xarray.load_dataset(path, engine="h5netcdf")
        for path in sorted(folder.glob("*/*/ex.nc"))
    }


@shared_folder
def some_folder(folder: Path) -> None:
    write(replace(SMALL, out=folder / "ice", glaciers=4, test=1))


@shared_folder
def coupled_folder(folder: Path) -> None:
    write(replace(SMALL, out=folder / "ice", glaciers=4, test=1, coupling=4.0))


@pytest.fixture
def some(some_folder: Path) -> dict[str, xarray.Dataset]:
    return read(some_folder / "ice")


@pytest.fixture
def coupled(coupled_folder: Path) -> dict[str, xarray.Dataset]:
    return read(coupled_folder / "ice")


@pytest.mark.heavy
def test_valleys_and_caps_take_turns_and_the_first_are_for_the_test(tmp_path: Path):
    glaciers = write(replace(SMALL, out=tmp_path / "ice", glaciers=3, test=1))
    folders = [str(glacier.folder.relative_to(tmp_path / "ice")) for glacier in glaciers]
    assert folders == ["test/valley_000", "train/cap_001", "train/valley_002"]
    assert sorted(path.name for path in (tmp_path / "ice").iterdir()) == [
        "README.md",
        "test",
        "train",
    ]
    assert all(glacier.steps > 0 and glacier.frames == 3 for glacier in glaciers)
    assert (
        "--glaciers 3 --test 1 --frames 3 --size 24 --spacing 400"
        in (tmp_path / "ice/README.md").read_text()
    )


@pytest.mark.heavy
def test_every_variable_lies_along_time_y_x_and_has_a_unit(some):
    for data in some.values():
        assert data.attrs["Conventions"].startswith("CF-")
        assert set(data.data_vars) == set(VARIABLES)
        for variable in data.data_vars.values():
            assert variable.dims == ("time", "y", "x")
            assert variable.dtype == np.float32
            assert np.isfinite(variable).all()
            assert variable.attrs["units"]
            assert variable.attrs["long_name"]
        assert np.diff(data.x).tolist() == np.diff(data.y).tolist() == [400.0] * 23
        assert np.diff(data.time).min() > 0


@pytest.mark.heavy
def test_glaciers_are_of_the_size_of_glaciers_and_end_within_the_frame(some):
    for data in some.values():
        speed = np.hypot(data.uvelsurf, data.vvelsurf)
        assert 50 < data.thk.max() < 600
        assert 5 < speed.max() < 2000
        assert 0.05 < (data.thk[-1] > 1).mean() < 0.6
        rim = np.ones(data.thk.shape[1:], dtype=bool)
        rim[1:-1, 1:-1] = False
        assert not (data.thk.values[:, rim] > 1).any()


@pytest.mark.heavy
def test_the_surface_is_the_bed_and_the_ice_on_it(some):
    for data in some.values():
        assert (data.thk >= 0).all()
        np.testing.assert_array_equal(data.usurf, data.topg + data.thk)
        np.testing.assert_array_equal(data.topg, np.broadcast_to(data.topg[0], data.topg.shape))
        np.testing.assert_array_equal(data.strflowctrl, data.arrhenius + data.slidingco)


def laws(data: xarray.Dataset) -> dict[str, np.ndarray]:
    """The velocities by the textbook from what the file says, all in MPa, metres, kilometres of
    sliding and years.
    """
    slopes = np.gradient(data.usurf.values.astype(float), data.y.values, data.x.values, axis=(1, 2))
    thickness, arrhenius, sliding = (
        data[name].values.astype(float) for name in ("thk", "arrhenius", "slidingco")
    )
    stress = 1e-6 * DENSITY * GRAVITY * thickness * np.hypot(*slopes)
    expected = {}
    for component, along in (("v", slopes[0]), ("u", slopes[1])):
        direction = -along / np.maximum(np.hypot(*slopes), 1e-30)
        basal = 1000 * sliding * stress**3
        shearing = 2 * arrhenius * stress**3 * thickness
        expected[f"{component}velbase"] = direction * basal
        expected[f"{component}bar"] = direction * (basal + shearing / 5)
        expected[f"{component}velsurf"] = direction * (basal + shearing / 4)
    return expected


@pytest.mark.heavy
def test_velocities_follow_from_the_thickness_and_the_slopes_of_the_file_and_are_zero_without_ice(
    some, coupled
):
    for data in some.values():
        for name, expected in laws(data).items():
            np.testing.assert_allclose(data[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)
    for data in (*some.values(), *coupled.values()):
        bare = data.thk.values == 0
        assert bare.mean() > 0.3
        for name in laws(data):
            assert not data[name].values[bare].any()
            assert not np.signbit(data[name].values[bare]).any()


@pytest.mark.heavy
def test_coupling_changes_velocities_and_nothing_else_and_keeps_the_flux_over_the_frame(
    some, coupled
):
    for name, data in coupled.items():
        for variable in some[name].data_vars:
            changed = not np.array_equal(data[variable], some[name][variable])
            assert changed == (variable in laws(data)), variable
        for variable in ("ubar", "vbar", "uvelsurf", "vvelbase"):
            flux, local = (
                (ice.thk * ice[variable].astype(float)).sum(("y", "x"))
                for ice in (data, some[name])
            )
            scale = (some[name].thk * np.abs(some[name][variable])).sum(("y", "x"))
            np.testing.assert_allclose((flux - local) / scale, 0, atol=1e-6)
        assert "not glaciology" in data.attrs["source"]


@pytest.mark.heavy
def test_a_seed_gives_a_glacier_the_same_bytes_whatever_others_there_are_and_what_it_is_for(
    tmp_path: Path, some_folder
):
    write(replace(SMALL, out=tmp_path / "few", glaciers=2, test=0))
    few, some = (
        {file.parent.name: file.read_bytes() for file in folder.glob("*/*/ex.nc")}
        for folder in (tmp_path / "few", some_folder / "ice")
    )
    assert few.keys() == {"valley_000", "cap_001"}
    assert few.items() <= some.items()
    write(replace(SMALL, out=tmp_path / "other", glaciers=1, test=0, seed=1))
    few, other = (read(tmp_path / name)["valley_000"] for name in ("few", "other"))
    assert not np.array_equal(other.topg, few.topg)


@pytest.mark.heavy
def test_more_frames_are_more_moments_of_the_same_life(tmp_path: Path, some):
    write(replace(SMALL, out=tmp_path, glaciers=1, test=0, frames=6))
    finer = read(tmp_path)["valley_000"]
    np.testing.assert_allclose(finer.time[1::2], some["valley_000"].time)
    # A frame cuts a time step short, and what it leads to is as good but not the same.
    np.testing.assert_allclose(finer.thk[1::2], some["valley_000"].thk, atol=1.0)


def test_coefficients_are_drawn_within_their_ranges_and_do_not_move_the_bed():
    drawn = [glacier(Seeds(3), number, 16, 500.0, (20.0, 40.0), (5.0, 5.0)) for number in range(20)]
    factors = [glacier.arrhenius for glacier in drawn]
    assert 20 <= min(factors) < 24
    assert 36 < max(factors) <= 40
    assert {glacier.sliding for glacier in drawn} == {5.0}
    other = glacier(Seeds(3), 7, 16, 500.0, (1.0, 1.0), (0.0, 9.0))
    assert np.array_equal(other.bed, drawn[7].bed)
    assert other.climate == drawn[7].climate


@pytest.mark.slow
def test_hills_have_unit_variance_and_are_as_smooth_as_they_are_meant_to_be():
    random = np.random.default_rng(1)
    fields = np.stack([roughness(random, 48, 100.0, 400.0) for _ in range(400)])
    assert fields.var() == pytest.approx(1, abs=0.05)
    # White noise smoothed by a Gaussian of a length has a correlation of exp(-(distance / length)^2
    # / 4).
    assert (fields[:, :, 4:] * fields[:, :, :-4]).mean() == pytest.approx(np.exp(-1 / 4), abs=0.05)


@pytest.mark.heavy
def test_an_ice_cap_is_nearly_in_balance_with_its_climate_when_it_is_old():
    random = replace(glacier(Seeds(0), 1, 24, 400.0, (60.0, 60.0), (0.0, 0.0)), duration=4000.0)
    steady = replace(random, climate=replace(random.climate, descent=0.0))
    volumes = [thickness.sum().item() for thickness in ice.grow(steady, 400.0, 4)]
    assert volumes[3] == pytest.approx(volumes[2], rel=0.005)
    assert volumes[1] - volumes[0] > 10 * abs(volumes[3] - volumes[2])


@pytest.mark.heavy
@pytest.mark.parametrize(
    "write_set",
    [
        lambda **given: write(replace(SMALL, glaciers=2, **given)),
        lambda **given: xrf.write(replace(CORES, **given)),
    ],
)
def test_what_is_written_is_there_as_a_whole_or_not_at_all_and_replaces_nothing_of_others(
    tmp_path: Path, write_set
):
    def fall(name: str, share: float) -> None:
        if share > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_set(out=tmp_path / "new", watch=fall)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/README.md").write_text("# My thesis\n")
    with pytest.raises(QexpError, match="something else"):
        write_set(out=tmp_path / "theirs", overwrite=True)
    assert (tmp_path / "theirs/README.md").read_text() == "# My thesis\n"


def test_a_folder_that_is_made_anew_is_kept_until_the_new_one_is_there(tmp_path: Path):
    for text in ("first", "second"):
        with new_folder(tmp_path / "made", "# Of ours", overwrite=text == "second") as filled:
            (filled / "README.md").write_text("# Of ours\n")
            (filled / text).touch()
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["README.md", "second"]
    with (
        pytest.raises(ZeroDivisionError),
        new_folder(tmp_path / "made", "# Of ours", overwrite=True) as filled,
    ):
        (filled / "third").write_text(str(1 / 0))
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["README.md", "second"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def read_as_dle_reads(file: Path, mapping: str):
    """Channels of inputs and outputs, slopes computed: what 2Dto2D-DLE does with an ex.nc, in its
    steps.
    """
    with h5netcdf.legacyapi.Dataset(file) as data:
        of = {name: np.squeeze(data.variables[name]).astype("float32") for name in data.variables}
    width, height = of["x"][1] - of["x"][0], of["y"][1] - of["y"][0]
    of["slopsurfx"] = np.stack([np.gradient(frame, width, axis=1) for frame in of["usurf"]])
    of["slopsurfy"] = np.stack([np.gradient(frame, height, axis=0) for frame in of["usurf"]])
    return [np.stack([of[name] for name in names], axis=-1) for names in PRESETS[mapping]]


@pytest.mark.heavy
@pytest.mark.parametrize("mapping", ["f2", "f13"])
def test_a_folder_is_read_as_2dto2d_dle_reads_it(tmp_path: Path, mapping):
    write(replace(SMALL, out=tmp_path / "ice", glaciers=2, test=1))
    for file in sorted((tmp_path / "ice").glob("*/*/ex.nc")):
        inputs, outputs = read_as_dle_reads(file, mapping)
        assert inputs.shape[:3] == outputs.shape[:3]
        assert not np.isnan(inputs).any()
        assert not np.isnan(outputs).any()
        assert outputs.any()
