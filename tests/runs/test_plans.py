import json
from collections import Counter

import numpy
import pytest

from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError, QexpError, SpecError
from qexp.kinds import experiments
from qexp.runs.launch import check_order, start
from qexp.runs.order import Order
from qexp.runs.plan import GridAxis, axes_of, plan_run, sweep
from qexp.runs.stacks import in_stacks


def test_keys_with_a_plus_between_them_get_the_same_value():
    (axis,) = axes_of({"a.b+c.d": [0.5, (1, 2)]})
    assert axis == GridAxis("a.b+c.d", (0.5, [1, 2]))
    assert axis.changes == [{"a.b": 0.5, "c.d": 0.5}, {"a.b": [1, 2], "c.d": [1, 2]}]


def test_keys_with_commas_between_them_get_a_value_each():
    (axis,) = axes_of({"a.b,c+d": [(0.5, 1), (2, [3, 4])]})
    assert axis.changes == [{"a.b": 0.5, "c": 1, "d": 1}, {"a.b": 2, "c": [3, 4], "d": [3, 4]}]
    assert axis.texts == ["0.5:1", "2:[3,4]"]
    for values in ([1, 2], [(1, 2, 3)], ["ab"]):
        with pytest.raises(QexpError, match="is not 2 values, one for each key"):
            axes_of({"a,b": values})


@pytest.mark.heavy
def test_values_of_numpy_are_taken_and_many_are_read_at_once():
    (axis,) = axes_of({"learning_rate": numpy.array([0.5, 2.0])})
    assert axis.values == (0.5, 2)
    # each value against each other would take minutes
    (axis,) = axes_of({"seed": list(range(20_000))})
    assert len(axis.values) == 20_000


@pytest.mark.parametrize("keys", ["", "a+", "+a", "a,"])
def test_a_grid_axis_without_keys_is_refused(keys):
    with pytest.raises(QexpError, match="grid"):
        axes_of({keys: [(1, 2)]})


@pytest.mark.parametrize("values", [[], [1, 1], "12", 3])
def test_a_grid_axis_without_values_is_refused(values):
    with pytest.raises(QexpError, match="grid"):
        axes_of({"epochs": values})


def planned(workspace, *, references=("mogi_quick",), seeds=(0,), grid=None, overrides=None):
    order = Order(references, seeds, grid or {}, overrides=overrides or {})
    return sweep(order, Workspace(workspace))


def test_there_are_as_many_stacks_as_runs_work_at_a_time(workspace):
    plans = planned(workspace, seeds=range(4))
    for jobs, sizes in ((1, [4]), (2, [2, 2]), (3, [2, 1, 1])):
        placed = in_stacks(plans, "stack", None, "cpu", jobs)
        counts = Counter(plan.stack.id if plan.stack else plan.name for plan in placed)
        assert sorted(counts.values(), reverse=True) == sizes


@pytest.mark.heavy
def test_a_sweep_is_the_product_of_experiences_grid_and_seeds(workspace):
    grid = {"epochs": [2, 3], "dataset": ["mogi", "mogi_noisy"]}
    plans = planned(workspace, references=["mogi_quick", "mogi_cnn"], seeds=[4, 7], grid=grid)
    points = {(plan.experience, plan.spec["epochs"], plan.dataset, plan.seed) for plan in plans}
    assert len(plans) == len({plan.name for plan in plans}) == len(points) == 16
    assert {
        plan.spec["dataset"]["fixed"]["noise"] for plan in plans if plan.dataset == "mogi_noisy"
    } == {0.01}


def test_a_run_of_a_sweep_is_named_by_experience_and_seed_with_a_digest_where_its_spec_is_changed(
    workspace,
):
    assert [plan.name for plan in planned(workspace, seeds=range(3, 5))] == [
        "mogi_quick_3",
        "mogi_quick_4",
    ]
    first, second = planned(workspace, grid={"epochs": [2, 3]})
    assert first.name == f"mogi_quick_{first.digest[:6]}_0"
    assert first.name != second.name
    assert first.overrides == ("epochs=2",)


@pytest.mark.heavy
def test_a_change_that_changes_nothing_gives_the_plain_name(workspace):
    file = workspace / "specs/experiences/mogi_quick.json"
    rate = json.loads(file.read_text())["learning_rate"]
    plain, other = planned(workspace, grid={"learning_rate": [rate, 2 * rate]})
    assert (plain.name, plain.digest) == ("mogi_quick_0", planned(workspace)[0].digest)
    assert other.name == f"mogi_quick_{other.digest[:6]}_0"
    for key, default in (
        ("description", "another"),
        ("dataset", "mogi"),
        ("dataset.size", [64, 64]),
    ):
        (plan,) = planned(workspace, overrides={key: default})
        assert (plan.name, plan.digest) == ("mogi_quick_0", plain.digest), key


def test_an_experience_that_is_wrong_without_the_change_is_a_changed_one(workspace):
    file = workspace / "specs/experiences/mogi_quick.json"
    for lack, value in (("dataset", "mogi"), ("epochs", 3)):
        document = json.loads(file.read_text())
        document.pop(lack)
        file.with_name("lacking.json").write_text(json.dumps(document))
        (plan,) = planned(workspace, references=["lacking"], overrides={lack: value})
        assert plan.name == f"lacking_{plan.digest[:6]}_0"


@pytest.mark.parametrize("seed", [1.7, "1", None, 1.0, -1, 2**63])
def test_a_seed_that_is_no_integer_or_out_of_range_is_refused_and_not_cut(workspace, seed):
    experience = experiments.experience("mogi_quick", {}, Workspace(workspace))
    for refuse in (
        lambda: planned(workspace, seeds=[seed]),
        lambda: start(Order("mogi_quick", [seed]), Workspace(workspace)),
        lambda: plan_run(experience, seed, "name", Workspace(workspace)),
    ):
        with pytest.raises(QexpError, match="a seed is a whole number"):
            refuse()


def test_seeds_of_numpy_are_taken_but_not_none_at_all(workspace):
    assert [plan.name for plan in planned(workspace, seeds=numpy.arange(2))] == [
        "mogi_quick_0",
        "mogi_quick_1",
    ]
    with pytest.raises(QexpError, match="seeds: no seed"):
        planned(workspace, seeds=[])


@pytest.mark.heavy
def test_each_seed_starts_from_the_run_with_its_own_seed(finished):
    order = Order("sound", [0, 1], overrides={"epochs": 3}, pretrain="sound_{seed}")
    plans = check_order(order, Workspace(finished)).plans
    assert [(plan.seed, plan.parent.name) for plan in plans] == [(0, "sound_0"), (1, "sound_1")]
    assert [plan.overrides[-1] for plan in plans] == [
        "pretrain.run=sound_0",
        "pretrain.run=sound_1",
    ]
    grid = {"pretrain.run": ["sound_{seed}", "sound_0"], "epochs": [3]}
    with pytest.raises(QexpError, match="two runs of the sweep are the same"):
        sweep(Order(["sound"], [0, 1], grid), Workspace(finished))
    with pytest.raises(NotFoundError, match="no run 'sound_7'"):
        check_order(Order("sound", [7], pretrain="sound_{seed}"), Workspace(finished))


def test_the_order_of_changes_does_not_change_a_name(workspace):
    first = planned(workspace, grid={"epochs": [2], "learning_rate": [1e-3]})
    other = planned(workspace, overrides={"learning_rate": 1e-3, "epochs": 2})
    assert [plan.name for plan in first] == [plan.name for plan in other]


PENALTIES = "model.operations.*.parameters.l2"


def test_a_pattern_sets_each_operation_that_has_the_key_as_the_shipped_penalty_does(workspace):
    (plan,) = planned(workspace, references=["mogi_standard"], overrides={PENALTIES: 0.01})
    (published,) = planned(workspace, references=["mogi_standard_as_published"])
    assert plan.digest == published.digest
    blocks = [f"resnet_block_{number}" for number in (1, 2, 3, 4)]
    keys = [PENALTIES.replace("*", name) for name in (*blocks, "denses_1", "denses_2")]
    assert list(plan.overrides) == [f"{key}=0.01" for key in keys], "the record has plain keys"
    assert plan.warnings == (f"the patterns in `overrides` set {', '.join(keys)}",)
    (plain,) = planned(workspace, references=["mogi_standard"], overrides={PENALTIES: 0.0})
    assert plain.name == "mogi_standard_0", "it changes nothing"
    later = {PENALTIES: 0.01, keys[0]: 0.5}
    (changed,) = planned(workspace, references=["mogi_standard"], overrides=later)
    assert changed.overrides[0] == f"{keys[0]}=0.5"
    first = {"model": "mogi_cnn", "model.operations.*.parameters.activation": "relu"}
    (other,) = planned(workspace, references=["mogi_standard"], overrides=first)
    assert any("model.operations.convolution" in text for text in other.overrides), "of that model"


@pytest.mark.parametrize(
    ("pattern", "there"),
    [
        ("model.operations.*.parameters.l3", "'l3'; keys there: .*, l2, filters"),
        ("model.layers.*.l2", "'layers'; keys there: .*, inputs, outputs, operations, branches"),
        ("model.branches.*.x_name", r"'\*'; keys there: none"),
        ("pretrain.*", r"'\*'; keys there: none"),
        ("*.*.*.*.*.*.*", r"'\*'; keys there: none"),
        ("*", "must be"),
    ],
)
def test_a_pattern_of_no_key_says_what_there_is(workspace, pattern, there):
    with pytest.raises(QexpError, match=there):
        planned(workspace, references=["mogi_standard"], overrides={pattern: 0.01})


@pytest.mark.parametrize("argument", ["grid", "space", "pretrain_grid"])
def test_a_pattern_is_no_axis(argument):
    for name in (PENALTIES, f"epochs+{PENALTIES}", f"epochs,{PENALTIES}"):
        with pytest.raises(QexpError, match=f"{argument}.*: a pattern is for overrides alone"):
            axes_of({name: [(0.1, 0.2)]}, argument)


def test_two_runs_of_a_sweep_that_mean_the_same_are_refused(workspace):
    file = workspace / "specs/experiences/mogi_quick.json"
    file.with_name("twin.json").write_text(file.read_text())
    with pytest.raises(
        QexpError, match="two runs of the sweep are the same, mogi_quick_0 and twin_0"
    ):
        planned(workspace, references=["mogi_quick", "twin"])
    with pytest.raises(QexpError, match="two runs would be the same"):
        planned(workspace, grid={"learning_rate": [1e-3, 0.001]})
    with pytest.raises(QexpError, match="two runs of the sweep are the same"):
        planned(workspace, references=["mogi_quick", "mogi_quick"])
    with pytest.raises(QexpError, match="2 is given twice"):
        planned(workspace, seeds=[0, 2, 1, 2])


def test_keys_that_are_changed_together_make_one_axis(workspace):
    plans = planned(workspace, grid={"epochs+batch_size": [2, 3]})
    assert [(plan.spec["epochs"], plan.spec["batch_size"]) for plan in plans] == [(2, 2), (3, 3)]
    assert plans[0].overrides == ("epochs=2", "batch_size=2")
    with pytest.raises(QexpError, match=r'grid\["epochs"\] is given twice'):
        planned(workspace, grid={"epochs+batch_size": [2, 3], "epochs": [4]})


@pytest.mark.heavy
def test_epochs_are_the_most_that_any_candidate_trains(workspace):
    (lunar,) = planned(workspace, references=["lunar_tio2"], overrides={"epochs": 30})
    assert (lunar.spec["epochs"], lunar.epochs) == (30, max(lunar.spec["select"]["epochs"]))


def test_an_axis_over_an_unknown_key_is_a_fault_of_the_spec(workspace):
    with pytest.raises(
        SpecError, match="learning_rat: unknown key 'learning_rat'; did you mean 'learning_rate'"
    ):
        planned(workspace, grid={"learning_rat": [1e-3, 3e-3]})
