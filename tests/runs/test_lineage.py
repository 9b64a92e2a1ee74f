"""Runs that start from weights of others: which weights, what is written down of where they come
from, and shown.
"""

import hashlib
import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import qexp as package
from qexp.store import provenance
from tests.conftest import SOUND, MadeOnce, Specs, call, copied, put
from tests.runs.test_catalog import write_record
from tests.test_imports import CALL_AND_LOOK, HEAVY, said_by_a_new_process

TAKEN = ("block", "look")


@pytest.fixture(scope="session")
def grown(finished: Path, made_once: MadeOnce) -> Path:
    """A workspace with sound_0, fine_0 from two of its operations, and finer_0 from all of fine_0;
    for reading only.
    """
    return made_once("grown", partial(make_grown, finished))


def make_grown(finished: Path, root: Path) -> None:
    shutil.copytree(finished, root, dirs_exist_ok=True)
    experience = SOUND["experience"] | {"learning_rate": 1e-12, "epochs": 1}
    specs = Specs(root)
    specs.write(
        "experience", {**experience, "pretrain": {"run": "sound_0", "operations": [*TAKEN]}}, "fine"
    )
    specs.write("experience", {**experience, "pretrain": "fine_0"}, "finer")
    for name in ("fine", "finer"):
        call("run", name, "--device", "cpu", "--workspace", root).done()


@pytest.fixture
def here(grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, which is the current directory and may be changed."""
    return copied(grown, tmp_path, monkeypatch)


def weights(run: Path) -> dict[str, np.ndarray]:
    return load_file(run / "checkpoints/best.safetensors")


def tensors_of(
    operations: tuple[str, ...], tensors: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return provenance.tensors_of_operations(tensors, operations)


def write(root: Path, **changes: object) -> None:
    """The experience `fine` once more with changes: key, with __ for a dot, to value."""
    document = json.loads((root / "specs/experiences/fine.json").read_text())
    for path, value in changes.items():
        document = put(document, path.replace("__", "."), value)
    Specs(root).write("experience", document, "other")


@pytest.mark.heavy
def test_listed_operations_begin_with_the_weights_of_the_other_run_and_all_else_as_without_it(
    here, qexp
):
    qexp("run", "fine", "--set", "pretrain=null", "--name", "scratch", "--device", "cpu").done()
    parent, child, scratch = (
        weights(here / "runs" / name) for name in ("sound_0", "fine_0", "scratch")
    )
    assert tensors_of(TAKEN, child).keys() == tensors_of(TAKEN, parent).keys() != set()
    for name, value in child.items():
        like, unlike = (parent, scratch) if name in tensors_of(TAKEN, child) else (scratch, parent)
        # A learning rate of nothing leaves the first weights.
        np.testing.assert_allclose(value, like[name], atol=1e-9, err_msg=name)
        if name.endswith("weight"):
            assert not np.allclose(value, unlike[name], atol=1e-9), name


def test_where_none_are_listed_all_operations_and_transforms_are_taken(grown):
    parent, child = weights(grown / "runs/fine_0"), weights(grown / "runs/finer_0")
    assert parent.keys() == child.keys()
    for name, value in child.items():
        np.testing.assert_allclose(value, parent[name], atol=1e-8, err_msg=name)


@pytest.mark.heavy
def test_transforms_are_fitted_here_where_operations_are_listed(here, qexp):
    write(here, transforms={"displacement": "standardize"})
    qexp(
        "run", "other", "--set", "dataset.fixed.noise=0.5", "--name", "noisy", "--device", "cpu"
    ).done()
    assert "sound_0" in package.open_run("noisy").record["parents"]
    fitted = {
        name: value
        for name, value in weights(here / "runs/noisy").items()
        if name.startswith("transforms")
    }
    assert fitted
    # Of noise of half a metre, where the other run saw millimetres and fitted nothing.
    assert any(np.allclose(value, 0.5, rtol=0.2) for value in fitted.values())


@pytest.mark.heavy
@pytest.mark.parametrize("operations", [["block"], ["look"]])
def test_an_input_is_scaled_as_it_was_there_for_an_operation_that_saw_it_and_if_both_ask_for_the_same(
    here, qexp, operations
):
    of_parent = ("transforms.displacement=standardize", "pretrain=null")
    noisy = (
        "transforms.displacement=standardize",
        "dataset.fixed.noise=0.5",
        'pretrain.run="parent"',
    )
    write(here, pretrain__operations=operations)
    for name, overrides in (("parent", of_parent), ("child", noisy)):
        changes = [word for override in overrides for word in ("--set", override)]
        qexp("run", "other", *changes, "--name", name, "--device", "cpu").done()
    parent, child = (
        provenance.tensors_of_transforms(weights(here / "runs" / name), ["displacement"])
        for name in ("parent", "child")
    )
    assert parent.keys() == child.keys() != set()
    sees_it = operations == ["block"]
    same = [np.array_equal(parent[name], child[name]) for name in parent]
    assert all(same) if sees_it else not any(same)
    assert (
        package.open_run("child").record["lineage"][0]["transforms"] == ["displacement"] * sees_it
    )
    assert (
        "(block; displacement scaled as there; digest" in qexp("show", "child").stdout
    ) == sees_it
    shutil.rmtree(here / "runs/parent")
    qexp("verify", "child").done()


@pytest.mark.parametrize(
    ("operations", "first", "taken"),
    [
        (["block"], ["block"], ["displacement"]),
        (["block"], ["halve", "block"], ["displacement"]),
        (["look"], ["block", "look"], []),
        (["block"], [], []),
        (None, [], ["displacement", "depth"]),
    ],
)
def test_the_first_operation_with_weights_is_the_one_that_an_input_is_scaled_for(
    operations, first, taken
):
    transforms = {
        "displacement": {"type": "standardize"},
        "depth": {"type": "standardize"},
        "other": {"type": "log"},
    }
    before = {"model": SOUND["model"], "transforms": transforms}
    spec = {
        **put(before, "model.branches.0.operations", first),
        "pretrain": {"operations": operations},
    }
    names = (
        ("network.operations.{}.weight", ("block", "look")),
        ("transforms.{}.mean", ("displacement", "depth")),
    )
    learned = [form.format(name) for form, of_form in names for name in of_form]
    assert provenance.transforms_taken(spec, before, dict.fromkeys(learned)) == taken


def test_operations_that_do_not_fit_are_listed_tensor_by_tensor_and_none_without_weights_is_taken(
    here, qexp
):
    filters = {"model": put(SOUND["model"], "operations.block.parameters.filters", [5])}
    write(
        here,
        **filters,
        model__operations__look__module="conv",
        model__operations__look__parameters={"filters": [9]},
    )
    stderr = qexp("run", "other").failed()
    assert "the weights of sound_0 do not fit this model:" in stderr
    assert re.search(r"operations\.block.*weight.*\[5, .* here, \[4, .*in sound_0\n", stderr)
    assert re.search(r"operations\.look.*missing here", stderr)
    assert re.search(r"operations\.look.*missing in sound_0", stderr)
    assert "to_depth" not in stderr
    write(here, pretrain__operations=["block", "halve"])
    assert (
        "the operation 'halve' has no weights to take from sound_0" in qexp("run", "other").failed()
    )
    assert not (here / "runs/other_0").exists()


@pytest.mark.heavy
def test_pretrain_on_the_command_line_changes_the_run_and_leaves_the_operations_and_others_may_differ(
    here, qexp
):
    write(here, model=put(SOUND["model"], "operations.to_depth.parameters.filters", [7, 1]))
    qexp("run", "other", "--pretrain", "sound_1", "--name", "another", "--device", "cpu").done()
    pretrain = package.open_run("another").spec["pretrain"]
    assert (pretrain["run"], pretrain["operations"]) == ("sound_1", ["block", "look"])
    assert package.open_run("another").record["overrides"] == ["pretrain.run=sound_1"]


@pytest.mark.parametrize("given", [..., None, "sound_0"])
def test_a_run_to_start_from_can_be_set_where_an_experience_has_none_or_the_name_alone(here, given):
    from qexp.base.workspace import find
    from qexp.kinds.experiments import experience

    write(here, pretrain=given)
    changes = {"pretrain.run": "sound_1", "pretrain.operations": ["block"]}
    pretrain = experience("other", changes, find()).document["pretrain"]
    assert pretrain == {
        "run": "sound_1",
        "operations": ["block"],
        "freeze": [],
        "epochs_frozen": None,
    }
    if given == "sound_0":
        assert (
            experience("other", {"pretrain.operations": ["block"]}, find()).document["pretrain"][
                "run"
            ]
            == "sound_0"
        )


@pytest.mark.parametrize("state", ["failed", "created", "interrupted"])
def test_a_run_to_start_from_that_is_not_done_is_refused_with_its_state(here, qexp, state):
    record = json.loads((here / "runs/sound_0/run.json").read_text())
    (here / "runs/sound_0/run.json").write_text(json.dumps({**record, "state": state}))
    assert f"sound_0 is {state}, not done" in qexp("run", "fine", "--name", "new").failed()
    assert not (here / "runs/new").exists()


def test_a_run_keeps_all_that_it_comes_from_and_show_prints_the_chain(grown, qexp):
    parent, child, grandchild = (
        json.loads((grown / "runs" / name / "run.json").read_text())
        for name in ("sound_0", "fine_0", "finer_0")
    )
    assert child["lineage"][0]["operations"] == [*TAKEN]
    nearest, before = grandchild["lineage"]
    assert before == child["lineage"][0]
    assert (nearest["name"], nearest["operations"]) == ("fine_0", None)
    assert (nearest["digest"], before["digest"]) == (child["digest"], parent["digest"])
    assert (before["experience"], before["seed"], before["created"]) == (
        "sound",
        0,
        parent["created"],
    )
    taken = (grown / "runs/fine_0/checkpoints/pretrained.safetensors").read_bytes()
    assert before["weights"] == {"sha256": hashlib.sha256(taken).hexdigest(), "bytes": len(taken)}
    chain = (
        f"from fine_0 (digest {child['digest'][:16]}) <- sound_0 (block, look; digest"
        f" {parent['digest'][:16]})"
    )
    assert chain in qexp("show", "finer_0", "--workspace", grown).stdout


@pytest.mark.heavy
def test_a_run_from_some_operations_of_a_run_that_is_gone_can_be_repeated_bit_for_bit(here, qexp):
    shutil.rmtree(here / "runs/sound_0")
    shutil.rmtree(here / "runs/fine_0")
    qexp("verify", "finer_0").done()


def test_a_tree_shows_runs_below_what_they_come_from_whether_it_is_gone_or_was_not_asked_for(
    here, qexp
):
    def tree(*arguments: str) -> list[str]:
        stdout = qexp("ls", "--lineage", *arguments).done()
        return [line.partition("  done")[0].rstrip() for line in stdout.splitlines()[1:]]

    assert tree() == ["sound_0", "└─ fine_0", "   └─ finer_0", "sound_1"]
    assert tree("--where", 'name == "finer_0"') == tree()[:3]
    assert qexp("rm", "fine_0").code == 0
    assert tree() == ["sound_0", "└─ fine_0 (gone)", "   └─ finer_0", "sound_1"]
    listing = json.loads(qexp("ls", "--lineage", "--json").stdout)
    before = {run["name"]: (run["parents"], run["ancestors"]) for run in listing}
    assert before["finer_0"] == (["fine_0"], ["fine_0", "sound_0"])
    assert before["sound_1"] == ([], [])


def summaries(**parents: str | None) -> dict[str, dict[str, object]]:
    return {
        name: {"name": name, "parents": [parent] if parent else []}
        for name, parent in parents.items()
    }


def names(tree: list[provenance.TreeRun]) -> list[str]:
    return [f"{len(branch.followed) * '.'}{branch.name}" for branch in tree]


@pytest.mark.heavy
def test_a_tree_keeps_the_order_of_its_runs_also_in_a_circle_of_names_and_in_a_chain_of_thousands():
    runs = summaries(b=None, d="c", c="a", a=None, e="a")
    assert names(provenance.lineage_tree(runs.values(), runs)) == ["b", "a", ".c", "..d", ".e"]
    # runs that took the names of those they come from
    runs = summaries(a="c", b="a", c="b", d="b", e="e")
    assert sorted(branch.name for branch in provenance.lineage_tree(runs.values(), runs)) == [
        "a",
        "b",
        "c",
        "d",
        "e",
    ]
    runs = summaries(r0=None, **{f"r{number}": f"r{number - 1}" for number in range(1, 1500)})
    assert len(provenance.lineage_tree(runs.values(), runs)) == 1500


def test_what_is_gone_is_looked_up_in_one_record_however_many_come_from_it(workspace, opened):
    chain = [{"name": name, "digest": "0", "operations": None} for name in ("gone", "older")]
    for number in range(20):
        write_record(workspace, f"run_{number}", parents=["gone"], lineage=chain)
    runs = {run["name"]: run for run in package.runs()}
    opened.clear()
    tree = provenance.lineage_tree(runs.values(), runs)
    assert names(tree)[:3] == ["older", ".gone", "..run_0"]
    assert [branch.run is None for branch in tree[:3]] == [True, True, False]
    assert len([path for path in opened if path.name == "run.json"]) == 1


def test_options_that_make_no_tree_are_refused(grown, qexp):
    for option in ("-q", "--csv", "--columns=name", "--group=state"):
        stderr = qexp("ls", "--lineage", option, "--workspace", grown).failed()
        assert "--lineage shows whole rows as a tree" in stderr


def test_a_name_of_two_runs_is_one_in_what_was_seen():
    joined = provenance.join_seen(
        "a", {"X": ["1", "2"]}, {"a": {"X": ["2", "3"], "Y": ["4"]}, "b": {"Z": ["5"]}}
    )
    assert joined == {"a": {"X": ["1", "2", "3"], "Y": ["4"]}, "b": {"Z": ["5"]}}


@pytest.mark.heavy
def test_a_tree_is_shown_without_torch(grown, monkeypatch):
    monkeypatch.chdir(grown)
    loaded = said_by_a_new_process(
        CALL_AND_LOOK, json.dumps(HEAVY), json.dumps([["ls", "--lineage"]])
    )
    assert loaded == {"ls --lineage": []}
