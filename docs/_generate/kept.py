"""What pages and notebooks keep of what their commands print and draw, compared with what comes out
now.

In docs/: python -m _generate.kept; with --write, what differs is kept.
"""

from __future__ import annotations

import base64
import difflib
import functools
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _generate import notebooks, screens
from _generate.outputs import GALLERY, PAGES, ROOT, FailedStepError, Outcome, made, say, text_of
from _generate.pictures import opened, pixels_that_differ
from _generate.steps import PICTURE, Step, parts

PICTURES = ROOT / "docs" / "pictures"


def main(write: bool) -> int:
    """Compare, or keep, as many pages at a time as there are cores. Returns the exit code."""
    pages = PAGES[::-1]  # the last ones take longest, but for those that train nothing
    pages.sort(key=lambda page: "qexp run" not in text_of(page))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(functools.partial(compare, write=write), pages))
    shown = {
        PICTURES / one["folder"] / one["name"]
        for page in PAGES
        for one in PICTURE.finditer(text_of(page))
    }
    for left_over in {*PICTURES.glob("*/*.png")} - shown if write else ():
        left_over.unlink()
    print(
        "\n".join(
            [
                f"{page}: {one}"
                for page, of_page in zip(pages, found, strict=True)
                for one in of_page
            ]
        )
    )
    return 0 if write or not any(found) else 1


def compare(page: str, write: bool) -> list[str]:
    """What the commands of a page print and draw otherwise than it keeps; it is kept if `write`
    says so.
    """
    try:
        files, differences = anew(page, *made(page))
    except FailedStepError as error:
        return [str(error)]
    say(page, f"ended, {len(differences)} differences")
    for path, content in files.items() if write else ():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return differences


def anew(
    page: str, outcomes: list[Outcome], pictures: dict[str, bytes], cells: list[list[Any]]
) -> tuple[dict[Path, bytes], list[str]]:
    """The files of a page as they should be, and what differs from what it keeps."""
    text = text_of(page)
    stem = Path(page).name
    written = ""
    differences = list[str]()
    results = iter(outcomes)
    shown = {one["name"] for one in PICTURE.finditer(text) if one["folder"] == stem}
    for part in parts(text):
        if isinstance(part, Step):
            outcome = next(results)
            if page != GALLERY:  # which has pictures alone
                differences += print_anew(part, outcome)
            title = re.findall(r"^#+ (.*)$", written, re.MULTILINE)[-1]
            folder = f"{'../' * page.count('/')}pictures/{stem}"
            part = part.markdown(pictures_after(part, outcome, shown, title, folder))
        written += part
    files = {ROOT / "docs" / f"{page}.md": written.encode()}
    for name in (one["name"] for one in PICTURE.finditer(written) if one["folder"] == stem):
        path = PICTURES / stem / name
        if name not in pictures:
            differences += [f"{name}: no command draws it"] if screens.browser() else []
        else:
            kept = path.read_bytes() if path.exists() else b""
            differences += (
                [] if kept and alike(kept, pictures[name]) else [f"{name}: looks different"]
            )
            if not kept or not alike(kept, pictures[name], 0):
                files[path] = pictures[name]
    if page != GALLERY:
        kept = notebooks.kept(stem)
        kept += [[] for _ in cells[len(kept) :]]
        differing = [number for number, now in enumerate(cells) if not same_cell(kept[number], now)]
        differences += [f"cell {number + 1} shows something else" for number in differing]
        cells = [
            before if same_cell(before, now, 0) else now
            for before, now in zip(kept, cells, strict=False)
        ]
        files[notebooks.FOLDER / f"{stem}.ipynb"] = notebooks.notebook(written, cells).encode()
    return files, differences


def pictures_after(
    step: Step, outcome: Outcome, shown: set[str], title: str, folder: str
) -> dict[int, list[str]]:
    """The pictures after each command: those that stand there, or all that it draws if the page has
    none of them.

    shown   names of all pictures of the page
    title   of the section, for the words of new pictures
    folder  of the pictures, relative to the page
    """
    numbers = {name: number for number, names in outcome.pictures.items() for name in names}
    after: dict[int, list[str]] = {}
    for name, picture in step.pictures.items():
        after.setdefault(numbers.get(name, len(step.commands)), []).append(picture)
    for number, names in outcome.pictures.items():
        if shown.isdisjoint(names):
            words = {name: Path(name).stem.replace("_", " ").capitalize() for name in names}
            new = [f"![{word}: {title}]({folder}/{name})\n" for name, word in words.items()]
            after.setdefault(number, []).extend(new)
    return after


def print_anew(step: Step, outcome: Outcome) -> Iterator[str]:
    """Put what commands print now, and say where it differs from what is kept."""
    kept, step.printed = step.printed, outcome.printed
    for number in sorted({*kept, *step.printed}):
        before, now = kept.get(number, ""), step.printed.get(number, "")
        if not same(before, now):
            lines = difflib.unified_diff(
                before.splitlines(), now.splitlines(), "kept", "now", lineterm="", n=0
            )
            yield "\n  ".join(
                [
                    f"{step.commands[number - 1] if number else 'Python'} prints something else",
                    *lines,
                ]
            )


VARIES = [
    (re.compile(r"^epoch \d+/.*\n", re.MULTILINE), ""),
    (
        re.compile(
            r"^(\S+: done after|code|code:|software|machine|settings|attempts)\s.*$", re.MULTILINE
        ),
        r"\1",
    ),
    (re.compile(r"\d{4}-\d\d-\d\d|\d\d:\d\d(:\d\d)?|\d{8}-\d{6}"), "then"),
    (re.compile(r"\d[\d.]* (s|ms|min|h|kB|MB)\b"), "some"),
    (re.compile(r"--[0-9a-f]{8}\b"), "--runs"),
]
"""What is different each time or on each machine, and what stands for it: progress, times, sizes,
names by run ids.
"""

NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")

TOLERANCE, AGREEING = 0.1, 0.8
"""Relative difference of numbers, and how many of an output must agree: training on another
processor gives others.
"""

CHANGED = 0.05
"""Share of the pixels of a picture that may look different, for the same reason."""


def same(kept: str, now: str) -> bool:
    """Whether two outputs have the same words, in any order of lines, and nearly the same
    numbers.
    """
    (words, numbers), (words_now, numbers_now) = _taken_apart(kept), _taken_apart(now)
    if words != words_now:
        return False
    near = [
        abs(a - b) <= TOLERANCE * max(abs(a), abs(b))
        for a, b in zip(numbers, numbers_now, strict=True)
    ]
    return sum(near) >= AGREEING * len(near)


def _taken_apart(text: str) -> tuple[list[str], list[float]]:
    for pattern, instead in VARIES:
        text = pattern.sub(instead, text)
    lines = sorted((" ".join(NUMBER.sub("#", line).split()), line) for line in text.splitlines())
    numbers = [each for _, line in lines for each in NUMBER.findall(line)]
    return [words for words, _ in lines], [
        float(each.replace(",", "").replace("−", "-")) for each in numbers
    ]


def alike(kept: bytes, now: bytes, changed: float = CHANGED) -> bool:
    """Whether two pictures look the same, but for a share of their pixels."""
    return kept == now or pixels_that_differ(opened(kept), opened(now)).mean() <= changed


def same_cell(kept: list[Any], now: list[Any], changed: float = CHANGED) -> bool:
    """Whether a cell of a notebook shows the same: its plain texts, and its pictures."""
    (text, pictures), (text_now, pictures_now) = (
        (
            "\n".join(
                each["text"] if "text" in each else each["data"].get("text/plain", "")
                for each in outputs
            ),
            [
                base64.b64decode(each["data"]["image/png"])
                for each in outputs
                if "image/png" in each.get("data", {})
            ],
        )
        for outputs in (kept, now)
    )
    if len(pictures) != len(pictures_now) or not same(text, text_now):
        return False
    return all(alike(*pair, changed) for pair in zip(pictures, pictures_now, strict=True))


if __name__ == "__main__":
    raise SystemExit(main("--write" in sys.argv[1:]))
