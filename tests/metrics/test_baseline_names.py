"""Names of baselines: short where they are clear, and never two alike for two that differ."""

import pytest

from qexp.base.tables import long_form
from qexp.metrics.baselines import BASELINES, names, repeated


def long_forms(*baselines):
    return [long_form(baseline, BASELINES) for baseline in baselines]


RIDGES = ("ridge", ["ridge", {"penalties": [1.0, 0.1]}], ["ridge", {"penalties": [0.1, 1.0]}])


def test_a_baseline_that_is_alone_of_its_type_is_called_by_it_whatever_its_parameters():
    assert names(long_forms("mean", RIDGES[1], "svr"), BASELINES) == ["mean", "ridge", "svr"]


def test_several_of_one_type_are_told_apart_by_what_is_not_as_it_is_by_default():
    assert names(long_forms(*RIDGES, "mean"), BASELINES) == [
        "ridge", "ridge (penalties 1, 0.1)", "ridge (penalties 0.1, 1)", "mean",
    ]  # fmt: skip
    assert names(long_forms(["svr", {"costs": [1.0], "gammas": [0.1]}], ["svr", {"costs": [1.0]}]), BASELINES) == [
        "svr (costs 1; gammas 0.1)", "svr (costs 1)",
    ]  # fmt: skip


@pytest.mark.parametrize("twin", ["ridge", {"type": "ridge"}, ["ridge", {"penalties": [10**3, *[300, 100]]}]])
def test_only_what_is_the_same_in_all_parameters_is_there_twice(twin):
    baselines = long_forms(["ridge", {"penalties": [1000.0, 300.0, 100.0]}], "mean", "ridge", twin)
    ((position, first),) = repeated(baselines)
    assert (position, baselines[first]) == (3, baselines[3])
    assert not list(repeated(baselines[:3]))
