"""Files of GBIS, of MintPy for GBIS, and of Kite, written as these programs write them."""

import os
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest
import scipy.io

import qexp
from qexp.errors import QexpError
from qexp.observations.readers import READERS
from qexp.observations.reading import ReadOptions
from qexp.testing import check_reader

CRS = "EPSG:32633"
SOURCE = {"east": 430e3, "north": 4520e3, "depth": 3.0, "delta_volume": 5.0}
WAVELENGTH = 0.05546576
LONGITUDE, LATITUDE = np.meshgrid(np.linspace(14.09, 14.25, 40), np.linspace(40.77, 40.89, 30))
"""Rows run northwards."""
SPACING = 0.16 / 39, 0.12 / 29
ASCENDING, DESCENDING, LEFT = (38.0, -12.0, "right"), (34.0, -168.0, "right"), (40.0, -12.0, "left")


def toward(incidence, heading, look):
    """East, north, up of the satellite, which is on the other side than where it looks."""
    azimuth = np.radians(heading + {"right": -90, "left": 90}[look])
    steep = np.radians(incidence)
    return np.array(
        [np.sin(azimuth) * np.sin(steep), np.cos(azimuth) * np.sin(steep), np.cos(steep)]
    )


def moved(view):
    """Displacement toward the satellite by a point source, in a half-space of ratio 0.25 [m]."""
    projection = pyproj.Proj(CRS)
    x, y = projection(LONGITUDE, LATITUDE)
    depth = 1e3 * SOURCE["depth"]
    offset = x - SOURCE["east"], y - SOURCE["north"], depth
    distance = np.sqrt(sum(part**2 for part in offset))
    east, north, up = (
        0.75e6 * SOURCE["delta_volume"] / np.pi * part / distance**3 for part in offset
    )
    turn = np.radians(projection.get_factors(14.17, 40.83).meridian_convergence)
    # from the grid's north to that of the satellite's flight
    east, north = (
        east * np.cos(turn) + north * np.sin(turn),
        north * np.cos(turn) - east * np.sin(turn),
    )
    seen = np.tensordot(toward(*view), np.stack([east, north, up]), 1)
    return seen + np.random.default_rng(int(view[0])).normal(0, 1e-3, seen.shape)


def of_gbis(view):
    incidence, heading, _ = view
    phase = -4 * np.pi / WAVELENGTH * moved(view)
    arrays = {"Lon": LONGITUDE, "Lat": LATITUDE, "Phase": phase}
    arrays |= {"Inc": np.full(phase.shape, incidence), "Heading": np.full(phase.shape, heading)}
    return {name: array.reshape(-1, 1) for name, array in arrays.items()}


def as_mintpy_writes(path, view):
    side = {"right": "-1", "left": "1"}[view[2]]
    about = {"WAVELENGTH": str(WAVELENGTH), "ANTENNA_SIDE": side, "HEADING": str(view[1])}
    arrays = {name: array.astype("f4") for name, array in of_gbis(view).items()}
    more = {"Metadata": about, "Mask": np.ones((30, 40), bool), "Height": arrays["Inc"]}
    scipy.io.savemat(path, arrays | more, long_field_names=True)


def of_version_73(path, view):
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in of_gbis(view).items():
            file[name] = array.T


def with_constants(path, view):
    arrays = {name: array.T for name, array in of_gbis(view).items()}
    scipy.io.savemat(path, arrays | {"Inc": view[0], "Heading": view[1]})


def config(**changes):
    frame = {"llLat": LATITUDE.min() - SPACING[1] / 2, "llLon": LONGITUDE.min() - SPACING[0] / 2}
    frame |= {"dN": SPACING[1], "dE": SPACING[0], "spacing": "degree", **changes}
    lines = [f"  {key}: {value}" for key, value in frame.items()]
    head = (
        "%YAML 1.1\n# kite.Scene YAML Config\n--- !kite.scene.SceneConfig\nmeta: !kite.scene.Meta\n"
    )
    tail = "deramp: !kite.deramp.DerampConfig\n  applied: false\n"
    return "\n".join([head + "  scene_id: None", "frame: !kite.scene.FrameConfig", *lines, tail])


def angles(view):
    """theta and phi."""
    east, north, up = toward(*view)
    return np.arcsin(up), np.arctan2(north, east)


def of_kite(path, view, text=None):
    theta, phi = (np.full(LONGITUDE.shape, angle) for angle in angles(view))
    np.savez(path, moved(view), theta, phi)
    path.with_suffix(".yml").write_text(config() if text is None else text)


def found(paths, **options):
    observation = qexp.observe(paths, crs=CRS, error=0.001, **options).observation
    return qexp.invert(observation, source="mogi", starts=2)


def require_source(inversion):
    for name, value in SOURCE.items():
        estimate = inversion.parameters[name]
        assert abs(estimate.value - value) < 4 * estimate.scaled_error
    assert 0.8 < inversion.chi2_reduced < 1.2


@pytest.mark.parametrize(
    ("write", "second", "options"),
    [
        (as_mintpy_writes, DESCENDING, {}),
        (as_mintpy_writes, LEFT, {}),
        (of_version_73, DESCENDING, {"wavelength": WAVELENGTH}),
        (with_constants, LEFT, {"sensor": "sentinel-1", "look": ["right", "left"]}),
    ],
)
def test_the_source_comes_back_from_files_of_gbis(tmp_path, write, second, options):
    paths = [tmp_path / "first.mat", tmp_path / "second.mat"]
    for path, view in zip(paths, (ASCENDING, second), strict=True):
        write(path, view)
    require_source(found(paths, **options))


@pytest.mark.parametrize("second", [DESCENDING, LEFT])
def test_the_source_comes_back_from_scenes_of_kite(tmp_path, second):
    paths = [tmp_path / "first.npz", tmp_path / "second.yml"]
    for path, view in zip(paths, (ASCENDING, second), strict=True):
        of_kite(path.with_suffix(".npz"), view)
    require_source(found(paths))


def test_pixels_in_metres_count_from_the_corner_of_a_scene_of_kite(tmp_path):
    of_kite(tmp_path / "scene.npz", ASCENDING, config(dE=300.0, dN=400.0, spacing="meter"))
    (track,) = qexp.observe(tmp_path / "scene.npz", error=0.001, crs=CRS).observation.tracks
    first, last = np.transpose([track.x, track.y])[[0, -1]]
    corner = pyproj.Proj(CRS)(LONGITUDE.min() - SPACING[0] / 2, LATITUDE.min() - SPACING[1] / 2)
    assert np.hypot(*(first - corner)) == pytest.approx(np.hypot(150, 200), rel=1e-3)
    assert np.hypot(*(last - first)) == pytest.approx(np.hypot(39 * 300, 29 * 400), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"wavelength": None}, "needs the radar's wavelength .* wavelength=0.0555"),
        ({}, {"wavelength": 5.55}, "a wavelength of 5.55 m is not that of a radar"),
        ({}, {"sensor": "ers"}, "both give the wavelength"),
        ({}, {"incidence": 38}, "leave incidence out"),
        ({}, {"unit": "mm"}, "unit has no effect"),
        ({"Inc": np.radians(38.0)}, {}, "if it is in radians, write 38"),
        ({"Heading": np.radians(-12.0)}, {}, "'Heading': headings of .* radians"),
        ({"Phase": np.full(1200, 1j)}, {}, "Phase holds complex128 .* unwrapped, in radians"),
        ({"Phase": np.zeros(7)}, {}, r"Lon holds float64 in the shape \(1200,\)"),
        ({"Phase": "radians"}, {}, "Phase holds <U7"),
        ({"Phase": np.zeros((0, 0)), "Lon": [], "Lat": []}, {}, "not real numbers"),
        ({"Lat": LATITUDE.reshape(40, 30)}, {}, "in the shape"),
        ({"Phase": None}, {}, "has no Phase; files of GBIS hold"),
        ({"Inc": None}, {}, "give incidence and heading"),
        ({"Lon": LATITUDE + 100, "Lat": LONGITUDE + 100}, {}, "longitude and latitude"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_of_gbis_is_said(tmp_path, changes, options, message):
    arrays = {name: array.ravel() for name, array in of_gbis(ASCENDING).items()}
    arrays |= {name: np.ravel(part) if name == "Lon" else part for name, part in changes.items()}
    if "Lat" in changes and "Lon" in changes:
        arrays["Lat"] = np.ravel(changes["Lat"])
    kept = {name: array for name, array in arrays.items() if array is not None}
    scipy.io.savemat(tmp_path / "a.mat", kept)
    with pytest.raises(QexpError, match=message):
        qexp.observe(tmp_path / "a.mat", **{"error": 0.001, "wavelength": WAVELENGTH, **options})


def test_points_without_phase_do_not_count_and_wrapped_phase_is_doubted(tmp_path):
    arrays = of_gbis(ASCENDING)
    arrays["Phase"] = np.angle(np.exp(1j * arrays["Phase"]))
    arrays["Phase"][:7] = np.nan
    arrays["Inc"][7:9] = np.nan
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    with pytest.warns(UserWarning, match="within ±π, as wrapped phase does"):
        (track,) = qexp.observe(tmp_path / "a.mat", error=0.001, wavelength=WAVELENGTH).tracks
    assert (track.points, track.masked) == (1191, 9)


class Pickled:
    def __reduce__(self):
        return os.system, ("touch pickled",)


def test_nothing_in_a_scene_of_kite_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tag = "!!python/object/apply:os.system ['touch tagged']"
    of_kite(Path("scene.npz"), ASCENDING, config().replace("scene_id: None", f"scene_id: {tag}"))
    assert qexp.observe("scene.npz", error=0.001).tracks[0].points == 1200
    np.savez("scene.npz", np.array([[Pickled()]], object), np.ones(1), np.ones(1))
    with pytest.raises(QexpError, match="Object arrays cannot be loaded"):
        qexp.observe("scene.npz", error=0.001)
    assert {path.name for path in Path().iterdir()} == {"scene.npz", "scene.yml"}


@pytest.mark.parametrize(
    ("changes", "text", "message"),
    [
        ({"theta": 52.0}, config(), "theta is up to 52, but Kite's is in radians"),
        ({"phi": 192.0}, config(), "phi is up to 192"),
        ({"theta": np.ones((5, 40))}, config(), "broadcast"),
        ({"displacement": np.ones((3, 30, 40))}, config(), r"shape \(3, 30, 40\), which is no grid"),
        ({"displacement": np.full((30, 40), 1j)}, config(), "Cannot cast"),
        ({"phi": None}, config(), "cannot be read as a scene of Kite"),
        ({}, config(dN=0.0), "does not place the scene: its frame needs llLon, llLat, dE and dN"),
        ({}, config(llLat="north"), "does not place the scene"),
        ({}, config(spacing="km"), "spacing meter or degree; it has .*'spacing': 'km'"),
        ({}, config(dN=300, dE=300), "not longitude and latitude"),
        ({}, "", "it has none"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_scene_of_kite_is_said(tmp_path, changes, text, message):
    theta, phi = angles(ASCENDING)
    arrays = {"displacement": moved(ASCENDING), "theta": theta, "phi": phi} | changes
    np.savez(
        tmp_path / "a.npz", **{name: part for name, part in arrays.items() if part is not None}
    )
    (tmp_path / "a.yml").write_text(text)
    with pytest.raises(QexpError, match=message):
        qexp.observe(tmp_path / "a.npz", error=0.001)


def test_a_scene_of_kite_may_have_angles_for_all_pixels_other_ends_of_lines_and_corrections(
    tmp_path,
):
    text = config().replace("applied: false", "applied: true").replace("\n", "\r\n")
    theta, phi = angles(ASCENDING)
    np.savez(tmp_path / "a.npz", displacement=moved(ASCENDING), theta=theta, phi=[phi])
    (tmp_path / "a.yml").write_bytes(text.encode())
    with pytest.warns(UserWarning, match="Kite's corrections are not read: deramp"):
        (track,) = qexp.observe(tmp_path / "a.npz", error=0.001).tracks
    assert (track.points, track.incidence) == (1200, pytest.approx(38.0, abs=1e-3))
    assert track.true_heading == pytest.approx(-12.0, abs=1e-3)


def test_a_scene_of_kite_without_its_other_file_and_one_that_bursts_are_refused(tmp_path):
    of_kite(tmp_path / "a.npz", ASCENDING)
    (tmp_path / "a.yml").rename(tmp_path / "b.yml")
    for name in ("a.npz", "b.yml"):
        with pytest.raises(QexpError, match=r"is two files, but there is no .*(a\.yml|b\.npz)"):
            qexp.observe(tmp_path / name, error=0.001)
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", bytes(2**28 + 1))
    with pytest.raises(QexpError, match="has 268 MB, but there are 2"):
        qexp.observe(tmp_path / "b.npz", error=0.001)


def test_both_readers_know_their_files_alone(tmp_path):
    as_mintpy_writes(tmp_path / "a.mat", ASCENDING)
    of_kite(tmp_path / "a.npz", ASCENDING)
    check_reader(READERS["gbis"], tmp_path / "a.mat", ReadOptions(error=0.001))
    assert READERS["kite"].recognises(tmp_path / "a.yml")
    for content in (b"", b"MATLAB 5.0 MAT-file" + bytes(200), b"lon lat phase\n1 2 3\n"):
        (tmp_path / "b.mat").write_bytes(content)
        with pytest.raises(QexpError, match=re.escape(str(tmp_path / "b.mat"))):
            qexp.observe(tmp_path / "b.mat", error=0.001)
