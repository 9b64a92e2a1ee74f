"""Finished runs are evaluated on other data, which are compared with those that they were trained
on.
"""

import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import xarray

import qexp as package
from qexp.base.folders import new_draft, put_unless
from qexp.errors import NotFoundError, QexpError
from qexp.store.directory import RunDirectory
from tests import cores, domes, stones
from tests.conftest import SOUND, call, copied, prepare_with, put, shared_folder, started

BY_QUARRY = {
    "split": {"type": "group_k_fold", "parameters": {"by": "quarry"}},
    "epochs": 4,
    "members": 2,
}


@shared_folder
def trained(root):
    """A workspace with finished runs on rows, fields and spectra: stones_0, domes_0, masked_0 and
    finetune_0.
    """
    assert call("init", root).code == 0
    stones.write(root, **BY_QUARRY)
    domes.write_folders(root / "data/domes", test=2)
    domes.write(root, epochs=1)
    cores.write(root)
    package.run("stones", device="cpu", workspace=root)
    for experience in ("domes", "masked", "finetune"):
        package.run(
            experience,
            name=f"{experience}_0",
            device="cpu",
            overrides={"epochs": 1},
            workspace=root,
        )


@pytest.fixture
def root(trained, tmp_path, monkeypatch):
    """A workspace of its own with those runs, which is the current directory."""
    root = copied(trained, tmp_path, monkeypatch)
    monkeypatch.setenv("QEXP_DATA", str(root / "data"))
    return root


def write_stones(path, rows, columns=("stone", *stones.COLUMNS, "Fe")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def new_stones(count=12):
    random = np.random.default_rng(7)
    return [
        [f"E{row}", *random.uniform(0.1, 0.9, 3).round(3).tolist(), float(row % 5 + 1)]
        for row in range(count)
    ]


# Simulated data


@pytest.mark.heavy
def test_the_runs_own_dataset_and_seed_give_the_runs_own_results_by_its_name_or_without(here, qexp):
    run = package.open_run("sound_0")
    made = run.evaluate("sound", seed=0)
    assert made.record.results == {"test": run.results["test"]}
    own, other = (
        xarray.load_dataset(of.results / "test_predictions.nc")
        for of in (run.directory, made.directory)
    )
    assert own.equals(other)
    assert made.record.independent is True
    low, high = made.record.intervals["test"]["depth"]["mae"]
    assert low < run.results["test"]["depth"]["mae"] < high
    Path("specs/datasets/sound.json").unlink()  # the run knows it
    qexp("evaluate", "sound_0", "--part", "validation").done()
    made = run.evaluations["sound_validation"]
    assert made.results == {"validation": run.results["validation"]}
    said = "these are the run's own validation samples: not trained on, but they chose the epoch"
    assert (made.independent, made.reasons, made.caution) == (
        False,
        (said,),
        "evaluated on validation data",
    )
    others = run.evaluate(part="validation", seed=1, name="others")
    assert others.record.reasons[0].startswith(
        "samples from the intervals of the run's validation samples, which have"
    )


def test_samples_within_the_intervals_of_training_are_counted(here):
    run = package.open_run("sound_0")
    made = run.evaluate("sound", part="all").record
    samples = xarray.load_dataset(run.path / "evaluations/sound_all/results/test_predictions.nc")
    of_training = np.ones(samples.sizes["sample"], dtype=bool)
    held_out = SOUND["dataset"]["varyings"]
    volume = (samples["delta_volume"].values - 0.5) / 2.5
    depth = np.array([NormalDist(0, 0.5).cdf(value) for value in np.log(samples["depth"].values)])
    for quantile, intervals in ((depth, held_out["depth"]), (volume, held_out["delta_volume"])):
        of_training &= ~np.any(
            [(low <= quantile) & (quantile <= high) for low, high in intervals], axis=0
        )
    assert of_training.any()
    assert made.independent is False
    assert made.reasons[0].startswith(f"{of_training.sum()} of {len(of_training)} samples")
    assert (
        made.caution
        == f"partly evaluated on training data ({of_training.sum()} of {len(of_training)})"
    )


@pytest.mark.heavy
def test_an_evaluation_is_made_once_and_never_replaced_without_a_word(here, qexp):
    arguments = ("evaluate", "sound_0", "--dataset", "sound")
    assert qexp(*arguments).code == 0
    record = Path("runs/sound_0/evaluations/sound/record.json")
    before = record.read_bytes()
    again = qexp(*arguments)
    assert (again.code, "exists already" in again.stderr, record.read_bytes()) == (0, True, before)
    stderr = qexp(*arguments, "--seed", "1").failed()
    assert "--name" in stderr
    assert "--force" in stderr
    assert qexp(*arguments, "--seed", "1", "--name", "other").code == 0
    assert qexp(*arguments, "--seed", "1", "--force").code == 0
    made = package.open_run("sound_0").evaluations
    assert made["sound"].results == made["other"].results
    assert sorted(path.name for path in record.parent.parent.iterdir()) == ["other", "sound"]


def test_a_dataset_must_make_what_the_network_takes_and_a_fixed_value_is_a_value(here, qexp):
    changed = Path("specs/datasets/changed.json")
    changed.write_text(json.dumps(put(SOUND["dataset"], "size", [8, 8])))
    assert (
        "was trained on [16, 16, 1]" in qexp("evaluate", "sound_0", "--dataset", "changed").failed()
    )
    document = put(put(SOUND["dataset"], "varyings.depth", ...), "distributions.depth", ...)
    changed.write_text(json.dumps(put(document, "fixed.depth", 1.0)))
    qexp("evaluate", "sound_0", "--dataset", "changed").done()
    assert package.open_run("sound_0").evaluations["changed"].results["test"]["depth"]["r2"] is None
    assert not list(Path("runs/sound_0/evaluations").glob(".*"))


def test_samples_with_inputs_outside_the_training_data_are_counted_wherever_an_evaluation_is_shown(
    here, qexp
):
    document = put(
        put(SOUND["dataset"], "varyings.delta_volume", ...), "distributions.delta_volume", ...
    )
    Path("specs/datasets/vast.json").write_text(
        json.dumps(put(document, "fixed.delta_volume", 99.0))
    )
    made = qexp("evaluate", "sound_0", "--dataset", "vast")
    said = "4 of 4 samples have inputs outside the range of the training data"
    assert (made.code, said in made.stderr, said in made.stdout) == (0, True, False)
    assert said in qexp("show", "sound_0").done()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dataset", "sound", "--input", "."), "either --dataset or --input"),
        (("--input", "."), "simulated images"),
        (("--dataset", "sond"), "did you mean 'sound'?"),
        (("--dataset", "sound", "--part", "tset"), "did you mean 'test'?"),
        (("--dataset", "sound", "--name", "../up"), "not a valid name"),
        (("--dataset", "sound", "--seed", "-1"), "from 0 on"),
    ],
)
def test_wrong_questions_get_an_answer_and_leave_nothing_behind(here, arguments, said, qexp):
    assert said in qexp("evaluate", "sound_0", *arguments).failed()
    assert not Path("runs/sound_0/evaluations").exists()


@pytest.mark.heavy
def test_samples_that_the_pretraining_was_trained_on_are_not_independent(here, qexp):
    swapped = put(
        put(SOUND["dataset"], "varyings.depth", [[0.4, 0.6]]), "varyings.delta_volume", [[0.6, 0.8]]
    )
    Path("specs/datasets/swapped.json").write_text(json.dumps(swapped))
    small = ("--set", "epochs=1", "--set", "sizes=[8,4,40]", "--device", "cpu")
    tuned = ("--set", "dataset=swapped", "--pretrain", "sound_0", "--name", "tuned")
    qexp("run", "sound", *tuned, *small).done()
    made = package.evaluate("tuned", "swapped").record
    assert made.independent is False
    assert made.reasons[0].startswith("sound_0, from which it started: ")
    shutil.rmtree("runs/sound_0")
    gone = package.evaluate("tuned", "swapped", name="gone").record
    assert (gone.independent, "sound_0" in gone.reasons[0]) == (None, True)


OWN_NAMES = {
    "description": "Names of qexp itself.",
    "tensors": [
        {"from": "network\\.operations\\.(?P<operation>[^.]+)\\.(?P<name>.+)", "to": "{name}"}
    ],
}


@pytest.mark.heavy
def test_weights_from_elsewhere_are_evaluated_and_what_they_were_trained_on_is_unknown(here, qexp):
    Path("own.json").write_text(json.dumps(OWN_NAMES))
    weights = "runs/sound_0/checkpoints/best.safetensors"
    qexp(
        "import-weights", weights, "--experience", "sound", "--to", "foreign", "--map", "own.json"
    ).done()
    made = package.evaluate("foreign", "sound").record
    assert made.results == {"test": package.open_run("sound_0").results["test"]}
    assert (made.independent, "weights of another program" in made.reasons[0]) == (None, True)
    assert qexp("doctor").code == 0


# Rows


@pytest.mark.heavy
def test_rows_are_estimated_by_the_mean_of_all_folds_and_those_without_truth_are_counted(
    root, qexp
):
    rows = new_stones()
    for row in (2, 5):
        rows[row][-1] = ""
    write_stones(root / "new.csv", rows)
    made = json.loads(qexp("evaluate", "stones_0", "--input", "new.csv", "--json").done())
    assert (made["samples"], made["left_out"], made["networks"], made["independent"]) == (
        10,
        2,
        24,
        True,
    )
    assert qexp("predict", "stones_0", "new.csv", "--output", "estimates.csv").code == 0
    with Path("estimates.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["Fe"]]
    errors = np.array([float(line["iron (wt%)"]) - float(line["Fe"]) for line in lines])
    assert made["results"]["all"]["iron"]["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    outside = sum(line["outside"] != "0" for line in lines)
    assert any(
        f"{outside} of 10 samples have inputs outside" in text for text in made["warnings"]
    ) == (outside > 0)
    assert made["results"]["all"]["iron"]["rmse"] == pytest.approx(
        np.sqrt((errors**2).mean()), rel=1e-5
    )


@pytest.mark.heavy
def test_rows_of_a_folder_of_tables_are_listed_by_file_where_they_have_no_group(root, qexp):
    (root / "tables").mkdir()
    for name, rows in (("a", new_stones()[:5]), ("b", new_stones()[5:])):
        without_names = [row[1:] for row in rows]
        write_stones(root / f"tables/{name}.csv", without_names, (*stones.COLUMNS, "Fe"))
    (root / "tables/._a.csv").write_bytes(b"\0\5")  # what some systems keep beside a file
    made = package.evaluate("stones_0", input="tables").record
    assert [(group.of, group.name, group.n) for group in made.groups] == [
        ("file", "a.csv", 5),
        ("file", "b.csv", 7),
    ]
    assert (made.independent, "the origin of the rows is unknown" in made.reasons[0]) == (
        None,
        True,
    )
    drawn = qexp("figures", "stones_0", "--evaluation", "tables").done()
    assert {Path(line).stem for line in drawn.splitlines()} == {"held_out", "residuals", "coverage"}


@pytest.mark.heavy
def test_rows_that_were_trained_on_are_recognised_by_their_values_and_their_groups(root):
    same = package.evaluate("stones_0", "stones").record
    assert same.independent is False
    assert "24 of 24 rows have the same inputs" in same.reasons[0]
    rows = new_stones()
    rows[3][0] = "A99"
    of_a_known_quarry = package.evaluate(
        "stones_0", input=write_stones(root / "known.csv", rows)
    ).record
    assert of_a_known_quarry.independent is False
    assert of_a_known_quarry.reasons == ("of the same quarry as training rows: A",)
    assert of_a_known_quarry.caution == "partly evaluated on groups of the training data (1 of 12)"
    again = [["E0", *np.round(row[1:4], 4).tolist(), row[4]] for row in stones.table()]
    rounded = package.evaluate("stones_0", input=write_stones(root / "rounded.csv", again)).record
    assert (rounded.independent, rounded.caution) == (False, "evaluated on training data")
    assert rounded.reasons == ("24 of 24 rows have nearly the same inputs as training rows",)
    other = package.evaluate(
        "stones_0", input=write_stones(root / "other.csv", new_stones())
    ).record
    assert other.independent is True
    assert other.reasons == (
        (
            "no row has the same or nearly the same inputs as a training row, or is of the same"
            " quarry or stone"
        ),
    )
    unlike = {**stones.DATASET, "units": {"iron": "ppm"}}
    Path("specs/datasets/unlike.json").write_text(json.dumps(unlike))
    said = "'iron': in ppm, but taken to be in wt%; convert the values, or correct a unit"
    assert said in package.evaluate("stones_0", "unlike").record.warnings
    gone = {"found": "data/gone.csv", "path": "data/gone.csv"}
    prepare_with(Path("runs/stones_0"), lambda spec: spec["dataset"].update(gone))
    gone = package.evaluate("stones_0", input=write_stones(root / "new.csv", new_stones())).record
    assert gone.independent is None
    assert "cannot be read" in gone.reasons[0]


@pytest.mark.heavy
def test_copies_across_folds_are_said_before_training_and_with_every_number(root, qexp):
    rows = stones.table()
    numbered = [[number, *row[1:]] for number, row in enumerate(rows + rows[::3])]
    stones.write(root, rows=numbered, epochs=2)
    Path("specs/datasets/stones.json").write_text(json.dumps({**stones.DATASET, "groups": {}}))
    said = "of 32 held-out rows have the same inputs as training rows"
    validated = qexp("validate", "specs/experiences/stones.json")
    assert (validated.code, said in validated.stderr) == (0, True)
    ran = qexp("run", "stones", "--name", "twice")
    assert (ran.code, said in ran.stderr) == (0, True)
    caution = package.open_run("twice").record["caution"]
    assert caution.endswith(said)
    assert caution in " ".join(qexp("show", "twice").stdout.split())
    with Path("runs/twice/results/predictions.csv").open(newline="") as file:
        assert {line["caution"] for line in csv.DictReader(file)} == {caution}
    assert qexp("verify", "twice").code == 0
    # The names are the numbers of the rows, so that equal ones mean nothing.
    new = [[number, *row[1:]] for number, row in enumerate(new_stones())]
    made = package.evaluate("twice", input=write_stones(root / "new.csv", new)).record
    assert (made.independent, "the origin of the rows is unknown" in made.reasons[0]) == (
        None,
        True,
    )


@pytest.mark.heavy
def test_rows_without_truth_are_referred_to_predict(root, qexp):
    write_stones(root / "new.csv", [row[:-1] for row in new_stones()], ("stone", *stones.COLUMNS))
    evaluate = ("evaluate", "stones_0")
    assert "qexp predict stones_0 new.csv" in qexp(*evaluate, "--input", "new.csv").failed()
    assert qexp(*evaluate, "--input", "nowhere.csv").code == 3
    assert "use --part all" in qexp(*evaluate, "--dataset", "stones", "--part", "test").failed()


# Fields


@pytest.mark.heavy
def test_a_folder_of_folders_of_fields_gets_errors_and_pictures(root, qexp):
    qexp("evaluate", "domes_0", "--input", "data/domes/test").done()
    run = package.open_run("domes_0")
    made = run.evaluations["test"]
    assert made.results["all"] == run.results["test"]
    assert [group.name for group in made.groups if group.output == "ubar"] == ["d0", "d1"]
    low, high = made.intervals["all"]["ubar"]["mae"]
    assert low <= run.results["test"]["ubar"]["mae"] <= high
    results = run.path / "evaluations/test/results"
    assert (results / "errors.csv").read_bytes() == (run.path / "results/errors.csv").read_bytes()
    drawn = qexp("figures", "domes_0", "--evaluation", "test", "--only", "frames").done()
    assert len(drawn.splitlines()) == 6


@pytest.mark.heavy
def test_arrays_of_frames_of_any_size_give_what_files_of_them_give(root, qexp):
    frames = domes.dome(seed=9)
    (root / "new").mkdir()
    frames.to_netcdf(root / "new/frames.nc")
    assert qexp("predict", "domes_0", "new/frames.nc", "--output", "new.nc").code == 0
    written = xarray.load_dataset("new.nc", engine="h5netcdf")
    run = package.open_run("domes_0")
    slopes = np.gradient(frames["usurf"].values.astype(float), domes.SPACING, axis=(1, 2))
    arrays = {"thk": frames["thk"].values, "slopsurfx": slopes[1], "slopsurfy": slopes[0]}
    made = run.predict(**arrays)
    assert made["ubar"].shape == (3, 1, 20, 24)
    for name in ("ubar", "vbar"):
        np.testing.assert_array_equal(made[name][:, 0], written[name].values)
        alone = run.predict(**{field: values[1] for field, values in arrays.items()})[name]
        np.testing.assert_array_equal(alone[0], made[name][1, 0])
        channels = run.predict(**{field: values[..., None] for field, values in arrays.items()})[
            name
        ]
        np.testing.assert_array_equal(channels, made[name])
    with pytest.raises(
        QexpError,
        match=r"'slopsurfx' must .*, several of them as \[sample, 20, 24\], but .* \[3, 20, 23\]",
    ):
        run.predict(**{**arrays, "slopsurfx": arrays["slopsurfx"][..., :-1]})


@pytest.mark.heavy
def test_fields_that_were_trained_on_are_recognised_by_their_content(root):
    shutil.copytree("data/domes/train/d0", "renamed/elsewhere")
    domes.write_folders(root / "fresh", train=0, test=1, frames=2)
    renamed = package.evaluate("domes_0", input="renamed").record
    assert (renamed.independent, renamed.reasons) == (
        False,
        ("folders with training fields: elsewhere",),
    )
    alike = package.evaluate("domes_0", input="fresh", name="fresh").record
    assert (alike.independent, "names of training folders" in alike.reasons[0]) == (None, True)
    assert package.evaluate("domes_0", "domes").record.independent is True


@pytest.mark.heavy
def test_fields_are_read_as_for_training_slopes_recomputed_and_files_of_another_name(root):
    for file in (root / "data/domes").rglob("ex.nc"):
        fields = xarray.load_dataset(file, decode_times=False)
        sevens = dict.fromkeys(("slopsurfx", "slopsurfy"), fields["usurf"] * 0 + 7)
        fields.assign(sevens).to_netcdf(file.with_name("fields.nc"), engine="h5netcdf")
        file.unlink()
    reading = {"dataset.recompute_slopes": True, "dataset.file": "fields.nc"}
    run = package.run("domes", name="recomputed", device="cpu", overrides={"epochs": 1, **reading})
    for given in ({}, {"input": "data/domes"}, {"input": "data/domes/test"}):
        made = package.evaluate("recomputed", name="again", force=True, **given).record
        assert made.results[made.part] == run.results["test"]


@pytest.mark.heavy
def test_folders_of_fields_at_any_depth_are_evaluated_as_they_are_predicted(root):
    domes.write_folders(root / "later", train=0, test=2, frames=2)
    (root / "later/test").rename(root / "later/summer")
    (root / "later/notes").mkdir()
    assert len(package.predict("domes_0", "later", "made")) == 2
    made = package.evaluate("domes_0", input="later").record
    assert [group.name for group in made.groups if group.output == "ubar"] == ["d0", "d1"]


@pytest.mark.heavy
def test_fields_without_truth_are_referred_to_predict(root, qexp):
    fields = xarray.load_dataset("data/domes/test/d0/ex.nc").drop_vars(["ubar", "vbar"])
    Path("blank/one").mkdir(parents=True)
    fields.to_netcdf("blank/one/ex.nc", engine="h5netcdf")
    stderr = qexp("evaluate", "domes_0", "--input", "blank").failed()
    assert ("'ubar', 'vbar'" in stderr, "qexp predict" in stderr) == (True, True)


# Spectra


@pytest.mark.heavy
def test_spectra_of_the_test_part_give_the_runs_own_results(root):
    for name, seed in (("finetune_0", 0), ("masked_0", 0)):
        run = package.open_run(name)
        made = run.evaluate(run.record["dataset"], seed=seed).record
        assert made.results == {"test": run.results["test"]}
        assert made.independent is True
        assert "6 of 6 are held-out spectra of the run" in made.reasons[0]
        chosen = run.evaluate(run.record["dataset"], part="validation").record
        assert (chosen.independent, chosen.caution) == (False, "evaluated on validation data")


@pytest.mark.heavy
def test_spectra_and_cores_that_the_run_or_its_pretraining_was_trained_on_are_named(root):
    new = cores.write_folders(
        root / "new", {"train": ("X1",), "validation": (), "test": ("X2", "X3")}
    )
    made = package.evaluate("finetune_0", input=new).record
    assert (made.part, made.samples, made.independent) == ("test", 12, True)
    assert [group.name for group in made.groups] == ["X2", "X3"]
    assert package.evaluate("finetune_0", input=new, part="all").record.samples == 18
    mixed = cores.write_folders(
        root / "mixed", {"train": ("X1",), "validation": (), "test": ("X2", "M2", "A1")}
    )
    found = package.evaluate("finetune_0", input=mixed).record
    assert found.independent is False
    assert any("finetune_0: core A1: 6 of 6" in reason for reason in found.reasons)
    assert any("masked_0: core M2: 6 of 6" in reason for reason in found.reasons)


@pytest.mark.heavy
def test_a_folder_of_new_cores_is_evaluated_alone_and_spectra_without_targets_are_counted(
    root, qexp
):
    part = (
        cores.write_folders(root / "new", {"train": (), "validation": (), "test": ("X2", "X3")})
        / "test"
    )
    whole = package.evaluate("finetune_0", input=shutil.copytree(part, root / "cruise")).record
    assert (whole.name, whole.part, whole.samples, whole.left_out) == ("cruise", "test", 12, 0)
    for name in ("X2_0.csv", "X2_1.csv"):
        (root / "cruise/target" / name).unlink()
    fewer = package.evaluate("finetune_0", input="cruise", name="fewer").record
    assert (fewer.samples, fewer.left_out) == (10, 2)
    (root / "cruise/target/X3_0.csv").write_text("much")
    complaint = qexp("evaluate", "finetune_0", "--input", "cruise").failed()
    assert "not one finite number: X3_0.csv ('much')" in complaint
    assert "qexp predict" not in complaint
    shutil.rmtree(root / "cruise/target")
    assert "qexp predict finetune_0" in qexp("evaluate", "finetune_0", "--input", "cruise").failed()


# Where evaluations are seen


@pytest.mark.heavy
def test_evaluations_are_columns_conditions_and_parts_of_what_is_shown(here, qexp):
    assert qexp("ls", "--json").code == 0  # the catalog knows the run without them
    for name in ("first", "held.out-2"):
        assert (
            qexp(
                "evaluate", "sound_0", "--dataset", "sound", "--name", name, "--part", "train"
            ).code
            == 0
        )
    mae = package.open_run("sound_0").evaluations["first"].results["train"]["depth"]["mae"]
    columns = 'evaluations.first.train.depth.mae,evaluations["held.out-2"].train.depth.mae'
    _, stdout, stderr = qexp("ls", "--json", "--columns", columns)
    assert [list(run.values()) for run in json.loads(stdout)] == [[mae, mae]]
    assert "sound_0 on first: evaluated on training data" in stderr
    with xarray.open_dataset(
        "runs/sound_0/evaluations/first/results/test_predictions.nc"
    ) as predictions:
        assert predictions.attrs["caution"] == "evaluated on training data"
    assert "depth.mae (km)" in qexp("ls", "--columns", columns).stdout
    for condition, names in (
        (f'evaluations["held.out-2"].train.depth.mae <= {mae}', ["sound_0"]),
        ("evaluations.first.independent == true", []),
        ("evaluations.other.train.depth.mae < 1e9", []),
    ):
        assert qexp("ls", "-q", "--where", condition).stdout.split() == names
    shown = qexp("show", "sound_0").stdout
    assert "evaluations  first, held.out-2" in shown
    assert "not independent of those that the run was trained on" in shown
    shutil.rmtree("runs/sound_0/evaluations/first")
    assert qexp("ls", "--columns", "evaluations.first.train.depth.mae").code == 2


@pytest.mark.heavy
def test_an_archive_holds_the_evaluations_of_its_run_and_a_damaged_one_is_reported_and_stops_no_listing(
    here, qexp
):
    assert qexp("evaluate", "sound_0", "--dataset", "sound").code == 0
    before = package.open_run("sound_0").evaluations["sound"]
    assert qexp("export", "sound_0", "--to", "sound.zip").code == 0
    assert qexp("import", "sound.zip", "--name", "again").code == 0
    assert package.open_run("again").evaluations["sound"] == before
    assert qexp("doctor").code == 0
    Path("runs/sound_0/evaluations/sound/record.json").write_text("{}")
    assert sorted(qexp("ls", "-q").stdout.split()) == ["again", "sound_0"]
    code, stdout, stderr = qexp("doctor")
    assert (code, "evaluations/sound" in stdout + stderr) == (5, True)


@pytest.mark.heavy
def test_runs_are_compared_by_an_evaluation_in_the_place_of_their_own_results(
    finished, tmp_path, monkeypatch, qexp
):
    copied(finished, tmp_path, monkeypatch)
    for run in ("sound_0", "sound_1"):
        package.evaluate(run, "sound", seed=7, name="same")
    package.evaluate("sound_0", "sound", seed=1, name="other")
    package.evaluate("sound_1", "sound", seed=2, name="other")
    runs = [package.open_run(name) for name in ("sound_0", "sound_1")]
    errors = [run.evaluations["same"].results["test"]["depth"]["mae"] for run in runs]
    for names, values in (
        (("sound_0", "sound_1"), errors),
        (("sound_*",), {"0": errors[0], "1": errors[1]}),
    ):
        compared = json.loads(qexp("compare", *names, "--evaluation", "same", "--json").done())[
            "results"
        ]
        assert [
            row["values"] for row in compared if (row["output"], row["metric"]) == ("depth", "mae")
        ] == [values]
    assert (
        "different samples"
        not in qexp("compare", "sound_0", "sound_1", "--evaluation", "same").stdout
    )
    assert (
        "different samples" in qexp("compare", "sound_0", "sound_1", "--evaluation", "other").stdout
    )
    assert qexp("compare", "sound_0", "sound_1", "--evaluation", "none").code == 3


# Several processes, and those that do not live to the end


def test_of_two_equal_evaluations_at_once_the_first_is_kept(here):
    run = package.open_run("sound_0").directory
    place = run.evaluations / "twice"
    with new_draft(place) as first, new_draft(place) as second:
        for folder in (first, second):
            (folder / "record.json").write_text(folder.name)
        assert put_unless(place.exists, first, place)
        assert not put_unless(place.exists, second, place)
        assert (place / "record.json").read_text() == first.name
    assert [path.name for path in run.evaluations.iterdir()] == ["twice"]


@pytest.mark.heavy
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_evaluation_that_is_ended_leaves_no_half(here, number, code, monkeypatch, qexp):
    run = RunDirectory(Path("runs/sound_0"))
    # so that there is time to end it
    prepare_with(run.path, lambda spec: spec["sizes"].__setitem__(2, 400_000))
    process = started(here, "evaluate", "sound_0", "--dataset", "sound")
    deadline = time.monotonic() + 120
    while not list(run.evaluations.glob(".*.draft")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.communicate(timeout=120)
    assert process.returncode == code
    assert package.open_run("sound_0").evaluations == {}
    left = list(run.evaluations.iterdir())
    assert len(left) == (number == signal.SIGKILL)
    assert ("was killed while it wrote or replaced sound" in qexp("doctor").stdout) == bool(left)
    with new_draft(run.evaluations / "sound"):
        assert not [path for path in left if path.exists()]


@pytest.mark.heavy
def test_an_evaluation_that_a_killed_process_moved_away_is_found_again(here, qexp):
    assert qexp("evaluate", "sound_0", "--dataset", "sound", "--name", "there").code == 0
    place = Path("runs/sound_0/evaluations")
    (place / "there").rename(place / ".there.0123abcd.former")
    (place / ".there.4567abcd.draft").mkdir()
    assert (qexp("doctor").code, (place / "there").exists()) == (5, False)
    assert qexp("evaluate", "sound_0", "--dataset", "sound", "--name", "other").code == 0
    assert qexp("figures", "sound_0", "--evaluation", "there").code == 0
    assert qexp("doctor", "--fix").code == 0
    assert sorted(path.name for path in place.iterdir()) == ["other", "there"]


def test_unknown_evaluations_are_not_found(here):
    with pytest.raises(NotFoundError, match="qexp evaluate sound_0"):
        package.open_run("sound_0").figures(evaluation="none")
    record = json.loads(Path("runs/sound_0/run.json").read_text())
    Path("runs/sound_0/run.json").write_text(json.dumps({**record, "state": "failed"}))
    with pytest.raises(QexpError, match="not done"):
        package.evaluate("sound_0", "sound")
