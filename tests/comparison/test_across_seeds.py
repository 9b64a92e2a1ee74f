"""Comparisons of groups of runs. The runs are directories as training leaves them, written here
with chosen results.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import xarray

from qexp.base.formats import json_bytes
from qexp.base.workspace import find
from qexp.comparison.compare import compare_named
from qexp.comparison.figures import draw_groups, drawn_anew
from qexp.comparison.groups import differ_by_seed, runs_to_compare, seed_groups
from qexp.comparison.seeds import compare_across_seeds
from qexp.comparison.summary import overview
from qexp.figures import writing
from qexp.figures.curves import FEW_RUNS, OF_WHAT, learning_bands, middle_and_band
from qexp.figures.writing import save
from qexp.runs.catalog import Catalog
from qexp.runs.options import ComparisonOptions
from qexp.spec.reading import digest
from qexp.store.directory import MATRIX, MATRIX_RECORD
from qexp.store.record import Record, State
from tests.conftest import RESOLVED, put
from tests.runs.conftest import running

PNG = b"\x89PNG"

Write = Callable[..., Path]


@pytest.fixture
def write(specs) -> Write:
    """`write("slow_3", 3, mae=0.1, state="failed", spec=...)`: a run of 4 epochs with chosen
    results for depth.
    """

    def written(
        name: str, seed: int, *, spec: dict[str, Any] | None = None, epochs: int = 4, **given: Any
    ) -> Path:
        experience = spec or experience_with()
        results = {key: given.pop(key) for key in ("mae", "bias", "r2") if key in given}
        record = Record(name=name, seed=seed, state=State.DONE).document() | {
            "experience": name.rpartition("_")[0], "dataset": "sound", "model": "sound",
            "digest": digest(experience), "units": {"depth": "km"},
            "results": {"test": {"depth": results}} if results else {}, **given,
        }  # fmt: skip
        folder = specs.root / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_bytes(json_bytes(record))
        (folder / "spec.json").write_bytes(json_bytes(experience))
        (folder / "metrics.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in curve(epochs, seed))
        )
        return folder

    return written


def experience_with(*changes: tuple[str, Any]) -> dict[str, Any]:
    """A resolved spec, with changes, each a path and a value."""
    document = RESOLVED
    for path, value in changes:
        document = put(document, path, value)
    return document


FASTER = experience_with(("learning_rate", 0.01))
NOISIER = experience_with(("dataset.fixed.noise", 0.01))


def curve(epochs: int, seed: int) -> list[dict[str, Any]]:
    def validation(epoch: int) -> dict[str, Any]:
        return {"loss": (1 + seed / 10) / epoch, "depth": {"mae": (2 + seed / 10) / epoch}}

    numbers = range(1, epochs + 1)
    return [
        {"epoch": n, "train": {"loss": 1 / n}, "validation": validation(n), "best": True}
        for n in numbers
    ]


@pytest.fixture
def compared(specs) -> Callable[..., dict[str, Any]]:
    """What `qexp compare ARGUMENTS... --json` says of groups, without their figures."""

    def document(*arguments: str, part: str | None = None) -> dict[str, Any]:
        chosen = runs_to_compare(arguments, Catalog(find(specs.root)), part=part)
        assert differ_by_seed(chosen)
        return json.loads(json_bytes(compare_across_seeds(seed_groups(chosen)).document()))

    return document


def two_groups(write: Write, seeds: int = 4) -> None:
    for seed in range(seeds):
        write(f"slow_{seed}", seed, mae=0.2 + 0.01 * seed, bias=-0.1, r2=0.9)
        write(f"fast_{seed}", seed, mae=0.1 + 0.02 * seed, bias=0.2, r2=0.95, spec=FASTER)


# Which runs make a group


def test_a_pattern_gives_a_group_for_each_spec_that_it_matches_and_each_is_named_by_what_was_changed(
    write, compared
):
    shared, changed = ["epochs=2"], ["epochs=2", "learning_rate=0.01"]
    for seed in (0, 1):
        write(f"one_{seed}", seed, mae=0.1, overrides=shared)
        write(f"one_ab12_{seed}", seed, mae=0.1, spec=FASTER, overrides=changed, experience="one")
    groups = compared("one_*")["groups"]
    assert [(group["name"], group["runs"]) for group in groups] == [
        ("one learning_rate=0.001", ["one_0", "one_1"]),
        ("one learning_rate=0.01", ["one_ab12_0", "one_ab12_1"]),
    ]


def test_groups_stand_in_the_order_of_the_values_that_were_changed_and_a_default_has_its_place_among_them(
    write, compared
):
    for rate in ("0.01", "3e-3", "0.1", None):
        changes = [f"learning_rate={rate}"] if rate else []
        spec = experience_with(("learning_rate", float(rate))) if rate else experience_with()
        write(f"a_{rate}_0", 0, mae=0.1, spec=spec, overrides=changes, experience="a")
    rates = [group["overrides"] for group in compared("a_*")["groups"]]
    assert rates == [[], ["learning_rate=3e-3"], ["learning_rate=0.01"], ["learning_rate=0.1"]]


def test_a_studied_entry_of_a_list_names_groups_and_is_a_number_also_of_a_run_with_changes_of_its_own(
    write, compared
):
    # as in its spec
    write("b_0", 0, mae=0.1, overrides=["epochs=2", "learning_rate=1e-3"], experience="b")
    write(
        "b_16_0",
        0,
        spec=experience_with(("sizes", [16, 4, 4])),
        overrides=["sizes.0=16"],
        experience="b",
    )
    document = compared("b_*")
    assert [group["name"] for group in document["groups"]] == ["b sizes.0=8", "b sizes.0=16"]
    assert document["differences"] == {"sizes.0": ["8", "16"]}


def test_runs_of_one_spec_under_two_patterns_are_two_groups_and_records_without_a_digest_are_no_seeds(
    write, compared
):
    for seed in (0, 1):
        write(f"old_{seed}", seed, mae=0.1, experience="one")
        write(f"new_{seed}", seed, mae=0.2, experience="one")
        write(f"bare_{seed}", seed, mae=0.1, digest="")
    assert [group["name"] for group in compared("old_*", "new_*")["groups"]] == [
        "one (old_*)",
        "one (new_*)",
    ]
    assert [group["seeds"] for group in compared("bare_*")["groups"]] == [[0], [1]]


def test_names_are_grouped_like_patterns_where_one_of_several_specs_has_two_seeds_and_others_not(
    write, compared, specs
):
    two_groups(write, 2)
    named = compared("slow_0", "slow_1", "fast_0", "fast_1")
    by_pattern = compared("slow_*", "fast_*")
    assert (named["results"], named["pairs"]) == (by_pattern["results"], by_pattern["pairs"])
    assert [group["seeds"] for group in compared("slow_0", "slow_1", "fast_0")["groups"]] == [
        [0, 1],
        [0],
    ]
    for names in (("slow_0", "fast_0"), ("slow_0", "slow_1")):
        assert not differ_by_seed(runs_to_compare(names, Catalog(find(specs.root))))
    assert differ_by_seed(
        runs_to_compare(["slow_0", "slow_1"], Catalog(find(specs.root))), gathered=True
    )


def test_the_best_by_validation_is_starred_also_without_common_seeds_and_trials_that_were_not_tested_are_left_out(
    write, specs
):
    def results(validated: float) -> dict[str, Any]:
        return {"test": {"depth": {"mae": 0.2}}, "validation": {"depth": {"mae": validated}}}

    for seed in range(3):
        write(f"one_{seed}", seed, results=results(0.3 + 0.01 * seed))
    write(
        "one_fast_7",
        7,
        results=results(0.1),
        spec=FASTER,
        overrides=["learning_rate=0.01"],
        experience="one",
    )
    trial = experience_with(("test", False))
    write(
        "one_trial_0",
        0,
        results={"validation": {"depth": {"mae": 0.05}}},
        spec=trial,
        experience="one",
    )
    warned: list[str] = []
    options = ComparisonOptions(figures=False, warn=warned.append, workspace=specs.root)
    comparison = compare_named(["one_*"], Catalog(find(specs.root)), options)
    lines = [line for part in overview(comparison) for line in getattr(part, "rows", [[str(part)]])]
    assert [line[2].strip() for line in lines if len(line) > 7] == ["0.31", "0.1 *"]
    assert len(warned) == 1
    assert "without results on a test part, and left out: one" in warned[0]


def test_patterns_and_names_can_be_mixed_and_a_run_belongs_to_the_first_that_names_it(
    write, qexp, compared
):
    two_groups(write)
    groups = compared("slow_?", "fast_2")["groups"]
    assert [(group["name"], group["seeds"]) for group in groups] == [
        ("slow", [0, 1, 2, 3]),
        ("fast", [2]),
    ]
    assert groups[1]["missing"] == [0, 1, 3]
    names = [group["name"] for group in compared("slow_[01]", "slow_*")["groups"]]
    assert names == ["slow (slow_[01])", "slow (slow_*)"]
    assert (
        "'slow_1' matches only runs that were already listed"
        in qexp("compare", "slow_*", "slow_1").failed()
    )


def test_groups_without_numbers_of_a_test_part_are_compared_by_those_of_validation(
    write, qexp, compared
):
    for seed in range(3):
        for name, spec, error in (("slow", None, 0.5), ("fast", FASTER, 0.25)):
            of_output = {"depth": {"mae": error + 0.01 * seed}}
            write(
                f"{name}_{seed}",
                seed,
                spec=spec,
                results={"train": of_output, "validation": of_output},
            )
    document = compared("slow_*", "fast_*")
    assert (document["part"], document["pairs"][0]["differences"][0]["better"]) == (
        "validation",
        "fast",
    )
    _, stdout, _ = qexp("compare", "slow_*", "fast_*", "--all")
    words = (
        "on the validation part, 3 seeds each",
        "depth: mae (km) on the validation part\n",
        "/validation_errors.png",
    )
    assert all(each in stdout for each in words)
    write("slow_3", 3, mae=0.6)
    document = compared("slow_*", "fast_*")
    assert (document["part"], document["groups"][0]["seeds"]) == ("test", [3])
    assert document["groups"][1]["left_out"][0]["why"] == "done without results on a test part"


def test_a_comparison_needs_patterns_that_match_two_runs_and_one_that_is_done(write, qexp):
    write("alone_0", 0, mae=0.1)
    for seed in (0, 1):
        write(f"one_{seed}", seed, state="failed")
    assert "no run matches 'aloe_*'" in qexp("compare", "aloe_*").failed(3)
    assert "at least two runs" in qexp("compare", "alone_*").failed()
    assert "one_0 is failed, one_1 is failed" in qexp("compare", "one_*").failed()


@pytest.mark.heavy
@pytest.mark.parametrize(
    "results", [{"test": [1]}, {"test": {"depth": None}}, {"test": {"depth": {"mae": "small"}}}]
)
def test_results_that_no_run_writes_are_damage_and_their_file_is_named(write, qexp, results):
    write("one_0", 0, mae=0.1)
    write("one_1", 1, results=results)
    for arguments in (["one_*"], ["one_0", "one_1"]):
        assert "runs/one_1/run.json is damaged: $.results.test" in qexp(
            "compare", *arguments
        ).refused(5)
    write("one_2", 2, mae=0.2)
    code, stdout, stderr = qexp("compare", "one_*")
    assert (code, "0, 2" in stdout, "warning: " in stderr) == (0, True, True)
    assert "runs/one_1/run.json is damaged" in stderr


# What counts


@pytest.mark.heavy
def test_seeds_that_do_not_count_are_named_with_their_reason(write, compared, qexp):

    two_groups(write, 6)
    write("other_0", 0, mae=0.3, spec=NOISIER)
    write("other_1", 1, state="failed", spec=NOISIER)
    write("other_2", 2, **running(start="0"), spec=NOISIER)
    write("other_3", 3, state="out_of_memory", spec=NOISIER)
    write("other_4", 4, spec=NOISIER)
    write("other_again_0", 0, mae=0.3, experience="other", spec=NOISIER)
    group = compared("slow_*", "other_*")["groups"][1]
    assert (group["runs"], group["missing"]) == (["other_0"], [5])
    assert {exclusion["run"]: exclusion["why"] for exclusion in group["left_out"]} == {
        "other_1": "failed",
        "other_2": "lost",
        "other_3": "out of memory",
        "other_4": "done without results on a test part",
        "other_again_0": "repeats other_0",
    }
    write("dead_0", 0, state="failed", spec=NOISIER)  # a group without a run that is done
    for form in ("--csv", "--markdown", "--workspace=."):
        stdout = qexp("compare", "slow_*", "other_*", "dead_*", form).stdout
        assert all(f"({exclusion['run']})" in stdout for exclusion in group["left_out"])
        assert "seed 5 missing" in stdout
        assert "dead_0" in stdout


def test_a_seed_that_failed_counts_once_it_was_done_again(write, compared):
    two_groups(write)
    write("again_1", 1, mae=0.5, experience="retried", spec=NOISIER)
    write("again_0", 1, state="failed", experience="retried", spec=NOISIER)
    group = compared("slow_*", "again_*")["groups"][1]
    assert (group["runs"], [exclusion["run"] for exclusion in group["left_out"]]) == (
        ["again_1"],
        ["again_0"],
    )


@pytest.mark.heavy
def test_a_metric_that_is_not_finite_is_left_out_of_its_own_row_alone_and_that_is_said(
    write, compared, qexp
):
    two_groups(write)
    write("slow_4", 4, mae=float("nan"), bias=0.1, r2=0.9)
    rows = {row["metric"]: row for row in compared("slow_*")["results"]}
    assert (rows["mae"]["n"], rows["mae"]["not_finite"]) == (4, [4])
    assert (rows["bias"]["n"], rows["bias"]["not_finite"]) == (5, [])
    assert "A: no finite depth mae for seed 4" in qexp("compare", "slow_*").stdout


# The numbers


def test_a_group_has_the_mean_the_deviation_and_the_interval_that_scipy_gives(write, compared):
    two_groups(write)
    row = compared("slow_*")["results"][0]
    values = [0.2, 0.21, 0.22, 0.23]
    assert list(row["values"].values()) == pytest.approx(values)
    assert row["mean"] == pytest.approx(np.mean(values))
    assert row["standard_deviation"] == pytest.approx(np.std(values, ddof=1))
    assert row["interval"] == pytest.approx(
        scipy.stats.t.interval(0.95, 3, loc=np.mean(values), scale=scipy.stats.sem(values))
    )
    assert (row["min"], row["max"]) == (0.2, 0.23)


def test_the_difference_is_taken_over_common_seeds_alone(write, compared):
    two_groups(write)
    write("slow_7", 7, mae=100.0)
    write("fast_8", 8, mae=0.0, spec=FASTER)
    (pair,) = compared("slow_*", "fast_*")["pairs"]
    assert pair["seeds"] == [0, 1, 2, 3]
    mae = pair["differences"][0]
    test = scipy.stats.ttest_rel([0.2, 0.21, 0.22, 0.23], [0.1, 0.12, 0.14, 0.16])
    assert mae["interval"] == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert (mae["n"], mae["excludes_zero"], mae["better"]) == (4, True, "fast")


def test_exchanging_two_groups_turns_the_sign_and_not_what_is_better(write, compared):
    """Larger for R², and nearer to zero for the bias: of -0.1 and 0.2 the larger is worse, and so
    would be -0.2.
    """
    two_groups(write)
    (there,), (back,) = (
        compared(*order)["pairs"] for order in (("slow_*", "fast_*"), ("fast_*", "slow_*"))
    )
    for a, b in zip(there["differences"], back["differences"], strict=True):
        assert a["mean"] == pytest.approx(-b["mean"])
        assert a["interval"] == pytest.approx([-end for end in reversed(b["interval"])])
    for pair in (there, back):
        better = {row["metric"]: row["better"] for row in pair["differences"]}
        assert better == {"mae": "fast", "bias": "slow", "r2": "fast"}


def test_neither_group_is_better_where_the_interval_holds_zero(write, compared):
    for seed, error in enumerate((0.1, 0.3, 0.2)):
        write(f"slow_{seed}", seed, mae=0.2)
        write(f"fast_{seed}", seed, mae=error, spec=FASTER)
    (row,) = compared("slow_*", "fast_*")["pairs"][0]["differences"]
    assert (row["excludes_zero"], row["better"]) == (False, None)


@pytest.mark.heavy
def test_groups_with_fewer_than_two_common_seeds_are_compared_unpaired_and_that_is_said(
    write, compared, qexp
):
    for seed in (0, 1):
        write(f"slow_{seed}", seed, mae=0.2 + seed / 1000, bias=0.3)
        write(f"fast_{seed + 1}", seed + 1, mae=0.1 + seed / 1000, bias=-0.1, spec=FASTER)
    (pair,) = compared("slow_*", "fast_*")["pairs"]
    assert pair["not_paired"] == "only seed 1 in common"
    mae, bias = pair["differences"][:2]
    test = scipy.stats.ttest_ind([0.2, 0.201], [0.1, 0.101], equal_var=False)
    assert mae["interval"] == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert (mae["seeds"], mae["better"]) == ([], "fast")
    assert (bias["mean"], bias["better"]) == (pytest.approx(0.2), "fast")
    said = qexp("compare", "slow_*", "fast_*").stdout
    assert "depth mae: B better than A, by 0.1" in said
    assert "A and B are compared unpaired (Welch): only seed 1 in common" in said
    assert "better: the 95 % interval of the difference excludes 0\n" in said


def test_a_group_of_one_seed_that_others_lack_is_not_compared_and_no_seed_of_others_is_missing(
    write, compared
):
    for seed in (0, 1):
        write(f"slow_{seed}", seed, mae=0.1)
    write("fast_2", 2, mae=0.2, spec=FASTER)
    made = compared("slow_*", "fast_*")
    assert made["pairs"][0]["differences"] == []
    assert made["pairs"][0]["not_paired"] == "no seed in common; an interval needs two"
    assert [group["missing"] for group in made["groups"]] == [[], []]


def test_the_part_that_is_asked_for_is_compared_and_another_is_refused(write, compared, qexp):
    """The order by validation is another one than on the test part."""
    for seed in (0, 1, 2):
        for name, errors, spec in (("slow", (0.2, 0.1), None), ("fast", (0.1, 0.2), FASTER)):
            parts = [
                {"depth": {"mae": error + seed / 1000 + (name == "fast") * seed / 1e4}}
                for error in errors
            ]
            write(
                f"{name}_{seed}",
                seed,
                spec=spec,
                results={"test": parts[0], "validation": parts[1]},
            )
    for part, better in (("test", "fast"), ("validation", "slow")):
        made = compared("slow_*", "fast_*", part=part)
        assert (made["part"], made["pairs"][0]["differences"][0]["better"]) == (part, better)
        alone = json.loads(qexp("compare", "slow_0", "fast_0", "--part", part, "--json").stdout)
        assert alone["results"][0]["values"] == ([0.2, 0.1] if part == "test" else [0.1, 0.2])
    assert compared("slow_*", "fast_*")["part"] == "test"
    refused = qexp("compare", "slow_*", "fast_*", "--part", "train").refused()
    assert (
        "--part train: none of the runs has results on a training part; they have test, validation"
        in refused
    )
    assert (
        "did you mean 'validation'?"
        in qexp("compare", "slow_*", "fast_*", "--part", "validaton").refused()
    )
    assert (
        "leave out --part"
        in qexp("compare", "slow_*", "--part", "test", "--evaluation", "own").refused()
    )


def test_groups_whose_validation_samples_differ_are_not_compared_by_them(write, compared):
    for seed in (0, 1):
        parts = {part: {"depth": {"mae": 0.1 + seed / 100}} for part in ("test", "validation")}
        write(f"slow_{seed}", seed, results=parts)
        write(
            f"other_{seed}",
            seed,
            results=parts,
            spec=experience_with(("learning_rate", 0.01), ("split", [0.6, 0.4])),
        )
    assert compared("slow_*", "other_*")["pairs"][0]["differences"]
    (pair,) = compared("slow_*", "other_*", part="validation")["pairs"]
    assert "evaluated on different validation parts: split" in pair["not_paired"]


@pytest.mark.parametrize(
    ("change", "paired"),
    [
        (("dataset.fixed.noise", 0.01), False),
        (("sizes", [8, 4, 5]), False),
        (("sizes", [9, 4, 4]), True),
        (("dataset.description", "other words"), True),
        (("dataset.matrix.resolution", 16), True),
        (("split", [0.6, 0.4]), True),
    ],
)
def test_groups_are_paired_if_each_seed_had_the_same_test_samples(write, compared, change, paired):
    other = experience_with(("learning_rate", 0.01), change)
    for seed in (0, 1):
        write(f"slow_{seed}", seed, mae=0.1)
        write(f"other_{seed}", seed, mae=0.2, spec=other)
    (pair,) = compared("slow_*", "other_*")["pairs"]
    assert bool(pair["differences"]) == paired
    assert paired or "different test parts" in pair["not_paired"]


def test_a_difference_that_is_clear_alone_has_a_wider_interval_among_several_and_is_not_clear_there(
    write, compared
):
    for seed, worse in enumerate((0.01, 0.02, 0.03, 0.03)):  # by a paired t-test p = 0.018
        write(f"slow_{seed}", seed, mae=0.2 + worse)
        write(f"fast_{seed}", seed, mae=0.2, spec=FASTER)
        write(
            f"third_{seed}", seed, mae=0.2 + 0.1 * (seed % 2), spec=experience_with(("epochs", 4))
        )

    def difference_of(*patterns: str) -> tuple[str | None, float]:
        (row,) = compared(*patterns)["pairs"][0]["differences"]
        low, high = row["interval"]
        return row["better"], (high - low) / row["standard_deviation"]

    # ± t s / √n, with four seeds
    quantiles = [scipy.stats.t.ppf(1 - 0.05 / 2 / pairs, 3) for pairs in (1, 3)]
    assert difference_of("slow_*", "fast_*") == ("fast", pytest.approx(quantiles[0]))
    assert difference_of("slow_*", "fast_*", "third_*") == (None, pytest.approx(quantiles[1]))


# What is printed and drawn


@pytest.mark.heavy
def test_single_runs_with_other_test_samples_are_said_to_answer_different_questions(write, qexp):
    for name, spec in (("quiet", experience_with()), ("fast", FASTER), ("noisy", NOISIER)):
        write(f"{name}_0", 0, mae=0.1, spec=spec)
    said = (
        "the runs answer different questions: evaluated on different test parts:"
        " dataset.fixed.noise differs"
    )
    assert said in qexp("compare", "quiet_0", "noisy_0").done()
    assert "different questions" not in qexp("compare", "quiet_0", "fast_0").done()


@pytest.mark.heavy
def test_the_tables_show_every_group_and_every_pair(write, qexp):
    two_groups(write)
    stdout = qexp("compare", "slow_*", "fast_*").done()
    lines = [" ".join(line.split()) for line in stdout.splitlines()]
    assert (
        lines[0]
        == "2 groups of runs that differ by their seed only, on the test part, 4 seeds each"
    )
    assert re.fullmatch(
        r"depth mae: ([AB]) better than ([AB]), by [\d.]+ \[[\d.]+, [\d.]+\] km", lines[1]
    )
    assert "A 0-3 slow" in lines
    assert "learning_rate 0.001 0.01" in lines
    assert "depth: mae (km) on the test part" in lines
    assert next(line for line in lines if line.startswith("A 4 0.215 ± 0.013 - [0.194, 0.236] "))
    assert not any("bias" in line for line in lines if "not shown" not in line)
    lines = [
        " ".join(line.split())
        for line in qexp("compare", "slow_*", "fast_*", "--all").done().splitlines()
    ]
    assert "bias (km) A 4" in " ".join(lines)
    assert "depth: differences, seed by seed (0-3)" in lines
    assert "|bias| (km) A − B 4 -0.1 ± 0 A [-0.1, -0.1]" in lines


@pytest.mark.heavy
def test_intervals_of_a_chosen_output_are_as_wide_as_all_outputs_need_and_that_is_said(write, qexp):
    two_groups(write)
    whole, chosen = (
        json.loads(qexp("compare", "slow_*", "fast_*", "--json", *options).done())
        for options in ((), ("--metric", "mae", "--output", "depth"))
    )
    rows = [
        row
        for row in whole["pairs"][0]["differences"]
        if (row["output"], row["metric"]) == ("depth", "mae")
    ]
    assert chosen["pairs"][0]["differences"] == rows
    assert chosen["simultaneous"] == whole["simultaneous"]


@pytest.mark.heavy
def test_groups_of_one_seed_each_are_said_to_be_that(write, qexp):
    write("slow_0", 0, mae=0.1)
    write("fast_0", 0, mae=0.2, spec=FASTER)
    first, *_ = qexp("compare", "slow_*", "fast_*").done().splitlines()
    assert first.endswith("1 seed each: with other seeds the order may be another")


@pytest.mark.slow
def test_csv_has_all_digits_and_a_row_for_every_row_of_the_document_and_no_other_form(
    write, qexp, compared
):
    two_groups(write)
    document = compared("slow_*", "fast_*")
    rows = list(csv.DictReader(io.StringIO(qexp("compare", "slow_*", "fast_*", "--csv").stdout)))
    differences = [{**row, **pair} for pair in document["pairs"] for row in pair["differences"]]
    assert len(rows) == len(document["results"]) + len(differences)
    for row, told in zip(rows, [*document["results"], *differences], strict=True):
        assert float(row["mean"]) == told["mean"]
        assert [float(row["interval_low"]), float(row["interval_high"])] == told["interval"]
    assert "exclude each other" in qexp("compare", "slow_*", "--csv", "--latex").refused()


@pytest.mark.heavy
def test_pictures_of_other_runs_go_elsewhere(write, qexp):
    def figures(*arguments: str) -> list[str]:
        return json.loads(qexp("compare", *arguments, "--json").stdout)["figures"]

    two_groups(write)
    first, second = figures("slow_*", "fast_*"), figures("slow_*", "fast_[01]")
    assert [Path(path).name for path in first] == ["learning_bands.png", "test_errors.png"]
    assert not {*first} & {*second}
    assert all(Path(path).read_bytes().startswith(PNG) for path in (*first, *second))
    assert figures("slow_*", "fast_*") == first


@pytest.mark.heavy
def test_matrices_of_a_group_are_drawn_as_the_mean_of_their_absolute_errors_and_old_pictures_go(
    write, specs, monkeypatch
):
    two_groups(write, 2)
    for seed, error in ((0, 0.5), (1, -0.5)):
        for name in ("slow", "fast") if seed == 0 else ("slow",):
            put_matrix(specs.root / f"runs/{name}_{seed}/matrices/sound", error)
    folder = specs.root / "pictures"
    folder.mkdir()
    for name in ("matrix_sound_2.png", "own.png"):
        (folder / name).write_bytes(PNG)
    drawn = []
    monkeypatch.setattr(writing, "save", lambda figure, path: drawn.append((path.name, figure)))
    groups = seed_groups(runs_to_compare(["slow_*", "fast_*"], Catalog(find(specs.root))))
    made = drawn_anew(draw_groups(compare_across_seeds(groups), folder), folder)
    assert made[-1] == folder / "matrix_sound.png"
    assert [path.name for path in folder.iterdir()] == ["own.png"]
    panels = [axis for axis in dict(drawn)["matrix_sound.png"].axes if axis.images]
    assert [axis.get_title().splitlines()[0] for axis in panels] == [
        "slow, mean over 2 seeds", "fast, seed 0 alone, of 2",
    ]  # fmt: skip
    assert all(np.allclose(axis.images[0].get_array(), 25) for axis in panels), (
        "opposite errors do not cancel"
    )
    boxes = [[patch.get_bbox().extents.tolist() for patch in axis.patches] for axis in panels]
    assert boxes == [[[2.5, 0, 3, 2]] * 2] * 2, (
        "of test samples, as far as the axis reaches: the interval has no end"
    )
    assert [[line.get_xdata()[0] for line in axis.lines] for axis in panels] == [[2.5] * 2] * 2


def put_matrix(folder: Path, error: float) -> None:
    axes = {"depth": [1.0, 3.0, 2], "delta_volume": [0.0, 2.0, 2]}
    cells = {
        name: (name, [low + 0.5, high - 0.5], {"units": "km"})
        for name, (low, high, _) in axes.items()
    }
    numbers = {"estimate": 2.0 + error, "error": error, "relative_error": error / 2}
    plane = {
        f"depth_{kind}": ([*axes], np.full((2, 2), value), {"units": "km"})
        for kind, value in numbers.items()
    }
    folder.mkdir(parents=True)
    xarray.Dataset(plane, cells).to_netcdf(folder / MATRIX, engine="h5netcdf")
    record = {
        "dataset": "sound",
        "axes": axes,
        "fixed": {},
        "mean_absolute_error": {"depth": abs(error)},
    }
    (folder / MATRIX_RECORD).write_bytes(
        json_bytes(record | {"held_out": {"depth": [[2.5, None]]}})
    )


@pytest.mark.heavy
def test_runs_of_any_length_with_any_name_are_drawn(write, qexp):
    odd = experience_with(("batch_size", 2))
    write(
        "odd_0",
        0,
        mae=0.1,
        spec=odd,
        epochs=1,
        experience="a $x_{1 name",
        overrides=["description=" + "long " * 40],
    )
    write("odd_1", 1, mae=0.0, spec=odd, epochs=0, experience="a $x_{1 name")
    two_groups(write, FEW_RUNS + 2)
    assert len(json.loads(qexp("compare", "odd_*", "slow_*", "--json").stdout)["figures"]) == 2


def test_a_band_reaches_from_the_least_to_the_greatest_of_few_and_over_the_middle_half_of_many():
    few = np.array([[1.0, 5.0], [2.0, np.nan], [6.0, 7.0]])
    assert [list(line) for line in middle_and_band(few)] == [[2, 6], [1, 5], [6, 7]]
    many = np.arange(101.0)[:, None]
    assert [list(line) for line in middle_and_band(many)] == [[50], [25], [75]]


@pytest.mark.heavy
def test_losses_below_zero_and_losses_that_are_no_numbers_are_drawn(tmp_path):
    lines = curve(3, 0)
    lines[0]["validation"]["loss"], lines[1]["validation"]["loss"] = -1.0, None
    nothing = [{"epoch": 1, "validation": {"loss": None, "depth": {"mae": None}}}]
    lines_of = {"some": [lines, lines[:1]], "none": [nothing]}
    save(learning_bands(lines_of, OF_WHAT, {"depth": "km"}), tmp_path / "bands.png")
    assert (tmp_path / "bands.png").read_bytes().startswith(PNG)
