import pytest

from qexp import api
from qexp.errors import QexpError
from qexp.runs.columns import Columns, choose, compared, field, groups, ordered
from qexp.runs.options import ListOptions
from qexp.runs.where import selected
from qexp.store.record import LISTED

RUNS = [
    {
        "name": "cnn_0",
        "state": "done",
        "seed": 0,
        "error": None,
        "tags": ["best", "paper"],
        "epochs": {"done": 20, "of": 20, "best": 17},
        "results": {"test": {"depth": {"mae": 0.3, "r2": None}}},
    },
    {
        "name": "cnn_1",
        "state": "failed",
        "seed": 1,
        "error": "diverged",
        "tags": [],
        "epochs": {"done": 3, "of": 20, "best": None},
        "results": {},
    },
    {
        "name": "unet_7",
        "state": "done",
        "seed": 7,
        "error": None,
        "tags": ["paper"],
        "epochs": {"done": 20, "of": 20, "best": 20},
        "results": {"test": {"depth": {"mae": 0.1, "r2": 0.9}, "width": {"mae": 2.0}}},
    },
]


def chosen(where, runs=RUNS):
    def look(name):
        return lambda run: compared(name, field(run, name))

    return [run["name"] for run in selected(runs, where, look)]


def complaint(call, *arguments, **others):
    with pytest.raises(QexpError) as caught:
        call(*arguments, **others)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("seed < 5", ["cnn_0", "cnn_1"]),
        ("seed <= 0", ["cnn_0"]),
        ("seed > 1", ["unet_7"]),
        ("seed >= 1", ["cnn_1", "unet_7"]),
        ("seed == 1.0", ["cnn_1"]),
        ("seed != 1", ["cnn_0", "unet_7"]),
        ("0 < seed < 7", ["cnn_1"]),
        ("0 < seed <= 7 != 8", ["cnn_1", "unet_7"]),
        ("seed > -1", ["cnn_0", "cnn_1", "unet_7"]),
        ("-seed < -1", ["unet_7"]),
        ("seed in [0, 7]", ["cnn_0", "unet_7"]),
        ("seed in (1, 2)", ["cnn_1"]),
        ("seed in [true, 7]", ["unet_7"]),
        ("seed not in [0, 7]", ["cnn_1"]),
        ("'paper' in tags", ["cnn_0", "unet_7"]),
        ("'best' in tags and 'paper' in tags", ["cnn_0"]),
        ("tags == []", ["cnn_1"]),
        ("'cnn' in name", ["cnn_0", "cnn_1"]),
        ("name > 'cnn_0'", ["cnn_1", "unet_7"]),
        ("state == 'done' and seed < 5", ["cnn_0"]),
        ("state == 'failed' or seed == 7", ["cnn_1", "unet_7"]),
        ("not state == 'done'", ["cnn_1"]),
        ("not (seed == 0 or seed == 1)", ["unet_7"]),
        ("seed == 0 or seed == 1 and state == 'done'", ["cnn_0"]),
        ("results.test.depth.mae < 0.2", ["unet_7"]),
        ("results.test.depth.mae < 1e9", ["cnn_0", "unet_7"]),
        ("epochs.done == epochs.of", ["cnn_0", "unet_7"]),
        ("epochs.done < epochs.of", ["cnn_1"]),
        ("epochs.best > 17", ["unet_7"]),
        ("epochs == 20 and seed < 5", ["cnn_0", "cnn_1"]),
        ("epochs < 20", []),
        ("error", ["cnn_1"]),
        ("not error", ["cnn_0", "unet_7"]),
        ("True", ["cnn_0", "cnn_1", "unet_7"]),
        ("false", []),
        ("  seed < 5 ", ["cnn_0", "cnn_1"]),
        # What a run does not have.
        ("error == None", ["cnn_0", "unet_7"]),
        ("error is None", ["cnn_0", "unet_7"]),
        ("error == null", ["cnn_0", "unet_7"]),
        ("error is not None", ["cnn_1"]),
        ("error != null", ["cnn_1"]),
        ("not results.test.depth.mae < 0.2", ["cnn_0"]),
        ("not (results.test.depth.mae < 0.2 or seed > 1)", ["cnn_0"]),
        ("not (results.test.depth.mae < 0.2 and seed == 7)", ["cnn_0", "cnn_1"]),
        ("not results.test.depth.mae < 0.2 or seed == 1", ["cnn_0", "cnn_1"]),
        ("results.test.depth.mae == None", ["cnn_1"]),
        ("results.test.width.mae > 0", ["unet_7"]),
        ("results.test.width.mae <= 0", []),
        ("not results.test.width.mae > 0", []),
        ("results.test.depth.r2 < 1", ["unet_7"]),
        ("-results.test.depth.mae < 0", ["cnn_0", "unet_7"]),
        ("results.no.such.thing < 1", []),
        ("seed.deeper == 1", []),
        ("'a' in error", []),
        ("error in ['diverged', 'slow']", ["cnn_1"]),
        ("error not in ['diverged']", []),
        ("None < 3", []),
    ],
)
def test_an_expression_chooses_the_runs_for_which_it_holds_and_tells_nothing_of_what_a_run_does_not_have(
    where, names
):
    assert chosen(where) == names


def test_a_state_and_an_expression_must_both_hold_and_a_state_that_there_is_not_is_answered_with_the_nearest():
    columns = Columns(RUNS)
    assert choose(columns, ListOptions(status="done")) == [RUNS[0], RUNS[2]]
    assert choose(columns, ListOptions("seed > 0", status="done")) == [RUNS[2]]
    assert choose(columns, ListOptions()) == RUNS
    assert complaint(choose, columns, ListOptions(status="finished")).startswith(
        'status="finished": no such state; known: created, '
    )
    dome = complaint(choose, columns, ListOptions(status="dome"))
    assert dome == "status=\"dome\": no such state; did you mean 'done'?"
    for state in LISTED:
        choose(columns, ListOptions(status=state))


def test_a_field_that_there_is_not_is_answered_with_the_nearest():
    assert complaint(chosen, "sead < 5") == "no field 'sead'; did you mean 'seed'?"
    assert (
        complaint(chosen, "resutls.test.depth.mae < 5")
        == "no field 'resutls'; did you mean 'results'?"
    )
    assert complaint(chosen, "vesuvius").startswith(
        "no field 'vesuvius'; known: epochs, error, name,"
    )


def test_a_field_goes_deep_with_dots_and_is_none_where_nothing_is_and_no_attribute_of_python():
    assert chosen("name.__class__ != None") == []
    assert chosen("tags.append") == []
    assert complaint(chosen, "__builtins__ != None").startswith("no field '__builtins__'")
    assert field(RUNS[0], "epochs.best") == 17
    assert field(RUNS[0], "results.test.depth") == {"mae": 0.3, "r2": None}
    assert field(RUNS[1], "results.test.depth.mae") is None
    assert [field({"tags": ["a", "b"]}, path) for path in ("tags.1", "tags.2", "tags.x")] == [
        "b",
        None,
        None,
    ]
    assert field(RUNS[0], "name.upper") is None


@pytest.mark.parametrize(
    "where",
    [
        "__import__('os').getcwd()",
        "open('/etc/passwd')",
        "(lambda: True)()",
        "lambda: True",
        "[tag for tag in tags]",
        "{tag: 1 for tag in tags}",
        "name[0] == 'c'",
        "f'{name}' == 'cnn_0'",
        "seed + 1 < 3",
        "2 ** 100 ** 100 > seed",
        "~seed < 0",
        "+seed < 1",
        "seed if seed else 1",
        "(seed := 3)",
        "{1, 2}",
        "{'a': 1}",
        "[*tags]",
        "max(seed, 1) < 3",
        "seed < len(name)",
        "not open('x')",
        "[open('x')] == 1",
        "seed < 1 or open('x')",
        "results[0] < 1",
        "results[name] < 1",
        "results['a':'b'] < 1",
    ],
)
def test_what_could_compute_or_execute_is_refused_before_any_run_is_looked_at(where):
    assert "only comparisons, and, or, not, in, numbers and texts are allowed" in complaint(
        chosen, where
    )


@pytest.mark.parametrize(
    "where",
    ["''.__class__", "(1).real == 1", "[].append", "'a'.upper.x", "(seed < 1).x", "'a'['b'] < 1"],
)
def test_a_dot_may_only_follow_a_field(where):
    assert "a dot must follow a field, as in results.test.depth.mae" in complaint(chosen, where)


@pytest.mark.parametrize(
    "where",
    [
        "seed <",
        "< 5",
        "seed < 5)",
        "'open",
        "seed seed",
        "import os",
        "seed; seed",
        "a\0b",
        "not",
        "1 if",
    ],
)
def test_what_is_no_expression_is_refused_with_an_example(where):
    message = complaint(chosen, where)
    assert message.startswith(f"where: cannot understand {where!r}")
    assert message.endswith('write, for example, "seed < 5"')


def test_values_that_cannot_be_compared_and_a_minus_before_what_is_no_number_are_reported_as_such():
    for where in ("name < 3", "seed < 'a'", "3 in seed", "results < 5", "tags > 1", "'a' < 1"):
        assert complaint(chosen, where).startswith(f"where: cannot compare {where}: "), where
    for where in ("-name < 3", "-'a' < 3", "-tags < 3"):
        assert complaint(chosen, where).startswith("where: "), where


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ("tags == 'paper'", "tags is a list; write 'paper' in tags"),
        ("'paper' != tags", "tags is a list; write 'paper' not in tags"),
        ("tags in ['best', 'paper']", "tags is a list; write 'best' in tags or 'paper' in tags"),
        ("tags in 'paper'", "tags is a list; write 'paper' in tags"),
        ("seed in (7)", "behind 'in' stands a list or a text; write seed in [7]"),
        ("results.test == 0.3", "results.test has the fields depth; write results.test.depth"),
        ("seed == '7'", "seed is a number; write 7"),
        ("seed == true", "seed is a number, and true is true or false"),
    ],
)
def test_a_comparison_that_can_hold_for_no_run_is_refused_with_what_to_write(where, meant):
    assert complaint(chosen, where).endswith(f": {meant}")


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ("seed = 5", "seed == 5"),
        ("seed==5 && note = 'a=b'", "seed == 5 and note == 'a=b'"),
        ("seed < 5 || epochs >= 3", "seed < 5 or epochs >= 3"),
    ],
)
def test_signs_of_other_languages_are_answered_with_those_of_this_one(where, meant):
    assert complaint(chosen, where).endswith(f'; write "{meant}"')


def test_runs_are_sorted_and_grouped_by_their_number_of_epochs_whatever_their_best_one_is():
    more = {**RUNS[0], "name": "long", "epochs": {"done": 9, "of": 100, "best": 9}}
    assert names(in_order([more, *RUNS], "epochs")) == ["cnn_0", "cnn_1", "unet_7", "long"]
    runs = [run | {"units": {}} for run in [more, *RUNS]]
    assert [
        (group["values"], group["n"])
        for group in groups(runs, ["epochs"], [[run["epochs"]] for run in runs])
    ] == [([100], 1), ([20], 3)]


OF_SEVERAL_KINDS = [
    {"name": str(number), "state": "done", "tags": [], "rate": rate}
    for number, rate in enumerate((0.5, "adam", "inf", True, [1], None, 0.001, "nan"))
]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("rate < 0.01", "6"),
        ("not rate < 0.01", "02"),
        ("rate > 0.01", "02"),
        ("rate == 0.5", "0"),
        ("rate != 0.5", "12567"),
        ("rate == 'adam'", "1"),
        ("rate == true", "3"),
        ("rate == 'adam' or 0 < rate < 0.01", "16"),
        ("1 in rate", "4"),
        ("rate == nan", "5"),
        ("rate < 0.01 or rate == 'adam' or name < '1'", "016"),
    ],
)
def test_a_value_of_another_kind_in_one_run_ends_no_comparison_that_can_hold_for_others(
    where, names
):
    for runs in (OF_SEVERAL_KINDS, OF_SEVERAL_KINDS[::-1]):
        found = choose(Columns(runs), ListOptions(where))
        assert "".join(sorted(run["name"] for run in found)) == names


def test_a_comparison_that_can_hold_for_no_run_at_all_is_refused_also_beside_one_that_can():
    for where in ("name < 'x' and state < 3", "state < 3", "seed == 0 or tags > 1"):
        assert "cannot compare" in complaint(choose, Columns(RUNS), ListOptions(where))


def test_is_means_equal_for_numbers():
    assert chosen("seed is 1000", [{"name": "a", "seed": int("1000")}]) == ["a"]


# Order


def names(runs):
    return [run["name"] for run in runs]


def in_order(runs, by, reverse=False):
    return ordered(runs, by, reverse, [field(run, by) for run in runs])


def test_runs_are_ordered_by_a_number_or_a_text_and_those_without_it_come_last():
    seeds = [{"name": str(seed), "seed": seed} for seed in (10, 9, 100, -1, 2.5)]
    assert names(in_order(seeds, "seed")) == ["-1", "2.5", "9", "10", "100"]
    assert names(in_order(RUNS, "results.test.depth.mae")) == ["unet_7", "cnn_0", "cnn_1"]
    assert names(in_order(RUNS, "results.test.depth.mae", reverse=True)) == [
        "cnn_0",
        "unet_7",
        "cnn_1",
    ]
    assert names(in_order(RUNS, "name", reverse=True)) == ["unet_7", "cnn_1", "cnn_0"]
    assert names(in_order(RUNS, "seed")) == ["cnn_0", "cnn_1", "unet_7"]
    assert names(in_order(RUNS, "error")) == ["cnn_1", "cnn_0", "unet_7"]


def test_equal_runs_keep_their_order_and_all_do_without_a_field():
    runs = [{"name": name, "seed": 1} for name in "dbca"]
    assert (
        names(in_order(runs, "seed"))
        == names(in_order(runs, "seed", reverse=True))
        == ["d", "b", "c", "a"]
    )
    assert api.ordered(RUNS) == RUNS
    assert api.ordered(RUNS, reverse=True) == RUNS[::-1]
    assert api.ordered([], "whatever") == []


def test_an_order_by_what_cannot_be_ordered_is_refused():
    assert complaint(in_order, RUNS, "sead") == "no field 'sead'; did you mean 'seed'?"
    for by in ("results", "tags", "results.test"):
        assert f'sort="{by}": the values are neither all numbers nor all texts' in complaint(
            in_order, RUNS, by
        )
    assert "neither all numbers nor all texts" in complaint(in_order, [{"x": 1}, {"x": "a"}], "x")


def test_names_with_other_characters_go_into_brackets():
    runs = [
        {"name": "a", "results": {"test": {"TOC%": {"mae": 0.1}}}},
        {"name": "b", "results": {}},
    ]
    for where in ("results.test['TOC%'].mae < 1", "results['test']['TOC%']['mae'] < 1"):
        assert chosen(where, runs) == ["a"]
    assert "write, for example, \"results.test['TOC%'].mae < 1\"" in complaint(
        chosen, "results.test.TOC%.mae < 1"
    )
