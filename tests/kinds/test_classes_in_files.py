"""Classes of simulations and spectra in files: names that are read, divided, learned and told."""

import csv
import json
from collections import Counter

import numpy as np
import pandas
import pytest
import xarray

import qexp as package
from qexp.base import formats
from qexp.base.seeds import Seeds
from qexp.errors import DatasetError
from qexp.kinds.objects import data_kind
from qexp.kinds.tables import BUILT_IN
from qexp.simulation.stored import SIMULATION
from qexp.spec.kinds import filled_in
from tests.conftest import call, copied, shared_folder

NAMES = ["ring", "line", "none"]
COUNT, SIDE = 240, 8


def shapes(count=COUNT, seed=0):
    """Images with noise, (sample, y, x), the names of what they show, and how bright it is."""
    random = np.random.default_rng(seed)
    codes = random.choice(3, count, p=[0.5, 0.3, 0.2])
    bright = random.uniform(1, 3, count)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    ring = np.abs(np.hypot(x, y) - 2.5) < 0.6
    patterns = np.stack([ring, np.abs(x - y) < 1, np.zeros_like(ring)])
    images = bright[:, None, None] * patterns[codes] + random.normal(0, 0.3, (count, SIDE, SIDE))
    return images.astype(np.float32), np.array(NAMES)[codes], bright


IMAGES, SHOWN, BRIGHT = shapes()


def of_images(path, **changes):
    spec = {
        "type": "simulated",
        "path": str(path),
        "observations": ["image"],
        "varyings": {"shape": []},
        "classes": {"shape": NAMES},
        **changes,
    }
    return {key: value for key, value in spec.items() if value is not None}


def of_spectra(path, **changes):
    spec = {
        "type": "spectra",
        "path": str(path),
        "target": "shape",
        "channels": SIDE**2,
        "patch_size": SIDE,
        "classes": {"shape": NAMES},
        **changes,
    }
    return {key: value for key, value in spec.items() if value is not None}


def opened(spec):
    return data_kind(spec).checked_dataset(filled_in(spec), BUILT_IN, None)


def table_of_spectra(names=SHOWN, images=IMAGES):
    """Counts of the images in channels, of eight cores, the last two for the test."""
    counts = np.clip(np.round(20 * (images.reshape(len(images), -1) + 1)), 0, None).astype(int)
    table = pandas.DataFrame(counts, columns=[f"channel_{channel}" for channel in range(SIDE**2)])
    core = np.arange(len(table)) % 8
    parts = np.where(core < 5, "train", np.where(core < 6, "validation", "test"))
    before = {"core": [f"C{number}" for number in core], "depth": np.arange(len(table))}
    return table.assign(**before, part=parts, shape=names)


@pytest.fixture
def archive(tmp_path):
    np.savez(tmp_path / "all.npz", image=IMAGES, shape=SHOWN, bright=BRIGHT)
    return tmp_path / "all.npz"


def test_names_in_arrays_netcdf_and_tables_are_the_same_codes(tmp_path, archive):
    codes = np.array([NAMES.index(name) for name in SHOWN])
    numbered = {"shape": list("012")}
    sample = {"image": (("sample", "y", "x"), IMAGES), "shape": ("sample", SHOWN.astype(object))}
    netcdf = xarray.Dataset({**sample, "code": ("sample", codes)})
    netcdf.to_netcdf(tmp_path / "all.nc", engine="h5netcdf")
    (tmp_path / "each").mkdir()
    for number, image in enumerate(IMAGES):
        np.save(tmp_path / f"each/{number}.npy", image)
    names = [f"{number}.npy" for number in range(COUNT)]
    table = pandas.DataFrame({"file": names, "shape": SHOWN, "code": codes.astype(float)})
    table.to_csv(tmp_path / "each.csv", index=False)
    table.to_parquet(tmp_path / "each.parquet")
    (tmp_path / "both").mkdir()
    np.save(tmp_path / "both/image.npy", IMAGES)
    np.save(tmp_path / "both/shape.npy", SHOWN)
    each = {"files": "file", "parameters": str(tmp_path / "each.csv")}
    by_code = {"columns": {"shape": "code"}, "classes": numbered}
    for spec in [
        of_images(archive),
        of_images(tmp_path / "all.nc"),
        of_images(tmp_path / "all.nc", **by_code),
        of_images(tmp_path / "both"),
        of_images(tmp_path / "each", **each),
        of_images(tmp_path / "each", **each, **by_code),
        of_images(tmp_path / "each", **{**each, "parameters": str(tmp_path / "each.parquet")}),
    ]:
        dataset = opened(spec)
        assert dataset.simulations.parameters["shape"].tolist() == codes.tolist(), spec
        assert dataset.shapes()["shape"] == (1,)


def test_parts_keep_the_shares_of_classes_and_simulations_of_one_class_are_not_one_group(archive):
    dataset = opened(of_images(archive))
    assert len(np.unique(dataset.simulations.groups)) == COUNT
    parts = dataset.parts([0.7, 0.15], Seeds(4))
    assert sorted(np.concatenate([*parts.values()]).tolist()) == list(range(COUNT))
    assert parts["train"].tolist() != dataset.parts([0.7, 0.15], Seeds(5))["train"].tolist()
    for part, share in {"train": 0.7, "validation": 0.15, "test": 0.15}.items():
        counts = Counter(SHOWN[parts[part]].tolist())
        for name, count in Counter(SHOWN.tolist()).items():
            assert counts[name] == pytest.approx(share * count, abs=2)


def test_simulations_without_a_name_are_left_out(tmp_path):
    names = np.where(np.arange(COUNT) < 4, "", SHOWN)
    np.savez(tmp_path / "gaps.npz", image=IMAGES, shape=names)
    dataset = opened(of_images(tmp_path / "gaps.npz"))
    assert dataset.simulations.usable.tolist() == list(range(4, COUNT))
    assert "(4 in 'shape') and are left out" in "".join(dataset.warnings)


DECLARE = 'declare them: "classes": {"shape": ["line", "none", "ring"]}'


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"classes": {"shape": ["Ring", "line", "none"]}}, "did you mean 'Ring'?"),
        ({"classes": {"shape": ["ring", "line"]}}, "'none' in simulations"),
        ({"classes": None}, DECLARE),
        ({"columns": {"shape": "bright"}}, "more names are none of the classes"),
    ],
)
def test_what_is_wrong_with_names_is_said_of_simulations(archive, changes, complaint):
    with pytest.raises(DatasetError) as error:
        opened(of_images(archive, **changes))
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("names", "changes", "complaint"),
    [
        (SHOWN, {"classes": {"shape": ["Ring", "line", "none"]}}, "did you mean 'Ring'?"),
        (SHOWN, {"classes": None}, DECLARE),
        (np.where(np.arange(COUNT) == 2, "", SHOWN), {}, "lacks the classes of spectra"),
    ],
)
def test_what_is_wrong_with_names_is_said_of_spectra(tmp_path, names, changes, complaint):
    table_of_spectra(names).to_csv(tmp_path / "spectra.csv", index=False)
    with pytest.raises(DatasetError) as error:
        opened(of_spectra(tmp_path / "spectra.csv", **changes))
    assert complaint in str(error.value)


def test_spectra_without_a_class_may_be_dropped_and_folders_have_names_too(tmp_path):
    names = np.where(np.arange(COUNT) == 2, "", SHOWN)
    table_of_spectra(names).to_csv(tmp_path / "spectra.csv", index=False)
    dropped = opened(of_spectra(tmp_path / "spectra.csv", missing="drop"))
    codes = [NAMES.index(name) for name in np.delete(SHOWN, 2)]
    assert dropped.measured["shape"].tolist() == codes
    reordered = opened(
        of_spectra(tmp_path / "spectra.csv", missing="drop", classes={"shape": NAMES[::-1]})
    )
    assert reordered.measured["shape"].tolist() == [2 - code for code in codes]
    folder = tmp_path / "cores/train"
    for name in ("spe", "target"):
        (folder / name).mkdir(parents=True)
    table = table_of_spectra()
    for number in range(30):
        counts = table.iloc[number, : SIDE**2]
        (folder / f"spe/s{number:02}").write_text(" ".join(map(str, counts)))
        (folder / f"target/s{number:02}").write_text(SHOWN[number])
    rows = [[f"s{number:02}", "C0", number] for number in range(30)]
    with (folder / "info.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "core", "depth"], *rows])
    dataset = opened(of_spectra(tmp_path / "cores"))
    assert [NAMES[int(code)] for code in dataset.measured["shape"]] == SHOWN[:30].tolist()


# Runs.


HEAD = {"module": "classes", "parameters": {"classes": 3}}
LOSS = "negative_log_likelihood"


def experience(dataset, outputs, **keys):
    shared = {"batch_size": 32, "optimizer": "adam", "learning_rate": 1e-2, "losses": LOSS}
    return {"dataset": dataset, "model": dataset, "outputs": outputs, **shared, **keys}


@shared_folder
def classified(root):
    """A workspace with a run on images, of a class and a number, and one on spectra."""
    for folder in ("data", "specs/datasets", "specs/models", "specs/experiences"):
        (root / folder).mkdir(parents=True)
    np.savez(root / "data/all.npz", image=IMAGES, shape=SHOWN, bright=BRIGHT)
    table_of_spectra().to_csv(root / "data/spectra.csv", index=False)
    both = ["shape", "bright"]
    perceptron = {"module": "mlp", "parameters": {"units": [32], "outputs": 16}}
    of_both = [
        {"x_name": "image", "y_name": "seen", "operations": ["hidden"]},
        {"x_name": "seen", "y_name": "shape", "operations": ["head"]},
        {"x_name": "seen", "y_name": "bright", "operations": ["posterior"]},
    ]
    of_one = [{"x_name": "spectrum", "y_name": "shape", "operations": ["hidden", "head"]}]
    operations = {"hidden": perceptron, "head": HEAD}
    normal = {"posterior": {"module": "gaussian_posterior"}}
    specs = {
        "datasets/images": of_images("all.npz", varyings={"shape": [], "bright": []}),
        "datasets/spectra": of_spectra("spectra.csv"),
        "models/images": {
            "inputs": {"image": {"size": [SIDE, SIDE, 1]}},
            "outputs": both,
            "operations": {**operations, **normal},
            "branches": of_both,
        },
        "models/spectra": {
            "inputs": {"spectrum": {"size": [SIDE**2]}},
            "outputs": ["shape"],
            "operations": operations,
            "branches": of_one,
        },
        "experiences/images": experience(
            "images", both, inputs=["image"], split=[0.6, 0.15], epochs=25
        ),
        "experiences/spectra": experience(
            "spectra",
            ["shape"],
            inputs=["spectrum"],
            split="parts",
            epochs=15,
            transforms={"spectrum": {"type": "scale", "parameters": {"typical": 40}}},
            baselines=["majority", "logistic_regression"],
        ),
    }
    for name, spec in specs.items():
        (root / f"specs/{name}.json").write_text(json.dumps(spec))
    for name in ("images", "spectra"):
        package.run(name, seed=1, workspace=root, device="cpu")


@pytest.fixture
def here(classified, tmp_path, monkeypatch):
    return copied(classified, tmp_path, monkeypatch)


def probabilities_in(rows):
    return np.array([[float(row[f"shape_probability_{name}"]) for name in NAMES] for row in rows])


def test_a_class_and_a_number_of_images_are_learned_together_and_told_of_new_ones(here):
    run = package.open_run("images_1")
    tested = formats.read_netcdf(run.path / "results/test_predictions.nc")
    truth = tested["shape"].values.astype(str)
    assert truth.tolist() == SHOWN[tested[SIMULATION].values.astype(int)].tolist()
    together = np.stack([tested[f"shape_probability_{name}"].values for name in NAMES], axis=1)
    assert together.sum(axis=1) == pytest.approx(1, abs=1e-5)
    right = np.array(NAMES)[together.argmax(axis=1)] == truth
    assert run.results["test"]["shape"]["accuracy"] == pytest.approx(right.mean())
    assert right.mean() > 0.9
    assert run.results["test"]["bright"]["rmse"] < 1.5 * BRIGHT.std()
    images, names, _ = shapes(100, seed=7)
    np.save(here / "new.npy", images)
    call("predict", "images_1", "new.npy", "--output", "new.csv", "--draws", "5").done()
    rows = formats.read_csv(here / "new.csv")
    new = probabilities_in(rows)
    assert [row["shape_estimate"] for row in rows] == [NAMES[code] for code in new.argmax(axis=1)]
    assert np.mean([row["shape_estimate"] for row in rows] == names) > 0.9
    estimates = package.open_run("images_1").predict(image=images)["shape"]
    assert np.asarray(estimates) == pytest.approx(new, abs=1e-5)
    assert {"bright_low", "bright_high"} < rows[0].keys()
    drawn = xarray.open_dataset(here / "new_posterior.nc", group="posterior", engine="h5netcdf")
    assert [*drawn.data_vars] == ["bright"], "only numbers have posteriors"


@pytest.mark.heavy
def test_calibration_leaves_classes_out_and_own_test_samples_are_independent(here):
    with pytest.warns(UserWarning, match="'shape' is left out"):
        calibration = package.calibrate("images_1", draws=100)
    assert [*calibration.outputs] == ["bright"]
    alone = of_images("all.npz")
    (here / "specs/datasets/alone.json").write_text(json.dumps(alone))
    spec = experience("alone", ["shape"], inputs=["image"], split=[0.6, 0.15], epochs=1)
    model = json.loads((here / "specs/models/images.json").read_text())
    branch = {"x_name": "image", "y_name": "shape", "operations": ["hidden", "head"]}
    del model["operations"]["posterior"]
    model |= {"outputs": ["shape"], "branches": [branch]}
    (here / "specs/models/alone.json").write_text(json.dumps(model))
    (here / "specs/experiences/alone.json").write_text(json.dumps(spec))
    package.run("alone", seed=1, device="cpu")
    evaluated = call("evaluate", "alone_1", "--part", "test")
    assert "accuracy" in evaluated.done()
    assert "independent" not in evaluated.stderr
    np.savez(here / "data/others.npz", image=IMAGES[:50], shape=SHOWN[:50])
    (here / "specs/datasets/others.json").write_text(json.dumps({**alone, "path": "others.npz"}))
    others = call("evaluate", "alone_1", "--dataset", "others", "--part", "all")
    assert "classes alone do not tell" in others.stderr


def test_classes_of_spectra_are_compared_with_baselines_and_told_of_new_cores(here):
    run = package.open_run("spectra_1")
    rows = formats.read_csv(run.path / "results/predictions.csv")
    estimates = [row["shape_estimate"] for row in rows]
    right = np.mean([row["shape"] == told for row, told in zip(rows, estimates, strict=True)])
    assert run.results["test"]["shape"]["accuracy"] == pytest.approx(right)
    assert right > 0.9
    scores = {row["estimator"]: row["metrics"] for row in run.record["comparison"]}
    shares = Counter(table_of_spectra()["shape"][table_of_spectra()["part"] == "train"])
    known = np.array([shares[row["shape"]] / shares.total() for row in rows])
    assert scores["majority"]["log_score"] == pytest.approx(-np.log(known).mean(), abs=0.02)
    assert scores["network"]["accuracy"] == pytest.approx(right)
    images, names, _ = shapes(60, seed=8)
    new = table_of_spectra(images=images, names=names).drop(columns=["shape", "part"])
    new.to_csv(here / "new.csv", index=False)
    call("predict", "spectra_1", "new.csv", "--output", "told.csv").done()
    rows = formats.read_csv(here / "told.csv")
    assert np.mean([row["shape_estimate"] for row in rows] == names) > 0.9
    assert probabilities_in(rows).sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_other_cores_that_lack_a_class_can_be_evaluated_but_not_trained_on(here):
    table = table_of_spectra()
    table[table["shape"] != "none"].to_csv(here / "data/fewer.csv", index=False)
    (here / "specs/datasets/fewer.json").write_text(json.dumps(of_spectra("fewer.csv")))
    spec = json.loads((here / "specs/experiences/spectra.json").read_text())
    (here / "specs/experiences/fewer.json").write_text(json.dumps({**spec, "dataset": "fewer"}))
    evaluated = call("evaluate", "spectra_1", "--dataset", "fewer", "--part", "all").done()
    assert "accuracy" in evaluated
    refused = call("validate", "specs/experiences/fewer.json").failed()
    assert "has no sample of 'none'" in refused


@pytest.mark.parametrize(
    ("name", "changes", "complaint"),
    [
        ("images", {"varyings": {"shape": [[0.1, 0.2]], "bright": []}}, "no interval can be held"),
        ("images", {"units": {"shape": "m"}}, "is a class, which has none"),
        ("images", {"classes": {"form": NAMES}}, "no parameter 'form' varies"),
        ("images", {"classes": {"shape": ["ring"]}}, "at $.classes.shape"),
        ("images", {"classes": {"shape": ["ring/a", "b"]}}, "at $.classes.shape[0]"),
        ("spectra", {"mix": 0.2}, "is a class, which has no sums"),
        ("spectra", {"classes": {"form": NAMES}}, "the target is 'shape'"),
    ],
)
def test_documents_of_classes_are_checked(here, name, changes, complaint):
    path = here / f"specs/datasets/{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert complaint in call("validate", path).failed()
