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
        "-D",
        "run_pages=0",
    ]
    environment = {**os.environ, "QEXP_WORKSPACE": ""}
    done = subprocess.run(
        [*command, ROOT / "docs", folder], env=environment, capture_output=True, text=True, check=False
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
        assert first.locator("a").get_attribute("href").startswith("reference/callbacks.html#early-stopping")
        assert first.locator("p.context").inner_text().startswith("End the run when the validation loss")
        page.wait_for_selector("text=/found \\d+ pages/")
        excerpts = page.locator("ul.search p.context").all_inner_texts()
        assert len(excerpts) == page.locator("ul.search li").count() > 2
        assert all("stop" in excerpt or "early" in excerpt for excerpt in excerpts)


def test_a_narrow_screen_shows_every_cell_of_a_table(site, opened):
    for name in ("reference/datasets", "reference/files", "reference/quantities", "how-to/own-data", "install"):
        page = opened((site / f"{name}.html").as_uri(), own=(site.as_uri(),), width=400)
        outside = page.evaluate(
            "[...document.querySelectorAll('article td')].filter((cell) => cell.getBoundingClientRect().right > 400)"
            ".map((cell) => cell.textContent)"
        )
        assert outside == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_every_page_says_the_version_and_leads_to_installing_first(site):
    version = importlib.import_module("qexp").__version__
    for page in site.rglob("*.html"):
        assert f"qexp {version}" in page.read_text(encoding="utf-8"), page
    assert (site / "index.html").read_text().partition('class="toctree-l1"')[2].partition(">")[2].startswith("<a ")


def test_links_of_the_changelog_and_the_advice_to_contributors_are_those_of_the_repository(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    project = importlib.import_module("_generate.project")
    assert (
        project.links_moved("[a](docs/how-to/a.md), [b](docs/design)") == "[a](../how-to/a.md), [b](../design/index.md)"
    )
