"""Options that are empty, given twice, or far too long, deep or large, are refused at once, and
nothing is written.
"""

from pathlib import Path

import pytest

from tests.cli.test_help_texts import COMMANDS
from tests.conftest import call

DIGITS = "1" * 5000

EMPTY = [
    "ls --where",
    "ls --where=",
    "ls --tag good --tag",
    "ls --workspace",
    "run sound --name",
    "run sound --storage-path",
    "run sound --seeds 0:2 --storage-path=",
    "import x.zip --name",
    "data ice --out",
]


@pytest.mark.parametrize("line", EMPTY)
def test_an_option_with_nothing_in_it_is_refused_and_not_taken_as_left_out(specs, qexp, line):
    option = line.split()[-1].rstrip("=")
    words = [*line.split(), *([] if line.endswith("=") else [""])]
    assert qexp(*words).refused() == f"error: {option} is empty; give it a value, or leave it out\n"
    assert [path.name for path in Path().iterdir()] == ["specs"]


def test_the_workspace_of_all_commands_cannot_be_empty_either_but_an_argument_where_that_means_something(
    here, qexp
):
    assert "--workspace is empty" in qexp("--workspace", "", "ls").failed()
    assert qexp("note", "sound_0", "").code == 0


MILLIONS = ",".join(f"{part}000000:{part + 1}000000" for part in range(1, 301))

GRID = " ".join(f"--grid {key}={','.join(map(str, range(32)))}" for key in "abcdef")
"""Of 10^9 points."""

ABSURD = {
    "an index of thousands of digits": (
        f"run sound --set sizes.{DIGITS}=1",
        "a list of 3; number its items from 0",
    ),
    "a number of thousands of digits": (
        f"run sound --set epochs={DIGITS}",
        "not a number of sensible size",
    ),
    "a key of thousands of steps": (
        f"run sound --set losses{'.a' * 5000}=1",
        "5,001 nested keys; a spec has at most",
    ),
    "a seed of thousands of digits": (
        f"run sound --seeds {DIGITS}",
        "a seed must be less than 2^63",
    ),
    "a range to thousands of digits": (
        f"run sound --seeds 0:{DIGITS}",
        "a seed must be less than 2^63",
    ),
    "millions of seeds": (
        f"run sound --dry-run --seeds {MILLIONS}",
        "300,000,000 seeds are too many; the limit is 1,0",
    ),
    "a grid of 10^9 points": (
        f"run sound --dry-run {GRID}",
        "1,073,741,824 runs are too many; the limit is 1,000,000",
    ),
    "a study of 10^9 points": (
        f"study sound {GRID}",
        "5,368,709,120 runs are too many; the limit is 1,000,000",
    ),
}


@pytest.mark.parametrize(("line", "complaint"), ABSURD.values(), ids=ABSURD)
def test_what_is_far_too_long_or_large_is_refused_before_anything_is_listed(
    specs, qexp, line, complaint
):
    stderr = qexp(*line.split()).refused()
    assert complaint in stderr
    assert len(stderr) < 1000
    assert not Path("runs").exists()


LISTINGS = {
    "a column of thousands of digits": (
        ("--columns", f"model.branches.{DIGITS}"),
        "no field 'model.branches.111",
    ),
    "a field of thousands of steps": (
        ("--where", "name" + ".b" * 2000 + " == 1"),
        "more than 50 steps",
    ),
    "a thousand nots": (("--where", "not " * 1000 + "seed"), "--where: "),
    "a thousand brackets": (
        ("--where", "(" * 1000 + "seed" + ")" * 1000),
        "--where: cannot understand",
    ),
    "lists in lists": (("--where", "seed in " + "[" * 90 + "]" * 90), "more than 50 steps"),
    "a number of thousands of digits": (
        ("--where", f"seed == {DIGITS}"),
        "--where: cannot understand",
    ),
}


@pytest.mark.parametrize(("options", "complaint"), LISTINGS.values(), ids=LISTINGS)
def test_a_listing_by_what_is_far_too_long_or_deep_is_refused(finished, qexp, options, complaint):
    stderr = qexp("ls", *options, "--workspace", finished).refused()
    assert complaint in stderr
    assert len(stderr) < 1000


CASES = [
    (words, option.opts[0])
    for words, command in COMMANDS.items()
    if not hasattr(command, "commands")
    for option in command.params
    if option.param_type_name == "option"
    and not (option.multiple or option.is_flag or option.count)
]


@pytest.mark.heavy
def test_every_option_that_takes_one_value_is_refused_if_it_is_given_two():
    assert len(CASES) > 100
    accepted = []
    for words, option in CASES:
        outcome = call(*words.split(), option, "1", option, "2")
        if outcome.code != 2 or f"{option} is given 2 times" not in outcome.stderr:
            accepted.append((words, option, outcome.code, outcome.stderr))
    assert accepted == []


@pytest.mark.parametrize(
    "words", [("--workspace", "a", "--workspace", "b", "ls"), ("ls", "--limit=1", "--limit", "1")]
)
def test_so_are_options_of_all_commands_and_equal_values(words):
    assert "is given 2 times" in call(*words).failed()
