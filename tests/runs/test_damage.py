"""Whatever stands in the files of a run, no command ends in a traceback, and no other run is
harmed.

A small part of all changes is tried here, another for each seed; `changes` gives all of them.
"""

import copy
import json
import os
import pickle
import random
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import qexp as package
from qexp.errors import DamagedError
from qexp.store.directory import RunDirectory
from tests import stones
from tests.conftest import call, prepare_with
from tests.runs.conftest import running
from tests.runs.elsewhere import NOBODY
from tests.runs.test_archive import run_of, write_archive
from tests.runs.test_catalog import write_record
from tests.runs.test_versions import STORED

INSTEAD: list[Any] = [None, True, 5, -1.5, "x", [], {}, [1], {"a": 1}]

MISSING = object()

Place = tuple[str | int, ...]


def steps_in(document: Any, path: Place = ()) -> Iterator[Place]:
    """The paths to all values of a document, at every depth."""
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from steps_in(value, (*path, key))


def changes(document: Any) -> list[tuple[Place, Any]]:
    return [(steps, value) for steps in steps_in(document) for value in (*INSTEAD, MISSING)]


def changed(document: Any, steps: Place, value: Any) -> Any:
    copied_document = copy.deepcopy(document)
    around = copied_document
    for step in steps[:-1]:
        around = around[step]
    if value is MISSING:
        del around[steps[-1]]
    else:
        around[steps[-1]] = value
    return copied_document


def lines_of(document: Any) -> str:
    return "".join(json.dumps(line) + "\n" for line in document)


# One bad document among sound ones


QUEUED = {
    "state": "queued",
    "attempts": [],
    "launch": "20260101-000000",
    "job": {"launcher": "slurm", "id": "12_3"},
}

DOCUMENTS = {
    "finished": ("today", "run.json", {}),
    "running": ("today", "run.json", running()),
    "queued": ("today", "run.json", QUEUED),
    "with folds": ("rows", "run.json", {}),
    "fold": ("rows", "folds/001/run.json", {}),
    "pretrained": ("spectra", "run.json", {}),
    "on fields": ("fields", "run.json", {}),
    "spec": ("today", "spec.json", {}),
    "spec on rows": ("rows", "spec.json", {}),
    "spec on fields": ("fields", "spec.json", {}),
    "spec on spectra": ("spectra", "spec.json", {}),
    "metrics": ("today", "metrics.jsonl", {}),
    "labels": ("today", "labels.json", {}),
}

LABELS = {"tags": ["good"], "note": "looks well"}

COMMANDS = (
    ["show", "bad"],
    ["doctor"],
    ["logs", "bad"],
    ["tag", "bad"],
    ["wait", "bad", "--timeout", "0"],
)


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """`beside("today")`: a workspace, the current directory, with that stored run as `bad`; `good`
    is sound.
    """

    def workspace_with(name: str) -> Path:
        (tmp_path / "specs").mkdir()
        for called, source in (("bad", name), ("good", "first")):
            run = tmp_path / "runs" / called
            shutil.copytree(next(STORED.glob(source)), run)
            record = json.loads((run / "run.json").read_text())
            (run / "run.json").write_text(json.dumps(record | {"name": called}))
        (tmp_path / "runs/bad/attempts/01").mkdir(parents=True)
        (tmp_path / "runs/bad/attempts/01/log.txt").write_text("trained\n")
        monkeypatch.chdir(tmp_path)
        return tmp_path / "runs/bad"

    return workspace_with


def some_changes(run: Path, kind: str, count: int) -> Iterator[tuple[Place, Any]]:
    """The file of a run is changed in one place after another."""
    _, file, besides = DOCUMENTS[kind]
    path = run / file
    if file.endswith(".jsonl"):
        original, written = [json.loads(line) for line in path.read_text().splitlines()], lines_of
    else:
        original = LABELS if file == "labels.json" else json.loads(path.read_text()) | besides
        written = json.dumps
    for steps, value in random.Random(7).sample(changes(original), count):
        path.write_text(written(changed(original, steps, value)))
        os.utime(run / "run.json")
        yield steps, value


@pytest.mark.heavy
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_no_change_of_a_document_ends_in_a_traceback_or_hides_another_run(beside, kind):
    for steps, value in some_changes(beside(DOCUMENTS[kind][0]), kind, 12):
        stdout = call("ls").done()
        assert [line.split()[0] for line in stdout.splitlines()] == ["name", "bad", "good"], (
            steps,
            value,
        )
        for command in COMMANDS:
            code = call(*command).code
            assert code in (0, 1, 2, 5), (command, steps, value)
            assert code != 1 or command[0] == "wait", (command, steps, value)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["finished", "with folds", "metrics"])
def test_no_change_of_a_document_ends_a_comparison_in_a_traceback(beside, kind):
    for steps, value in some_changes(beside(DOCUMENTS[kind][0]), kind, 4):
        assert call("compare", "bad", "good").code in (0, 2, 5), (steps, value)


def test_a_damaged_run_is_listed_as_such_with_the_reason_and_can_be_chosen_by_that(beside, qexp):
    run = beside("today")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(
        json.dumps(changed(record, ("attempts", 0, "process", "pid"), "many"))
    )
    code, stdout, stderr = qexp("ls", "--json")
    bad, good = json.loads(stdout)
    assert (code, bad["name"], bad["state"], bad["path"], good["state"]) == (
        0,
        "bad",
        "damaged",
        str(run),
        "done",
    )
    where = '$.attempts[0].process.pid is "many", not a whole number'
    assert where in bad["error"]
    assert stderr.startswith("warning: ")
    assert where in stderr
    assert qexp("ls", "-q", "--status", "damaged").stdout == "bad\n"
    assert qexp("ls", "-q", "--where", "seed >= 0").stdout == "good\n"
    for command in (
        ["show"],
        ["compare", "good"],
        ["wait"],
        ["stop"],
        ["tag"],
        ["tag", "--add", "x"],
        ["note", "--"],
    ):
        code, _, stderr = qexp(command[0], "bad", *command[1:])
        assert (code, where in stderr) == (5, True), command
    assert qexp("wait", "good", "bad").code == 4
    assert qexp("where", "bad").code == 0


def test_the_doctor_names_all_that_is_wrong_with_a_run(beside, qexp):
    run = beside("rows")
    (run / "environment.json").write_text('{"python": 3}')
    (run / "folds/001/run.json").write_text("{}")
    (run / "metrics.jsonl").write_text('{"epoch": 1}\n' * 2)
    spec = json.loads((run / "spec.json").read_text())
    (run / "spec.json").write_text(json.dumps(spec | {"epochs": 7}))
    code, stdout, _ = qexp("doctor")
    assert code == 5
    for finding in (
        "environment.json is damaged: $.python is 3, not a text",
        "folds/001/run.json is damaged: $.name is missing",
        "metrics.jsonl is damaged: line 1: $.train is missing",
        "spec.json was changed, or code/extensions.py removed, after the run was prepared",
        "runs/good/checkpoints/best.safetensors: the run is recorded as done, but it is missing",
    ):
        assert finding in stdout


@pytest.mark.parametrize("python", ["", "3.11", None, ["3.11"]])
def test_an_environment_is_shown_as_far_as_it_goes_and_one_that_no_run_writes_is_a_warning(
    beside, qexp, python
):
    (beside("today") / "environment.json").write_text(
        json.dumps({"python": python, "processor": ""})
    )
    code, stdout, stderr = qexp("show", "bad")
    assert (code, "results" in stdout) == (0, True)
    assert (
        '$.python is ["3.11"], not a text' in stderr if isinstance(python, list) else stderr == ""
    )


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            (
                '{"epoch": 1, "train": {"loss": NaN, "losses": {}}, "validation": {"loss": 1},'
                ' "best": true}'
            ),
            "not a JSON",
        ),
        ('{"epoch": 1, "train": {"loss": 1}, "best": true}', "$.validation is missing"),
        (
            '{"epoch": 1, "train": [1], "validation": {"loss": 1}, "best": true}',
            "$.train is [1], not an object",
        ),
        ("[1, 2]", "not a JSON object"),
    ],
)
def test_a_line_of_metrics_that_no_run_writes_is_named_by_its_number(beside, qexp, line, complaint):
    run = beside("today")
    intact = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(f"{line}\n{intact}")
    code, _, stderr = qexp("compare", "bad", "good")
    assert (code, "metrics.jsonl is damaged: line 1: " in stderr, complaint in stderr) == (
        5,
        True,
        True,
    )
    (run / "metrics.jsonl").write_text(intact + line[:20])  # torn, as by a process that was killed
    assert qexp("compare", "bad", "good").code == 0


@pytest.mark.parametrize("file", ["run.json", "spec.json", "labels.json", "metrics.jsonl"])
def test_nobody_waits_for_a_pipe_in_the_place_of_a_file(beside, qexp, file):
    piped(beside("today") / file)
    assert qexp("ls", "-q").stdout == "bad\ngood\n"
    assert qexp("show", "bad").code == (0 if file == "metrics.jsonl" else 5)
    assert qexp("doctor").code == 5


def test_a_document_that_is_nested_without_end_is_damage(beside, qexp):
    run = beside("today")
    record = json.loads((run / "run.json").read_text())
    text = json.dumps({**record, "deep": 0}).replace(
        '"deep": 0', '"deep": ' + "[" * 900 + "]" * 900
    )
    (run / "run.json").write_text(text)
    code, stdout, stderr = qexp("ls", "-q")
    assert (code, stdout, "nested" in stderr) == (0, "bad\ngood\n", True)
    assert qexp("show", "bad", "--json").code == 5


# What a user may not look at


@contextmanager
def as_a_user_without_rights() -> Iterator[None]:
    """This process as one whom permissions hold back, as they do not root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("linked", [False, True])
def test_a_run_that_may_not_be_looked_at_is_a_warning_and_a_finding(qexp, linked):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = Path(folder)
        root.chmod(0o777)
        (root / "specs").mkdir()
        for name in ("closed", "open"):
            write_record(root, name)
        if linked:
            (root / "elsewhere").mkdir()
            (root / "runs/closed").rename(root / "elsewhere/closed")
            (root / "runs/closed").symlink_to(root / "elsewhere/closed")
        (root / "runs").chmod(0o777)
        qexp("ls", "--workspace", root)  # loads what it needs, and makes the catalog
        (root / "runs/catalog.json").unlink()
        shut = root / "elsewhere" if linked else root / "runs/closed"
        shut.chmod(0)
        try:
            with as_a_user_without_rights():
                listing = qexp("ls", "--json", "--workspace", root)
                show = qexp("show", "closed", "--workspace", root)
                doctor = qexp("doctor", "--json", "--workspace", root)
        finally:
            shut.chmod(0o755)
    assert listing.code == 0
    states = {run["name"]: run["state"] for run in json.loads(listing.stdout)}
    assert states == {"closed": "damaged", "open": "done"}
    assert "Permission denied" in listing.stderr
    assert (show.code, "Permission denied" in show.stderr) == (5, True)
    assert doctor.code == 5
    findings = json.loads(doctor.stdout)
    of_closed = [finding for finding in findings if "closed" in finding["where"]]
    assert [finding["advice"] for finding in of_closed] == ["check its owner and permissions"]
    # what it lacks is found as well
    assert any("runs/open" in finding["where"] for finding in findings)


# Archives


@pytest.mark.parametrize("kind", ["finished", "spec", "metrics", "labels"])
def test_an_archive_with_a_damaged_document_is_refused_and_nothing_of_it_is_written(
    tmp_path, qexp, kind
):
    name, file, _ = DOCUMENTS[kind]
    (tmp_path / "there/specs").mkdir(parents=True)
    source = STORED / name
    record, spec = (json.loads((source / name).read_text()) for name in ("run.json", "spec.json"))
    bad = {
        "finished": ("run.json", json.dumps(changed(record, ("epochs", "done"), "2"))),
        "spec": ("spec.json", json.dumps(changed(spec, ("dataset",), None))),
        "metrics": ("metrics.jsonl", '{"epoch": 1}\n{"epoch": 2}\n'),
        "labels": ("labels.json", '{"tags": 5}'),
    }[kind]
    members = dict(run_of(record=record | {"name": "one"}, spec=spec)) | {
        f"one/{bad[0]}": bad[1].encode()
    }
    archive = write_archive(tmp_path / "x.zip", *members.items())
    assert f"one/{file}" in qexp("import", archive, "--workspace", tmp_path / "there").failed(5)
    assert not list((tmp_path / "there").glob("runs/*/run.json"))


# Weights


def changed_weights(
    change: Callable[[dict[str, Any], str], dict[str, Any]],
) -> Callable[[Path], object]:
    """What writes the same weights but for a change that is made to the first."""

    def write(path: Path) -> None:
        tensors = load_file(path)
        save_file(change(tensors, next(iter(tensors))), path, {"qexp": "{}"})

    return write


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights", "1")


without_numbers = changed_weights(
    lambda weights, name: {**weights, name: torch.full_like(weights[name], torch.nan)}
)


def piped(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


SPOILED: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    "zip": zipped,
    "renamed tensor": changed_weights(
        lambda weights, name: {f"{name}x": weights.pop(name), **weights}
    ),
    "another shape": changed_weights(
        lambda weights, name: {**weights, name: torch.cat([weights[name]] * 2)}
    ),
    "not a number": without_numbers,
    "no metadata": lambda path: save_file(load_file(path), path),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_weights_that_are_not_the_runs_own_are_damage_wherever_they_are_used(here, qexp, spoil):
    best = here / "runs/sound_0/checkpoints/best.safetensors"
    SPOILED[spoil](best)
    commands = [
        ["matrix", "sound_0", "--dataset", "sound"],
        ["export", "sound_0", "--to", here / "out"],
        ["run", "sound", "--seed", "5", "--pretrain", "sound_0", "--device", "cpu"],
    ]
    for command in commands:
        code, _, stderr = qexp(*command)
        assert (code, "best.safetensors is damaged" in stderr) == (5, True), (command[0], stderr)
    with pytest.raises(DamagedError, match=r"best\.safetensors is damaged"):
        package.open_run("sound_0").predict(displacement=[[0.0] * 16] * 16)
    assert not (here / "out").exists()
    assert not (here / "runs/sound_5").exists()
    piped(best)  # which is not waited for
    assert qexp(*commands[0]).code in (2, 5)
    assert not list((here / "runs/sound_0").glob("matrices/*/matrix.nc"))


@pytest.mark.heavy
def test_weights_of_a_fold_that_are_not_its_own_are_damage(specs, qexp):
    stones.write(specs.root)
    package.run("stones", device="cpu")
    without_numbers(RunDirectory(specs.root / "runs/stones_0").fold("002").best_weights)
    table = next((specs.root / "data").glob("*.csv"))
    stderr = qexp("predict", "stones_0", table, "--output", specs.root / "out.csv").failed(5)
    assert "folds/002/checkpoints/best.safetensors is damaged" in stderr
    assert not (specs.root / "out.csv").exists()


# The catalog


@pytest.fixture
def listing(workspace: Path, qexp: Callable[..., Any]) -> Callable[..., list[tuple[str, str]]]:
    """`listing()`: name and state of the runs."""
    for name, state in (("a", "done"), ("b", "failed")):
        write_record(workspace, name, state=state)

    def states(*options: str) -> list[tuple[str, str]]:
        stdout = qexp("ls", "--json", *options).done()
        return [(run["name"], run["state"]) for run in json.loads(stdout)]

    return states


TRUE = [("a", "done"), ("b", "failed")]


def replacing(old: bytes, new: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "mine.txt").write_text("kept")


GARBAGE = (
    "",
    "{",
    "[]",
    "null",
    '{"runs": []}',
    '{"runs": null}',
    '{"runs": 3}',
    '{"runs": {"1": 5}}',
    "\0\0\0",
)

SPOILED_CATALOGS: dict[str, Callable[[Path], object]] = {
    **{text: partial(Path.write_text, data=text) for text in GARBAGE},
    "another state": replacing(b'"state":"failed"', b'"state":"done"'),
    "another number": replacing(b'"mae":0.5', b'"mae":0.1'),
    "another type": replacing(b'"epochs":{"done":1,"of":1,"best":1}', b'"epochs":7'),
    "a row without a number": replacing(b'"runs":{"1"', b'"runs":{"%s"' % (b"9" * 6000)),
    "a pipe": piped,
    "a folder": folder,
}


def damaged_files(qexp):
    findings = json.loads(qexp("doctor", "--json").stdout)
    return [Path(finding["where"]).name for finding in findings if finding["damaged"]]


@pytest.mark.parametrize("spoil", SPOILED_CATALOGS)
@pytest.mark.parametrize("command", ["ls", "reindex", "doctor"])
def test_a_catalog_that_says_something_else_is_never_believed_and_is_built_again(
    workspace, listing, qexp, spoil, command
):
    assert listing() == TRUE
    catalog = workspace / "runs/catalog.json"
    SPOILED_CATALOGS[spoil](catalog)
    if command == "doctor":
        before = catalog.stat().st_ino
        assert "catalog.json" in damaged_files(qexp)
        assert catalog.stat().st_ino == before, "it was only looked at"
        qexp("doctor", "--fix")
        assert "catalog.json" not in damaged_files(qexp)
    elif command == "reindex":
        assert qexp("reindex") == (0, "", "2 runs\n")
    else:
        code, stdout, stderr = qexp("ls", "-q")
        assert (code, stdout, "built again" in stderr) == (0, "a\nb\n", True)
        assert qexp("ls", "-q").stderr == ""
    assert listing() == TRUE
    assert listing("--no-refresh") == TRUE
    assert catalog.is_file()
    kept = [path.read_text() for path in workspace.glob("runs/catalog.json.*/mine.txt")]
    assert kept == ["kept"] * (spoil == "a folder")


@pytest.mark.parametrize(
    "rows",
    [
        {"1": {"stamp": [1, 2, 3], "summary": {"name": "a", "state": "running"}, "process": None}},
        {"1": {"summary": {"name": "a"}}},
        {"a": {"summary": {"name": "a"}, "stamp": [], "process": None}},
    ],
)
def test_a_catalog_of_an_older_version_is_built_again_without_a_word(
    workspace, listing, qexp, rows
):
    assert listing() == TRUE
    catalog = workspace / "runs/catalog.json"
    catalog.write_text(json.dumps({"runs": rows}))
    code, stdout, stderr = qexp("ls", "-q")
    assert (code, stdout, stderr) == (0, "a\nb\n", "")
    assert listing() == TRUE


FLIPPED = [*range(64, 72), 96, 97, 104, 120]
"""Bytes of the head of an HDF5 file; a flip in most of them is no OSError."""


def flip(file: Path, offset: int, intact: bytes) -> None:
    file.write_bytes(intact[:offset] + bytes([intact[offset] ^ 0xFF]) + intact[offset + 1 :])


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
def test_a_flipped_byte_in_an_array_file_is_a_finding_that_hides_no_other(here, qexp):
    file = here / "runs/sound_0/results/test_predictions.nc"
    intact = file.read_bytes()
    torn = here / "runs/sound_0/metrics.jsonl"
    torn.write_text(torn.read_text() + '{"epo')
    drawn = random.Random(7)
    codes = set()
    for offset in [*FLIPPED, *(drawn.randrange(len(intact)) for _ in range(8))]:
        flip(file, offset, intact)
        code, stdout, _ = qexp("doctor", "--json")
        names = [Path(finding["where"]).name for finding in json.loads(stdout)]
        assert "metrics.jsonl" in names, offset
        assert (code == 5) == (file.name in names), offset
        codes.add(code)
        if offset % 4 == 0:
            for command in (
                ("report", "sound_0", "--to", "sound.html"),
                ("figures", "sound_0", "--only", "scatter"),
            ):
                assert qexp(*command).code in (0, 2, 3, 5), (command, offset)
    assert codes == {0, 5}


@pytest.mark.parametrize("split", [[[0.8], 0.1], [0.8], [0.8, 0.1, 0.1], [2, -1], "x", None, {}])
def test_shares_that_are_no_two_shares_are_damage_in_words(here, split):
    prepare_with(here / "runs/sound_0", lambda spec: spec.update(split=split))
    refused = call("evaluate", "sound_0")
    assert (refused.code, "spec.json is damaged: $.split is not two shares" in refused.stderr) == (
        5,
        True,
    )
