"""Samples that are simulated once: what is kept of them, who shares the work, and what an
interruption leaves.
"""

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import qexp as package
from qexp.base.seeds import Seeds
from qexp.base.workspace import find
from qexp.errors import QexpError, RunFailedError
from qexp.kinds.experiments import open_dataset, spec_cache
from tests.conftest import SOUND, mounted, put, started

SLOW = '''
import os, random, time
import numpy as np
import torch
from qexp.extend import DeformationImages, Entry, Source


def slow(source, stations):
    """A toy that notes each simulation, and draws from all global streams."""
    x, y, depth, volume = source[:, None, :].unbind(-1)
    with open("calls", "a") as calls:
        calls.writelines(f"{value:.9g}\\n" for value in depth[:, 0].tolist())
    time.sleep(float(os.environ.get("SECONDS_EACH", 0)) * len(source))
    factor = 1 + 0.1 * (torch.rand(()) + np.random.rand() + random.random())
    up = volume * 1e-7 * factor / (1 + ((stations - source[:, None, :2]) ** 2).sum(-1) / depth**2)
    return torch.stack([0 * up, 0 * up, up], dim=-1)


GENERATORS = {
    "slow": Entry(lambda: DeformationImages(Source(("x", "y", "depth", "delta_volume"), slow)), {}, "A toy.", {})
}
'''
OWN_PIXELS = """
class Own:
    required = lambda self, variables: ["depth", "delta_volume", "spacing"]
    images = lambda self, variables: ["picture"]
    pixel_sizes = lambda self, image, values: (values["spacing"], values["spacing"])

    def simulate(self, values, height, width):
        return {"picture": values["depth"][:, None, None].expand(-1, height, width)}


GENERATORS["own"] = Entry(Own, {}, "A toy.", {})
from qexp.extend import Quantity
QUANTITIES = {"spacing": Quantity("km", 1e3, "width of a pixel")}
"""
OF_SLOW = put(SOUND["dataset"], "generation_type", "slow")
COUNT = 24


@pytest.fixture
def slow(specs):
    """A workspace, which is the current directory, whose dataset `slow` has a simulator of its
    own.
    """
    specs.write("dataset", OF_SLOW, "slow")
    Path("specs/extensions.py").write_text(SLOW)
    return specs


def changed(old, new):
    Path("specs/extensions.py").write_text(SLOW.replace(old, new))


def calls():
    return Path("calls").read_text().split() if Path("calls").exists() else []


def simulated(**options):
    return package.simulate("slow", COUNT, **{"warn": lambda text: None, **options})


def opened(name):
    """A dataset, checked as `qexp validate` does."""
    return open_dataset(name, spec_cache(find()))[-1]


VIEWS = [
    {
        "name": "ascending",
        "azimuth": 0.3,
        "incidence": 0.6,
        "x_res": 0.4,
        "y_res": 0.4,
        "size": [6, 8],
        "mask": "mask.npy",
    },
    {
        "name": "stations",
        "type": "gnss",
        "points": [[0.0, 1.0], [2.0, 0.5]],
        "errors": [0.001, 0.001, 0.003],
    },
    {"name": "points", "incidence": 0.6, "points": [[0.5, 0.5], [1.0, 1.0], [3.0, 0.0]]},
]
SEVERAL = {
    "type": "generated",
    "generation_type": "mogi",
    "size": [6, 8],
    "views": VIEWS,
    "angles": "degrees",
    "columns": {"displacement_1": "gnss", "delta_volume": "volume"},
    "fixed": {"x": 0.2},
    "noise_model": [{"type": "white", "parameters": {"standard_deviation": 0.002}}],
    "varyings": {"depth": [[0.2, 0.5]], "delta_volume": [], "y": [], "azimuth_2": []},
    "distributions": {
        "depth": {"type": "log_normal", "parameters": {"mu": 1.0, "sigma": 0.3}},
        "delta_volume": {"type": "uniform", "parameters": {"a": 0.5, "b": 3.0}},
        "y": {"type": "uniform", "parameters": {"a": -1, "b": 1}},
        "azimuth_2": {"type": "uniform", "parameters": {"a": -20, "b": 20}},
    },
}


def test_what_is_kept_is_what_the_dataset_simulates_with_its_views_units_and_held_out_intervals(
    specs,
):
    specs.write("dataset", SEVERAL, "several")
    Path("data").mkdir()
    mask = np.ones((6, 8))
    mask[0, :3] = 0
    np.save("data/mask.npy", mask)
    file, spec = package.simulate("several", 90, seed=3)
    assert (file, spec) == (
        Path.cwd() / "data/several_simulated.nc",
        Path.cwd() / "specs/datasets/several_simulated.json",
    )
    assert sorted(path.name for path in Path("data").iterdir()) == [
        "mask.npy",
        "several_simulated.nc",
    ]
    kept, source = opened("several_simulated"), opened("several")
    parameters = kept.simulations.parameters
    wanted = source.values(source.whole, 90, Seeds(3), ("simulated",))
    assert {name: values.tolist() for name, values in parameters.items()} == {
        name: values.tolist() for name, values in wanted.items()
    }
    rows = np.array([7, 89])
    signals = source.signals({name: values[rows] for name, values in wanted.items()})
    of_kept = kept.signals(kept.simulations.select(rows))
    assert of_kept.keys() == signals.keys() == {"displacement", "displacement_1", "displacement_2"}
    seen = {"displacement": torch.from_numpy(mask), "displacement_1": 1.0, "displacement_2": 1.0}
    for name, values in signals.items():
        torch.testing.assert_close(
            of_kept[name], values * seen[name], rtol=1e-5, atol=0, check_dtype=False
        )
    assert not [text for text in kept.warnings if "look drawn" in text or "units" in text]
    assert {**kept.shapes(), "x": (1,)} == source.shapes()
    parts = kept.parts([0.8, 0.2], Seeds(0))
    low, high = source.distributions["depth"].quantile(np.array([0.2, 0.5]))
    assert (
        parts["test"].tolist()
        == np.flatnonzero((parameters["depth"] >= low) & (parameters["depth"] <= high)).tolist()
    )
    with xarray.open_dataset(file, engine="h5netcdf") as table:
        assert table["volume"].attrs["units"] == "10⁶ m³"
        assert table["gnss"].shape == (90, 3, 2)


def test_noise_that_varies_is_drawn_in_every_epoch_and_not_kept(specs):
    varying = put(put(SOUND["dataset"], "fixed.noise", ...), "varyings.noise", [[0.1, 0.2]])
    varying = put(
        varying, "distributions.noise", {"type": "uniform", "parameters": {"a": 0.001, "b": 0.002}}
    )
    specs.write("dataset", varying, "noisy")
    file, spec = package.simulate("noisy", 80)
    assert json.loads(spec.read_text())["varyings"]["noise"] == []
    samples = package.samples("noisy_simulated", "train", count=20)
    assert samples["noise"].values.min() >= 0.001
    with xarray.open_dataset(file, engine="h5netcdf") as table:
        assert set(table.variables) == {"depth", "delta_volume", "displacement"}


def test_correlated_noise_knows_the_size_of_pixels_and_where_it_varies_is_refused(specs):
    correlated = put(OF_SLOW, "noise_model", {"type": "exponential", "parameters": {"range": 2.0}})
    Path("specs/extensions.py").write_text(SLOW + OWN_PIXELS)
    own = put(
        put(put(correlated, "generation_type", "own"), "fixed", {"noise": 0.1, "spacing": 0.3}),
        "matrix",
        ...,
    )
    specs.write("dataset", own, "slow")
    simulated(name="own")
    width, height = opened("own").pixel_sizes("picture", {})
    assert (width, height) == (pytest.approx(300), pytest.approx(300))
    varying = put(put(correlated, "fixed.x_res", ...), "varyings.x_res", [])
    distribution = {"type": "uniform", "parameters": {"a": 0.1, "b": 0.2}}
    specs.write("dataset", put(varying, "distributions.x_res", distribution), "slow")
    with pytest.raises(QexpError, match="the pixels of 'displacement' vary in size"):
        simulated()


def test_interrupted_and_moved_it_goes_on_to_the_same_bytes_and_simulates_nothing_twice(
    slow, tmp_path, monkeypatch
):
    whole = simulated()[0].read_bytes()
    assert len(calls()) == len(set(calls())) == COUNT
    said = []
    simulated(tell=said.append)
    assert said == ["data/slow_simulated.nc has these simulations already"]
    assert len(calls()) == COUNT
    shutil.rmtree("data")
    Path("calls").unlink()
    Path("specs/datasets/slow_simulated.json").unlink()

    def interrupt(words, share):
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulated(watch=interrupt)
    assert 5 < len(calls()) < 12
    assert not Path("data/slow_simulated.nc").exists()
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    monkeypatch.chdir(moved)
    assert simulated()[0].read_bytes() == whole
    assert len(calls()) == len(set(calls())) == COUNT
    assert [path.name for path in Path("data").iterdir()] == ["slow_simulated.nc"]


@pytest.mark.heavy
def test_pieces_that_are_damaged_are_simulated_anew(slow):
    whole = simulated()[0].read_bytes()
    shutil.rmtree("data")

    def interrupt(words, share):
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulated(watch=interrupt)
    first, *pieces = sorted(Path("data/slow_simulated.pieces").glob("*.npz"))
    with np.load(pieces[0]) as piece:
        about, images = piece["about"], piece["arr_0"]
    with np.load(first) as piece:
        at = first.read_bytes().index(piece["arr_0"].tobytes())
    content = bytearray(first.read_bytes())
    content[at] ^= 1
    first.write_bytes(content)
    pieces[0].write_bytes(b"")
    pieces[1].write_bytes(pieces[1].read_bytes()[:-30])
    np.savez(pieces[2], about=about)
    np.savez(pieces[3], images[..., :1], about=about)
    np.savez(pieces[4], np.array([{}], dtype=object), about=about)
    pieces[5].write_bytes(b"junk")
    assert simulated()[0].read_bytes() == whole


@pytest.mark.slow
def test_a_simulator_may_leave_the_folder_and_return_what_has_gradients(slow):
    with xarray.open_dataset(simulated()[0], engine="h5netcdf") as table:
        plain = table["displacement"].values
    changed("up = volume", 'os.chdir("/")\n    up = torch.ones((), requires_grad=True) * volume')
    with xarray.open_dataset(simulated(name="other")[0], engine="h5netcdf") as table:
        assert np.array_equal(table["displacement"].values, plain)
    assert len(calls()) == 2 * COUNT


def test_other_simulations_of_the_name_are_refused_and_stay(slow):
    file, _ = simulated()
    whole = file.read_bytes()
    for options, other in (({"count": 25}, "count"), ({"seed": 1}, "seed")):
        with pytest.raises(
            QexpError, match=rf"slow_simulated\.nc has simulations of another {other}, "
        ):
            package.simulate("slow", **{"count": COUNT, **options})
    slow.write("dataset", put(OF_SLOW, "fixed.incidence", 0.5), "slow")
    with pytest.raises(QexpError, match="of another spec or code"):
        simulated()
    with pytest.raises(QexpError, match=r"sound\.json is another dataset"):
        simulated(name="sound")
    assert file.read_bytes() == whole
    simulated(name="other")
    assert opened("other").simulations.usable.size == COUNT


def test_simulations_that_fail_are_found_one_by_one_and_counted(specs):
    specs.write("dataset", OF_SLOW, "slow")
    failing = 'if (depth < 0.8e3).any():\n        raise ValueError("no solution")\n    factor'
    Path("specs/extensions.py").write_text(SLOW.replace("    factor", f"    {failing}", 1))
    said = []
    file, _ = package.simulate("slow", 400, warn=said.append)  # in pieces of two
    with xarray.open_dataset(file, engine="h5netcdf") as table:
        failed = table["depth"].values < 0.8
        assert np.isnan(table["displacement"].values).all(axis=(1, 2)).tolist() == failed.tolist()
        assert np.isfinite(table["displacement"].values[~failed]).all()
    first = int(np.argmax(failed))
    assert said == [
        f"{failed.sum()} of 400 simulations failed, and have no values; the first: simulation"
        f" {first}, ValueError: no solution"
    ]
    assert f"{failed.sum()} of 400 simulations have missing or infinite values" in " ".join(
        opened("slow_simulated").warnings
    )


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        (
            "factor =",
            "factor = unknown +",
            QexpError,
            r"extensions.py: slow: NameError: .*\(line 14",
        ),
        ("factor =", "raise TypeError('no')\n    factor =", QexpError, "TypeError: no"),
        (
            "factor =",
            "raise ArithmeticError('no')\n    factor =",
            RunFailedError,
            "all 24 simulations failed",
        ),
        (
            "factor =",
            "import sys\n    sys.exit(0)\n    factor =",
            QexpError,
            r"slow: SystemExit: 0 \(line 15",
        ),
        ("factor =", "raise GeneratorExit\n    factor =", QexpError, "slow: GeneratorExit"),
        (
            "up = volume",
            "up = float('nan') * volume",
            RunFailedError,
            "simulation 0, values that are missing or inf",
        ),
        ("return torch.stack([0 * up, 0 * up, up], dim=-1)", "return up", RunFailedError, "all 24"),
    ],
)
def test_mistakes_in_the_code_end_it_with_their_place_and_so_does_failure_of_all(
    slow, old, new, error, words
):
    changed(old, new)
    with pytest.raises(error, match=words):
        simulated()
    assert not Path("data/slow_simulated.nc").exists()
    assert not Path("specs/datasets/slow_simulated.json").exists()


def test_what_cannot_be_simulated_or_written_is_said(slow, qexp):
    slow.write(
        "dataset",
        {"type": "tabular", "path": "a.csv", "inputs": {"x": ["a"]}, "outputs": {"y": "b"}},
        "table",
    )
    assert "no simulator, whose samples could be kept" in qexp(
        "data", "simulate", "table", "--count", "3"
    ).refused(2)
    assert "--count 0: from 1 to" in qexp("data", "simulate", "slow", "--count", "0").refused(2)
    assert "--jobs 0: from 1 to" in qexp(
        "data", "simulate", "slow", "--count", "3", "-j", "0"
    ).refused(2)
    Path("data").touch()
    said = qexp("data", "simulate", "slow", "--count", "3").refused(2)
    assert "cannot write to" in said
    assert calls() == []


def at_work(*options):
    return started(Path.cwd(), "data", "simulate", "slow", "--count", str(COUNT), *options)


@pytest.mark.heavy
def test_processes_that_share_the_work_make_the_same_bytes_and_nothing_twice(slow, monkeypatch):
    whole = simulated(name="alone")[0].read_bytes()
    Path("calls").unlink()
    monkeypatch.setenv("SECONDS_EACH", "0.3")
    several = [at_work("-j", "2"), at_work()]
    assert [process.wait(120) for process in several] == [0, 0]
    assert len(calls()) == len(set(calls())) == COUNT
    assert Path("data/slow_simulated.nc").read_bytes() == whole
    assert not Path("data/slow_simulated.pieces").exists()


@pytest.mark.heavy
def test_killed_at_twenty_moments_it_ends_with_the_same_bytes(slow, monkeypatch):
    whole = simulated(name="alone")[0].read_bytes()
    moments, killed = random.Random(4), 0
    monkeypatch.setenv("SECONDS_EACH", "0.3")
    while killed < 20:
        process, begun = at_work(), len(calls())
        while len(calls()) == begun and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    monkeypatch.setenv("SECONDS_EACH", "0")
    assert simulated()[0].read_bytes() == whole
    assert len(calls()) <= 2 * COUNT + killed + 1


def test_a_full_disk_leaves_complete_pieces_and_it_goes_on_with_more_room(slow):
    Path("data").mkdir()
    with mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs", "data"):
        with pytest.raises(QexpError, match=r"cannot write .*No space left"):
            simulated()
        pieces = sorted(Path("data/slow_simulated.pieces").glob("*.npz"))
        assert 3 < len(pieces) < COUNT
        assert all("about" in np.load(piece) for piece in pieces)
        subprocess.run(["mount", "-o", "remount,size=120k", "data"], check=True)
        with pytest.raises(QexpError, match=r"cannot write .*slow_simulated\.nc: it takes"):
            simulated()
        subprocess.run(["mount", "-o", "remount,size=4M", "data"], check=True)
        simulated()
        assert opened("slow_simulated").simulations.usable.size == COUNT
    assert len(calls()) <= COUNT + 2
