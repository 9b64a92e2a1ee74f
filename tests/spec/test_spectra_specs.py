"""Experiences on spectra of cores: what of them is right, and what is said of the rest."""

import shutil

import pytest

from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.kinds.experiments import examine, experience, spec_cache
from qexp.kinds.spectra.experiment import divided
from qexp.runs.order import read_overrides
from tests import cores
from tests.conftest import Specs
from tests.cores import open_cores

DOCUMENTS = {
    name: {
        "dataset": (
            {**cores.DATASET, "path": "few"} if document["dataset"] == "few" else cores.UNLABELLED
        ),
        "model": cores.MODELS[document["model"]],
        "experience": {**document, "model": name, "dataset": name},
    }
    for name, document in cores.EXPERIENCES.items()
}


@pytest.fixture
def of_names(specs):
    """Specs by the name of their experience."""
    cores.write(specs.root)
    return {name: Specs(specs.root, documents, name) for name, documents in DOCUMENTS.items()}


@pytest.fixture
def workspace(specs, of_names):
    return Workspace(specs.root)


@pytest.fixture
def few(workspace):
    return workspace.root / "data" / "few"


@pytest.fixture
def spoil(of_names):
    def spoil(name, kind, *changes):
        """Changes one of the specs, and returns the experience that has it."""
        of_names[name].spoil(kind, *changes)
        return f"specs/experiences/{name}.json"

    return spoil


def resolved(workspace, name, *overrides):
    return experience(name, read_overrides("--set", overrides), workspace)


@pytest.mark.heavy
def test_experiences_on_spectra_are_right(workspace, qexp):
    names = [
        f"specs/{folder}/{name}.json"
        for name in DOCUMENTS
        for folder in ("experiences", "datasets", "models")
    ]
    assert qexp("validate", *names).messages() == f"{len(names)} specs are right\n"


def test_every_default_of_spectra_is_written_out_and_none_of_other_data(workspace):
    spec = resolved(workspace, "finetune").document
    defaults = {"inner": None, "labelled": "all", "allow_leak": False, "layer_decay": 1.0}
    assert {key: spec[key] for key in defaults} == defaults
    assert spec["pretrain"] == {
        "run": "masked_0",
        "operations": ["encoder"],
        "freeze": [],
        "epochs_frozen": None,
    }
    assert not {"sizes", "select", "members", "protocol", "patches"} & set(spec)
    assert spec["dataset"]["units"] == {"spectrum": "counts", "mask": "", "depth": "", "toc": "wt%"}
    assert not {"labelled", "allow_leak"} & set(experience("sound", {}, workspace).document)


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_resolved_experience_is_a_valid_one_with_the_same_digest(workspace, name):
    resolved_spec = resolved(workspace, name)
    Specs(workspace.root, {"experience": resolved_spec.document}, "again")
    again = resolved(workspace, "again")
    assert (again.document, again.digest) == (resolved_spec.document, resolved_spec.digest)


@pytest.mark.heavy
def test_another_content_is_another_digest_and_another_place_or_way_to_write_the_same_counts_is_not(
    workspace, few, tmp_path, monkeypatch
):
    before = resolved(workspace, "scratch").digest
    file = few / "train/spe/B1_3.csv"
    file.write_text(",".join(f"{count}.0" for count in file.read_text().split()))
    assert resolved(workspace, "scratch").digest == before
    shutil.move(few, tmp_path / "elsewhere" / "few")
    monkeypatch.setenv("QEXP_DATA", str(tmp_path / "elsewhere"))
    assert resolved(workspace, "scratch").digest == before
    (tmp_path / "elsewhere/few/train/target/B1_3.csv").write_text("0.123")
    assert resolved(workspace, "scratch").digest != before


# Files

FILES_WITH_A_FAULT = {
    "another length": (
        lambda few: (few / "train/spe/A1_0.csv").write_text("1\n2\n"),
        "datasets/scratch.json at $.path",
        "A1_0.csv (it has 2 numbers, not 64)",
    ),
    "a target that is missing": (
        lambda few: (few / "train/target/B1_1.csv").unlink(),
        "datasets/scratch.json at $.target",
        'target lacks the numbers of spectra, which "missing": "drop" would leave out: B1_1.csv',
    ),
    "targets that are missing": (
        lambda few: shutil.rmtree(few / "test/target"),
        "datasets/scratch.json at $.target",
        "test has no folder target/",
    ),
    "a spectrum in both parts": (
        lambda few: shutil.copy(few / "train/spe/A2_5.csv", few / "test/spe/D1_4.csv"),
        "experiences/scratch.json at $.split",
        "are also trained or validated on: core D1: 1 of 6 test spectra",
    ),
    "a spectrum for validation and in the test part": (
        lambda few: shutil.copy(few / "train/spe/C1_5.csv", few / "test/spe/D1_4.csv"),
        "experiences/scratch.json at $.split",
        "are also trained or validated on: core D1: 1 of 6 test spectra",
    ),
    "a core in both parts": (
        lambda few: (few / "test/info.csv").write_text(
            (few / "test/info.csv").read_text().replace(",D1,", ",A2,")
        ),
        "experiences/scratch.json at $.split",
        (
            "each core must be in one part only, but some are tested and trained on: core A2: 6"
            " other spectra"
        ),
    ),
    "zeros": (
        lambda few: (few / "test/spe/D1_4.csv").write_text("0 " * 64),
        "experiences/scratch.json at $.transforms.spectrum",
        "the counts of D1_4.csv are all the same",
    ),
    "all for validation": (
        lambda few: shutil.copy(few / "train/info.csv", few / "train/val.csv"),
        "experiences/scratch.json at $.split",
        "no spectrum is left to train on",
    ),
    "none for validation": (
        lambda few: (few / "train/val.csv").unlink(),
        "experiences/scratch.json at $.inner",
        "no spectrum is left for validation",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "where", "words"), FILES_WITH_A_FAULT.values(), ids=FILES_WITH_A_FAULT
)
def test_a_fault_in_the_files_is_told_by_validate_and_no_run_begins(
    workspace, few, problems, qexp, change, where, words
):
    change(few)
    (message,) = problems("specs/experiences/scratch.json")
    assert message.startswith(f"specs/{where}: ")
    assert words in message
    assert qexp("run", "scratch").refused() == f"error: {message}\n"
    assert not (workspace.root / "runs").exists()


# Specs


def held_out(by, *values):
    return {"type": "held_out", "parameters": {"by": by, "values": list(values)}}


DATASETS_WITH_A_FAULT = {
    "patches that do not divide": (
        "patch_size",
        7,
        "$.patch_size",
        "patches of 7 channels do not divide a spectrum",
    ),
    "a folder that is not there": (
        "path",
        "fewer",
        "$.path",
        "there is no folder or table 'fewer'",
    ),
    "a core column that is not there": ("core", "coer", "$.core", "did you mean 'core'"),
    "a depth column that is not there": ("depth", "dept", "$.depth", "did you mean 'depth'"),
    "a unit of nothing": (
        "units",
        {"toc": "wt%", "tos": "wt%"},
        "$.units.tos",
        "did you mean 'toc'",
    ),
    "a target with a taken name": ("target", "mask", "$.target", "choose another name"),
    "falling energies": ("energy", [1.0, -0.1], "$.energy[1]", "greater than 0"),
    "other spectra than before": (
        "fingerprint",
        "0123",
        "$.fingerprint",
        "has changed: the SHA-256 of its spectra",
    ),
    "an unknown key": ("chanels", 64, "$.chanels", "did you mean 'channels'"),
    "no name": (
        "target",
        "%TOC",
        "$.target",
        "'%TOC' is not a name; use letters, digits, -, _ and %, begin",
    ),
    "a unit in a name": ("target", "TOC (wt%)", "$.target", "'TOC (wt%)' is not a name"),
    "a list elsewhere": (
        "lists",
        {"train": "../info.csv"},
        "$.lists.train",
        "'../info.csv' is not the name of a file",
    ),
    "an unknown rule": (
        "missing",
        "drp",
        "$.missing",
        "no rule for missing targets 'drp'; did you mean 'drop'",
    ),
}


@pytest.mark.parametrize(
    ("path", "value", "where", "words"), DATASETS_WITH_A_FAULT.values(), ids=DATASETS_WITH_A_FAULT
)
def test_a_dataset_with_one_fault_gets_one_complaint_at_the_fault(
    spoil, problems, path, value, where, words
):
    spoil("scratch", "dataset", (path, value))
    (message,) = problems("specs/datasets/scratch.json")
    assert message.startswith(f"specs/datasets/scratch.json at {where}: ")
    assert words in message


MODELS_WITH_A_FAULT = {
    "patches that do not divide": (
        "scratch",
        [("operations.encoder.parameters.patch_size", 7)],
        "$.branches[0].operations[0]",
        "patches of 7 channels do not divide a spectrum of 64; 8 would",
    ),
    "other patches than the dataset": (
        "masked",
        [("operations.encoder.parameters.patch_size", 16)],
        "$.branches[0].operations[0]",
        "give the dataset and the model the same patch_size",
    ),
    "all hidden": (
        "masked",
        [("operations.encoder.parameters.mask_ratio", 1)],
        "$.operations.encoder.parameters.mask_ratio",
        "must be less than 1",
    ),
    "less than nothing hidden": (
        "masked",
        [("operations.encoder.parameters.mask_ratio", -0.1)],
        "$.operations.encoder.parameters.mask_ratio",
        "must be at least 0",
    ),
    "two ratios": (
        "masked",
        [("operations.encoder.parameters.mask_ratio", 0.25)],
        "$.branches[1].operations[0]",
        "give encoder and decoder the same mask_ratio",
    ),
    "an encoder that sees all": (
        "masked",
        [("branches.0.x_name", "spectrum")],
        "$.branches[1].operations[0]",
        "the same mask_ratio",
    ),
}


@pytest.mark.parametrize(
    ("name", "changes", "where", "words"), MODELS_WITH_A_FAULT.values(), ids=MODELS_WITH_A_FAULT
)
def test_a_model_with_one_fault_gets_one_complaint_at_the_fault(
    spoil, problems, name, changes, where, words
):
    (message,) = problems(spoil(name, "model", *changes))
    assert message.startswith(f"specs/models/{name}.json at {where}: ")
    assert words in message


EXPERIENCES_WITH_A_FAULT = {
    "more labelled than there are": (
        "scratch",
        "labelled",
        19,
        "$.labelled",
        "19 of 18 training spectra",
    ),
    "none labelled": ("scratch", "labelled", 0, "$.labelled", "must be at least 1"),
    "most labelled": ("scratch", "labelled", "most", "$.labelled", "known: all"),
    "one labelled, of which to choose": ("scratch", "labelled", 1, "$.labelled", "use at least 2"),
    "several folds": (
        "scratch",
        "split",
        "leave_one_out",
        "$.split",
        "makes 30 parts, but only one can be tested",
    ),
    "several draws": (
        "scratch",
        "split",
        {"type": "random", "parameters": {"repeats": 2}},
        "$.split",
        "makes 2 parts",
    ),
    "several inner folds": (
        "scratch",
        "inner",
        {"type": "group_k_fold", "parameters": {"by": "core"}},
        "$.inner",
        "makes 4 parts, but only one can be kept for validation",
    ),
    "shares": ("scratch", "split", [0.8, 0.2], "$.split", "spectra are held out by core"),
    "divided cores": (
        "scratch",
        "split",
        "random",
        "$.split",
        "each core must be in one part only",
    ),
    "an unknown column": (
        "scratch",
        "split",
        held_out("coer", "A1"),
        "$.split.parameters.by",
        "no column 'coer'; did you mean 'core'?",
    ),
    "an unknown core": (
        "scratch",
        "split",
        held_out("core", "A3"),
        "$.split.parameters.values",
        "no row has the core 'A3'",
    ),
    "all held out": (
        "scratch",
        "split",
        held_out("core", "A1", "A2", "B1", "C1", "D1"),
        "$.split.parameters.values",
        "which leaves no training rows",
    ),
    "the validation core held out": (
        "scratch",
        "split",
        held_out("core", "C1"),
        "$.inner",
        "no spectrum is left",
    ),
    "a core held out twice": (
        "scratch",
        "inner",
        held_out("core", "D1"),
        "$.inner.parameters.values",
        "none of the 24 rows is held out",
    ),
    "a target that the dataset has not": (
        "scratch",
        "dataset",
        "masked",
        "$.outputs[0]",
        "the dataset has no 'toc'; known: mask, spectrum",
    ),
    "a whole spectrum to copy": (
        "masked",
        "inputs",
        ["spectrum"],
        "$.outputs",
        "add the input 'mask', which hides patches from it",
    ),
    "a mask that no encoder takes": (
        "scratch",
        "inputs",
        ["spectrum", "mask"],
        "$.inputs[1]",
        "the model has no input 'mask'",
    ),
    "the answer among the inputs": (
        "scratch",
        "inputs",
        ["spectrum", "toc"],
        "$.outputs[0]",
        "see the answer",
    ),
    "baselines of spectra": ("masked", "baselines", ["ridge"], "$.baselines", "leave them out"),
    "a logarithm of nothing": (
        "masked",
        "transforms.spectrum",
        "log",
        "$.transforms.spectrum",
        "0 becomes infinite",
    ),
    "a target scaled by itself": (
        "scratch",
        "transforms.toc",
        "per_sample",
        "$.transforms.toc",
        "be inverted",
    ),
    "sizes of spectra": (
        "scratch",
        "sizes",
        [8, 4, 4],
        "$.sizes",
        "'sizes' is for generated datasets",
    ),
    "choices of spectra": (
        "scratch",
        "select",
        {"epochs": [1]},
        "$.select",
        "'select' is for tabular datasets",
    ),
    "a metric of all values at once": (
        "masked",
        "metrics",
        {"spectrum": ["median_relative_error"]},
        "$.metrics.spectrum",
        "needs all values at once",
    ),
    "a training mean of spectra": (
        "masked",
        "metrics",
        {"spectrum": "r2_training_mean"},
        "$.metrics.spectrum",
        "use 'r2'",
    ),
    "a leak that is perhaps allowed": (
        "scratch",
        "allow_leak",
        "yes",
        "$.allow_leak",
        "must be true or false",
    ),
    "layers that do not learn": (
        "finetune",
        "layer_decay",
        0,
        "$.layer_decay",
        "must be greater than 0",
    ),
    "weights of an operation that is not there": (
        "finetune",
        "pretrain.operations",
        ["encodr"],
        "$.pretrain.operations[0]",
        "did you mean 'encoder'",
    ),
    "a frozen operation that is not there": (
        "finetune",
        "pretrain.freeze",
        ["hed"],
        "$.pretrain.freeze[0]",
        "did you mean 'head'",
    ),
    "epochs in which nothing is frozen": (
        "finetune",
        "pretrain.epochs_frozen",
        1,
        "$.pretrain.epochs_frozen",
        "nothing is frozen",
    ),
}


@pytest.mark.parametrize(
    ("name", "path", "value", "where", "words"),
    EXPERIENCES_WITH_A_FAULT.values(),
    ids=EXPERIENCES_WITH_A_FAULT,
)
def test_an_experience_with_a_fault_gets_a_complaint_at_the_fault(
    spoil, problems, name, path, value, where, words
):
    message = problems(spoil(name, "experience", (path, value)))
    here = [
        line for line in message if line.startswith(f"specs/experiences/{name}.json at {where}: ")
    ]
    assert here, message
    assert words in here[0]


@pytest.mark.parametrize("ratio", [0, 0.06])
@pytest.mark.parametrize("loss_on", ["masked", "all"])
def test_a_ratio_that_hides_no_patch_teaches_nothing_and_is_refused(
    spoil, problems, ratio, loss_on
):
    ratios = [
        (f"operations.{name}.parameters.mask_ratio", ratio) for name in ("encoder", "decoder")
    ]
    (message,) = problems(
        spoil("masked", "model", *ratios, ("operations.decoder.parameters.loss_on", loss_on))
    )
    assert message.startswith(
        "specs/experiences/masked.json at $.outputs[0]: nothing is hidden: a mask_ratio of"
    )
    assert message.endswith("hides none of 8 patches; 0.12 would hide one")


def test_a_channel_that_is_empty_in_all_training_spectra_is_named_where_it_cannot_be_scaled(
    workspace, spoil, problems
):
    for file in workspace.root.glob("data/many/train/spe/*"):
        counts = file.read_text().split()
        file.write_text(" ".join([*counts[:30], "0", *counts[31:]]))
    (message,) = problems(spoil("masked", "experience", ("transforms.spectrum", "standardize")))
    assert message.endswith(
        ".spectrum: cannot standardize values that are all the same, as in channel 30"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("scratch", [("batch_size", 1000), ("labelled", 2)]),
        ("scratch", [("labelled", 18)]),
        ("scratch", [("labelled", 1), ("baselines", ...), ("transforms.toc", "log1p")]),
        ("scratch", [("inner", "parts")]),
        ("scratch", [("split", held_out("core", "A1", "B1"))]),
        (
            "scratch",
            [
                ("split", held_out("core", "A1")),
                ("inner", {"type": "random", "parameters": {"share": 0.2}}),
            ],
        ),
        (
            "scratch",
            [("split", {"type": "random_groups", "parameters": {"by": "core", "share": 0.3}})],
        ),
        ("scratch", [("split", "random"), ("allow_leak", True)]),
        ("masked", [("transforms.spectrum", "standardize")]),
        (
            "masked",
            [("split", held_out("voltage", "10")), ("inner", "random"), ("allow_leak", True)],
        ),
        (
            "finetune",
            [("pretrain.freeze", ["encoder"]), ("pretrain.epochs_frozen", 1), ("layer_decay", 0.5)],
        ),
        ("finetune", [("pretrain", "masked_0")]),
    ],
)
def test_what_makes_sense_is_right(workspace, spoil, qexp, name, changes):
    listing = workspace.root / "data/many/train/info.csv"
    listing.write_text(listing.read_text().replace(",25,30", ",25,10"))
    qexp("validate", spoil(name, "experience", *changes)).done()


def test_all_problems_of_an_experience_are_reported_together(spoil, problems):
    changes = [("labelled", 19), ("transforms.toc", "per_sample"), ("metrics", {"toc": ["mae"]})]
    spoil("scratch", "model", ("inputs.mask", {"size": [8]}))
    message = problems(spoil("scratch", "experience", *changes, ("inputs", ["spectrum", "mask"])))
    places = [line.partition(" at ")[2].partition(":")[0] for line in message]
    assert places == ["$.labelled", "$.transforms.toc", "$.inputs[1]"]
    assert "no branch of the model begins with 'mask'" in message[2]


@pytest.mark.slow
def test_a_rule_for_missing_targets_that_is_not_given_is_not_in_the_digest_and_needs_a_target(
    workspace, spoil, problems
):
    plain = resolved(workspace, "scratch")
    spoil("scratch", "dataset", ("missing", "drop"))
    dropping = resolved(workspace, "scratch")
    assert "missing" not in plain.document["dataset"]
    assert dropping.document["dataset"]["missing"] == "drop"
    assert dropping.digest != plain.digest
    spoil("masked", "dataset", ("missing", "drop"))
    (message,) = problems("specs/datasets/masked.json")
    assert "at $.target: there is no target; name it, or leave out 'missing'" in message


def test_only_the_cores_that_are_named_are_trained_on_and_others_are_not_used(
    workspace, few, problems, spoil
):
    dataset = open_cores(few)
    scratch = resolved(workspace, "scratch", 'dataset.train_cores=["A1", "C1"]')
    parts = divided(scratch.document, dataset, scratch.tables, Seeds(0))
    assert [sorted({*dataset.cores[rows]}) for rows in parts] == [["A1"], ["C1"], ["D1"]]
    spoil("scratch", "dataset", ("train_cores", ["A1", "C7"]))
    (message,) = problems("specs/experiences/scratch.json")
    assert "no spectrum has the core 'C7' of \"train_cores\"; known: A1, A2" in message


@pytest.mark.parametrize("name", ["TOC%", "CaCO3%", "Si-Al"])
def test_a_target_may_be_called_as_laboratories_call_it(workspace, spoil, name):
    spoil("scratch", "dataset", ("target", name), ("units", {name: "wt%"}))
    assert (
        examine(workspace.root / "specs/datasets/scratch.json", spec_cache(workspace)).problems
        == []
    )


@pytest.mark.heavy
def test_a_last_batch_of_one_spectrum_is_refused_only_where_it_is_normalised_over_the_batch(
    spoil, problems, qexp
):
    for name in ("masked", "scratch"):
        assert qexp("validate", spoil(name, "experience", ("batch_size", 17))).code == 0  # of 18
    operations = ["encoder", "pool", "norm", "head"]
    changes = ("operations.norm", {"module": "batch_norm"}), ("branches.0.operations", operations)
    (message,) = problems(spoil("scratch", "model", *changes))
    assert "$.batch_size: the last of the batches of 18 samples has a single sample" in message
    assert (
        qexp("validate", spoil("scratch", "experience", ("labelled", 12), ("batch_size", 6))).code
        == 0
    )
