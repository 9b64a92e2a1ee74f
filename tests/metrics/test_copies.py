"""Copies among the rows of a table are found where there are some, and not where values only lie
close together.
"""

import numpy as np
import pytest

from qexp.metrics.splits import chance, copies

ROWS = 2000


def measured(columns, rows=ROWS):
    return np.random.default_rng(columns).normal(3, 2, (rows, columns))


def rounded(rows):
    return rows.round(4)


def disturbed(rows):
    return rows + 1e-5 * np.random.default_rng(0).normal(size=rows.shape)


def parts(rows):
    order = np.random.default_rng(1).permutation(rows)
    return order[: rows // 5], order[rows // 5 :]


@pytest.mark.parametrize("columns", [2, 8, 40])
@pytest.mark.parametrize("rows", [30, ROWS])
@pytest.mark.parametrize("change", [np.copy, rounded, disturbed])
def test_held_out_rows_that_are_copies_of_training_rows_are_found(columns, rows, change):
    once = measured(columns, rows)
    table = np.concatenate([once, change(once[: rows // 5])])
    test, train = parts(len(table))
    original = np.arange(len(table)) % rows
    expected = test[np.isin(original[test], original[train])]
    equal, near = copies(table).among(test, train)
    assert len(expected)
    np.testing.assert_array_equal(np.sort(equal if change is np.copy else near), np.sort(expected))
    assert not len(near if change is np.copy else equal)
    if rows == ROWS:
        assert len(expected) > chance(table[test], table[train]) == 0


def test_many_noisy_measurements_of_each_thing_are_found_also_through_each_other():
    table = np.repeat(measured(3, 100), 20, axis=0) + 1e-4 * np.random.default_rng(0).normal(
        size=(2000, 3)
    )
    equal, near = copies(table).among(*parts(2000))
    assert (len(equal), len(near)) == (0, 400)


TIME = np.arange(ROWS) / ROWS

DENSE = {
    "measured": measured(4),
    "one column": measured(1),
    "rounded to two digits": measured(6).round(2),
    "a time series": np.stack([np.sin(40 * TIME), np.cos(31 * TIME), TIME], axis=1),
    "a lattice": np.stack(np.meshgrid(np.arange(50.0), np.arange(40.0)), axis=-1).reshape(-1, 2),
    "heavy tails": np.random.default_rng(0).standard_cauchy((ROWS, 3)),
    "a constant column": np.concatenate([measured(2), np.ones((ROWS, 1))], axis=1),
}


@pytest.mark.parametrize("name", DENSE)
def test_rows_that_lie_close_together_are_no_copies(name):
    equal, near = copies(DENSE[name]).among(*parts(ROWS))
    assert (len(equal), len(near)) == (0, 0)


@pytest.mark.parametrize(
    "table",
    [
        np.random.default_rng(0).integers(0, 5, (ROWS, 3)).astype(float),
        np.eye(5)[np.random.default_rng(0).integers(0, 5, ROWS)],
        np.random.default_rng(0).poisson(20, (ROWS, 3)).astype(float),
    ],
    ids=["whole numbers", "one of five", "counts"],
)
def test_equal_rows_of_columns_with_few_values_are_chance(table):
    test, train = parts(ROWS)
    equal, near = copies(table).among(test, train)
    assert 0 < len(equal) <= chance(table[test], table[train])
    assert not len(near)


@pytest.mark.parametrize(("different", "columns"), [(6, 2), (19, 2), (19, 5), (4, 1)])
def test_copies_of_a_few_different_rows_are_no_chance(different, columns):
    table = np.tile(measured(columns, different), (200 // different, 1))
    test, train = parts(len(table))
    equal, _ = copies(table).among(test, train)
    assert len(equal) > chance(table[test], table[train])


def test_a_zero_is_a_zero_of_either_sign_and_a_single_row_has_no_copies():
    equal = copies(np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 3.0]])).equal
    assert equal[0] == equal[1] != equal[2]
    assert copies(np.array([[1.0, 2.0]])).equal.tolist() == [0]
    assert copies(np.ones((3, 2))).alike.tolist() == [0, 0, 0]
