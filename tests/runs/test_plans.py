import pytest

from qexp.errors import QexpError, SpecError
from qexp.runs.planning.plans import grid_axis, plan, seeds_of, sweep
from qexp.workspace import Workspace


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0:3", [0, 1, 2]), ("3", [3]), ("0,2,5", [0, 2, 5]), ("7:9,1", [7, 8, 1]), (" 4 , 2", [4, 2])],
)
def test_seeds_are_numbers_and_ranges_whose_end_is_left_out(text, seeds):
    assert seeds_of(text) == seeds


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("3:1", "is empty"),
        ("3:3", "is empty"),
        ("", "write 0:10"),
        ("0:", "write 0:10"),
        (":4", "write 0:10"),
        ("-1", "write 0:10"),
        ("a:b", "write 0:10"),
        ("1,,2", "write 0:10"),
        ("²", "write 0:10"),
        ("0:3,2", "listed twice"),
        ("9223372036854775808", "less than 2^63"),
        ("0:99999999999", "too many"),
    ],
)
def test_seeds_that_are_none_are_refused(text, complaint):
    with pytest.raises(QexpError, match=complaint.replace("^", r"\^")):
        seeds_of(text)


def test_a_grid_axis_is_cut_at_its_commas_but_not_inside_lists_objects_and_quotes():
    assert grid_axis("learning_rate=1e-3,3e-3") == (["learning_rate"], [["learning_rate=1e-3"], ["learning_rate=3e-3"]])
    assert grid_axis("sizes=[8,4,4],[16, 4,4]") == (["sizes"], [["sizes=[8,4,4]"], ["sizes=[16, 4,4]"]])
    assert grid_axis('a.b={"type":"x","p":[1,2]},"c,d"') == (["a.b"], [['a.b={"type":"x","p":[1,2]}'], ['a.b="c,d"']])


def test_keys_with_a_plus_between_them_get_the_same_value():
    assert grid_axis("a.b+c.d=0.5,[1,2]") == (["a.b", "c.d"], [["a.b=0.5", "c.d=0.5"], ["a.b=[1,2]", "c.d=[1,2]"]])
    assert grid_axis("rate=1e+3") == (["rate"], [["rate=1e+3"]])


@pytest.mark.parametrize("text", ["learning_rate", "=1,2", "epochs=", "epochs=1,,2", "epochs=1,1", "a+=1", "+a=1"])
def test_a_grid_axis_that_is_none_is_refused(text):
    with pytest.raises(QexpError, match="--grid"):
        grid_axis(text)


def planned(workspace, *, references=("mogi_quick",), seeds=(0,), grid=(), overrides=()):
    return sweep(references, seeds, grid, overrides, Workspace(workspace))


def test_a_sweep_is_the_product_of_experiences_grid_and_seeds(workspace):
    plans = planned(
        workspace, references=["mogi_quick", "mogi_cnn"], seeds=[4, 7], grid=["epochs=2,3", "dataset=mogi,mogi_noisy"]
    )
    points = {(one.experience, one.spec["epochs"], one.dataset, one.seed) for one in plans}
    assert len(plans) == len({one.name for one in plans}) == len(points) == 16
    assert {one.spec["dataset"]["fixed"]["noise"] for one in plans if one.dataset == "mogi_noisy"} == {0.01}


def test_a_run_of_a_sweep_is_named_by_experience_and_seed_with_a_digest_where_its_spec_is_changed(workspace):
    assert [one.name for one in planned(workspace, seeds=[3, 4])] == ["mogi_quick_3", "mogi_quick_4"]
    first, second = planned(workspace, grid=["epochs=2,3"])
    assert first.name == f"mogi_quick_{first.digest[:6]}_0"
    assert first.name != second.name
    assert first.overrides == ("epochs=2",)


def test_the_order_of_changes_does_not_change_a_name(workspace):
    one = planned(workspace, grid=["epochs=2", "learning_rate=1e-3"])
    other = planned(workspace, overrides=["learning_rate=1e-3", "epochs=2"])
    assert [plan.name for plan in one] == [plan.name for plan in other]


def test_two_points_of_a_grid_that_mean_the_same_are_refused(workspace):
    with pytest.raises(QexpError, match="are the same"):
        planned(workspace, grid=["learning_rate=1e-3,0.001"])
    with pytest.raises(QexpError, match="are the same"):
        planned(workspace, references=["mogi_quick", "mogi_quick"])


def test_keys_that_are_changed_together_make_one_axis(workspace):
    plans = planned(workspace, grid=["epochs+batch_size=2,3"])
    assert [(one.spec["epochs"], one.spec["batch_size"]) for one in plans] == [(2, 2), (3, 3)]
    assert plans[0].overrides == ("epochs=2", "batch_size=2")
    with pytest.raises(QexpError, match="--grid epochs is given twice"):
        planned(workspace, grid=["epochs+batch_size=2,3", "epochs=4"])


def test_an_axis_over_a_key_that_there_is_not_is_a_fault_of_the_spec(workspace):
    with pytest.raises(SpecError, match="learning_rat: unknown key 'learning_rat'; did you mean 'learning_rate'"):
        planned(workspace, grid=["learning_rat=1e-3,3e-3"])
    with pytest.raises(QexpError, match="given twice"):
        planned(workspace, grid=["epochs=2,3", "epochs=4"])


def test_a_plan_refuses_a_seed_that_is_none(workspace):
    from qexp import assemble

    experience = assemble.experience("mogi_quick", [], Workspace(workspace))
    for seed in (-1, 2**63):
        with pytest.raises(QexpError, match="a seed is a whole number"):
            plan(experience, seed, "name", Workspace(workspace))
