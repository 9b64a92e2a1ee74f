"""Reports are for everybody: by axe-core's rules, on a phone, in the dark, on paper; and hold the
library they name.
"""

import hashlib
from importlib.resources import files

import pytest

import qexp as package
from tests.web.test_reports_of_several import names

SHIPPED = {
    "uPlot.iife.min.js": "dist/uPlot.iife.min.js",
    "uPlot.min.css": "dist/uPlot.min.css",
    "LICENSE": "LICENSE",
}


@pytest.mark.heavy
@pytest.mark.parametrize(("shipped", "original"), SHIPPED.items())
def test_the_plotting_library_is_what_its_package_holds(npm_packages, shipped, original):
    ours = (files("qexp.web") / "static/uplot" / shipped).read_bytes()
    theirs = (npm_packages / "uplot" / original).read_bytes()
    assert hashlib.sha512(ours).hexdigest() == hashlib.sha512(theirs).hexdigest()


@pytest.mark.heavy
def test_axe_finds_what_is_wrong_with_a_page(open_page, findings, tmp_path):
    (tmp_path / "wrong.html").write_text(
        "<!doctype html><html><head><title>wrong</title></head><body><main><h1>A page</h1>"
        '<p style="color: #aaa; background: #fff">pale</p><input type="text"><button></button>'
        '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="></main></body></html>'
    )
    found = {one.partition(" ")[0] for one in findings(open_page(tmp_path / "wrong.html"))}
    assert found == {"html-has-lang", "color-contrast", "label", "button-name", "image-alt"}


@pytest.fixture(params=["trained", "sweep"])
def report(request, tmp_path):
    """The report of one run, and that of several."""
    request.getfixturevalue(request.param)
    return package.report(
        *(["mogi_quick_1"] if request.param == "trained" else []), to=tmp_path / "report.html"
    )


@pytest.mark.heavy
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_a_report(report, open_page, findings, scheme):
    page = open_page(report, color_scheme=scheme)
    page.locator(".scatter").first.focus()
    page.keyboard.press("ArrowRight")
    assert findings(page) == []


@pytest.mark.slow
def test_a_report_is_no_wider_than_a_phone(report, open_page):
    assert open_page(report, width=400).evaluate("document.documentElement.scrollWidth") == 400


@pytest.mark.heavy
def test_all_that_reacts_to_the_mouse_is_reached_by_keys(sweep, open_page, tmp_path):
    package.matrix(
        names(sweep)[0], "mogi_test", axes={"depth": (0.5, 4.0, 3), "delta_volume": (0.5, 2.0, 3)}
    )
    page = open_page(package.report(names(sweep)[0], to=tmp_path / "one.html"))
    wanted = page.locator(".map, .scatter, .curves, th button, summary").count()
    reached = page.evaluate(
        "() => [...document.querySelectorAll('.map, .scatter, .curves, th button, summary')]"
        ".filter((one) => one.tabIndex >= 0).length"
    )
    assert reached == wanted > 10


@pytest.mark.heavy
def test_a_report_is_printed(trained, browser, qexp):
    done = qexp("report", "mogi_quick_1", "--pdf")
    assert (done.code, done.stdout.strip()) == (0, "mogi_quick_1.pdf")
    assert (trained / "mogi_quick_1.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.heavy
def test_without_a_browser_the_error_says_what_to_install_and_one_that_fails_leaves_nothing(
    trained, qexp, monkeypatch
):
    monkeypatch.setenv("PATH", str(trained))
    assert "apt install chromium" in qexp("report", "mogi_quick_1", "--pdf").failed()
    (trained / "chromium").write_text("#!/bin/sh\necho 'no display' >&2\nexit 3\n")
    (trained / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", f"{trained}:/bin:/usr/bin")
    assert "did not print the page: no display" in qexp("report", "mogi_quick_1", "--pdf").failed()
    assert list(trained.glob("*.pdf")) == []
