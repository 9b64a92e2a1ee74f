"""Estimates within the limits of their output: wherever runs of each kind estimate, and nowhere
else.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import qexp
from qexp.api.handles import Run
from qexp.base.outputs import Limits
from qexp.kinds.networks import load_models
from qexp.networks.estimator import Ensemble
from tests import cores, domes, stones
from tests.conftest import Specs, call, copied, prepare_with, shared_folder

LIMITS = {
    "scratch": {"toc": [1.2, 1.3]},
    "stones": {"iron": [3.5, 4.0]},
    "domes": {"ubar": [-0.5, 0.25]},
    "sound": {"depth": [None, 0.1]},
}
"""Experience → limits that many of its estimates reach."""

OF_ROWS = {"epochs": 2, "members": 2, "inner": None, "keep": "last", "baselines": ["ridge"]}


@shared_folder
def limited(root: Path) -> None:
    """A workspace with a run of each kind of dataset whose estimates are limited; for reading
    only.
    """
    Specs(root)
    cores.write(root)
    domes.write_folders(root / "data/domes")
    domes.write(root)
    stones.write(root, **OF_ROWS)
    for name, limits in LIMITS.items():
        epochs = {} if name == "stones" else {"epochs": 1}
        qexp.run(
            name,
            name=f"{name}_0",
            overrides={"limits": limits, **epochs},
            device="cpu",
            workspace=root,
        )


@pytest.fixture
def here(limited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("QEXP_DATA", raising=False)
    return copied(limited, tmp_path, monkeypatch)


def log(run: Run) -> str:
    return (run.path / "attempts/01/log.txt").read_text()


def together(run: Run) -> Ensemble:
    return Ensemble(load_models(run.directory, torch.device("cpu")))


def unlimited(run: Run) -> Run:
    """A copied run, from which the limits are taken, to see what its network estimates by
    itself.
    """
    prepare_with(run.path, lambda spec: spec.pop("limits"))
    return qexp.open_run(run.record["name"])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "output"), [("scratch", "toc"), ("stones", "iron"), ("sound", "depth")]
)
def test_test_estimates_lie_within_the_limits_and_the_log_and_the_file_count_those_that_reach_them(
    here, name, output
):
    run = qexp.open_run(f"{name}_0")
    low, high = LIMITS[name][output]
    table = xarray.load_dataset(
        run.path / "results/test_predictions.nc", engine="h5netcdf", decode_timedelta=False
    )
    estimates = table[f"{output}_estimate"]
    assert estimates.max() <= np.float32(high)
    assert low is None or estimates.min() >= np.float32(low)
    ends = [np.float32(end) for end in LIMITS[name][output] if end is not None]
    at_limits = int(np.isin(estimates, ends).sum())
    assert estimates.attrs["at_limits"] == at_limits
    assert at_limits > 0
    words = f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
    assert estimates.attrs["limits"] == words
    assert (
        f"{at_limits} of {estimates.size} estimates of {output} are at its limits, {words} "
        in log(run)
    )
    assert f"{output} {words}" in call("show", f"{name}_0").stdout
    error = estimates.values.astype(np.float64) - table[output].values
    assert run.results["test"][output]["bias"] == pytest.approx(error.mean())


@pytest.mark.heavy
def test_they_are_those_of_the_network_moved_to_the_nearest_limit(here):
    run = qexp.open_run("scratch_0")
    folder = here / "data/few/test"
    assert call("predict", "scratch_0", folder, "--output", "limited.nc").code == 0
    within = xarray.load_dataset("limited.nc", engine="h5netcdf")["toc_estimate"]
    counts = np.stack(
        [np.loadtxt(folder / "spe" / f"D1_{number}.csv") for number in range(cores.SPECTRA)]
    )
    assert run.predict(spectrum=counts)["toc"] == pytest.approx(within.values)
    free = unlimited(run).predict(spectrum=counts)["toc"]
    assert within.values == pytest.approx(np.clip(free, 1.2, 1.3))
    assert not np.allclose(free, within)
    assert within.attrs["limits"] == "1.2 to 1.3"


@pytest.mark.heavy
def test_the_mean_of_networks_is_limited_their_spread_is_not_and_baselines_are_judged_alike(here):
    run = qexp.open_run("stones_0")
    limits = Limits(3.5, 4.0)
    colours = torch.rand(50, 3, generator=torch.Generator().manual_seed(1))
    estimated = together(run).estimated({"colour": colours})["iron"]
    mean, spread = estimated.middle, estimated.spread
    rows = "\n".join(["red,green,blue", *(",".join(map(repr, row)) for row in colours.tolist())])
    Path("pixels.csv").write_text(rows + "\n")
    outcome = call("predict", "stones_0", "pixels.csv", "--output", "made.csv")
    count = limits.reached(mean.numpy())
    assert f"{count} of 50 estimates of iron are at its limits, 3.5 to 4 wt%" in outcome.stderr
    assert json.loads(Path("made.csv.json").read_text())["at_limits"] == {"iron": count}
    again = call("predict", "stones_0", "pixels.csv", "--output", "made.csv")
    assert (again.code, "exists already" in again.stderr) == (0, True)
    exported = qexp.export_network("stones_0", "exported", format="torchscript", physical=True)
    of_graph, spread_of_graph = torch.jit.load(exported.folder / exported.about["file"])(colours)
    torch.testing.assert_close(of_graph, mean)
    torch.testing.assert_close(spread_of_graph, spread)
    assert exported.about["outputs"][0]["limits"] == [3.5, 4.0]
    assert "limits" not in exported.about["outputs"][1]
    assert "limited: 3.5 to 4" in (exported.folder / "README.md").read_text()
    free = together(unlimited(run)).estimated({"colour": colours})["iron"]
    torch.testing.assert_close(mean, free.middle.clamp(3.5, 4.0))
    torch.testing.assert_close(spread, free.spread)
    ridge = {row.estimator: row for row in run.directory.record().comparison}["ridge"]
    assert ridge.rmse is not None
    truth = np.array([row[-1] for row in stones.table()])
    # No estimate within the limits is nearer to the truth than the nearest limit.
    assert ridge.rmse >= np.sqrt(np.mean((np.clip(truth, 3.5, 4.0) - truth) ** 2))


@pytest.mark.heavy
def test_whole_fields_and_matrices_are_limited_too(here):
    run = qexp.open_run("domes_0")
    frames = xarray.load_dataset(
        run.path / "results/frames/d0.nc", engine="h5netcdf", decode_times=False
    )
    assert (
        -0.5 <= float(frames["ubar_estimate"].min()) <= float(frames["ubar_estimate"].max()) <= 0.25
    )
    assert frames["ubar_estimate"].attrs["limits"] == "-0.5 to 0.25"
    assert "limits" not in frames["vbar_estimate"].attrs
    source = here / "data/domes/test/d0"
    outcome = call("predict", "domes_0", source, "--output", "ice.nc")
    estimates = xarray.load_dataset("ice.nc", engine="h5netcdf", decode_times=False)["ubar"]
    count = int(np.sum((estimates <= -0.5) | (estimates >= 0.25)))
    assert f"{count:,} of {estimates.size:,} estimates of ubar are at its limits" in outcome.stderr
    assert (
        f"{count:,} of {estimates.size:,} estimates of ubar are at its limits, -0.5 to 0.25 m"
        in log(run)
    )
    table = qexp.matrix(
        "sound_0", "sound", axes={"depth": (0.0, 4.0, 3), "delta_volume": (0.0, 4.0, 3)}
    )
    assert float(table["depth_estimate"].max()) == float(np.float32(0.1))
    assert table["depth_estimate"].attrs["limits"] == "at most 0.1"
    assert "limits" not in table["delta_volume_estimate"].attrs


@pytest.mark.heavy
def test_losses_see_no_limits_so_that_training_is_the_same_to_the_last_bit(here):
    free = qexp.run("scratch", name="free", overrides={"epochs": 1}, device="cpu")
    limited = qexp.open_run("scratch_0")
    weights = "checkpoints/best.safetensors"
    assert (free.path / weights).read_bytes() == (limited.path / weights).read_bytes()
    losses = [run.metrics[0]["validation"]["losses"] for run in (free, limited)]
    assert losses[0] == losses[1]
    assert free.metrics[0]["validation"]["toc"] != limited.metrics[0]["validation"]["toc"]
    assert free.record["digest"] != limited.record["digest"]
    assert "limits" not in free.spec


def test_a_missing_estimate_stays_missing():
    limited = Limits(0, 1)(torch.tensor([np.nan, -1.0, 0.5, 2.0]))
    torch.testing.assert_close(limited, torch.tensor([np.nan, 0.0, 0.5, 1.0]), equal_nan=True)
    assert Limits(0.1, None).reached(Limits(0.1, None)(torch.tensor([0.0, 0.1, 0.2])).numpy()) == 2


WRONG = [
    (
        {"depth": [3, 1]},
        "$.limits.depth: ",
        "the lowest value, 3, must be less than the highest, 1",
    ),
    ({"depth": [2, 2]}, "$.limits.depth: ", "must be less than"),
    ({"depth": [None, None]}, "$.limits.depth: ", "limits nothing"),
    ({"dept": [0, 1]}, "$.limits.dept: ", "'dept' is not an output; did you mean 'depth'?"),
    ({"depth": [0]}, "$.limits.depth: ", "must have at least 2 items"),
    ({"depth": ["a", 1]}, "$.limits.depth[0]: ", "must be a number or null"),
    ({"depth": [0, 1e39]}, "$.limits.depth[1]: ", "must be at most"),
    ([0, 1], "$.limits: ", "must be an object"),
]


@pytest.mark.heavy
def test_limits_that_limit_nothing_or_no_output_are_refused(specs, problems):
    for limits, where, words in WRONG:
        (problem,) = problems(specs.spoil("experience", ("limits", limits)))
        assert f"at {where}" in problem
        assert words in problem
