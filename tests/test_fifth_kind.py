"""A kind of dataset is added from outside: an extension of a workspace, and nothing else."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qexp as package
from qexp.errors import DamagedError, SpecError
from qexp.spec.kinds import KINDS, kind_named
from qexp.store.directory import RunDirectory
from qexp.testing import check_kind
from tests.conftest import Specs, call, read_estimates

SPOTS: dict[str, dict[str, Any]] = {
    "dataset": {"type": "images", "path": "spots", "labels": ["radius"], "units": {"radius": "mm"}},
    "model": {
        "inputs": {"image": {"size": [8, 8, 1]}},
        "outputs": ["radius"],
        "operations": {
            "look": {"module": "denses", "parameters": {"filters": [8, 1], "activation": "silu"}}
        },
        "branches": [{"x_name": "image", "y_name": "radius", "operations": ["look"]}],
    },
    "experience": {
        "model": "spots",
        "dataset": "spots",
        "inputs": ["image"],
        "outputs": ["radius"],
        "split": [0.75, 0.25],
        "epochs": 3,
        "batch_size": 4,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "losses": {"radius": "mse"},
    },
}

KIND = Path(__file__).with_name("fifth_kind.py")

UNKNOWN = "no dataset type 'images'; known: generated, gridded, simulated, spectra, tabular"


def draw(folder: Path, count: int) -> None:
    """Images of discs, an eighth of them for the test."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[-3.5:4, -3.5:4]
    lines = ["file,part,radius"]
    for number in range(count):
        radius = 1 + 2 * number / count
        np.save(folder / f"{number:02d}.npy", (np.hypot(y, x) < radius).astype(np.float32))
        lines.append(f"{number:02d}.npy,{'test' if number % 8 == 3 else 'train'},{radius}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def spots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Specs]:
    """A workspace with an experience on images, which is the current directory; nothing says what
    images are yet.
    """
    monkeypatch.chdir(tmp_path)
    for variable in ("QEXP_WORKSPACE", "QEXP_DATA"):
        monkeypatch.delenv(variable, raising=False)
    draw(tmp_path / "data/spots", 32)
    yield Specs(tmp_path, SPOTS, "spots")
    KINDS.own.pop("images", None)


@pytest.fixture
def known(spots: Specs) -> Specs:
    """The same, with an extension that says it."""
    shutil.copy(KIND, spots.root / "specs/extensions.py")
    return spots


@pytest.fixture
def trained(known: Specs) -> package.Run:
    return package.run("spots", seed=1, device="cpu")


def test_it_trains_and_is_listed_and_shown_and_without_its_results_it_is_not_evaluated(
    trained, qexp
):
    assert trained.state == "done"
    assert trained.record["units"] == {"radius": "mm"}
    assert {"mae", "rmse", "r2"} <= trained.results["test"]["radius"].keys()
    (listed,) = json.loads(qexp("ls", "--json").stdout)
    assert (listed["name"], listed["state"], listed["dataset"]) == ("spots_1", "done", "spots")
    shown = qexp("show", "spots_1").stdout
    assert f"images         spots, SHA-256 {trained.spec['dataset']['fingerprint'][:16]}…" in shown
    assert trained.spec["turn"] is False
    assert not {"sizes", "patches", "select"} & trained.spec.keys()
    (trained.directory.results / "estimates.csv").unlink()
    code, stdout, stderr = qexp("doctor")
    assert (code, "estimates.csv" in stdout + stderr) == (5, True)


@pytest.mark.heavy
@pytest.mark.usefixtures("drawn")
def test_its_figures_are_drawn_by_the_run_and_again_when_asked_for(trained, qexp):
    figures = trained.directory.results / "figures"
    drawn = {path.name: path.read_bytes() for path in figures.iterdir()}
    assert drawn.keys() == {"learning_curve.png", "estimates.png"}
    for name in drawn:
        (figures / name).unlink()
    assert qexp("figures", "spots_1").code == 0
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == drawn


def test_it_passes_what_authors_of_others_have_to_pass(known):
    check_kind("spots", known.root, ["evaluate", "predict", "look", "figures"])


@pytest.mark.heavy
def test_it_is_looked_at(known, qexp):
    command = (
        "data",
        "show",
        "--experience",
        "spots",
        "--part",
        "validation",
        "--out",
        "seen",
        "--json",
    )
    seen = json.loads(qexp(*command).done())
    assert seen["parts"] == ["train", "validation", "test"]
    assert {row["variable"]: row["n"] for row in seen["variables"]} == {
        "radius": 7,
        "image": 7 * 64,
    }
    assert seen["figures"] == ["seen/validation_samples.png"]
    assert Path("seen/validation_samples.png").read_bytes().startswith(b"\x89PNG")
    assert package.samples("spots", "test")["radius"].sizes == {"sample": 4}


def test_without_a_view_of_its_own_that_is_said(known, qexp):
    text = KIND.read_text(encoding="utf-8")
    (known.root / "specs/extensions.py").write_text(
        text.replace("        look=LabelledImages,\n", "")
    )
    assert (
        "'spots' cannot be shown: datasets of the type 'images' have no view"
        in qexp("data", "show", "spots").failed()
    )


def test_it_estimates_other_images_and_is_evaluated_on_them(trained, qexp, tmp_path):
    draw(tmp_path / "new", 5)
    qexp("evaluate", "spots_1", "--input", tmp_path / "new").done()
    evaluation = trained.evaluations["new"]
    assert (evaluation.samples, evaluation.independent) == (5, None)
    assert evaluation.results["all"]["radius"].keys() == trained.results["test"]["radius"].keys()
    code, _, stderr = qexp("predict", "spots_1", "new", "--output", "new.csv")
    assert (code, "5 images" in stderr) == (0, True), stderr
    rows = read_estimates(tmp_path / "new.csv")
    image = np.load(tmp_path / "new/03.npy")
    assert float(rows[3]["radius"]) == pytest.approx(
        float(trained.predict(image=image)["radius"]), rel=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("dataset", "labels", ["radius", "image"], "at $.labels[1]: 'image' is the image itself"),
        ("dataset", "labels", ["height"], "at $.labels[0]: "),
        ("dataset", "label", "radius", "at $.label: unknown key 'label'; did you mean 'labels'?"),
        ("dataset", "path", "spot", "at $.path: there is no "),
        ("experience", "split", "leave_one_out", "at $.split: images are divided by shares"),
        ("experience", "batch_size", 40, "at $.batch_size: there are 21 training images"),
        (
            "experience",
            "sizes",
            [8, 4, 4],
            "'sizes' is for generated datasets, but this one is of the type 'images'",
        ),
        (
            "experience",
            "members",
            3,
            "'members' is for tabular datasets, but this one is of the type 'images'",
        ),
        ("experience", "inputs", ["picture"], "at $.inputs[0]: the dataset has no 'picture'"),
    ],
)
def test_a_bad_spec_is_told(known, problems, kind, path, value, said):
    known.spoil(kind, (path, value))
    assert any(said in line for line in problems("specs/experiences/spots.json"))


def test_its_schema_and_its_entry_are_printed(known, qexp):
    assert (
        "images"
        in json.loads(qexp("schema", "dataset").stdout)["else"]["properties"]["type"]["enum"]
    )
    training = json.loads(qexp("schema", "experience").stdout)["$defs"]["training"]
    assert training["properties"]["turn"]["x-dataset"] == "images"
    assert "labels" in qexp("tables", "datasets", "images").stdout


@pytest.mark.slow
def test_a_dataset_is_opened_once_by_a_run(known, monkeypatch):
    assert call("validate", "specs/experiences/spots.json").code == 0
    data = kind_named("images").data
    monkeypatch.setattr(data, "opened", 0)
    package.run("spots", device="cpu")
    assert data.opened == 1


def test_without_the_extension_the_type_is_unknown_and_not_taken_for_another(spots, problems):
    assert [line for line in problems("specs/datasets/spots.json") if UNKNOWN in line]
    (said,) = problems("specs/experiences/spots.json")
    assert UNKNOWN in said
    with pytest.raises(SpecError, match="no dataset type 'images'"):
        package.run("spots")


def test_a_run_brings_its_kind_along_and_without_it_is_listed_and_damaged_where_its_data_matter(
    trained, qexp
):
    """The workspace may have another extension by now, or none."""
    Path("specs/extensions.py").unlink()
    del KINDS.own["images"]
    assert "images         spots" in qexp("show", "spots_1").stdout
    qexp("export", "spots_1", "--to", "spots.zip").done()
    qexp("import", "spots.zip", "--name", "theirs").done()
    del KINDS.own["images"]
    assert "repeat the command with --trust-code" in qexp("show", "theirs").stderr
    assert "images         spots" in qexp("show", "theirs", "--trust-code").done()
    qexp("rm", "theirs").done()
    assert KINDS.keys() > {"images"}
    trained.directory.extensions.unlink()
    del KINDS.own["images"]
    assert qexp("ls", "-q").stdout.split() == ["spots_1"]
    with pytest.raises(
        DamagedError, match=r"code/extensions.py removed, after the run was prepared"
    ):
        RunDirectory(Path("runs/spots_1")).spec()
    assert call("show", "spots_1").code == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("KINDS = []", "KINDS must be a dictionary"),
        (
            "KINDS = {'images': 7}",
            "KINDS['images'] must be a qexp.extend.Kind, or the name of a package",
        ),
        ("KINDS = {'tabular': 'mine'}", "KINDS has 'tabular', which qexp has already; rename it"),
        ("KINDS = {'images': 'no.such.package'}", "KINDS['images']: No module named 'no'"),
    ],
)
def test_what_is_no_kind_is_told(spots, qexp, line, said):
    (spots.root / "specs/extensions.py").write_text(line)
    assert f"extensions.py: {said}" in qexp("validate", "specs/experiences/spots.json").failed()


def by_another_process(*arguments: object) -> str:
    command = [sys.executable, "-m", "qexp", *map(str, arguments)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, (command, outcome.stderr)
    return outcome.stdout


@pytest.mark.heavy
def test_it_goes_through_every_command_that_starts_other_processes(known, tmp_path, monkeypatch):
    sweep = ("--grid", "learning_rate=0.01,0.02", "--seeds", "0:2")
    by_another_process("run", "spots", *sweep, "-j", 2, "--device", "cpu")
    runs = by_another_process("ls", "-q").split()
    assert len(runs) == 4
    by_another_process("study", "spots", *sweep, "--metric", "radius.mae")
    assert len(by_another_process("ls", "-q").split()) == 4, "the study has its runs already"
    (known.root / "specs/extensions.py").unlink()
    assert "images         spots" in by_another_process("show", runs[0])
    by_another_process("verify", runs[0])
    by_another_process("rerun", runs[0], "--name", "again")
    by_another_process("report", runs[0], "--to", "run.html")
    by_another_process("export", runs[0], "--to", "run.zip")
    assert "SHA-256" in Path("run.html").read_text(encoding="utf-8")
    other = tmp_path / "elsewhere"
    (other / "specs").mkdir(parents=True)
    monkeypatch.chdir(other)
    by_another_process("import", tmp_path / "run.zip", "--trust-code")
    assert "images         spots" in by_another_process("show", runs[0])
    by_another_process("figures", runs[0])
    by_another_process("doctor")
