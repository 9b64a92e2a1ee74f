import numpy as np
import pytest
import torch

from qexp.errors import QexpError
from qexp.networks.imputation import Imputation

NAN = float("nan")
COLUMNS = {"colour": ["red", "green"], "angle": ["inc"]}


def fitted(by, values, columns=COLUMNS, indicator=None):
    imputation = Imputation(by, columns, indicator)
    imputation.fit(split(values, columns))
    return imputation


def split(values, columns=COLUMNS):
    parts = torch.as_tensor(np.asarray(values, np.float32)).split(
        [len(names) for names in columns.values()], dim=1
    )
    return dict(zip(columns, parts, strict=True))


def joined(samples):
    return torch.cat([samples[name] for name in COLUMNS], dim=1)


def correlated(rows=200, gaps=0.2, seed=0):
    """Rows of three columns on a line, but for noise, of very different sizes; and these with
    gaps.
    """
    random = np.random.default_rng(seed)
    along = random.normal(size=(rows, 1))
    whole = (along + 0.1 * random.normal(size=(rows, 3))) * [1e-3, 1.0, 1e5] + [0.0, 10.0, 1e6]
    return whole, np.where(random.random((rows, 3)) < gaps, NAN, whole)


def test_a_gap_gets_the_mean_or_the_median_of_the_rows_that_were_fitted_to_and_nothing_else_changes():
    rows = [[1, 4, NAN], [2, NAN, 6], [6, 5, 8]]
    new = split([[NAN, 7, NAN], [3, 3, 3]])
    assert joined(fitted("mean", rows)(new)).tolist() == [[3, 7, 7], [3, 3, 3]]
    assert joined(fitted("median", rows)(new)).tolist() == [[2, 7, 7], [3, 3, 3]]


def test_a_regression_knows_correlated_columns_better_than_their_mean_whatever_their_units():
    whole, gaps = correlated()
    errors = {}
    for by in ("mean", "regression"):
        filled = joined(fitted(by, gaps)(split(gaps))).numpy()
        missing = np.isnan(gaps) & ~np.isnan(gaps).all(axis=1, keepdims=True)
        errors[by] = [
            np.abs(filled - whole)[missing[:, c], c].mean() / whole[:, c].std() for c in range(3)
        ]
    assert (np.array(errors["regression"]) < 0.4 * np.array(errors["mean"])).all()


def test_what_a_regression_fills_in_lies_within_the_range_of_the_rows_and_constant_and_single_columns_do_no_harm():
    _, gaps = correlated()
    far = joined(fitted("regression", gaps)(split([[NAN, 1e3, 1e9], [NAN, -1e3, -1e9]]))).numpy()[
        :, 0
    ]
    assert far == pytest.approx([np.nanmax(gaps[:, 0]), np.nanmin(gaps[:, 0])])
    gaps[:, 1] = np.where(np.isnan(gaps[:, 1]), NAN, 7)
    gaps[:, 2] = gaps[:, 0] * 2
    assert joined(fitted("regression", gaps)(split([[NAN, NAN, 0.0]]))).isfinite().all()
    alone = fitted("regression", [[1.0], [NAN], [4.0]], {"x": ["x"]})
    assert alone({"x": torch.tensor([[5.0]])})["x"].tolist() == [[5.0]]


def test_a_gap_is_indicated_where_rows_had_one_while_it_was_learned():
    imputation = fitted("mean", [[1, NAN, 3], [2, 5, 6]], indicator="gaps")
    new = split([[NAN, NAN, 3], [1, 1, 1]])
    assert imputation(new)["gaps"].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert joined(imputation(new)).isfinite().all()


def test_rows_without_any_value_stay_so_and_columns_without_any_are_refused():
    imputation = fitted("median", [[1, 2, 3], [4, NAN, 6]])
    assert joined(imputation(split([[NAN, NAN, NAN]]))).isnan().all()
    with pytest.raises(QexpError, match="none of 2 training rows has a value in column 'green'"):
        fitted("mean", [[1, NAN, 3], [4, NAN, 6]])


@pytest.mark.parametrize("by", ["median", "regression"])
def test_what_was_fitted_is_kept_with_the_weights(by):
    _, gaps = correlated()
    imputation, other = fitted(by, gaps), Imputation(by, COLUMNS)
    other.load_state_dict(imputation.state_dict())
    assert torch.equal(
        joined(other(split(gaps))).nan_to_num(), joined(imputation(split(gaps))).nan_to_num()
    )


def test_means_of_large_numbers_are_those_of_double_precision():
    values = np.float32(1e7) + np.arange(999, dtype=np.float32)[:, None] * [1, 1, 1]
    values[0] = [NAN, 1e7, 1e7]
    filled = joined(fitted("mean", values)(split(values)))[0, 0].item()
    assert filled == pytest.approx(float(np.nanmean(values[:, 0].astype(float))), abs=1)
