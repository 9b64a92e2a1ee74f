"""The built site, in a browser: opened as files and served, on wide screens and narrow ones."""

import functools
import http.server
import importlib
import os
import subprocess
import sys
import threading

import pytest

from tests.browsing import pages
from tests.documents.reader import ROOT

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("site")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, which is built without a warning."""
    pytest.importorskip("sphinx", reason="needs what `make docs` installs")
    folder = tmp_path_factory.mktemp("site") / "html"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--keep-going",
        "-q",
        "-b",
        "html",
    ]
    environment = {**os.environ, "QEXP_WORKSPACE": ""}
    done = subprocess.run(
        [*command, ROOT / "docs", folder],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def opened(browser):
    with pages(browser) as opened:
        yield opened


@pytest.fixture
def served(site):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_search_finds_names_by_their_words_and_shows_where(site, served, opened):
    for root in (site.as_uri(), served):
        page = opened(f"{root}/search.html?q=early+stopping", own=(root,))
        page.wait_for_selector("ul.search li")
        first = page.locator("ul.search li").first
        assert (
            first.locator("a")
            .get_attribute("href")
            .startswith("reference/callbacks.html#early-stopping")
        )
        assert (
            first.locator("p.context")
            .inner_text()
            .startswith("End the run when the validation loss")
        )
        page.wait_for_selector("text=/found \\d+ pages/")
        excerpts = page.locator("ul.search p.context").all_inner_texts()
        assert len(excerpts) == page.locator("ul.search li").count() > 2
        assert all("stop" in excerpt or "early" in excerpt for excerpt in excerpts)
        pages = [link.get_attribute("href") for link in page.locator("ul.search li a").all()]
        of_the_past = [one.startswith(("project/", "design/")) for one in pages]
        assert any(of_the_past)
        assert of_the_past == sorted(of_the_past)


def test_a_narrow_screen_shows_every_cell_of_a_table(site, opened):
    for name in (
        "reference/datasets",
        "reference/files",
        "reference/quantities",
        "how-to/own-data",
        "install",
    ):
        page = opened((site / f"{name}.html").as_uri(), own=(site.as_uri(),), width=400)
        outside = page.evaluate(
            "[...document.querySelectorAll('article td')].filter((cell) =>"
            " cell.getBoundingClientRect().right > 400).map((cell) => cell.textContent)"
        )
        assert outside == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_long_line_of_code_goes_on_to_the_right_of_its_beginning_and_breaks_no_option(
    site, opened
):
    page = opened((site / "how-to/own-physics.html").as_uri(), own=(site.as_uri(),), width=400)
    lines = page.evaluate("""[...document.querySelectorAll("article .line")].map((line) => {
            const range = document.createRange();
            range.selectNodeContents(line);
            const pieces = [...range.getClientRects()].filter((one) => one.width);
            const last = Math.max(...pieces.map((one) => one.top));
            const spaces = /^ */.exec(line.textContent)[0].length;
            const lefts = pieces.filter((one) => one.top === last).map((one) => one.left);
            return [pieces[0].left, Math.min(...lefts), spaces, last > pieces[0].bottom];
        })""")
    further = [(left - first, spaces) for first, left, spaces, long in lines if long]
    assert len(further) > 10
    assert all(pixels > 7 * (spaces + 3) for pixels, spaces in further)
    options = page.evaluate(
        "[...document.querySelectorAll('article .option')].map((one) => [one.textContent,"
        " one.getClientRects().length])"
    )
    assert ["--set", 1] in options
    assert {rows for _, rows in options} == {1}


def test_every_page_says_the_version_and_leads_to_installing_first(site):
    version = importlib.import_module("qexp").__version__
    for page in site.rglob("*.html"):
        assert f"qexp {version}" in page.read_text(encoding="utf-8"), page
    assert (
        (site / "index.html")
        .read_text()
        .partition('class="toctree-l1"')[2]
        .partition(">")[2]
        .startswith("<a ")
    )


def test_links_of_the_changelog_and_the_advice_to_contributors_are_those_of_the_repository(
    monkeypatch,
):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    project = importlib.import_module("_generate.project")
    assert (
        project.links_moved("[a](docs/how-to/a.md), [b](docs/design)")
        == "[a](../how-to/a.md), [b](../design/index.md)"
    )
