"""Every command of the pages for users of other codes works, in the order of its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import call
from tests.test_readme import README, ROOT, Reader, make_smaller

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs/coming-from").glob("*.md"))}
"""Name of a code → its page."""


def statements(page: str) -> list[str]:
    """The commands of a page: lines, with those that continue them and the files that are written in place."""
    found: list[str] = []
    for block in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        lines = iter(block.replace("\\\n", "").splitlines())
        for line in lines:
            if not line.strip() or line.startswith("#"):
                continue
            if end := re.search(r"<<\s*'?(\w+)'?", line):
                written = [line]
                while written[-1] != end[1]:
                    written.append(next(lines))
                line = "\n".join(written)
            found.append(line)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("code", PAGES)
def test_every_command_of_the_page_works_in_its_order(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("init", ".").code == 0
    make_smaller(tmp_path)
    reader = Reader(tmp_path)
    for statement in statements(PAGES[code]):
        reader.command(statement)


@pytest.mark.parametrize("code", PAGES)
def test_a_page_has_commands_and_a_table_and_the_readme_names_it(code):
    assert statements(PAGES[code])
    assert re.search(r"^\| --- \|", PAGES[code], re.MULTILINE)
    assert f"docs/coming-from/{code}.md" in README


@pytest.mark.parametrize("code", PAGES)
def test_every_file_that_a_page_links_to_is_there(code):
    folder = Path("docs/coming-from")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGES[code])
    assert [link for link in links if not (ROOT / folder / link).exists()] == []
