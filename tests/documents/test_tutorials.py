"""Tutorials and the gallery keep what their commands print and draw, and that is what comes out
now.
"""

import io
import json
import re

import nbformat
import numpy as np
import pytest
from PIL import Image

from _generate.pictures import small
from _generate.steps import BLOCK, PICTURE, Step, parts, steps
from tests.documents.reader import PAGES, ROOT

TUTORIALS = ["volcano", "interferograms", "mechanism", "emulator", "lunar", "ice", "spectra"]

TEXTS = {name: PAGES[f"docs/tutorials/{name}.md"] for name in TUTORIALS} | {
    "gallery": PAGES["docs/gallery.md"]
}

PICTURES = ROOT / "docs" / "pictures"

SEEN = {
    "volcano": [
        (r"test MAE between (\S+) and (\S+) km for the depth", r"^test +depth +km +\S+ +(\S+)", 0),
        (
            r"for the depth and between (\S+) and (\S+) · 10⁶ m³",
            r"^test +delta_volume +10⁶ m³ +\S+ +(\S+)",
            0,
        ),
        (r"Mean errors between (\S+) and (\S+) km", r"^depth +km +([\d.]+)$", 0),
        (
            r"Mean errors .* km, and between (\S+) and (\S+) · 10⁶ m³",
            r"^delta_volume +10⁶ m³ +([\d.]+)$",
            0,
        ),
    ],
    "interferograms": [
        (r"Between (\S+) and (\S+) means of each track", r"^ascending: (\d+) means", 0),
        (r"nugget is between (\S+) and (\S+) m²", r"^ascending: noise .* nugget (\S+) m²", 0),
        (
            r"median of the depth between (\S+) and (\S+) km",
            r"^depth +km +([\d.]+) +[\d.]+ to [\d.]+ +uniform",
            0,
        ),
        (r"reduced χ² between (\S+) and (\S+),", r"^mogi: reduced χ² ([\d.]+),", -1),
    ],
    "mechanism": [
        (r"accuracy between (\S+) and (\S+), and", r"^test +mechanism +(\S+)", 0),
        (
            r"a log score between (\S+) and (\S+)\. The",
            r"^test +mechanism +\S+ +\S+ +(\S+)",
            0,
        ),
        (
            r"of 3.55 km between (\S+) and (\S+) · 10⁶ m³",
            r"^depth 3.55 km, volume change (\S+) ",
            0,
        ),
    ],
    "emulator": [
        (r"test simulations between (\S+) and (\S+) m:", r"^test +displacement_2 +\S+ +(\S+)", 0),
        (r"reduced χ² between (\S+) and (\S+),", r"^mogi: reduced χ² ([\d.]+),", 0),
        (
            r"depth is between (\S+) and (\S+) km, and its",
            r"^depth +km +([\d.]+) .* [\d.]+ to [\d.]+$",
            0,
        ),
        (r"ΔAICc between (\S+) and (\S+)\.", r"^mogi +6 +\S+ +([\d.]+)", 0),
        (
            r"median of the depth is between (\S+) and (\S+) km,",
            r"^depth +km +([\d.]+) +[\d.]+ to [\d.]+ +uniform",
            0,
        ),
    ],
    "lunar": [
        (r"error of the network of (\S+) to (\S+) wt%", r"^test +tio2 +\S+ +(\S+)", 0),
        (r"beside (\S+) to (\S+) of support vectors", r"^svr .*?data\) +([\d.]+)", 0),
        (r"missions are left out: (\S+) to (\S+) wt%", r"^test +tio2 +\S+ +(\S+)", -1),
    ],
    "ice": [(r"is between (\S+) and (\S+) %", r"year-1 +([\d.]+) %", 0)],
    "spectra": [
        (
            r"R² of organic carbon is between (\S+) and (\S+),",
            r"^test +toc +\S+ +\S+ +\S+ +(\S+)",
            0,
        )
    ],
}
"""Tutorial → sentence with the ends between which a number should be, what prints it, and which of
those it is.
"""

LARGEST, ALL_TOGETHER = 100_000, 2_250_000
"""Bytes of a picture, and of all."""


@pytest.fixture
def kept():
    return pytest.importorskip("_generate.kept", reason="needs what `make docs` installs")


def printed(name):
    return "\n".join(text for step in steps(TEXTS[name]) for text in step.printed.values())


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_has_what_it_prints_or_draws_below_it(name):
    assert "$ qexp" in TEXTS[name]
    assert not any(block["language"] == "output" for text in parts(TEXTS[name]) if isinstance(text, str)
                   for block in BLOCK.finditer(text)), "an output without its command"  # fmt: skip
    for before, step in zip(parts(TEXTS[name]), list(parts(TEXTS[name]))[1:], strict=False):
        if isinstance(step, Step) and any(
            not command.startswith("cd ") for command in step.commands
        ):
            seen = step.printed or step.pictures or "](pictures/" in before
            assert seen or step.commands[0].startswith("qexp init"), step.commands
            assert name == "gallery" or len(step.commands) in step.printed, step.commands


@pytest.mark.parametrize("name", SEEN)
def test_what_one_should_see_is_what_a_page_keeps(name):
    text = " ".join(TEXTS[name].split())
    for sentence, number, which in SEEN[name]:
        low, high = map(float, re.search(sentence, text).groups())
        assert low <= float(re.findall(number, printed(name), re.MULTILINE)[which]) <= high, (
            sentence
        )
    assert "Traceback" not in text


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_has_the_same_steps_in_both_languages_and_says_what_one_should_see(name):
    assert all(step.python for step in steps(TEXTS[name]))
    sections = [
        section
        for section in TEXTS[name].split("\n## ")
        if re.search(r"^```(console|sh)$", section, re.M)
    ]
    assert len(sections) >= 4
    untold = [
        section.splitlines()[0] for section in sections if "**What you should see.**" not in section
    ]
    assert untold in ([], ["A workspace"])


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_notebook_shows_what_its_cells_give_and_is_small(name):
    path = ROOT / "docs" / "tutorials" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source + "\n" for cell in cells] == [step.python for step in steps(TEXTS[name])]
    assert sum(bool(cell.outputs) for cell in cells) > len(cells) / 2
    outputs = [output for cell in cells for output in cell.outputs]
    assert [
        output.text for output in outputs if output.get("name") == "stderr"
    ] == []  # notebooks show it in red
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "Traceback" not in json.dumps(outputs)
    assert path.stat().st_size <= 1_000_000


def test_every_picture_of_a_command_is_there_once_is_small_and_has_words():
    shown = {
        (one["folder"], one["name"]): one["words"]
        for text in TEXTS.values()
        for one in PICTURE.finditer(text)
    }
    there = {(file.parent.name, file.name): file for file in PICTURES.glob("*/*.png")}
    assert there.keys() == shown.keys()
    assert [name for name, words in shown.items() if len(words.split()) < 3] == []
    assert {
        name: file.stat().st_size for name, file in there.items() if file.stat().st_size > LARGEST
    } == {}
    assert sum(file.stat().st_size for file in there.values()) <= ALL_TOGETHER
    assert all(Image.open(file).width <= 900 for file in there.values())


PAGE = """# A page

```console
$ qexp init w
$ cd w
$ qexp ls
```

```python
qexp.init("w")
```

Words about it:

![what is seen](../pictures/page/seen.png)

More words.
"""


def kept_in(page, printed, pictures, kept):
    """The page as it is written when a step prints and draws."""
    shown = {one["name"] for one in PICTURE.finditer(page)}
    outcome = kept.Outcome(printed, pictures)
    written, said = "", []
    for part in parts(page):
        if isinstance(part, Step):
            after = kept.pictures_after(part, outcome, shown, "A page", "../pictures/page")
            said += kept.print_anew(part, outcome)
            part = part.markdown(after)
        written += part
    return written, said


def test_what_a_command_prints_comes_after_it_and_a_second_time_changes_nothing(kept):
    page, said = kept_in(PAGE, {1: "made\n", 3: "name\n" * 40}, {3: ["seen.png"]}, kept)
    assert [one.splitlines()[0] for one in said] == [
        "qexp init w prints something else",
        "qexp ls prints something else",
    ]
    assert said[0].endswith("\n  +made")
    assert page.startswith(
        "# A page\n\n```console\n$ qexp init w\n```\n\n```output\nmade\n```\n\n```console\n$ cd w\n"
    )
    assert "<summary>What it prints: 40 lines</summary>\n\n```output\nname\n" in page
    assert page.count("](../pictures/page/seen.png)") == 1, "it stands where the words are"
    assert [(step.commands, step.python) for step in steps(page)] == [
        (["qexp init w", "cd w", "qexp ls"], 'qexp.init("w")\n')
    ]
    assert kept_in(page, {1: "made\n", 3: "name\n" * 40}, {3: ["seen.png"]}, kept) == (page, [])
    assert kept_in(page, {3: "name\n" * 3}, {}, kept)[0].count("```output") == 1


def test_a_picture_that_no_words_name_comes_after_its_command(kept):
    page, _ = kept_in(
        PAGE.replace("seen.png", "other.png"), {}, {3: ["seen.png"], 1: ["first.png"]}, kept
    )
    assert re.findall(r"pictures/page/(\w+)|qexp (init w|ls)\n", page) == [
        ("", "init w"), ("first", ""), ("", "ls"), ("seen", ""), ("other", "")
    ]  # fmt: skip


def test_times_hosts_and_the_order_of_lines_may_differ_words_and_most_numbers_may_not(kept):
    then = (
        "a: 1.5 km\nb: 200 km\nc: 3 done\nmachine  AMD, 2 cores\nepoch 2/5  loss 3\na_1: done after"
        " 3.1 s (1 of 2)\n"
    )
    now = "b: 204 km\na: 1.5 km\nc: 3 done\nmachine  Intel\na_1: done after 60.2 s (2 of 2)\n"
    assert kept.same(then, now)
    assert kept.same("2026-01-01 10:20:01 UTC, in 3.2 s", "2025-11-01 08:00:59 UTC, in 12 s")
    for word, other in (("km", "m"), ("1.5", "2.5"), ("c: 3 done\n", ""), ("b: 204", "b: -204")):
        assert not kept.same(then, now.replace(word, other)), word


@pytest.mark.slow
def test_a_picture_with_other_letters_is_alike_and_one_with_another_panel_is_not(kept):
    picture = np.full((60, 80, 3), 255, np.uint8)
    other = picture.copy()
    other[20:22, 20:30] = 0
    moved = picture.copy()
    moved[10:50, 10:50] = (200, 0, 0)
    first, second, third = (png(each) for each in (picture, other, moved))
    assert kept.alike(first, second)
    assert not kept.alike(first, third)
    assert not kept.alike(first, png(picture[:40]))


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return small(content.getvalue())


@pytest.mark.slow
def test_what_fails_is_a_difference_and_nothing_is_kept(kept, monkeypatch):
    from _generate import outputs

    monkeypatch.setattr(
        outputs, "text_of", lambda page: "```console\n$ echo made of cheese >&2; false\n```\n"
    )
    (said,) = kept.compare("gallery", write=True)
    assert said.endswith("false` ended with 1:\nmade of cheese\n")
    assert PAGES["docs/gallery.md"] == (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
