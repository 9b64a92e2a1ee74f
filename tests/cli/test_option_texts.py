"""Texts of options become the values that they stand for, once."""

import json
from datetime import timedelta
from functools import partial

import pytest

from qexp.base.shell_values import column_words, read_columns, read_values
from qexp.errors import QexpError
from qexp.jobs import launchers
from qexp.kinds.options import read_axes
from qexp.runs import order
from qexp.runs.options import read_age

grid = partial(order.read_grid, "--grid")


SEEDS = {
    "0:3": [0, 1, 2],
    "3": [3],
    "0,2,5": [0, 2, 5],
    "7:9,1": [7, 8, 1],
    " 4 , 2": [4, 2],
    "0:6:2,9": [0, 2, 4, 9],
}


def test_seeds_are_numbers_and_ranges_whose_end_is_left_out_perhaps_with_a_step():
    assert {text: order.read_seeds("--seeds", text) for text in SEEDS} == SEEDS
    assert [order.read_seed("--seed", text) for text in ("7", "7.0", "7.")] == [7, 7, 7]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        *((text, "is empty") for text in ("3:1", "3:3")),
        *((text, "write 0:10") for text in ("", "0:", ":4", "-1", "a:b", "1,,2", "²")),
        *((text, "--seeds") for text in ("0:6:0", "0:6:2:1", "0:6:")),
        ("1" * 31, "less than 2^63"),
        ("0:99999999999", "too many"),
    ],
)
def test_seeds_that_cannot_be_read_are_refused(text, complaint):
    with pytest.raises(QexpError, match=complaint.replace("^", r"\^")):
        order.read_seeds("--seeds", text)


@pytest.mark.parametrize("seeds", ["0:3,2", "9223372036854775808"])
def test_seeds_that_are_equal_or_too_large_are_refused_before_anything_is_written(
    specs, qexp, seeds
):
    stderr = qexp("run", "sound", "--seeds", seeds).failed()
    assert "2 is given twice" in stderr or "less than 2^63" in stderr
    assert not (specs.root / "runs").exists()


def test_a_grid_is_cut_at_its_commas_but_not_inside_lists_objects_and_quotes():
    assert grid(["learning_rate=1e-3,3e-3", "rate=1e+3"]) == {
        "learning_rate": [1e-3, 3e-3],
        "rate": [1000],
    }
    assert grid(["sizes=[8,4,4],[16, 4,4]"]) == {"sizes": [[8, 4, 4], [16, 4, 4]]}
    assert grid(['a.b={"type":"x","p":[1,2]},"c,d",e']) == {
        "a.b": [{"type": "x", "p": [1, 2]}, "c,d", "e"]
    }
    assert grid(["a.b+c.d=0.5,[1,2]"]) == {"a.b+c.d": [0.5, [1, 2]]}
    # Keys with commas between them get a value each.
    assert grid(["learning_rate,batch_size=1e-3:16,3e-3:32"]) == {
        "learning_rate,batch_size": [[1e-3, 16], [3e-3, 32]]
    }
    assert grid(['a,b={"x":1}:[1,2]']) == {"a,b": [[{"x": 1}, [1, 2]]]}
    # Texts with colons are texts where they are no ranges, or have quotation marks.
    assert grid(["model=a:b,c", 'at="12:30"']) == {"model": ["a:b", "c"], "at": ["12:30"]}


@pytest.mark.parametrize(
    "text", ["learning_rate", "=1,2", "epochs=", "epochs=1,,2", "a+=1", "+a=1"]
)
def test_a_grid_without_keys_or_values_is_refused(text):
    with pytest.raises(QexpError, match="--grid"):
        grid([text])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("log:1e-4:1e-2:5", [0.0001, 0.000316228, 0.001, 0.00316228, 0.01]),
        ("log:8:1:4", [8, 4, 2, 1]),
        ("lin:0:1:5", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("lin:10:30:3,100", [10, 20, 30, 100]),
        ("log_normal,linear", ["log_normal", "linear"]),
    ],
)
def test_a_range_of_values_has_equal_steps_or_ratios(text, values):
    (read,) = grid([f"a={text}"]).values()
    assert list(map(str, read)) == list(map(str, values)), "whole numbers stay whole"


@pytest.mark.parametrize(
    "text",
    [
        "log:0:1:3",
        "log:-1:1:3",
        "lin:1:1:3",
        "lin:0:1:1",
        "lin:0:1:99999999999",
        "lin:0:1",
        "lin:a:1:3",
        "log:1:inf:3",
    ],
)
def test_a_range_that_is_none_is_refused_with_an_example(text):
    with pytest.raises(QexpError, match=r"for example (lin|log):1e-4:1e-2:5"):
        grid([f"a={text}"])


def test_a_file_of_points_is_an_axis(tmp_path):
    (tmp_path / "points.json").write_text('[{"a": 1, "b.c": "x"}, {"b.c": "y", "a": 2}]')
    (tmp_path / "points.toml").write_text("[[points]]\na = 1\n[[points]]\na = 2.5\n")
    assert order.read_points(tmp_path / "points.json") == {"a,b.c": [[1, "x"], [2, "y"]]}
    assert order.read_points(tmp_path / "points.toml") == {"a": [1, 2.5]}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        *((content, "must be a list of objects") for content in ("[]", "{}", "[1]", "[{}]")),
        ('[{"a": 1}, {"b": 1}]', "point 2 sets b, the first a"),
        ('[{"a+b": 1}]', "give each key its own value"),
        *((content, "points=") for content in ("[{", "[" * 100_000)),
    ],
)
def test_a_file_that_holds_no_points_is_refused(tmp_path, content, complaint):
    (tmp_path / "points.json").write_text(content)
    with pytest.raises(QexpError, match=complaint.replace("+", r"\+")):
        order.read_points(tmp_path / "points.json")


def test_a_file_of_points_that_is_not_there_or_in_yaml_is_refused_with_what_would_work(tmp_path):
    with pytest.raises(QexpError, match="No such file"):
        order.read_points(tmp_path / "points.json")
    (tmp_path / "points.yaml").write_text("learning_rate: 0.1\n")
    with pytest.raises(
        QexpError, match=r"YAML is not read; write JSON, such as .*or a \.toml file"
    ):
        order.read_points(tmp_path / "points.yaml")


def test_a_key_that_is_given_twice_is_refused():
    with pytest.raises(QexpError, match="--grid epochs is given twice"):
        grid(["epochs=2,3", "epochs=4"])
    with pytest.raises(QexpError, match="--set epochs is given twice"):
        order.read_overrides("--set", ["epochs=20", "sizes=[1,2,3]", "epochs=30"])


def test_an_option_of_a_launcher_that_is_repeated_is_a_list():
    read = launchers.read_options("--option", ["setup=b", "time=5", "setup=c=d"])
    assert read == {"setup": ["b", "c=d"], "time": "5"}
    with pytest.raises(QexpError, match="write KEY=VALUE"):
        launchers.read_options("--option", ["partition"])


def test_axes_and_values_of_a_matrix_are_numbers_and_an_age_has_a_unit():
    assert read_axes("--axis", ["depth=0:4:8"]) == {"depth": (0.0, 4.0, 8)}
    assert read_values("--fix", ["x=0.5", "y=-1"]) == {"x": 0.5, "y": -1.0}
    assert read_age("--older-than", "30d") == timedelta(days=30)


@pytest.mark.parametrize(
    ("read", "text", "complaint"),
    [
        *(
            (read_axes, [text], "write variable=low:high:cells")
            for text in ("depth", "depth=0:4", "depth=a:4:8", "depth=0:4:8.5", "=0:4:8")
        ),
        *((read_values, [text], "write variable=number") for text in ("x", "x=", "x=a")),
        (read_values, ["x=1", "x=2"], "given twice"),
        (read_values, ["x=1,y=2"], "give the option for each: --option x=1 --option y=2"),
        *(
            (read_age, text, "--option .*: write a number")
            for text in ("soon", "3", "-1d", "3y", "1234567d")
        ),
    ],
)
def test_what_is_no_axis_value_or_age_is_refused_with_what_would_work(read, text, complaint):
    with pytest.raises(QexpError, match=complaint):
        read("--option", text)


def test_what_records_keep_of_an_override_is_read_as_the_same_value():
    from qexp.spec.resolution import override

    for value in [
        1,
        0.001,
        1e-7,
        "word",
        "1",
        "null",
        "",
        "a,b",
        [1, [2]],
        {"type": "x"},
        True,
        None,
        "ä",
    ]:
        assert order.read_overrides("--set", [override("key", value).text]) == {"key": value}, (
            json.dumps(value)
        )


def test_columns_are_names_or_positions():
    assert read_columns("--columns", ["a=b, c = d"]) == {"a": "b", "c": "d"}
    assert read_columns("--columns", ["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    assert read_columns("--columns", ["2,3", "5"]) == [2, 3, 5]
    assert read_columns("--columns", ["414=2"]) == {"414": "2"}
    names = {"los": "a,b", "c=d": " e"}
    assert read_columns("--columns", column_words(names)) == names
    assert read_columns("--columns", ['{"los": "a,b"}', "c=d"]) == {"los": "a,b", "c": "d"}


@pytest.mark.parametrize(
    "text",
    [
        ["a"],
        ["a="],
        ["=b"],
        ["2,a=b"],
        ["2,,3"],
        ["-1"],
        ["a=b,a=c"],
        [""],
        ["{}"],
        ['{"a"'],
        ['{"a": 1}'],
        ['{"a": "b", "a": "c"}'],
    ],
)
def test_other_columns_are_refused_with_what_would_work(text):
    with pytest.raises(QexpError, match=r"^--columns.*(such as 414nm=R415|is given twice)"):
        read_columns("--columns", text)


@pytest.mark.parametrize("text", ["range:1:5:2", "0:10", "1e-4:1e-2:3", "log10:-3:-1"])
def test_a_range_that_is_not_known_is_no_text(text):
    with pytest.raises(QexpError, match="is no range that is known; write lin:FIRST:LAST:N"):
        grid([f"parameters.scale={text}"])
