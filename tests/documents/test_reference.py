"""What is made from the code or from other pages is what these give, and links to it work in the
repository.
"""

import importlib
import inspect
import os
import re
from pathlib import Path

import pytest

import qexp
from tests.documents.reader import ROOT


@pytest.fixture
def reference(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.setenv("QEXP_WORKSPACE", "")
    monkeypatch.chdir(ROOT)
    return importlib.import_module("_generate.reference")


@pytest.mark.heavy
def test_what_is_made_is_up_to_date(reference):
    committed = {
        name: write
        for name, write in reference.FILES.items()
        if name.removesuffix(".md") not in reference.BUILT
    }
    assert len(committed) > 20
    old = [
        name
        for name, write in committed.items()
        if (ROOT / "docs" / name).read_text(encoding="utf-8") != write()
    ]
    assert old == [], "write them again: make reference"


def test_every_link_of_every_page_leads_to_what_is_in_the_repository(reference):
    code = re.compile(r"^```.*?^```|`[^`\n]*`", flags=re.MULTILINE | re.DOTALL)
    built = {ROOT / "docs" / f"{name}.md" for name in reference.BUILT}
    pages = {*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - built
    assert len(pages) > 200
    for page in pages:
        text = code.sub("", page.read_text(encoding="utf-8"))
        links = re.findall(r"""\]\(([^)\s]+)\)|<(?:img|a)\s[^>]*(?:src|href)="([^"]+)""", text)
        for link in (("".join(pair)).partition("#")[0] for pair in links):
            if link and not re.match("[a-z]+:", link):
                target = Path(os.path.normpath(page.parent / link))
                assert target not in built, f"{page}: {link}"
                assert target.exists(), f"{page}: {link}"


def test_no_page_of_the_reference_is_left_over(reference):
    docs = ROOT / "docs"
    there = {
        file.relative_to(docs).with_suffix("").as_posix()
        for file in (docs / "reference").rglob("*.md")
    }
    assert there - {"reference/index"} == {
        name for name in reference.PAGES if name.startswith("reference/")
    }


def test_every_page_has_its_place_in_the_contents(reference):
    contents, docs = importlib.import_module("_generate.contents"), ROOT / "docs"
    placed, waiting = set(), ["index"]
    while waiting:
        page = waiting.pop()
        placed.add(page)
        waiting += [os.path.normpath(f"{page}/../{below}") for below in contents.below(page)]
    written = {
        str(file.relative_to(docs).with_suffix(""))
        for kind in ("md", "ipynb")
        for file in docs.rglob(f"*.{kind}")
    }
    assert placed == written | reference.BUILT.keys()


def test_an_attribute_without_a_docstring_is_named(reference):
    attributes = importlib.import_module("_generate.attributes")
    with pytest.raises(LookupError, match=r"Recipe\.oven has no docstring"):
        attributes.text_of(type("Recipe", (), {"__module__": "qexp.errors"}), "oven")


@pytest.mark.slow
def test_every_command_is_used_on_a_page_and_its_own_page_begins_with_examples(reference):
    commands = importlib.import_module("_generate.commands")
    used = importlib.import_module("_generate.used")
    assert len(commands.commands()) > 40
    for name in commands.commands():
        assert used.pages_with_command(name), f"no page has a command that begins with: qexp {name}"
        page = commands.pages()[f"reference/commands/{commands.page_name(name)}"]()
        assert f"## Examples\n\n```console\n$ qexp {name}" in page.partition("## Options")[0]
    assert (
        max(len(used.pages_with_command(name)) for name in commands.commands()) == used.MOST_PAGES
    )


@pytest.mark.slow
def test_functions_of_import_qexp_describe_what_they_take_and_have_an_example(reference):
    python = importlib.import_module("_generate.python")
    functions = {name for name in python.public(qexp) if inspect.isfunction(getattr(qexp, name))}
    pages = {name: reference.PAGES[f"reference/{python.page_name(name)}"]() for name in functions}
    assert {
        name: row
        for name, page in pages.items()
        for row in re.findall(r"^\| .* \|  \|$", page, re.M)
    } == {}
    assert [name for name, page in pages.items() if "## Example" not in page] == []


def test_a_function_s_page_has_all_parts_of_its_docstring(reference):
    docstrings = importlib.import_module("_generate.docstrings")
    arguments = "flour    in g\nmilk, water  in ml,\n             at 20 °C\nreturns  the cake"
    head = "Bake a cake; see `bake`. Raises OvenError if it is cold."
    parts = docstrings.taken_apart(f"{head}\n\n{arguments}\n\nCakes keep.\n\n>>> bake(200)\n'cake'")
    assert parts.summary == "Bake a cake; see `bake`."
    assert " ".join(parts.text.split()) == "Bake a cake; see `bake`. Cakes keep."
    assert parts.meanings["milk"] == parts.meanings["water"] == "in ml, at 20 °C"
    assert (parts.meanings["flour"], parts.meanings["returns"]) == ("in g", "the cake")
    assert parts.errors == "Raises OvenError if it is cold."
    assert parts.example == "```pycon\n>>> bake(200)\n'cake'\n```"


def test_pages_differ_by_more_than_capitals(reference):
    names = [name.lower() for name in reference.FILES]
    assert len(set(names)) == len(names)


def test_pages_that_are_no_longer_made_are_removed(reference, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FILES", {"reference/commands/new.md": lambda: "new"})
    (tmp_path / "reference/commands").mkdir(parents=True)
    (tmp_path / "reference/commands/old.md").touch()
    reference.write(tmp_path)
    assert [file.name for file in (tmp_path / "reference/commands").iterdir()] == ["new.md"]
