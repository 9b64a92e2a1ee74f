import json

import numpy as np
import pytest

from qexp.base.files import write_bytes
from qexp.base.formats import read_json, write_json
from qexp.errors import DamagedError, QexpError


def test_what_is_written_can_be_read_again_numbers_of_numpy_as_numbers(tmp_path):
    document = {
        "name": "mogi_3",
        "results": {"mae": 0.1 + 0.2, "x": 1e308},
        "tags": ["ä", ""],
        "error": None,
    }
    write_json(tmp_path / "run.json", document)
    assert read_json(tmp_path / "run.json") == document
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == document
    write_json(
        tmp_path / "a.json", {"one": np.float64(0.25), "list": np.arange(3), "whole": np.int64(7)}
    )
    assert read_json(tmp_path / "a.json") == {"one": 0.25, "list": [0, 1, 2], "whole": 7}


@pytest.mark.parametrize(
    "document", [{"new": object()}, {"new": {1, 2}}, {1: "a key that is no text"}]
)
def test_a_document_that_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path, document):
    path = tmp_path / "run.json"
    write_json(path, {"state": "running"})
    with pytest.raises(TypeError):
        write_json(path, document)
    with pytest.raises(TypeError):
        write_bytes(path, "a text is not bytes: found out only after the draft was opened")
    assert read_json(path) == {"state": "running"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_replaced_is_a_new_one_so_that_a_reader_of_the_old_sees_no_mixture(tmp_path):
    path = tmp_path / "run.json"
    write_bytes(path, b"old old old")
    with path.open("rb") as reader:
        write_bytes(path, b"new")
        assert reader.read() == b"old old old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644, "others may read it"


def test_a_place_that_cannot_be_written_to_is_an_error_that_names_it(tmp_path):
    with pytest.raises(QexpError, match=r"cannot write .*nosuch/run\.json"):
        write_json(tmp_path / "nosuch" / "run.json", {})


def test_nan_and_infinity_become_null_and_are_listed_with_where_they_stood(tmp_path):
    document = {
        "loss": float("nan"),
        "depth": {"r2": [1.0, float("-inf")]},
        "list": [{"a": float("inf")}],
        "fine": 2.5,
    }
    before = repr(document)
    write_json(tmp_path / "a.json", document)
    assert repr(document) == before
    assert read_json(tmp_path / "a.json") == {
        "loss": None,
        "depth": {"r2": [1.0, None]},
        "list": [{"a": None}],
        "fine": 2.5,
        "not_finite": {"loss": "nan", "depth.r2[1]": "-inf", "list[0].a": "inf"},
    }


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"a": NaN}', b"\xff\xfe", b'{"a": 1}}', b"\0" * 40]
)
def test_garbage_in_a_file_is_damage(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"run\.json cannot be read"):
        read_json(path)
    with pytest.raises(FileNotFoundError):  # which is no damage
        read_json(tmp_path / "none.json")
