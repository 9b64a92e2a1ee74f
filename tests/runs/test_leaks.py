"""Cores that are tested were not trained on: not here, and not by any run that this one comes
from.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from qexp.kinds import leaks


class Spectra(NamedTuple):
    cores: NDArray[np.str_]
    hashes: NDArray[np.str_]


def spectra(*rows: str) -> Spectra:
    """`spectra("A 1", "A 2")`: two spectra of the core A."""
    cores, hashes = zip(*(row.split() for row in rows), strict=True)
    return Spectra(np.array(cores), np.array(hashes))


def rows(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def messages(
    some: Spectra, train: Sequence[int], validation: Sequence[int], test: Sequence[int]
) -> list[str]:
    overlaps = leaks.overlaps_within(some, rows(*train), rows(*validation), rows(*test))
    assert all(where == ("split",) for where, _ in overlaps)
    return [message for _, message in overlaps]


def test_cores_that_are_held_apart_are_no_leak():
    assert messages(spectra("A 1", "A 2", "B 3", "C 4"), [0, 1], [2], [3]) == []


@pytest.mark.parametrize(("train", "validation"), [([0, 1], [2]), ([2], [0, 1])])
def test_a_spectrum_that_is_trained_or_validated_on_and_tested_is_found_whatever_its_core_is_called(
    train, validation
):
    some = spectra("A 1", "A 2", "B 3", "C 2", "C 4", "D 5")
    (message,) = messages(some, train, validation, [3, 4, 5])
    assert message.startswith(
        "test spectra are also trained or validated on: core C: 1 of 2 test spectra;"
    )
    assert "`allow_leak=True`" in message


def test_a_core_with_spectra_on_both_sides_is_found_although_no_spectrum_is_the_same():
    (message,) = messages(spectra("A 1", "A 2", "A 3", "B 4"), [0], [1], [2, 3])
    assert "each core must be in one part only" in message
    assert "core A: 2 other spectra" in message
    assert "core B" not in message


def test_a_leak_is_the_same_in_any_order_of_the_rows():
    some = spectra(*(f"{core} {number % 37}" for number, core in enumerate("ABCDEFGH" * 10)))
    random = np.random.default_rng(0)
    parts = np.split(random.permutation(80), [40, 50])
    expected = leaks.overlaps_within(some, *map(np.sort, parts))
    assert expected
    assert leaks.overlaps_within(some, *map(random.permutation, parts)) == expected


def test_overlaps_are_those_that_a_plain_count_finds():
    random = np.random.default_rng(1)
    some = Spectra(random.choice(list("ABCDE"), 200), random.integers(0, 120, 200).astype(str))
    test, trained = np.split(random.permutation(200), [80])
    trained_on = leaks.seen_of(some, trained)
    assert sorted({*some.cores[trained]}) == list(trained_on)
    overlaps = {
        overlap.core: (overlap.tested, overlap.leaked)
        for overlap in leaks.overlaps_with(some, test, trained_on)
    }
    for core in "ABCDE":
        of_core = [row for row in test if some.cores[row] == core]
        leaked = [row for row in of_core if some.hashes[row] in set(some.hashes[trained])]
        assert overlaps[core] == (len(of_core), len(leaked))


def test_what_must_be_said_tells_spectra_from_cores():
    of_core, of_spectra = leaks.Overlap("A", 3, 0, 2), leaks.Overlap("B", 3, 1, 0)
    assert leaks.overlap_caution([]) == ""
    assert leaks.overlap_caution([of_core]) == "tested on other spectra of training cores"
    assert leaks.overlap_caution([of_core, of_spectra]) == "tested on training spectra"


def test_of_very_many_cores_the_first_are_named_and_the_rest_is_counted():
    overlaps = [leaks.Overlap(f"core_{number:02d}", 3, 1, 0) for number in range(50)]
    assert leaks.overlap_in_words(overlaps).endswith(
        "core core_19: 1 of 3 test spectra and 30 more"
    )


def test_lists_that_share_cores_but_no_spectrum_are_told_from_a_leak_and_lists_of_other_cores_are_fine():
    some = spectra("A 1", "A 2", "B 3", "C 4")
    train, validation, test = np.array([0]), np.array([], dtype=np.int64), np.array([1, 2])
    trained = leaks.seen_of(some, train)
    shared = leaks.overlaps_with(some, test, trained)
    assert leaks.overlap_caution(shared) == "tested on other spectra of training cores"
    assert leaks.overlap_caution(leaks.overlaps_with(some, test[1:], trained)) == ""
    assert leaks.overlaps_within(some, train, validation, test[1:]) == []
