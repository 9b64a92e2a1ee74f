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
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(json.dumps(document, ensure_ascii=False), encoding=encoding)
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
    assert complaint.startswith(
        f"volcano.json at $: not valid JSON at line {line}, column {column}: "
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('{"a": 1, // one\n "b": 2}', "JSON has no comments"),
        ('{"a": 1, # one\n "b": 2}', "JSON has no comments"),
        ('{"a": [1, 2,]}', "leave out the comma before it"),
    ],
)
def test_comments_and_a_comma_at_the_end_are_named(text, hint):
    (complaint,) = complaints(text)
    assert complaint.endswith(f"; {hint}")


def test_every_key_that_is_given_twice_is_reported_where_it_stands():
    text = (
        '{"size": 1, "fixed": {"x": 0, "y": 0, "x": 1}, "list": [{"a": 1, "a": 2, "a": 3}],'
        ' "size": 2}'
    )
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


def test_a_document_nested_too_deeply_and_a_number_of_thousands_of_digits_are_refused():
    for levels in (100_000, 700):  # the JSON reader can read 700
        assert "nested too deeply" in complaints('{"a": ' + "[" * levels + "]" * levels + "}")[0]
    assert complaints('{"epochs": ' + "1" * 5000 + "}")[0].startswith("volcano.json at $")


def test_what_is_no_file_of_text_is_reported_as_such_and_called_what_the_caller_calls_it(tmp_path):
    (tmp_path / "empty.json").touch()
    (tmp_path / "latin.json").write_bytes('{"description": "Ätna"}'.encode("latin-1"))
    for name, complaint in {
        "nosuch.json": "there is no such file",
        "latin.json": "cannot be read: it is not UTF-8 text",
        "empty.json": "not valid JSON at line 1, column 1",
        ".": "cannot be read: Is a directory",
    }.items():
        for label in (None, "specs/datasets/x.json"):
            with pytest.raises(SpecError) as caught:
                read(tmp_path / name, label)
            assert str(caught.value).startswith(f"{label or tmp_path / name} at $: {complaint}")
