from collections import Counter

import numpy as np
import pytest

from qexp.metrics.splits import SPLITS, SplitError

MISSIONS = np.array(
    ["Apollo 12"] * 8 + ["Apollo 17"] * 21 + ["Luna 16"] + ["Luna 20"] * 3 + ["Chang'E 5"] * 2
)
EVERY = np.arange(len(MISSIONS))
ROCKS = np.array(["basalt", "granite", "basalt", "schist", "basalt"] * 7)
PARTS = np.array(["validation", "train", "test", "train", "train"] * 7)
ONCE = [
    ("leave_one_out", {}),
    ("k_fold", {"folds": 5}),
    ("k_fold", {"folds": 4, "shuffle": False}),
    ("group_k_fold", {"by": "mission"}),
    ("group_k_fold", {"by": "mission", "folds": 3}),
    ("k_fold", {"folds": 3, "stratify": "rock"}),
    ("k_fold", {"folds": 3, "shuffle": False, "stratify": "rock"}),
]
"""Splits that hold out every row once."""
ALL = [
    *ONCE,
    ("k_fold", {"folds": 3, "repeats": 4}),
    ("held_out", {"by": "mission", "values": ["Apollo 17", "Luna 16"]}),
    ("random", {"share": 0.3, "repeats": 5}),
    ("random", {"share": 0.3, "repeats": 2, "stratify": "rock"}),
    ("parts", {}),
]


def column(name):
    return {
        "mission": MISSIONS,
        "rock": ROCKS,
        "Site": np.array([f"site {row}" for row in EVERY]),
        "part": PARTS,
    }[name]


def folds(kind, parameters, rows=EVERY, seed=0):
    return SPLITS[kind].build(**parameters).folds(rows, column, np.random.default_rng(seed))


def held_out(divided):
    return Counter(np.concatenate([fold.test for fold in divided]).tolist())


@pytest.mark.parametrize(("kind", "parameters"), ONCE)
def test_every_row_is_held_out_once(kind, parameters):
    assert held_out(folds(kind, parameters)) == Counter(EVERY.tolist())


def test_every_repeat_of_a_k_fold_holds_every_row_out_once_and_differently():
    divided = folds("k_fold", {"folds": 3, "repeats": 4})
    repeats = [divided[start : start + 3] for start in range(0, 12, 3)]
    assert [held_out(repeat) for repeat in repeats] == [Counter(EVERY.tolist())] * 4
    assert len({tuple(tuple(fold.test) for fold in repeat) for repeat in repeats}) == 4


@pytest.mark.parametrize(("kind", "parameters"), ALL)
@pytest.mark.parametrize("rows", [EVERY, EVERY[::2], EVERY[5:]], ids=len)
def test_folds_have_names_of_their_own_and_each_row_on_one_side_the_same_for_the_same_seed(
    kind, parameters, rows
):
    divided, again = folds(kind, parameters, rows), folds(kind, parameters, rows)
    assert len({fold.name for fold in divided}) == len(divided)
    for fold, twin in zip(divided, again, strict=True):
        assert fold.name == twin.name
        assert (fold.test == twin.test).all()
        assert np.sort(np.concatenate([fold.train, fold.test])).tolist() == rows.tolist()
        for part in (fold.train, fold.test):
            assert part.dtype == np.int64
            assert len(part)
            assert (np.diff(part) > 0).all()


@pytest.mark.parametrize("parameters", [{}, {"folds": 2}, {"folds": 5}])
def test_no_group_is_on_both_sides_of_a_fold(parameters):
    for fold in folds("group_k_fold", {"by": "mission", **parameters}):
        assert not set(MISSIONS[fold.train]) & set(MISSIONS[fold.test])


def test_a_held_out_part_has_the_values_that_are_named_a_random_one_its_share_and_groups_are_dealt_out_evenly():
    (fold,) = folds("held_out", {"by": "mission", "values": ["Luna 16", "Luna 20"]})
    assert set(MISSIONS[fold.test]) == {"Luna 16", "Luna 20"}
    assert set(MISSIONS[fold.train]) == {"Apollo 12", "Apollo 17", "Chang'E 5"}
    assert [len(fold.test) for fold in folds("random", {"share": 0.2, "repeats": 2})] == [7, 7]
    assert sorted(
        len(fold.test) for fold in folds("group_k_fold", {"by": "mission", "folds": 3})
    ) == [6, 8, 21]


def test_another_seed_gives_other_folds_but_those_without_shuffling_follow_the_file():
    for kind in ("k_fold", "random"):
        first, second = folds(kind, {}, seed=3), folds(kind, {}, seed=4)
        assert [tuple(fold.test) for fold in first] != [tuple(fold.test) for fold in second]
    first, *_ = folds("k_fold", {"folds": 5, "shuffle": False})
    assert first.test.tolist() == list(range(7))


def test_folds_are_called_by_their_number_or_their_group():
    assert [fold.name for fold in folds("leave_one_out", {})][:2] == ["001", "002"]
    repeated = folds("k_fold", {"folds": 2, "repeats": 2})
    assert [fold.name for fold in repeated] == ["01-001", "01-002", "02-001", "02-002"]
    missions_of = {
        fold.name: set(MISSIONS[fold.test]) for fold in folds("group_k_fold", {"by": "mission"})
    }
    assert missions_of["Apollo_17"] == {"Apollo 17"}
    assert missions_of["Chang_E_5"] == {"Chang'E 5"}


def test_groups_whose_names_are_one_folder_on_some_disks_get_two():
    names = np.array(["a/b", "A b", "", "..", "a/b"])
    divided = (
        SPLITS["group_k_fold"]
        .build(by="any")
        .folds(np.arange(5), lambda _: names, np.random.default_rng(0))
    )
    folders = [fold.name for fold in divided]
    assert len({name.lower() for name in folders}) == 4
    assert all(name and "/" not in name and name not in (".", "..") for name in folders)


def test_the_parts_of_the_files_hold_out_the_test_and_of_what_is_left_the_validation():
    [outer] = folds("parts", {})
    [inner] = folds("parts", {}, outer.train)
    assert set(PARTS[outer.test]) == {"test"}
    assert set(PARTS[inner.test]) == {"validation"}
    assert set(PARTS[inner.train]) == {"train"}


@pytest.mark.parametrize(
    ("kind", "parameters", "rows", "parameter", "words"),
    [
        (
            "parts",
            {},
            EVERY[PARTS == "train"],
            None,
            "none of the 21 rows belongs to a test or a validation part",
        ),
        ("parts", {}, EVERY[PARTS == "test"], None, "all 7 rows belong to the test part"),
        ("k_fold", {"folds": 36}, EVERY, "folds", "36 folds of 35 rows; use at most 35"),
        (
            "group_k_fold",
            {"by": "mission", "folds": 6},
            EVERY,
            "folds",
            "6 folds of 5 groups; use at most 5",
        ),
        ("group_k_fold", {"by": "mission"}, EVERY[:8], "by", "all 8 rows have the same 'mission'"),
        (
            "held_out",
            {"by": "mission", "values": ["Apollo 71"]},
            EVERY,
            "values",
            "did you mean 'Apollo 17'",
        ),
        (
            "held_out",
            {"by": "mission", "values": ["Luna 16"]},
            EVERY[:8],
            "values",
            "none of the 8 rows",
        ),
        (
            "held_out",
            {"by": "mission", "values": ["Apollo 12"]},
            EVERY[:8],
            "values",
            "no training rows",
        ),
        ("random", {"share": 0.01}, EVERY, "share", "0.01 of 35 rows is none"),
        ("random", {"share": 0.99}, EVERY, "share", "all of them"),
        ("k_fold", {"shuffle": False, "repeats": 2}, EVERY, "repeats", "all repeats are the same"),
        ("leave_one_out", {}, EVERY[:1], None, "at least two"),
        (
            "k_fold",
            {"folds": 8, "stratify": "rock"},
            EVERY,
            "stratify",
            "7 rows with the rock 'granite' cannot be shared by 8 folds",
        ),
        (
            "group_k_fold",
            {"by": "mission", "folds": 3, "stratify": "mission"},
            EVERY,
            "stratify",
            "1 'mission' with the mission 'Apollo 12' cannot be shared by 3 folds",
        ),
        ("group_k_fold", {"by": "mission", "stratify": "rock"}, EVERY, "stratify", "set 'folds'"),
        (
            "random",
            {"share": 0.2, "stratify": "rock"},
            EVERY[:8],
            "share",
            "0.2 of 2 rows with the rock 'granite' is none",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused_with_what_would_work(
    kind, parameters, rows, parameter, words
):
    with pytest.raises(SplitError) as refused:
        folds(kind, parameters, rows)
    assert words in str(refused.value)
    assert refused.value.parameter == parameter


# Parts that keep the shares of classes


def counts_by_fold(divided, labels):
    return np.array(
        [[np.sum(labels[fold.test] == value) for value in np.unique(labels)] for fold in divided]
    )


def test_stratified_folds_hold_each_class_out_to_within_one_row_and_are_equally_large():
    for shuffle in (True, False):
        counts = counts_by_fold(
            folds("k_fold", {"folds": 4, "shuffle": shuffle, "stratify": "rock"}), ROCKS
        )
        assert (np.ptp(counts, axis=0) <= 1).all()
        assert np.ptp(counts.sum(axis=1)) <= 1
    counts = counts_by_fold(
        folds("random", {"share": 0.3, "repeats": 3, "stratify": "rock"}), ROCKS
    )
    assert counts.tolist() == [[6, 2, 2]] * 3


@pytest.mark.heavy
def test_stratified_groups_keep_shares_about_as_well_as_scikit_learns_and_better_than_by_size():
    from sklearn.model_selection import StratifiedGroupKFold

    found = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        groups = np.sort(random.integers(0, 40, 800))
        shares = random.beta(0.4, 0.8, 40)[groups]
        columns = {"group": groups.astype(str), "rock": (random.random(800) < shares).astype(str)}

        def imbalance(tests, rocks=columns["rock"]):
            counts = np.array(
                [[np.sum(rocks[test] == value) for value in np.unique(rocks)] for test in tests]
            )
            return (np.ptp(counts, axis=0) / counts.sum(axis=0)).max()

        def ours(columns=columns, random=random, **more):
            split = SPLITS["group_k_fold"].build(by="group", folds=4, **more)
            divided = split.folds(np.arange(800), columns.get, random)
            for fold in divided:
                assert not {*columns["group"][fold.train]} & {*columns["group"][fold.test]}
            return imbalance([fold.test for fold in divided])

        theirs = StratifiedGroupKFold(4, shuffle=True, random_state=seed)
        parts = [test for _, test in theirs.split(groups, columns["rock"], groups)]
        found.append([ours(stratify="rock"), imbalance(parts), ours()])
    stratified, reference, by_size = np.mean(found, axis=0)
    assert stratified < 1.2 * reference
    assert stratified < 0.7 * by_size
