"""What is made from the code or from other pages is what these give, and links to it work in the repository."""

import importlib
import os

import pytest

from tests.documents.reader import ROOT


@pytest.fixture
def reference(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.setenv("QEXP_WORKSPACE", "")
    monkeypatch.chdir(ROOT)
    return importlib.import_module("_generate.reference")


@pytest.mark.slow
def test_what_is_made_is_up_to_date(reference):
    committed = {
        name: write for name, write in reference.FILES.items() if name.removesuffix(".md") not in reference.BUILT
    }
    assert len(committed) > 20
    old = [name for name, write in committed.items() if (ROOT / "docs" / name).read_text(encoding="utf-8") != write()]
    assert old == [], "write them again: make reference"


def test_no_page_of_the_reference_is_left_over(reference):
    there = {f"reference/{file.stem}" for file in (ROOT / "docs/reference").glob("*.md")}
    assert there - {"reference/index"} == {name for name in reference.PAGES if name.startswith("reference/")}


def test_every_page_has_its_place_in_the_contents(reference):
    contents, docs = importlib.import_module("_generate.contents"), ROOT / "docs"
    placed, waiting = set(), ["index"]
    while waiting:
        page = waiting.pop()
        placed.add(page)
        waiting += [os.path.normpath(f"{page}/../{below}") for below in contents.below(page)]
    written = {
        str(file.relative_to(docs).with_suffix("")) for kind in ("md", "ipynb") for file in docs.rglob(f"*.{kind}")
    }
    assert placed == written | reference.BUILT.keys()


def test_an_attribute_without_a_docstring_is_named(reference):
    attributes = importlib.import_module("_generate.attributes")
    with pytest.raises(LookupError, match=r"Recipe\.oven has no docstring"):
        attributes.text_of(type("Recipe", (), {"__module__": "qexp.errors"}), "oven")
