"""Runs on spectra keep what they and their ancestors saw, and are refused where they would be
tested on it.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qexp as package
from tests.conftest import Specs, call, copied, shared_folder
from tests.cores import CHANNELS, MODELS, PATCH_SIZE

CAUTION = "tested on training spectra"

Cores = Mapping[str, range]
"""Core → the numbers of its spectra; the same core and number is the same spectrum wherever it is
written.
"""


def write_cores(folder: Path, target: bool, validation: tuple[str, ...], **parts: Cores) -> None:
    """Folders of spectra as they are published: train/ and test/."""
    for part, cores in parts.items():
        part_folder = folder / part
        for name in ("spe", "target"):
            (part_folder / name).mkdir(parents=True)
        lines = []
        for core, numbers in cores.items():
            for number in numbers:
                name = f"{core}_{number}.txt"
                counts = np.random.default_rng([ord(core), number]).poisson(20, CHANNELS)
                (part_folder / "spe" / name).write_text("\n".join(map(str, counts)) + "\n")
                (part_folder / "target" / name).write_text(f"{counts.mean():.6f}\n")
                lines.append(f"{name},{core},{number}.0,10,1,20\n")
        if not target:
            shutil.rmtree(part_folder / "target")
        head = "filename,core,depth,voltage,current,live_time\n"
        (part_folder / "info.csv").write_text(head + "".join(lines))
        if part == "train":
            (part_folder / "val.csv").write_text(
                head + "".join(line for line in lines if line.startswith(validation))
            )


BRIEF = {
    "split": "parts", "epochs": 1, "batch_size": 4, "optimizer": "adam", "learning_rate": 1e-3,
    "transforms": {"spectrum": "standardize"},
}  # fmt: skip


def prepare_specs(root: Path) -> None:
    """Many spectra of A, B and C to pretrain on, D to test that; toc on some of them, with E and F
    for its test.
    """
    many = {"A": range(6), "B": range(6), "C": range(4)}
    few = {"A": range(3), "B": range(3), "C": range(2)}
    others = {"E": range(4), "F": range(4)}
    write_cores(root / "data/many", False, ("C",), train=many, test={"D": range(4)})
    write_cores(root / "data/few", True, ("C",), train=few, test={"E": range(3), "F": range(2)})
    # B's last three are among those that were pretrained on; A has others than those.
    write_cores(
        root / "data/leaky", True, ("E",), train=others, test={"B": range(3, 6), "D": range(4)}
    )
    write_cores(root / "data/alike", True, ("E",), train=others, test={"A": range(10, 13)})
    specs = Specs(root)
    spectra = {"type": "spectra", "channels": CHANNELS, "patch_size": PATCH_SIZE}
    specs.write("dataset", {**spectra, "path": "many"}, "many")
    for name in ("few", "leaky", "alike"):
        specs.write("dataset", {**spectra, "path": name, "target": "toc"}, name)
    for name, model in MODELS.items():
        specs.write("model", model, name)
    pretraining = {
        "inputs": ["spectrum", "mask"],
        "outputs": ["spectrum"],
        "losses": {"spectrum": "mse"},
    }
    specs.write("experience", {**BRIEF, **pretraining, "model": "masked", "dataset": "many"}, "msm")
    fine = {
        "inputs": ["spectrum"],
        "outputs": ["toc"],
        "losses": {"toc": "mse"},
        "model": "regressor",
    }
    pretrain = {"run": "msm_0", "operations": ["encoder"]}
    for name in ("few", "leaky", "alike"):
        specs.write("experience", {**BRIEF, **fine, "dataset": name}, f"{name}_scratch")
        specs.write(
            "experience",
            {**BRIEF, **fine, "dataset": name, "pretrain": pretrain},
            f"{name}_finetune",
        )


@shared_folder
def pretrained(root: Path) -> None:
    """A workspace in which msm_0 is done, and few_finetune_0 from its encoder; for reading only."""
    prepare_specs(root)
    for name in ("msm", "few_finetune"):
        call("run", name, "--device", "cpu", "--workspace", root).done()


@pytest.fixture
def here(pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, which is the current directory and may be changed."""
    return copied(pretrained, tmp_path, monkeypatch)


def counts(run: Path) -> dict[str, dict[str, int]]:
    """Run → core → how many of its spectra were seen."""
    seen = json.loads((run / "seen.json").read_text())
    return {
        name: {core: len(hashes) for core, hashes in cores.items()} for name, cores in seen.items()
    }


@pytest.mark.heavy
def test_a_run_keeps_what_it_trained_and_validated_on_and_what_its_ancestors_did(pretrained):
    pretraining = {"A": 6, "B": 6, "C": 4}
    assert counts(pretrained / "runs/msm_0") == {"msm_0": pretraining}
    fine_tuning = {"A": 3, "B": 3, "C": 2}
    assert counts(pretrained / "runs/few_finetune_0") == {
        "few_finetune_0": fine_tuning,
        "msm_0": pretraining,
    }
    assert (pretrained / "runs/msm_0/seen.json").stat().st_size < 16 * 30 + 100


@pytest.mark.heavy
def test_spectra_without_labels_count_as_seen_and_allowing_a_leak_where_there_is_none_marks_nothing(
    here, qexp
):
    qexp(
        "run",
        "few_finetune",
        "--set",
        "labelled=2",
        "--allow-leak",
        "--name",
        "two",
        "--device",
        "cpu",
    ).done()
    assert counts(here / "runs/two")["two"] == {"A": 3, "B": 3, "C": 2}
    assert package.open_run("two").record["caution"] == ""


@pytest.mark.heavy
def test_a_run_whose_test_spectra_were_pretrained_on_is_refused_with_the_cores_and_the_run(
    here, qexp
):
    stderr = qexp("run", "leaky_finetune").refused()
    assert "msm_0: core B: 3 of 3 test spectra" in stderr
    assert "core D" not in stderr, "what another run was merely tested on is no leak"
    assert "--allow-leak" in stderr
    assert not (here / "runs/leaky_finetune_0").exists()


@pytest.mark.heavy
def test_a_leak_that_is_allowed_marks_the_record_the_listing_and_the_results_and_without_parent_is_none(
    here, qexp
):
    stdout = qexp(
        "run", "leaky_finetune", "--name", "leaky_finetune_0", "--allow-leak", "--device", "cpu"
    ).done()
    assert CAUTION in stdout
    record = package.open_run("leaky_finetune_0").record
    assert record["caution"] == CAUTION
    assert "allow_leak=true" in record["overrides"]
    for command in (["ls"], ["show", "leaky_finetune_0"], ["ls", "--lineage"]):
        assert CAUTION in qexp(*command).stdout
    qexp("run", "leaky_scratch", "--device", "cpu").done()  # the same spectra
    assert package.open_run("leaky_scratch_0").record["caution"] == ""


@pytest.mark.heavy
def test_a_core_with_the_name_of_one_that_was_trained_on_but_other_spectra_is_a_warning(here, qexp):
    code, _, stderr = qexp("run", "alike_finetune", "--device", "cpu")
    assert code == 0, stderr
    assert "warning: msm_0 was trained on other spectra of cores" in stderr
    assert "core A: 6 other spectra" in stderr
    assert package.open_run("alike_finetune_0").record["caution"] == ""
    code, _, stderr = qexp("run", "alike_finetune", "--seeds", "1:4", "--dry-run")
    assert code == 0, stderr
    assert stderr.count("msm_0 was trained on other spectra") == 1


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("split", "complaint"),
    [
        ('{"type": "random", "parameters": {"share": 0.3}}', "each core must be in one part only"),
        (
            '{"type": "held_out", "parameters": {"by": "name", "values": ["A_0.txt"]}}',
            "core A: 2 other spectra",
        ),
    ],
)
def test_a_split_that_divides_a_core_is_refused_by_run_and_validate(here, qexp, split, complaint):
    inner = 'inner={"type": "random", "parameters": {"share": 0.3}}'
    changes = ("--set", f"split={split}", "--set", inner)
    assert complaint in qexp("run", "few_scratch", *changes).failed()
    document = json.loads((here / "specs/experiences/few_scratch.json").read_text())
    Specs(here).write(
        "experience",
        {**document, "split": json.loads(split), "inner": json.loads(inner[6:])},
        "divided",
    )
    stderr = qexp("validate", "specs/experiences/divided.json").failed()
    assert "specs/experiences/divided.json at $.split: " in stderr
    assert complaint in stderr
    qexp(
        "run", "few_scratch", *changes, "--allow-leak", "--name", "allowed", "--device", "cpu"
    ).done()
    assert (
        package.open_run("allowed").record["caution"] == "tested on other spectra of training cores"
    )


@pytest.mark.heavy
def test_a_spectrum_that_is_copied_from_the_training_to_the_test_part_is_found(here, qexp):
    few = here / "data/few"
    shutil.copyfile(few / "train/spe/A_1.txt", few / "test/spe/E_2.txt")
    assert "core E: 1 of 3 test spectra" in qexp("run", "few_scratch").failed()
    assert qexp("validate", "specs/experiences/few_scratch.json").code == 2


DRAWN = '{"type": "random_groups", "parameters": {"by": "core", "share": 0.2}}'


@pytest.mark.heavy
def test_of_a_split_that_the_seed_draws_every_seed_is_looked_at(here, qexp):
    # One of A, B, C, E and F is drawn; all but E and F were pretrained on.
    changes = ("--set", f"split={DRAWN}", "--set", f"inner={DRAWN}")

    def tried(seeds: str) -> Any:
        return qexp("run", "few_finetune", "--seeds", seeds, *changes, "--dry-run")

    outcomes = {seed: tried(seed) for seed in map(str, range(10))}
    good = [seed for seed, outcome in outcomes.items() if outcome.code == 0]
    bad = next(seed for seed, outcome in outcomes.items() if outcome.code == 2)
    tested = f"few_finetune with seed {bad} would be tested on spectra that were used for training"
    assert tested in outcomes[bad].stderr
    assert tried(",".join(good)).code == 0
    assert tested in tried(f"{good[0]},{bad}").failed()


@pytest.mark.heavy
def test_where_seeds_make_no_difference_spectra_are_compared_once(here):
    from qexp.base.workspace import find
    from qexp.runs.order import Order
    from qexp.runs.plan import sweep

    plans = sweep(Order(["few_finetune"], range(20), {"epochs": [1, 2]}), find())
    assert len(plans) == 40
    assert plans[0].spectra
    assert all(plan.spectra == plans[0].spectra for plan in plans)
    assert len({id(plan.spectra) for plan in plans}) == 2, (
        "what came of one comparison for each of the two experiences"
    )


@pytest.mark.heavy
@pytest.mark.parametrize("change", ["gone", "changed"])
def test_what_was_seen_cannot_be_forgotten_or_changed(here, qexp, change):
    for name in ("msm_0", "few_finetune_0"):
        file = here / "runs" / name / "seen.json"
        if change == "gone":
            file.unlink()
        else:
            seen = json.loads(file.read_text())
            seen["msm_0"].pop("B")
            file.write_text(json.dumps(seen))
    assert "msm_0/seen.json" in qexp("run", "leaky_finetune").failed(5)
    assert "seen.json" in qexp("verify", "few_finetune_0").failed()
    code, stdout, _ = qexp("doctor")
    assert code == 5
    assert stdout.count("seen.json") >= 2


@pytest.mark.heavy
def test_what_was_seen_is_known_when_the_run_that_saw_it_is_gone_and_in_an_imported_run(
    here, tmp_path, qexp
):
    assert qexp("export", "few_finetune_0", "--to", tmp_path / "one.zip").code == 0
    assert qexp("import", tmp_path / "one.zip", "--name", "taken_in").code == 0
    shutil.rmtree(here / "runs/msm_0")
    for parent in ("few_finetune_0", "taken_in"):
        stderr = qexp("run", "leaky_finetune", "--pretrain", parent).failed()
        assert "msm_0: core B: 3 of 3 test spectra" in stderr


@pytest.mark.heavy
def test_a_fine_tuned_run_can_be_repeated_bit_for_bit(here, qexp):
    shutil.rmtree(here / "runs/msm_0")
    code, stdout, stderr = qexp("verify", "few_finetune_0")
    assert code == 0, stdout + stderr


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (
            "model.operations.encoder.parameters.heads=4",
            "trained with different parameters: encoder.heads 4 (there 2)",
        ),
        (
            "transforms.spectrum=per_sample",
            'transforms.spectrum {"type": "per_sample", "parameters": {}} (there ',
        ),
        # a run that hides nothing has no such share
        ("model.operations.encoder.parameters.mask_ratio=0.25", None),
    ],
)
def test_a_run_is_told_of_what_differs_from_its_parent_though_the_weights_fit(
    here, qexp, change, remark
):
    code, _, stderr = qexp("run", "few_finetune", "--seeds", "5", "--set", change, "--dry-run")
    assert code == 0, stderr
    assert "with different parameters" not in stderr if remark is None else remark in stderr
