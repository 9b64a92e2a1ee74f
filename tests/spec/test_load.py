import json

import pytest

from qexp.errors import SpecError
from qexp.spec.reading import parse, read


def complaints(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text, "volcano.json")
    return str(caught.value).splitlines()


def test_a_document_is_read_as_it_was_written(tmp_path):
    document = {"a": [1, 2.5, -3e-7, True, None], "ö": {"b": "km²", "c": {}}}
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    assert read(path) == document


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{"a": 1,\n "b": }', 2, 7),
        ('{"a": 1\n "b": 2}', 2, 2),
        ('{"a": 1} {"b": 2}', 1, 10),
        ("{'a': 1}", 1, 2),
        ("", 1, 1),
        ("\n\n  ", 3, 3),
    ],
)
def test_what_is_no_json_is_reported_with_line_and_column(text, line, column):
    (complaint,) = complaints(text)
    assert complaint.startswith(f"volcano.json at $: not valid JSON at line {line}, column {column}: ")


def test_every_key_that_is_given_twice_is_reported_where_it_stands():
    text = '{"size": 1, "fixed": {"x": 0, "y": 0, "x": 1}, "list": [{"a": 1, "a": 2, "a": 3}], "size": 2}'
    assert sorted({line.partition(": ")[0] for line in complaints(text)}) == [
        "volcano.json at $.fixed.x",
        "volcano.json at $.list[0].a",
        "volcano.json at $.size",
    ]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_not_finite_is_refused_where_it_stands(number):
    (complaint,) = complaints(f'{{"fixed": {{"axes": [0, {number}]}}}}')
    assert complaint.startswith("volcano.json at $.fixed.axes[1]: ")
    assert complaint.endswith("give a finite one")


def test_all_that_is_wrong_with_the_numbers_and_keys_of_a_document_is_reported_together():
    assert len(complaints('{"a": NaN, "b": [1e999], "c": 1, "c": 2}')) == 3


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[1, 2]", "a list [1, 2]"),
        ('"mogi"', 'the text "mogi"'),
        ("3", "the number 3"),
        ("null", "null"),
        ("true", "true"),
    ],
)
def test_a_document_that_is_no_object_is_refused_and_says_what_it_is(text, what):
    assert complaints(text) == [f"volcano.json at $: must be an object {{…}}, but is {what}"]


def test_a_document_nested_without_end_is_refused():
    assert "nested too deeply" in complaints('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")[0]


def test_a_document_nested_just_deep_enough_for_the_json_reader_is_refused_too():
    assert "nested too deeply" in complaints('{"a": ' + "[" * 700 + "]" * 700 + "}")[0]


def test_a_number_of_thousands_of_digits_is_refused():
    assert complaints('{"epochs": ' + "1" * 5000 + "}")[0].startswith("volcano.json at $")


def test_a_file_that_is_not_there_is_reported_by_its_name(tmp_path):
    with pytest.raises(SpecError, match=r"nosuch\.json at \$: there is no such file"):
        read(tmp_path / "nosuch.json")


def test_a_file_that_is_not_utf8_is_reported_as_such(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes('{"description": "Ätna"}'.encode("latin-1"))
    with pytest.raises(SpecError, match=r"latin\.json at \$: cannot be read: it is not UTF-8 text"):
        read(path)


def test_an_empty_file_and_a_folder_are_no_specs(tmp_path):
    (tmp_path / "empty.json").touch()
    with pytest.raises(SpecError, match=r"empty\.json at \$: not valid JSON at line 1, column 1"):
        read(tmp_path / "empty.json")
    with pytest.raises(SpecError, match=r"cannot be read: Is a directory"):
        read(tmp_path)


def test_errors_call_a_file_what_the_caller_calls_it(tmp_path):
    (tmp_path / "spec.json").write_text("[]")
    with pytest.raises(SpecError, match=r"^specs/datasets/x\.json at \$: "):
        read(tmp_path / "spec.json", "specs/datasets/x.json")
