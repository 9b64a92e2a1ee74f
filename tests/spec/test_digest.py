import re

import pytest

from qexp.spec.reading import canonical, digest

DOCUMENT = {
    "description": "a first try",
    "epochs": 20,
    "learning_rate": 1e-3,
    "sizes": [1000, 500],
    "dataset": {
        "description": "inner words",
        "fixed": {"x": 0.0, "noise": 0.01},
        "varyings": {"depth": [[0.2, 0.4]]},
    },
    "gradient_clip": None,
    "bias": True,
}


def test_neither_the_order_of_keys_nor_descriptions_at_any_depth_count_but_an_operation_of_that_name_does():
    turned = dict(reversed(DOCUMENT.items()))
    turned["dataset"] = dict(reversed(DOCUMENT["dataset"].items()))
    assert list(turned) != list(DOCUMENT)
    silent = {key: value for key, value in DOCUMENT.items() if key != "description"}
    silent["dataset"] = {**DOCUMENT["dataset"], "description": "something else entirely"}
    assert digest(turned) == digest(silent) == digest(DOCUMENT)
    first, second = (
        {"operations": {"description": {"module": "conv", "parameters": {"l2": l2}}}}
        for l2 in (0, 1)
    )
    assert digest(first) != digest(second)


def test_a_whole_number_is_the_same_with_and_without_a_point():
    assert digest({"epochs": 20, "sizes": [1.0, -0.0]}) == digest({"epochs": 20.0, "sizes": [1, 0]})


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 21},
        {"learning_rate": 1.0000000000000002e-3},
        {"sizes": [500, 1000]},
        {"sizes": [1000, 500, 500]},
        {"gradient_clip": 0},
        {"bias": 1},
        {"bias": "true"},
        {"dataset": {**DOCUMENT["dataset"], "fixed": {"x": 0.0, "noise": 0.010000000000000002}}},
        {"dataset": {**DOCUMENT["dataset"], "fixed": {"x": 0.0}}},
        {"dataset": {**DOCUMENT["dataset"], "varyings": {"depth": [[0.2], [0.4]]}}},
        {"epochs": "20"},
        {"new": None},
    ],
)
def test_any_other_change_gives_another_digest(change):
    assert digest({**DOCUMENT, **change}) != digest(DOCUMENT)


def test_texts_that_belong_to_a_document_count_and_so_do_their_borders():
    assert (
        len({digest(DOCUMENT, *texts) for texts in ([], [""], ["ab"], ["a", "b"], ["b", "a"])}) == 5
    )


def test_a_digest_is_64_hexadecimal_digits_leaves_the_document_alone_and_needs_finite_numbers():
    before = repr(DOCUMENT)
    assert re.fullmatch("[0-9a-f]{64}", digest(DOCUMENT))
    assert repr(DOCUMENT) == before
    with pytest.raises(ValueError, match="JSON"):
        canonical({"x": float("nan")})
