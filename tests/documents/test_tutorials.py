"""Tutorials and the gallery show what their commands print and draw: full size, as in a build of the site."""

import importlib
import json
import re

import nbformat
import pytest

from tests.documents.reader import ROOT

TUTORIALS = [f"tutorials/{name}" for name in ("volcano", "interferograms", "lunar", "ice", "spectra")]

SEEN = {
    "tutorials/volcano": [
        (r"test MAE between (\S+) and (\S+) km for the depth", r"^test +depth +km +\S+ +(\S+)", 0),
        (r"for the depth and between (\S+) and (\S+) · 10⁶ m³", r"^test +delta_volume +10⁶ m³ +\S+ +(\S+)", 0),
        (r"Mean errors between (\S+) and (\S+) km", r"^depth +km +([\d.]+)$", 0),
        (r"Mean errors .* km, and between (\S+) and (\S+) · 10⁶ m³", r"^delta_volume +10⁶ m³ +([\d.]+)$", 0),
    ],
    "tutorials/interferograms": [
        (r"Between (\S+) and (\S+) means of each track", r"^ascending: (\d+) means", 0),
        (r"nugget is between (\S+) and (\S+) m²", r"^ascending: noise .* nugget (\S+) m²", 0),
        (r"median of the depth between (\S+) and (\S+) km", r"^depth +km +([\d.]+) +[\d.]+ to [\d.]+ +uniform", 0),
        (r"reduced χ² between (\S+) and (\S+),", r"^mogi: reduced χ² ([\d.]+),", -1),
    ],
    "tutorials/lunar": [
        (r"error of the network of (\S+) to (\S+) wt%", r"^test +tio2 +\S+ +(\S+)", 0),
        (r"beside (\S+) to (\S+) of support vectors", r"^svr .*?data\) +([\d.]+)", 0),
        (r"missions are left out: (\S+) to (\S+) wt%", r"^test +tio2 +\S+ +(\S+)", -1),
    ],
    "tutorials/ice": [(r"is between (\S+) and (\S+) %", r"year-1 +([\d.]+) %", 0)],
    "tutorials/spectra": [
        (r"R² of organic carbon is between (\S+) and (\S+),", r"^test +toc +\S+ +\S+ +\S+ +(\S+)", 0)
    ],
}
"""Tutorial → sentence with the ends between which a number should be, what prints it, and which of those it is."""

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
    assert [output["text"] for output in shown if output.get("stream") == "stderr"] == []  # notebooks show it in red
    printed, text = "\n".join(output.get("text", "") for output in shown), " ".join(outputs.text_of(page).split())
    for sentence, number, which in SEEN.get(page, []) if language == "shell" else []:
        low, high = map(float, re.search(sentence, text).groups())
        assert low <= float(re.findall(number, printed, re.MULTILINE)[which]) <= high, sentence
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
