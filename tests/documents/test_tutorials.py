"""Tutorials and the gallery show what their commands print and draw: full size, as in a build of the site."""

import importlib
import json

import nbformat
import pytest

from tests.documents.reader import ROOT

TUTORIALS = [f"tutorials/{name}" for name in ("volcano", "lunar", "ice", "spectra")]

MEANT_IN_RED = {"tutorials/lunar": "groups 'mission' are in training and held out", "tutorials/volcano": "epoch 25/25"}
"""Tutorial → a warning that it speaks of; the progress of `verify`, which trains in a process of its own."""

SHOWN = [*((page, language) for page in TUTORIALS for language in ("shell", "python")), ("gallery", "shell")]


@pytest.fixture
def generate(monkeypatch):
    """Imports a module of docs/_generate by its name."""
    pytest.importorskip("docutils", reason="needs what `make docs` installs")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return lambda name: importlib.import_module(f"_generate.{name}")


@pytest.mark.heavy
@pytest.mark.parametrize(("page", "language"), SHOWN)
def test_every_step_runs_and_shows_what_it_gives(page, language, generate):
    outputs = generate("outputs")
    assert [(page, each) for page, languages in outputs.PAGES.items() for each in languages] == SHOWN
    folder, results = outputs.outputs(page, language)
    steps = generate("steps").steps(outputs.text_of(page))
    assert len(results) == len(steps)
    shown = [output for result in results for output in result]
    pictures = [folder / output["picture"] for output in shown if "picture" in output]
    assert len(pictures) >= 3
    assert all(picture.stat().st_size for picture in pictures)
    red = [output["text"] for output in shown if output.get("stream") == "stderr"]  # as notebooks show it
    assert all(MEANT_IN_RED.get(page, "nothing") in text for text in red)
    assert not any("Traceback" in text for output in shown for text in output.values())


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_has_the_same_steps_in_both_languages_and_says_what_one_should_see(page, generate):
    text = generate("outputs").text_of(page)
    for step in generate("steps").steps(text):
        assert step.python
    sections = [section for section in text.split("\n## ") if "```console" in section]
    assert len(sections) >= 4
    untold = [section.splitlines()[0] for section in sections if "**What you should see.**" not in section]
    assert untold in ([], ["A workspace"])
    notebook = nbformat.reads(generate("notebooks").notebook(text), as_version=4)
    nbformat.validate(notebook)
    assert sum(cell.cell_type == "code" for cell in notebook.cells) == len(generate("steps").steps(text))
    assert "%%bash" not in json.dumps(notebook)


@pytest.mark.slow
def test_what_fails_stops_the_build_with_its_words(generate, monkeypatch, tmp_path):
    outputs = generate("outputs")
    monkeypatch.setattr(outputs, "CACHE", tmp_path)
    monkeypatch.setattr(outputs, "text_of", lambda page: "```console\n$ echo made of cheese >&2; false\n```\n")
    with pytest.raises(outputs.FailedStepError, match=r"false` ended with 1:\nmade of cheese"):
        outputs.outputs("gallery", "shell")
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
