"""What a run on spectra leaves: numbers of test spectra beside baselines, and spectra that were
filled in.
"""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray

from qexp.base.outputs import Number
from qexp.base.seeds import Seeds
from qexp.base.tables import Entry
from qexp.kinds.attempt import Attempt, Display, OwnRecord
from qexp.kinds.networks import model_of
from qexp.kinds.objects import fit_transforms
from qexp.kinds.scores import MOST_RECORDED, Scores, recorded
from qexp.kinds.spectra import evaluation, figures
from qexp.kinds.spectra.dataset import SpectrumSamples
from qexp.kinds.spectra.evaluation import Subject, evaluate, inner_folds
from qexp.kinds.tables import BUILT_IN
from qexp.metrics.baselines import BASELINES, Baseline
from qexp.metrics.built_in import METRICS
from qexp.metrics.metric import evaluate as evaluate_metrics
from qexp.networks.estimator import input_times_gradient
from qexp.networks.masked_autoencoder import hidden_channels
from qexp.networks.network import initialise
from qexp.store.directory import BASELINES as BASELINES_FILE, RunDirectory
from qexp.store.record import Record, State
from tests import cores

LEAKED = "tested on training spectra"

RATIO = 0.5

ENERGY = (1.0, 0.05)
"""Of the first channel, and from each to the next [keV]."""

SIZES = {"size": "tiny", "patch_size": cores.PATCH_SIZE, "mask_ratio": RATIO}

INPUTS = {
    "spectrum": {"size": [cores.CHANNELS]},
    "mask": {"size": [cores.CHANNELS // cores.PATCH_SIZE]},
}

AUTOENCODER = {
    "inputs": ["spectrum", "mask"],
    "outputs": ["spectrum"],
    "transforms": {"spectrum": {"type": "chain", "parameters": {"of": ["log1p", "per_sample"]}}},
    "model": {
        "inputs": INPUTS,
        "operations": {
            "encoder": {"module": "masked_encoder", "parameters": SIZES},
            "decoder": {"module": "masked_decoder", "parameters": {**SIZES, "loss_on": "all"}},
        },
        "branches": [
            {"x_name": ["spectrum", "mask"], "y_name": "tokens", "operations": ["encoder"]},
            {
                "x_name": ["tokens", "spectrum", "mask"],
                "y_name": "spectrum",
                "operations": ["decoder"],
            },
        ],
    },
}

REGRESSOR = {
    "inputs": ["spectrum"],
    "outputs": ["toc"],
    "transforms": {
        "spectrum": {"type": "log1p", "parameters": {}},
        "toc": {"type": "chain", "parameters": {"of": ["log1p", "standardize"]}},
    },
    "model": {
        "inputs": {"spectrum": INPUTS["spectrum"]},
        "operations": {"head": {"module": "denses", "parameters": {"filters": [1]}}},
        "branches": [{"x_name": "spectrum", "y_name": "toc", "operations": ["head"]}],
    },
}

SIMPLE = [
    {"type": "mean", "parameters": {}},
    {"type": "ridge", "parameters": {"penalties": [1.0, 0.1]}},
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = cores.write_folders(
        tmp_path_factory.mktemp("cores"), {**cores.CORES, "test": ("D1", "D2", "E1")}
    )
    return cores.open_cores(path, "toc", energy=ENERGY, units={"toc": "wt%"})


@pytest.fixture
def directory(tmp_path):
    """Of a run that was trained for two epochs."""
    made = RunDirectory(tmp_path / "run_0")
    made.path.mkdir()
    lines = [
        {
            "epoch": epoch,
            "best": True,
            "train": {"loss": 1 / epoch},
            "validation": {"loss": 1 / epoch, "losses": {}},
        }
        for epoch in (1, 2)
    ]
    made.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return made


def network(spec, dataset, train=None, test=None):
    """An untrained network with fitted transforms, and the spectra that it is judged on."""
    rows = {part: np.flatnonzero(dataset.part == part) for part in ("train", "validation", "test")}
    train, test = rows["train"] if train is None else train, rows["test"] if test is None else test

    def hidden(numbers):
        return hidden_channels(numbers, RATIO, cores.PATCH_SIZE)

    data = SpectrumSamples(
        dataset, train, rows["validation"], test, np.setdiff1d(rows["train"], train), Seeds(0),
        torch.device("cpu"), hidden if "mask" in spec["inputs"] else None,
    )  # fmt: skip
    model = model_of(spec, BUILT_IN)
    initialise(model.network, Seeds(0))
    fit_transforms(model, data.to_fit)
    metrics = {
        name: {metric: METRICS[metric].build() for metric in Number.always}
        for name in spec["outputs"]
    }
    return Subject(
        dataset, model.eval(), data, train, test, metrics, data.training_mean(dataset.target or "")
    )


def attempt(
    directory, dataset, baselines=(), table=BASELINES, caution="", seed=3, interrupted=lambda: False
):
    units = {"toc": "wt%", "spectrum": "1"}
    record = Record(
        name=directory.name, seed=seed, caution=caution, state=State.RUNNING, units=units
    )
    outputs = {"outputs": ["toc", "spectrum"], "transforms": REGRESSOR["transforms"]}
    return Attempt(
        directory=directory,
        own=OwnRecord(directory, record),
        spec={**outputs, "dataset": {"type": "spectra"}, "baselines": baselines},
        dataset=dataset,
        tables={**BUILT_IN, "baselines": table},
        device=torch.device("cpu"),
        display=Display(),
        interrupted=interrupted,
        processes=1,
    )


def evaluated(directory, of, *asked, **more):
    return evaluate(attempt(directory, of.dataset, *asked, **more), of)


def lines_of(path):
    return list(csv.DictReader(path.open(newline="")))


# Numbers


def test_test_results_of_a_number_are_the_metrics_of_all_test_spectra_and_so_are_the_tables(
    dataset, directory
):
    of = network(REGRESSOR, dataset)
    found = evaluated(directory, of)
    estimates = of.model.estimate(of.data.test)["toc"][:, 0].double().numpy()
    truth = dataset.measured["toc"][of.test]
    assert found.results["test"]["toc"] == pytest.approx(
        evaluate_metrics(of.metrics["toc"], estimates, truth)
    )
    low, high = found.intervals["test"]["toc"]["rmse"]
    assert low <= found.results["test"]["toc"]["rmse"] <= high
    with xarray.open_dataset(directory.results / "test_predictions.nc") as table:
        np.testing.assert_array_equal(table["name"].values.astype(str), dataset.names[of.test])
        np.testing.assert_array_equal(table["core"].values.astype(str), dataset.cores[of.test])
        np.testing.assert_array_equal(table["depth"], dataset.depths[of.test])
        np.testing.assert_array_equal(table["toc"], truth)
        np.testing.assert_array_equal(table["toc_estimate"], estimates)
        assert table["toc_estimate"].attrs["units"] == "wt%"
        assert (table.attrs["run"], table.attrs["part"]) == ("run_0", "test")
    lines = lines_of(directory.results / "predictions.csv")
    assert [float(line["toc_estimate"]) for line in lines] == estimates.tolist()
    files = {path.name for path in directory.results.iterdir()}
    assert files == {"errors.csv", "predictions.csv", "saliency.nc", "test_predictions.nc"}


def test_errors_by_core_are_the_metrics_of_its_spectra_and_one_spectrum_has_no_r2(
    dataset, directory
):
    # two whole cores, and one spectrum of the third
    test = np.flatnonzero(dataset.part == "test")[:13]
    of = network(REGRESSOR, dataset, test=test)
    of = replace(
        of,
        metrics={
            "toc": {name: METRICS[name].build() for name in (*Number.always, "r2_training_mean")}
        },
    )
    found = evaluated(directory, of, caution=LEAKED)
    written = lines_of(directory.results / "errors.csv")
    of_cores = [("core", "D1", "6"), ("core", "D2", "6"), ("core", "E1", "1")]
    assert [(line["of"], line["name"], line["n"]) for line in written] == [
        ("overall", "", "13"),
        *of_cores,
    ]
    lines = lines_of(directory.results / "predictions.csv")
    training_mean = dataset.measured["toc"][of.train].mean()
    for one in written:
        of_core = [line for line in lines if one["name"] in ("", line["core"])]
        estimate, truth = (
            np.array([float(line[key]) for line in of_core]) for key in ("toc_estimate", "toc")
        )
        error = np.sum((estimate - truth) ** 2)
        assert float(one["rmse"]) == pytest.approx(np.sqrt(error / len(truth)))
        assert float(one["r2_training_mean"]) == pytest.approx(
            1 - error / np.sum((truth - training_mean) ** 2)
        )
        if len(truth) > 1:
            assert float(one["r2"]) == pytest.approx(
                1 - error / np.sum((truth - truth.mean()) ** 2)
            )
        assert (one["output"], one["unit"], one["caution"]) == ("toc", "wt%", LEAKED)
    assert written[-1]["r2"] == ""
    assert [(group.of, group.name, str(group.n)) for group in found.groups] == of_cores
    assert found.groups[-1].metrics["r2"] is None
    assert found.groups[0].metrics["mae"] == float(written[1]["mae"])


LINEAR = {
    **REGRESSOR,
    "transforms": {
        "spectrum": {"type": "log1p", "parameters": {}},
        "toc": {"type": "standardize", "parameters": {}},
    },
    "limits": {"toc": [0.9, 1.0]},
    "model": {
        **REGRESSOR["model"],
        "operations": {
            "head": {"module": "denses", "parameters": {"filters": [1], "activation": "linear"}}
        },
    },
}


def test_saliency_of_a_linear_network_is_weight_times_input_and_limits_do_not_hide_it(
    dataset, directory
):
    of = network(LINEAR, dataset)
    evaluated(directory, of)
    (weight,) = (one for name, one in of.model.named_parameters() if name.endswith("weight"))
    targets = dataset.measured["toc"][of.train]
    seen = np.log1p(dataset.read(of.test).astype(np.float64))
    each = seen * weight.detach().numpy().ravel() * targets.std(ddof=1)
    with xarray.open_dataset(directory.results / "saliency.nc") as found:
        np.testing.assert_allclose(found["toc_saliency"], each.mean(axis=0), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(
            found["toc_saliency_magnitude"], np.abs(each).mean(axis=0), rtol=1e-4
        )
        np.testing.assert_allclose(found["counts"], dataset.read(of.test).mean(axis=0))
        np.testing.assert_allclose(found["energy"], 1.0 + 0.05 * np.arange(cores.CHANNELS))
        assert found["toc_saliency"].attrs["units"] == "wt%"
        assert (found.attrs["spectra"], found.attrs["of"]) == (len(of.test), len(of.test))


def test_saliency_is_the_slope_of_the_estimate_itself_and_leaves_the_model_as_it_was(dataset):
    of = network(REGRESSOR, dataset)
    samples = {name: values[:4].double() for name, values in of.data.test.items()}
    model = of.model.double().train()
    found = input_times_gradient(model, samples, "toc", "spectrum")
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    model.eval()
    seen = model.transformed("spectrum", samples["spectrum"])
    step = 1e-3
    for channel in (3, 20, 40):
        moved = [seen.clone() for _ in range(2)]
        for values, sign in zip(moved, (1, -1), strict=True):
            values[:, channel] += sign * step
        above, below = (
            model.transforms["toc"].inverse(model.network({"spectrum": values})["toc"]).detach()
            for values in moved
        )
        slope = (above - below)[:, 0] / (2 * step)
        torch.testing.assert_close(
            found[:, channel], seen[:, channel] * slope, rtol=1e-3, atol=1e-5
        )


@pytest.mark.heavy
def test_of_many_test_spectra_some_that_are_evenly_spread_are_enough(
    dataset, directory, monkeypatch
):
    of = network(LINEAR, dataset)
    saliency = {}
    for most in (18, 3):
        monkeypatch.setattr(evaluation, "MOST_AVERAGED", most)
        evaluated(directory, of)
        saliency[most] = xarray.load_dataset(directory.results / "saliency.nc")
    samples = {name: values[[0, 8, 17]] for name, values in of.data.test.items()}
    few = input_times_gradient(of.model, samples, "toc", "spectrum").numpy().mean(axis=0)
    np.testing.assert_allclose(saliency[3]["toc_saliency"], few, rtol=1e-4, atol=1e-7)
    assert (saliency[3].attrs["spectra"], saliency[3].attrs["of"]) == (3, 18)
    assert not np.allclose(saliency[3]["toc_saliency"], saliency[18]["toc_saliency"])


def test_a_record_holds_the_errors_of_a_hundred_groups_and_the_table_those_of_all():
    def errors(count):
        names = np.array([f"core {number:03}" for number in range(count)])
        scores = Scores("core", names)
        scores.add("toc", {}, np.zeros(count), np.ones(count))
        return scores.errors

    assert len(recorded(errors(MOST_RECORDED))) == MOST_RECORDED
    assert recorded(errors(MOST_RECORDED + 1)) == ()
    assert len(errors(MOST_RECORDED + 1)) == MOST_RECORDED + 2


def test_the_network_is_compared_with_baselines_on_the_same_test_spectra(dataset, directory):
    of = network(REGRESSOR, dataset)
    found = evaluated(directory, of, SIMPLE)
    rows = {row.estimator: row for row in found.comparison}
    assert list(rows) == ["network", "mean", "ridge"]
    assert rows["network"].rmse == pytest.approx(found.results["test"]["toc"]["rmse"])
    truth = dataset.measured["toc"][of.test]
    assert rows["mean"].bias == pytest.approx(
        dataset.measured["toc"][of.train].mean() - truth.mean()
    )
    assert all(
        row.n == len(truth) and row.groups == len(set(dataset.cores[of.test]))
        for row in rows.values()
    )
    assert rows["ridge"].rmse < rows["mean"].rmse
    kept = lines_of(directory.results / BASELINES_FILE)
    assert [line["core"] for line in kept] == dataset.cores[of.test].tolist()
    for name in ("mean", "ridge"):
        errors = np.array([float(line[f"toc: {name}"]) for line in kept]) - truth
        assert np.sqrt(np.mean(errors**2)) == pytest.approx(rows[name].rmse)


def test_baselines_stand_beside_the_network_down_core_if_the_run_has_kept_them(
    dataset, directory, monkeypatch
):
    of = network(REGRESSOR, dataset)
    evaluated(directory, of, SIMPLE)
    monkeypatch.setattr(RunDirectory, "spec", lambda run: {"dataset": {"type": "spectra"}})
    made = Record(name=directory.name, seed=0, state=State.DONE)
    monkeypatch.setattr(RunDirectory, "record", lambda run: made)
    ((_, figure),) = figures.down_core_of_run(directory)
    assert {"network", "mean", "ridge"} <= {line.get_label() for line in figure.axes[0].lines}
    (directory.results / BASELINES_FILE).unlink()
    ((_, older),) = figures.down_core_of_run(directory)
    assert len(older.axes[0].lines) == len(figure.axes[0].lines) - 2


def test_baselines_see_the_spectra_of_the_network_as_it_does_and_choose_by_whole_cores_of_them(
    dataset, directory
):
    seen = []

    def look(inputs, target, others, choices, seed):
        seen.append((inputs, others))
        return np.zeros((len(choices), len(others)))

    table = {
        "looks": Entry(
            lambda: Baseline([{"step": 1.0}, {"step": 2.0}], look), {}, "Looks.", {"type": "looks"}
        )
    }
    parts = [
        np.flatnonzero(dataset.cores == core)[-count:]
        for count, core in enumerate(cores.CORES["train"], start=1)
    ]
    of = network(REGRESSOR, dataset, few := np.concatenate(parts))
    evaluated(directory, of, [{"type": "looks", "parameters": {}}], table)
    *choosing, (inputs, others) = seen
    assert sorted((len(train), len(test)) for train, test in choosing) == [(3, 3), (4, 2), (5, 1)]
    known, other = (np.log1p(dataset.read(rows).astype(np.float64)) for rows in (few, of.test))
    spread = np.where(known.std(axis=0) > 0, known.std(axis=0), 1.0)
    np.testing.assert_allclose(inputs, (known - known.mean(axis=0)) / spread, atol=1e-3)
    np.testing.assert_allclose(others, (other - known.mean(axis=0)) / spread, atol=1e-3)


def test_baselines_choose_by_whole_cores_as_many_as_there_are_and_five_at_most():
    owners = np.repeat([f"core_{number}" for number in range(8)], 4)
    for rows, parts in ((np.arange(32), 5), (np.arange(3, 12), 3), (np.array([1, 2, 30]), 2)):
        made = inner_folds(rows, owners, Seeds(0))
        assert len(made) == parts
        for train, test in made:
            assert not set(owners[train]) & set(owners[test])
        np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in made])), rows)

    for count, parts in ((1, 0), (2, 2), (4, 4), (9, 5)):  # of one core, its spectra
        made = inner_folds(np.arange(count), np.full(count, "core_0"), Seeds(0))
        assert len(made) == parts
        assert all(len(train) and len(test) for train, test in made)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_few_labelled_spectra_are_enough_for_baselines(dataset, directory, count):
    few = np.flatnonzero(dataset.part == "train")[:count]
    found = evaluated(directory, network(REGRESSOR, dataset, few), SIMPLE)
    assert all(np.isfinite(row.rmse) for row in found.comparison)


# Spectra


@pytest.mark.heavy
def test_a_masked_autoencoder_is_judged_on_what_it_did_not_see(dataset, directory):
    of = network(AUTOENCODER, dataset)
    found = evaluated(directory, of)
    hidden = of.data.counted("spectrum", of.data.test).numpy()
    assert hidden.mean() == RATIO
    estimate = of.model.estimate(of.data.test)["spectrum"].double().numpy()
    truth = of.data.test["spectrum"].double().numpy()
    expected = evaluate_metrics(of.metrics["spectrum"], estimate[hidden], truth[hidden])
    assert found.results["test"]["spectrum"] == pytest.approx(expected, rel=1e-6, nan_ok=True)
    lines = lines_of(directory.results / "errors_by_energy.csv")
    assert [float(line["energy"]) for line in lines] == pytest.approx(
        ENERGY[0] + ENERGY[1] * np.arange(cores.CHANNELS)
    )
    assert [int(line["times_hidden"]) for line in lines] == hidden.sum(axis=0).tolist()
    for channel, line in enumerate(lines):
        errors = (estimate - truth)[hidden[:, channel], channel]
        if len(errors):
            assert float(line["rmse"]) == pytest.approx(np.sqrt(np.mean(errors**2)))
        else:
            assert line["rmse"] == ""
    with xarray.open_dataset(directory.results / "test_predictions.nc") as table:
        each = [
            np.sqrt(np.mean((estimate - truth)[row][hidden[row]] ** 2)) for row in range(len(truth))
        ]
        np.testing.assert_allclose(table["hidden_rmse"], each)
        assert table["hidden_rmse"].attrs["units"] == "counts"
    assert {path.name for path in directory.results.iterdir()} == {
        "predictions.csv",
        "test_predictions.nc",
        "errors_by_energy.csv",
        "reconstructions.nc",
        "errors.csv",
    }
    by_core = {line["name"]: line for line in lines_of(directory.results / "errors.csv")}
    assert list(by_core) == ["", "D1", "D2", "E1"]
    for core, line in by_core.items():
        own = np.isin(dataset.cores[of.test], [core] if core else list(by_core))
        errors = (estimate - truth)[own][hidden[own]]
        assert int(line["n"]) == len(errors)
        assert float(line["rmse"]) == pytest.approx(np.sqrt(np.mean(errors**2)))


@pytest.mark.heavy
@pytest.mark.parametrize("at_once", [1, 7, 512])
def test_the_spectra_that_are_kept_are_the_first_one_in_the_middle_and_the_last(
    at_once, dataset, directory, monkeypatch
):
    monkeypatch.setattr(evaluation, "AT_ONCE", at_once)
    of = network(AUTOENCODER, dataset)
    evaluated(directory, of)
    positions = [0, 8, 17]
    with xarray.open_dataset(directory.results / "reconstructions.nc") as kept:
        rows = of.test[positions]
        np.testing.assert_array_equal(kept["spectrum"], rows)
        np.testing.assert_array_equal(kept["name"].values.astype(str), dataset.names[rows])
        np.testing.assert_array_equal(kept["core"].values.astype(str), dataset.cores[rows])
        np.testing.assert_array_equal(kept["depth"], dataset.depths[rows])
        np.testing.assert_array_equal(kept["counts"], dataset.read(rows))
        hidden = of.data.counted("spectrum", of.data.test)[positions].numpy()
        np.testing.assert_array_equal(kept["hidden"], hidden)
        np.testing.assert_allclose(
            kept["energy"], ENERGY[0] + ENERGY[1] * np.arange(cores.CHANNELS)
        )
        made = of.model.estimate(of.data.test)["spectrum"][positions].double().numpy()
        np.testing.assert_allclose(kept["reconstruction"], made, rtol=1e-4)


def test_the_mean_training_spectrum_is_told_to_guess_with_what_the_network_is_told(
    dataset, directory
):
    """Its mean and deviation are given back to a network that works on spectra scaled by
    themselves.
    """
    of = network(AUTOENCODER, dataset)
    evaluated(directory, of)
    hidden = of.data.counted("spectrum", of.data.test).numpy()

    def logs(rows):
        return np.log1p(dataset.read(rows).astype(np.float64))

    def scaled(values):
        return (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)

    own = logs(of.test)
    guess = scaled(logs(of.train)).mean(axis=0) * own.std(axis=1, keepdims=True) + own.mean(
        axis=1, keepdims=True
    )
    squared = np.where(hidden, (np.expm1(guess) - dataset.read(of.test)) ** 2, 0).sum(axis=0)
    found = [
        float(line["rmse_of_mean"] or "nan")
        for line in lines_of(directory.results / "errors_by_energy.csv")
    ]
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(found, np.sqrt(squared / hidden.sum(axis=0)), rtol=1e-4)


@pytest.mark.heavy
@pytest.mark.parametrize("spec", [REGRESSOR, AUTOENCODER], ids=["number", "spectrum"])
def test_spectra_that_are_estimated_one_by_one_are_judged_as_those_estimated_together(
    spec, dataset, directory, monkeypatch
):
    together = evaluated(directory, network(spec, dataset), SIMPLE if spec is REGRESSOR else ())
    monkeypatch.setattr(evaluation, "AT_ONCE", 1)
    alone = evaluated(directory, network(spec, dataset), SIMPLE if spec is REGRESSOR else ())
    (output,) = spec["outputs"]
    assert alone.results["test"][output] == pytest.approx(
        together.results["test"][output], rel=1e-4, nan_ok=True
    )
    for one, other in zip(alone.comparison, together.comparison, strict=True):
        assert one.rmse == pytest.approx(other.rmse, rel=1e-4)


# Files


@pytest.mark.heavy
@pytest.mark.parametrize("spec", [REGRESSOR, AUTOENCODER], ids=["number", "spectrum"])
def test_what_must_be_said_of_the_numbers_stands_in_every_table(spec, dataset, directory):
    for caution in ("", LEAKED):
        found = evaluated(directory, network(spec, dataset), caution=caution)
        assert {row.note for row in found.comparison} <= {caution}
        for path in directory.results.glob("*.csv"):
            assert {line.get("caution", "") for line in lines_of(path)} == {caution}, path.name
        for path in directory.results.glob("*.nc"):
            with xarray.open_dataset(path) as table:
                assert table.attrs.get("caution", "") == caution, path.name


def test_an_evaluation_that_is_interrupted_leaves_no_predictions_and_is_made_again(
    dataset, directory
):
    of = network(REGRESSOR, dataset)
    for calls in (0, 2):
        asked = iter([*[False] * calls, *[True] * 9])
        assert (
            evaluate(
                attempt(directory, of.dataset, SIMPLE, interrupted=lambda asked=asked: next(asked)),
                of,
            )
            is None
        )
        assert not (directory.results / "test_predictions.nc").exists()
    whole = evaluated(directory, of, SIMPLE)
    files = {path: path.read_bytes() for path in directory.results.rglob("*") if path.is_file()}
    assert evaluated(directory, of, SIMPLE) == whole
    assert {path: path.read_bytes() for path in files} == files
