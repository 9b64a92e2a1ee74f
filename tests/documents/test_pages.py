"""Every command and script of the README and of docs/ works, in the order of its page."""

import itertools
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from qexp.metrics.built_in import METRICS
from tests.documents.reader import (
    BLOCK,
    FEWER,
    NEWCOMER,
    PAGES,
    ROOT,
    SHORT,
    SMALLER,
    Reader,
    tried,
)

BEGUN = [
    page
    for page in PAGES
    if tried(page) and not page.startswith(("docs/tutorials/", "docs/gallery"))
]
"""Pages whose commands are run smaller here; tutorials and the gallery are run by test_tutorials.py
as they are.
"""

ONLY_SHOWN = {
    "docs/coming-from/max.md": "tests/documents/test_shown_commands.py",
    "docs/how-to/browser.md": "tests/documents/test_shown_commands.py",
    "docs/how-to/grid-engine.md": "tests/gridengine/test_fates.py",
    "docs/how-to/htcondor.md": "tests/htcondor/test_htcondor.py",
    "docs/how-to/packages.md": "tests/test_packages.py",
    "docs/how-to/several-processes.md": "tests/documents/test_shown_commands.py",
    "docs/how-to/slurm.md": "tests/slurm/test_how_to.py",
}
"""Page with commands that need more than a workspace → the test that runs them."""

CODES = [
    page for page in PAGES if page.startswith("docs/coming-from/") and not page.endswith("index.md")
]

LINE_BY_LINE = [
    f"docs/coming-from/{name}.md"
    for name in (
        "mlflow-wandb",
        "hydra-optuna",
        "sbi-bayesflow",
        "scikit-learn",
        "mintpy-gbis",
        "vsm-beat",
    )
]
"""Pages on programs that many know: what one writes there, and here."""


@pytest.mark.heavy
@pytest.mark.parametrize("page", BEGUN)
def test_every_command_and_script_works_in_the_order_of_the_page(page, tmp_path, request):
    if page == NEWCOMER:
        request.getfixturevalue("drawn")
    Reader(tmp_path).read(page)


def test_no_command_is_left_out():
    assert sum(kind != "python" for page in PAGES for kind, _ in tried(page)) > 150
    assert all(
        tried(page)
        for page in ("README.md", "docs/tutorials/volcano.md", "docs/coming-from/vdi.md")
    )
    blocks = [
        (page, block)
        for page in PAGES
        for kind, block in BLOCK.findall(PAGES[page])
        if kind in ("", "text")
    ]
    assert {
        page for page, block in blocks if re.search(r"^(\$ )?qexp ", block, re.MULTILINE)
    } == ONLY_SHOWN.keys()
    assert all(page in (ROOT / test).read_text() for page, test in ONLY_SHOWN.items())


def test_the_readme_is_short_and_begins_with_a_new_workspace():
    assert len(PAGES[NEWCOMER].splitlines()) <= 140
    words = f"{PAGES[NEWCOMER]} {PAGES['docs/index.md']}".split()
    assert len(words) <= 1300
    assert [text.split()[:2] for _, text in tried(NEWCOMER)[:2]] == [
        ["qexp", "init"],
        ["cd", "my-volcano"],
    ]
    (spec,) = (
        json.loads(block) for kind, block in BLOCK.findall(PAGES[NEWCOMER]) if kind == "json"
    )
    parent = json.loads((ROOT / f"specs/experiences/{spec.pop('extends')}.json").read_text())
    assert spec.keys() < parent.keys()


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/how-to/")])
def test_a_how_to_page_is_short_and_the_index_names_it(page):
    assert len(PAGES[page].split()) <= 1400
    assert page.endswith("index.md") or f"({Path(page).name})" in PAGES["docs/how-to/index.md"]


def test_all_that_the_commands_train_is_made_smaller_here():
    lines = [
        text
        for page in BEGUN
        if page not in CODES
        for kind, text in tried(page)
        if kind != "python"
    ]
    trained = [
        shlex.split(line)[2:] for line in lines if line.startswith(("qexp run", "qexp study"))
    ]
    experiences = {
        Path(word).stem
        for words in trained
        for word in itertools.takewhile(lambda word: word[0] != "-", words)
    }
    assert experiences - SHORT <= SMALLER.keys()
    written = "\n".join(PAGES.values())
    assert all(as_written in written for as_written in FEWER)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_benchmark_that_a_page_names_is_there(page):
    text, folder = PAGES[page], (ROOT / page).parent
    for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
        assert (folder / link).exists(), link
    for path in re.findall(r"`(specs/\w+/\w+\.json)`", text):
        assert (ROOT / path).exists() or path in "\n".join(block for _, block in tried(page)), path
    for module in re.findall(r"python -m ((?:benchmarks|validation)[.\w]*)", text):
        file = ROOT / Path(*module.split("."))
        assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), module
    for target in re.findall(r"`make (\w+)`", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


@pytest.mark.parametrize("page", CODES)
def test_a_page_on_another_code_has_commands_and_a_table_and_the_list_of_them_names_it(page):
    assert tried(page)
    assert re.search(r"^\| --- \|", PAGES[page], re.MULTILINE)
    assert f"({Path(page).name})" in PAGES["docs/coming-from/index.md"]


def test_the_readme_leads_to_the_pages_on_other_codes():
    assert "(docs/coming-from/index.md)" in PAGES[NEWCOMER]


@pytest.mark.parametrize("page", LINE_BY_LINE)
def test_what_a_page_gives_line_by_line_is_what_it_runs(page):
    """Commands with their options, and calls with their keywords; arguments may be others."""
    assert len(PAGES[page].split()) <= 900
    rows = re.findall(r"^\|.*\| ([^|]*) \|$", PAGES[page], re.MULTILINE)
    shown = [
        span
        for row in rows
        for span in re.findall(r"`([^`]+)`", row)
        if re.search(r"\b(qexp|run)\b", span)
    ]
    lines = [words(text) for kind, text in tried(page) if kind != "python"]
    scripts = "\n".join(text for kind, text in tried(page) if kind == "python")
    for span in shown:
        if span.startswith("qexp ") and span != "qexp serve":  # which test_shown_commands.py runs
            command, options = words(span)
            assert any(command == other and options <= run for other, run in lines), span
        else:
            for name in re.findall(r"((?:qexp|run)\.[\w.]+)", span):
                assert name in scripts, span
            for keyword in re.findall(r"(\w+)=", span):
                assert f"{keyword}=" in scripts, span
    assert len(shown) >= 10


def words(command: str) -> tuple[tuple[str, ...], set[str]]:
    """The names of a command of qexp, and its options."""
    name, *rest = command.split()[1:] if command.startswith("qexp ") else command.split()
    options = {word for word in rest if re.match("-+[a-z]", word)}
    return ((name, rest[0]) if name == "data" else (name,)), options


def test_the_example_of_an_r2_below_zero_is_what_the_metric_gives():
    truth = np.linspace(2.45, 2.5, 10_001)
    estimate = truth + 0.035 * np.where(np.arange(truth.size) % 2, 1, -1)
    r2 = METRICS["r2"].build().compute(estimate, truth)
    page = PAGES["docs/explanation/held-out-intervals.md"]
    assert f"standard deviation of {truth.std():.4f} km" in page
    assert f"= −{-r2:.1f}." in page
