"""A new run from the spec that a run holds: by the present code, or by that of the commit that
trained it.
"""

import json
import shutil
from pathlib import Path

import pytest

import qexp as package
from qexp.store import provenance

EXTENSIONS = """
from qexp.extend import Entry, Metric

always = Metric(lambda estimate, truth: {value}, best="lowest", unit="")
METRICS = {{"always": Entry(build=lambda: always, parameters={{}}, help="A number.", example={{"type": "always"}})}}
"""


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def weights(name: str) -> bytes:
    return (package.open_run(name).path / "checkpoints/best.safetensors").read_bytes()


@pytest.mark.heavy
def test_a_run_is_trained_again_to_the_same_bits_whatever_its_spec_has_become(here, qexp):
    for path in here.glob("specs/*/*.json"):
        path.write_text("{}")
    assert qexp("rerun", "sound_0", "--device", "cpu", "--tag", "again").code == 0
    assert qexp("rerun", "sound_0", "--device", "cpu").code == 0
    before = package.open_run("sound_0").record
    for name in ("sound_0_rerun", "sound_0_rerun_2"):
        record = package.open_run(name).record
        for key in ("digest", "seed", "experience", "dataset", "model", "overrides", "results"):
            assert record[key] == before[key]
        assert record["rerun_of"] == "sound_0"
        assert weights(name) == weights("sound_0")
    assert [run["name"] for run in package.runs(tags=["again"])] == ["sound_0_rerun"]
    assert [run["name"] for run in package.runs("rerun_of == 'sound_0'")] == [
        "sound_0_rerun",
        "sound_0_rerun_2",
    ]
    assert "rerun of     sound_0\n" in qexp("show", "sound_0_rerun").stdout


@pytest.mark.heavy
def test_a_run_keeps_what_its_spec_meant_when_that_which_it_extends_has_changed(
    specs, tmp_path_factory, qexp
):
    specs.write("experience", {"extends": "sound", "epochs": 1}, "child")
    sweep = ("run", "child", "--grid", "batch_size=4,8", "--device", "cpu")
    qexp(*sweep).done()
    names, shared = [run["name"] for run in package.runs()], tmp_path_factory.mktemp("shared")
    change(specs.root / "specs/experiences/sound.json", learning_rate=0.5)
    assert "another spec exists already" in qexp(*sweep).refused()
    assert "identical, bit for bit" in qexp("verify", names[0]).done()
    qexp("push", shared, *names).done()
    qexp("rm", "--yes", *names).done()
    for path in specs.root.glob("specs/*/*.json"):
        path.unlink()
    qexp("pull", shared).done()
    assert qexp("rerun", names[1], "--name", "again", "--device", "cpu").code == 0
    assert weights("again") == weights(names[1])
    assert package.open_run("again").record["digest"] == package.open_run(names[1]).record["digest"]


@pytest.mark.heavy
def test_a_new_seed_and_new_values_are_recorded_and_change_the_run(here, qexp):
    options = ("--seed", "4", "--set", "epochs=1", "--name", "other", "--device", "cpu")
    assert qexp("rerun", "sound_0", *options).code == 0
    record = package.open_run("other").record
    assert (record["seed"], record["epochs"]["of"], record["overrides"]) == (4, 1, ["epochs=1"])
    assert record["digest"] != package.open_run("sound_0").record["digest"]
    assert (
        "a run other exists already; choose another --name"
        in qexp("rerun", "sound_0", *options).failed()
    )


@pytest.mark.heavy
def test_the_extensions_are_those_that_the_run_holds(specs, qexp):
    extensions = specs.root / "specs/extensions.py"
    extensions.write_text(EXTENSIONS.format(value=1.5))
    specs.spoil("experience", ("metrics", {"depth": ["always"]}))
    assert qexp("run", "sound", "--device", "cpu").code == 0
    extensions.write_text(EXTENSIONS.format(value=2.5))
    assert qexp("rerun", "sound_0", "--device", "cpu").code == 0
    first, again = (package.open_run(name) for name in ("sound_0", "sound_0_rerun"))
    assert (
        first.results["test"]["depth"]["always"] == again.results["test"]["depth"]["always"] == 1.5
    )
    assert first.record["digest"] == again.record["digest"]


@pytest.mark.heavy
def test_a_run_with_folds_is_repeated_as_a_whole(run, qexp):
    before = run()
    assert qexp("rerun", before.name, "--device", "cpu").code == 0
    again = package.open_run(f"{before.name}_rerun")
    assert again.record["digest"] == before.record().digest
    assert again.results == package.open_run(before.name).results
    stderr = qexp("rerun", f"{before.name}/folds/{before.all_folds()[0].name}").failed()
    assert "is a fold; rerun the run that it belongs to" in stderr


@pytest.mark.heavy
def test_a_program_that_was_changed_is_told_of(workspace, qexp):
    assert (
        qexp("run", "half_width", "--name", "half_width_0", "--set", "parameters.samples=20").code
        == 0
    )
    assert qexp("rerun", "half_width_0").stderr.count("warning") == 0
    program = workspace / "specs/programs/half_width.py"
    program.write_text(f"{program.read_text()}\n# changed\n")
    assert (
        "files that half_width_0 was made from have changed since"
        in qexp("rerun", "half_width_0").stderr
    )
    digests = [
        package.open_run(f"half_width_0{end}").record["digest"]
        for end in ("", "_rerun", "_rerun_2")
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.fixture
def repository() -> str:
    """qexp's own repository. Skips where there is none."""
    found = provenance.own_repository()
    if found is None:
        pytest.skip("qexp is not in a git repository here")
    return found


@pytest.mark.heavy
def test_a_run_is_repeated_by_the_code_of_its_commit(repository, here, qexp):
    file = here / "runs/sound_0/environment.json"
    commit = json.loads(file.read_text())["qexp"]["commit"]
    (here / "around.sh").write_text('touch "$0.called"; exec "$@"')
    (here / "qexp.toml").write_text('wrap = "sh {workspace}/around.sh"')
    qexp("rerun", "sound_0", "--at-commit", "--device", "cpu").done()
    assert (here / "around.sh.called").exists()
    again = package.open_run("sound_0_rerun")
    assert json.loads((again.path / "environment.json").read_text())["qexp"]["commit"] == commit
    assert weights("sound_0_rerun") == weights("sound_0")
    assert again.record["digest"] == package.open_run("sound_0").record["digest"]


@pytest.mark.parametrize(
    ("commit", "options", "complaint"),
    [
        ("0" * 40, [], "does not have the commit 0000000"),
        (
            None,
            [],
            "sound_0 does not say at which commit qexp trained it; rerun it without --at-commit",
        ),
        (
            "",
            ["--set", "epochs=1"],
            "--at-commit runs the spec as it was written then; leave out --set",
        ),
    ],
)
def test_what_cannot_be_had_at_its_commit_is_refused_and_nothing_is_written(
    repository, here, qexp, commit, options, complaint
):
    if commit != "":
        change(here / "runs/sound_0/environment.json", qexp={"commit": commit, "source": "0"})
    assert (
        complaint in qexp("rerun", "sound_0", "--at-commit", "--device", "cpu", *options).failed()
    )
    assert not (here / "runs/sound_0_rerun").exists()


@pytest.mark.heavy
def test_the_code_of_an_imported_run_is_not_executed_without_permission(here, qexp):
    (here / "specs/extensions.py").write_text("own = True\n")
    qexp("run", "sound", "--name", "own", "--set", "epochs=1", "--device", "cpu").done()
    qexp("export", "own", "--to", "a.zip").done()
    shutil.rmtree(here / "runs/own")
    qexp("import", "a.zip").done()
    assert "is not executed without permission" in qexp("rerun", "own").failed()
