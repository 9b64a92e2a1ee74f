"""Every command, argument and option has a line of help, and all that users read is in plain
words.
"""

import ast
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from qexp.cli import app
from qexp.cli.console import examples_of
from tests.conftest import call

ROOT = Path(__file__).parents[2]

UNCLEAR = (
    r"what there is|told|so many|but of|cannot be told|mends?|mended|first"
    r" weights|judged?|somebody|made[- ]up|for good"
    r"|anew|told apart|dealt out|(in|out)side of|for ever|in the place of|not to be"
    r" relied|half-written"
    r"|(data|spectra|cores|rows|fields) that were trained on|(?<!there )is no"
    r" (file|folder|number|text|observation)"
)
"""Phrases with a plainer or a more usual word; refused in help, errors, all other texts of qexp,
and documents.
"""

UNCLEAR_ANYWHERE = re.compile(rf"\b({UNCLEAR})\b", re.IGNORECASE)

UNCLEAR_IN_HELP = re.compile(
    rf"\b({UNCLEAR}|there (is|are) not|tells?|of which|whatever|nobody|goes? on|spread)\b",
    re.IGNORECASE,
)


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        if not command.hidden:
            yield before + name, command


TREE: Any = get_command(app)
COMMANDS = {"": TREE, **dict(commands(TREE))}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help_in_plain_words(name):
    assert len(COMMANDS) > 25
    command = COMMANDS[name]
    texts = {"": command.help or ""}
    for parameter in command.params:
        if not getattr(parameter, "hidden", False) and parameter.name != "help":
            texts[parameter.opts[0]] = getattr(parameter, "help", None) or ""
    for option, text in texts.items():
        assert re.match(r"[A-Z]", text), f"{name} {option}: {text!r}"
        assert text.rstrip().endswith("."), f"{name} {option}: {text!r}"
        assert not UNCLEAR_IN_HELP.search(text), f"{name} {option}: {text!r}"


@pytest.mark.heavy
def test_words_in_brackets_are_not_taken_for_markup():
    in_brackets = {}
    for name, command in COMMANDS.items():
        written = " ".join(
            [command.help or "", *(getattr(param, "help", None) or "" for param in command.params)]
        )
        help_text = call(*name.split(), "--help").stdout
        in_brackets[name] = re.findall(r"\[[^\] ]*\]", written)
        assert [words for words in in_brackets[name] if words not in help_text] == [], name
    assert "[actions.NAME]" in in_brackets["action"]
    assert "[SCHEDULER.NAME]" in in_brackets["run"]


@pytest.mark.parametrize("name", COMMANDS)
def test_paragraphs_fill_the_lines_of_a_terminal(name):
    prose = call(*name.split(), "--help").stdout.split("╭")[0].splitlines()
    for line, following in itertools.pairwise(line.strip() for line in prose):
        assert not line or not following or len(line) + 1 + len(following.split()[0]) > 78, line


EXAMPLES = {
    name: examples_of(f"qexp {name}")
    for name, command in COMMANDS.items()
    if not hasattr(command, "commands")
}


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)[1:]


def test_every_command_has_examples_of_what_it_takes_and_of_specs_that_are_shipped():
    lines = (ROOT / "qexp/cli/examples.txt").read_text(encoding="utf-8").splitlines()
    assert [line for examples in EXAMPLES.values() for line in examples] == lines
    for name, examples in EXAMPLES.items():
        assert examples, f"no example of qexp {name}"
        for line in examples:
            given = COMMANDS[name].make_context(name, words(line)[len(name.split()) :]).params
            named = [("experiences", each) for each in given.get("experiences") or ()] + [
                (f"{kind}s", given[kind]) for kind in ("experience", "dataset") if given.get(kind)
            ]
            assert all(
                (ROOT / "specs" / folder / f"{spec}.json").is_file() for folder, spec in named
            ), line


@pytest.mark.parametrize("name", ["run", "intervals", "data show"])
def test_help_ends_with_the_examples_as_they_are_typed(name):
    below = call(*name.split(), "--help").stdout.rpartition("╯")[2]
    assert [line.strip() for line in below.splitlines() if line.strip()] == [
        "Examples:",
        *EXAMPLES[name],
    ]
    assert max(map(len, EXAMPLES[name])) <= 78


@pytest.mark.heavy
def test_examples_that_need_no_run_work_in_a_new_workspace(workspace):
    for line in [*EXAMPLES["run"], *EXAMPLES["study"]]:
        assert (
            " learning_rate=" in call(*words(line), "--dry-run").done()
            or "--grid learning_rate" not in line
        )
    for name in (
        "ls",
        "status",
        "specs",
        "tables",
        "schema",
        "init",
        "restore",
        "doctor",
        "reindex",
    ):
        for line in EXAMPLES[name]:
            if "ls --" not in line and "restore mogi" not in line:
                call(*words(line.replace("my_experiments", f"new_{len(line)}"))).done()


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and strings of a module, without docstrings."""
    parts = {
        part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    plain = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node not in parts | plain
        ):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            words = [
                str(value.value) if isinstance(value, ast.Constant) else "…"
                for value in node.values
            ]
            yield node.lineno, "".join(words)


@pytest.mark.heavy
def test_errors_and_other_texts_are_in_plain_words():
    unclear = [
        f"{file.relative_to(ROOT)}:{line}: {text!r}"
        for file in sorted((ROOT / "qexp").rglob("*.py"))
        for line, text in texts(ast.parse(file.read_text(encoding="utf-8")))
        if " " in text and UNCLEAR_ANYWHERE.search(text)  # others are names
    ]
    assert not unclear


DOCUMENTS = [
    file
    for file in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    if file.parent.name != "project"  # the changelog tells of the past
]


def test_documents_are_in_plain_words():
    code = re.compile(r"^```.*?^```|`[^`]*`", flags=re.MULTILINE | re.DOTALL)
    proses = {file: code.sub("", file.read_text(encoding="utf-8")) for file in DOCUMENTS}
    unclear = {
        file: UNCLEAR_ANYWHERE.search(" ".join(prose.split())) for file, prose in proses.items()
    }
    assert {str(file.relative_to(ROOT)): words for file, words in unclear.items() if words} == {}


def test_the_phrases_are_found_in_strings_and_not_in_docstrings():
    module = ast.parse(
        'def refuse(name):\n    """What there is."""\n    raise ValueError(f"{name} is no " "file")'
    )
    assert [line for line, text in texts(module) if UNCLEAR_ANYWHERE.search(text)] == [3]
    assert not UNCLEAR_ANYWHERE.search("there is no file")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("predict a b --force", " Did you mean --overwrite?"),
        ("matrix a --overwrite", " Did you mean --force?"),
        ("invert a --output b", " Did you mean --to?"),
        ("ls --limti 3", " Did you mean --limit?"),
        ("run a --epochs 3", " Did you mean --set epochs=VALUE?"),
        ("figures a --matrix b", ""),
        ("run a --lr 3", " Did you mean --set learning_rate=VALUE?"),
        ("ls --lr 3", ""),
    ],
)
def test_an_unknown_option_is_answered_with_the_one_that_was_meant_and_with_none_that_was_not(
    line, meant
):
    option = next(word for word in line.split() if word.startswith("--"))
    said = " ".join(call(*line.split()).stderr.replace("│", " ").split())
    assert f"No such option: {option}.{meant} ╰" in said
