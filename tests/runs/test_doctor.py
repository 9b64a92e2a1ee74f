"""The doctor finds each problem that a workspace can have, gives advice, and repairs only what
loses no data.
"""

import json
import math
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from safetensors import safe_open
from safetensors.numpy import save_file

import qexp as package
from qexp.base import folders
from qexp.base.workspace import find
from qexp.upkeep import doctor
from tests import stones
from tests.conftest import mounted
from tests.runs.conftest import contents, running


@pytest.fixture
def root(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of its own in which sound_0 and sound_1 are done, which is the current
    directory.
    """
    root = tmp_path / "place"
    shutil.copytree(finished / "specs", root / "specs")
    for name in ("sound_0", "sound_1"):
        shutil.copytree(finished / "runs" / name, root / "runs" / name)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def examine(root: Path, qexp: Callable) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """`code, findings = examine("--fix")`"""

    def call(*options: str) -> tuple[int, list[dict[str, Any]]]:
        code, stdout, _ = qexp("doctor", "--json", *options)
        return code, json.loads(stdout)

    return call


@pytest.fixture
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written just now counts as old: the time at which a file changed is not ours to
    set.
    """
    monkeypatch.setattr(folders, "STALE_SECONDS", -1.0)


def change(run: Path, **fields: object) -> None:
    (run / "run.json").write_text(
        json.dumps({**json.loads((run / "run.json").read_text()), **fields})
    )


def test_of_a_workspace_that_is_well_nothing_is_found(root, qexp):
    before = contents(root)
    for _ in range(2):
        assert qexp("doctor") == (0, "", "no problems found\n")
        assert qexp("doctor", "--json").stdout == "[]\n"
        qexp("ls")  # now with a catalog
    assert contents(root) == before


WEIGHTS, PREDICTIONS = "checkpoints/best.safetensors", "results/test_predictions.nc"

Damage = Callable[[Path], object]


def removing(file: str) -> Damage:
    return lambda run: (run / file).unlink()


def cutting(file: str, size: int) -> Damage:
    return lambda run: os.truncate(run / file, size)


def changing_weights(change: Callable[[dict[str, Any]], None]) -> Damage:
    def damage(run: Path) -> None:
        with safe_open(run / WEIGHTS, "numpy") as weights:
            names = weights.keys()
            about = weights.metadata()
            tensors = {name: weights.get_tensor(name).copy() for name in names}
        change(tensors)
        save_file(tensors, run / WEIGHTS, about)

    return damage


def break_metrics(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join([lines[0][:20] + b"\n", *lines[1:]]))


def lose_disk(run: Path) -> None:
    shutil.rmtree(run)
    run.symlink_to("/nowhere/sound_0")


@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        (removing(WEIGHTS), WEIGHTS, "is recorded as done, but it is missing"),
        (cutting(WEIGHTS, 5000), WEIGHTS, "is recorded as done, but it cannot be read"),
        (
            changing_weights(lambda tensors: next(iter(tensors.values())).fill(math.nan)),
            WEIGHTS,
            "contains NaN",
        ),
        (
            changing_weights(
                lambda named: named.update({min(named): named[min(named)][:-1].copy()})
            ),
            WEIGHTS,
            "shape",
        ),
        (
            changing_weights(lambda named: named.update(network=named.pop(min(named)))),
            WEIGHTS,
            "another name",
        ),
        (removing(PREDICTIONS), PREDICTIONS, "is recorded as done, but it is missing"),
        (cutting(PREDICTIONS, 500), PREDICTIONS, "is recorded as done, but it cannot be read"),
        (cutting("run.json", 50), "", "run.json cannot be read"),
        (lambda run: change(run, results=[]), "", "$.results is [], not an object"),
        (removing("run.json"), "", "no record"),
        (cutting("spec.json", 50), "", "spec.json cannot be read"),
        (removing("spec.json"), "", "spec.json is missing"),
        (break_metrics, "metrics.jsonl", "line 1: is not a JSON object"),
        (lose_disk, "", "is a link to /nowhere/sound_0, which does not exist"),
    ],
)
def test_damage_is_named_with_advice_and_left_as_it_is(root, examine, qexp, damage, where, what):
    run = root / "runs/sound_0"
    damage(run)
    before = contents(root)
    for options in ((), ("--fix",)):
        code, (finding,) = examine(*options)
        assert code == 5
        assert Path(finding["where"]) == run / where
        assert what in finding["what"]
        assert finding["advice"]
        assert (finding["damaged"], finding["repairable"], finding["repaired"]) == (
            True,
            False,
            False,
        )
    assert contents(root) == before
    code, stdout, stderr = qexp("doctor")
    assert code == 5
    assert stdout.startswith("runs/sound_0")
    assert stderr == "1 found, 0 repaired, 1 damaged\n"


def test_the_advice_for_wrecks_works(root, examine, qexp):
    cutting("run.json", 50)(root / "runs/sound_0")
    os.utime(root / "runs/sound_0/attempts/01/heartbeat", (0, 0))
    lose_disk(root / "runs/sound_1")
    _, findings = examine()
    for finding in findings:
        assert qexp(*finding["advice"].rpartition("qexp ")[2].split()).code == 0
    assert examine() == (0, [])


def test_a_lost_run_is_reported_with_the_command_that_goes_on_with_it(root, examine):
    change(
        root / "runs/sound_0",
        **running(start="another"),
        overrides=["epochs=3", 'callbacks=["a b"]'],
    )
    (root / "runs/sound_0").rename(root / "runs/other")
    before = contents(root)
    code, findings = examine("--fix")
    assert code == 0
    (finding,) = (finding for finding in findings if "its process has ended" in finding["what"])
    assert finding["advice"].endswith("qexp rerun other --resume")
    assert contents(root) == before


def test_a_run_at_work_is_left_alone_whatever_it_looks_like(root, examine, long_ago):
    run = root / "runs/sound_0"
    change(run, **running(), name="other")
    removing(WEIGHTS)(run)
    (run / "metrics.jsonl").write_bytes(b'{"epoch": 1}\n{"epo')
    before = contents(root)
    assert examine("--fix") == (0, [])
    assert contents(root) == before


@pytest.mark.heavy
def test_a_torn_last_line_is_cut_off(root, examine):
    file = root / "runs/sound_0/metrics.jsonl"
    intact = file.read_bytes()
    for torn in (b'{"epoch": 3, "tr', b'{"epoch": 3', b"\xff\n"):
        file.write_bytes(intact + torn)
        code, (finding,) = examine()
        assert (code, finding["damaged"]) == (0, False)
        assert "last line, number 3, is incomplete" in finding["what"]
        assert file.read_bytes() == intact + torn
        code, (finding,) = examine("--fix")
        assert (code, finding["repaired"]) == (0, True)
        assert file.read_bytes() == intact
        assert examine() == (0, [])


def test_the_name_in_a_record_follows_the_folder_and_nothing_else_changes(root, examine, qexp):
    (root / "runs/sound_0").rename(root / "runs/renamed")
    before = json.loads((root / "runs/renamed/run.json").read_text())
    code, (finding,) = examine("--fix")
    assert (code, finding["repaired"]) == (0, True)
    assert json.loads((root / "runs/renamed/run.json").read_text()) == {**before, "name": "renamed"}
    assert examine() == (0, [])


def test_a_catalog_that_fell_behind_is_built_again(root, examine, qexp):
    qexp("ls")
    shutil.copytree(root / "runs/sound_0", root / "runs/new")
    change(root / "runs/new", name="new")
    shutil.rmtree(root / "runs/sound_1")
    code, (finding,) = examine("--fix")
    assert (code, finding["repaired"]) == (0, True)
    assert "lacks 1 runs, and lists 1 that no longer exist" in finding["what"]
    assert examine() == (0, [])


def test_a_catalog_that_cannot_be_repaired_stays_reported(root, examine):
    (root / "runs/catalog.json").mkdir()
    with mounted("-t", "tmpfs", "none", str(root / "runs/catalog.json")):  # it cannot be renamed
        code, (finding,) = examine("--fix")
    assert (code, finding["repaired"]) == (5, False)
    assert "(" in finding["advice"]


LEFTOVERS = [
    "runs/.catalog.json.a1b2c3d4",
    "runs/sound_0/.run.json.a1b2c3d4",
    "runs/sound_0/checkpoints/.best.safetensors.a1b2_3d4",
    "runs/sound_0/labels.txt.lock",
]

NOBODYS_BUSINESS = [
    "runs/sound_0/code/.run.json.a1b2c3d4",
    "runs/sound_0/.notes.backup01",
    "runs/sound_0/.run.json.mine",
    "runs/sound_0/run.json.a1b2c3d4",
    "runs/sound_0/spec.json.lock",
    "runs/sound_0/poetry.lock",
    ".settings.json.20240101",
    "sound.zip",
    "runs/.launches/1/launch.json",
    "runs/README.txt",
    "runs/notes/today.txt",
    "runs/notes/.run.json.a1b2c3d4",
]


def test_what_the_dead_left_is_deleted_and_what_looks_like_it_is_kept(root, examine, long_ago):
    for name in (*LEFTOVERS, *NOBODYS_BUSINESS):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("" if name.endswith(".txt.lock") else "x")
    before = contents(root)
    code, findings = examine()
    assert (code, len(findings), {finding["damaged"] for finding in findings}) == (
        0,
        len(LEFTOVERS),
        {False},
    )
    assert contents(root) == before
    code, findings = examine("--fix")
    assert (code, [finding["repaired"] for finding in findings]) == (0, [True] * len(LEFTOVERS))
    assert set(before) - set(contents(root)) == set(LEFTOVERS)
    assert examine() == (0, [])


def test_what_may_still_be_in_use_is_not_touched(root, examine):
    for name in LEFTOVERS:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("" if name.endswith(".lock") else "x")
        # a copy or an archive can set this time, so it proves nothing
        os.utime(root / name, (0, 0))
    assert examine("--fix") == (0, [])
    assert all((root / name).exists() for name in LEFTOVERS)


def test_a_lock_that_somebody_holds_is_left(root, examine, long_ago):
    with FileLock(root / "runs/sound_0/labels.txt.lock"):
        code, (finding,) = examine("--fix")
        assert (code, finding["repaired"]) == (0, False)
        assert "another process holds it" in finding["advice"]
        assert (root / "runs/sound_0/labels.txt.lock").exists()


def test_drafts_are_found_beside_what_commands_write_and_runs_elsewhere_unless_a_process_is_at_work(
    root, examine, tmp_path
):
    disk = tmp_path / "disk"
    for folder in (
        root / "runs",
        root / "data",
        root / "sub/deep",
        root / "runs/sound_0/actions",
        disk,
    ):
        (folder / ".one.0123abcd.draft").mkdir(parents=True)
    (root / "runs/sound_0").rename(disk / "sound_0")
    (root / "runs/sound_0").symlink_to(disk / "sound_0")
    with folders.drafted(root / "sub/two"), folders.drafted(root / "runs/sound_1"):
        code, findings = examine("--fix")
    assert (code, [finding["repaired"] for finding in findings]) == (0, [True] * 5)
    assert not list(tmp_path.rglob("*.draft"))


def test_files_beside_observations_and_pictures_are_named_but_left(root, examine, long_ago):
    for name in (".o.nc.a1b2c3d4", "sub/.o.png.a1b2c3d4.png", "sub/.page.html.a1b2c3d4"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    code, findings = examine("--fix")
    assert (code, len(findings), {finding["repairable"] for finding in findings}) == (0, 3, {False})


def test_a_folder_that_no_command_finds_is_reported_without_harm_to_the_terminal(root, qexp):
    shutil.copytree(root / "runs/sound_0", root / "runs/my run\n\x1b[31m")
    stdout = qexp("doctor", "--fix").done()
    assert "is not a valid run name" in stdout
    assert "\x1b" not in stdout
    (root / "runs/my run\n\x1b[31m").rename(root / "runs" / os.fsdecode(b"caf\xe9"))
    assert "is not a valid run name" in json.loads(qexp("doctor", "--json").stdout)[0]["what"]


def test_a_run_inside_another_one_is_reported_and_folds_and_copies_of_files_are_not(root, examine):
    (root / "runs/sound_1").rename(root / "runs/sound_0/sound_1")
    (root / "runs/sound_1").symlink_to(root / "runs/sound_0/sound_1")
    for name in ("folds/003", "code/untracked/mine"):
        shutil.copytree(root / "runs/sound_0/sound_1", root / "runs/sound_0" / name)
    (root / "runs/sound_0/results/run.json").write_text('{"a": "file of that name"}')
    code, (finding,) = examine()
    assert (code, finding["where"]) == (0, str(root / "runs/sound_0/sound_1"))
    assert "is a run inside the run sound_0" in finding["what"]


@pytest.mark.heavy
def test_of_a_run_with_folds_the_weights_of_every_fold_are_looked_at(root, examine):
    (root / "specs/models").mkdir(exist_ok=True)
    stones.write(root)
    run = package.run("stones", device="cpu").directory
    assert examine() == (0, [])
    weights = run.fold("003").best_weights
    weights.unlink()
    code, (finding,) = examine()
    assert (code, finding["damaged"], finding["where"]) == (5, True, str(weights))


def test_a_purge_that_was_cut_short_and_a_disk_that_is_nearly_full_are_reported(
    root, examine, monkeypatch
):
    (root / "runs/.trash/.purging-old--20260101T000000.000000Z").mkdir(parents=True)
    monkeypatch.setattr(doctor, "LEAST_ROOM", 10**18)
    code, (cut_short, full) = examine()
    assert (code, cut_short["damaged"], full["damaged"]) == (0, False, False)
    assert "qexp purge" in cut_short["advice"]
    assert "MB left" in full["what"]


def test_an_empty_workspace_is_well_and_a_file_in_the_place_of_the_runs_is_an_error_in_words(
    workspace, qexp
):
    assert qexp("doctor") == (0, "", "no problems found\n")
    (workspace / "runs").write_text("")
    assert "cannot read" in qexp("doctor").refused()
    assert f"{workspace / 'runs'}" in qexp("ls").refused()


def test_a_name_that_is_none_and_a_run_that_is_kept_elsewhere_are_said_and_counted_as_they_are(
    root, qexp, tmp_path
):
    shutil.copytree(root / "runs/sound_0", root / "runs/bad name")
    assert f"'{root}/runs/bad name' is not a valid run name" in qexp("ls").stderr
    shutil.rmtree(root / "runs/bad name")
    before = package.api.status(sizes=True).sizes["runs"]
    (root / "runs/sound_0").rename(tmp_path / "sound_0")
    (root / "runs/sound_0").symlink_to(tmp_path / "sound_0")
    assert package.api.status(sizes=True).sizes["runs"] == pytest.approx(before, abs=5000)


def test_a_matrix_that_a_killed_process_left_half_written_is_one_leftover(examine, root, long_ago):
    draft = root / "runs/sound_0/matrices/.mogi_test.0123abcd.draft"
    draft.mkdir(parents=True)
    (draft / "record.json").write_text("{}")
    (draft / "matrix.nc").touch()
    assert package.open_run("sound_0").directory.matrix_names() == []
    _, (finding,) = examine()
    assert finding["where"] == str(draft)
    assert (
        finding["what"]
        == "was left by a process that was killed while it wrote or replaced mogi_test"
    )
    examine("--fix")
    assert not draft.exists()


@pytest.mark.heavy
def test_a_run_that_is_removed_and_restored_while_the_doctor_looks_is_no_damage(root, examine):
    run, away = root / "runs/sound_0", root / "runs/.away"
    ended = threading.Event()

    def move() -> None:
        while not ended.is_set():
            run.rename(away)
            away.rename(run)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        findings = [finding for _ in range(150) for finding in doctor.findings(find(root))]
    finally:
        ended.set()
        mover.join()
    assert [finding.what for finding in findings if finding.damaged] == []
