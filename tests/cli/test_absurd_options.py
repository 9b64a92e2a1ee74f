"""Options that are empty, or far too long, deep or large, are refused at once, and nothing is written."""

from pathlib import Path

import pytest

DIGITS = "1" * 5000

EMPTY = [
    ("ls", "--where", ""),
    ("ls", "--where="),
    ("ls", "--tag", "good", "--tag", ""),
    ("ls", "--workspace", ""),
    ("run", "sound", "--name", ""),
    ("run", "sound", "--storage-path", ""),
    ("run", "sound", "--seeds", "0:2", "--storage-path="),
    ("import", "x.zip", "--name", ""),
    ("data", "ice", "--out", ""),
]


@pytest.mark.parametrize("command", EMPTY, ids=" ".join)
def test_an_option_with_nothing_in_it_is_refused_and_not_taken_as_left_out(specs, qexp, command):
    option = [word for word in command if word.startswith("-")][-1].rstrip("=")
    assert qexp(*command).refused() == f"error: {option} is empty; give it a value, or leave it out\n"
    assert [path.name for path in Path().iterdir()] == ["specs"]


def test_the_workspace_of_all_commands_cannot_be_empty_either(specs, qexp):
    assert "--workspace is empty" in qexp("--workspace", "", "ls").failed()


def test_an_argument_may_be_empty_where_that_means_something(here, qexp):
    assert qexp("note", "sound_0", "").code == 0


ABSURD = {
    "an index of thousands of digits": (
        ("run", "sound", "--set", f"sizes.{DIGITS}=1"),
        "sizes is a list of 3; number its items from 0",
    ),
    "a number of thousands of digits": (("run", "sound", "--set", f"epochs={DIGITS}"), "not a number of sensible size"),
    "a key of thousands of steps": (
        ("run", "sound", "--set", f"losses{'.a' * 5000}=1"),
        "5,001 nested keys; a spec has at most 50",
    ),
    "a seed of thousands of digits": (("run", "sound", "--seeds", DIGITS), "a seed must be less than 2^63"),
    "a range to thousands of digits": (("run", "sound", "--seeds", f"0:{DIGITS}"), "a seed must be less than 2^63"),
    "millions of seeds, part by part": (
        ("run", "sound", "--dry-run", "--seeds", ",".join(f"{part}000000:{part + 1}000000" for part in range(1, 301))),
        "300,000,000 seeds are too many; the limit is 1,000,000",
    ),
    "a grid of 10^9 points": (
        (
            "run", "sound", "--dry-run",
            *(word for key in "abcdef" for word in ("--grid", f"{key}={','.join(map(str, range(32)))}")),
        ),
        "1,073,741,824 runs are too many; the limit is 1,000,000",
    ),
    "a study of 10^9 points": (
        (
            "study", "sound",
            *(word for key in "abcdef" for word in ("--grid", f"{key}={','.join(map(str, range(32)))}")),
        ),
        "5,368,709,120 runs are too many; the limit is 1,000,000",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("command", "complaint"), ABSURD.values(), ids=ABSURD)
def test_what_is_far_too_long_or_large_is_refused_before_anything_is_listed(specs, qexp, command, complaint):
    stderr = qexp(*command).refused()
    assert complaint in stderr
    assert len(stderr) < 1000
    assert not Path("runs").exists()


LISTINGS = {
    "a column of thousands of digits": (("--columns", f"model.branches.{DIGITS}"), "no field 'model.branches.111"),
    "a field of thousands of steps": (("--where", "name" + ".b" * 2000 + " == 1"), "more than 50 steps"),
    "a thousand nots": (("--where", "not " * 1000 + "seed"), "--where: "),
    "a thousand brackets": (("--where", "(" * 1000 + "seed" + ")" * 1000), "--where: cannot understand"),
    "lists in lists": (("--where", "seed in " + "[" * 90 + "]" * 90), "more than 50 steps"),
    "a number of thousands of digits": (("--where", f"seed == {DIGITS}"), "--where: cannot understand"),
}


@pytest.mark.parametrize(("options", "complaint"), LISTINGS.values(), ids=LISTINGS)
def test_a_listing_by_what_is_far_too_long_or_deep_is_refused(finished, qexp, options, complaint):
    stderr = qexp("ls", *options, "--workspace", finished).refused()
    assert complaint in stderr
    assert len(stderr) < 1000
