"""Pages of inversions: all, one, and several side by side."""

import shutil

import pytest

from tests.conftest import copied
from tests.deformation.test_stored_inversions import edited, volcano as volcano

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060"
    "000000040001f61738550000000049454e44ae426082"
)
NAME = 'inversions/<b onclick="alert(1)">'


@pytest.fixture
def here(volcano, tmp_path, monkeypatch):
    """A copy of the workspace with a picture and an inversion with a name of HTML."""
    monkeypatch.delenv("QEXP_WORKSPACE", raising=False)
    root = copied(volcano, tmp_path, monkeypatch)
    (root / "inversions/a/maps.png").write_bytes(PIXEL)
    shutil.copytree(root / "inversions/b", root / NAME)
    edited(root / NAME, lambda document: document.update(remarks=["<i>doubt</i>"], history="<u>"))
    return root


@pytest.mark.heavy
def test_inversions_are_listed_opened_and_compared_with_all_texts_of_others_escaped(
    here, serve, visit
):
    server = serve(here)
    page = visit(f"{server.address}inversions")
    assert page.locator("tbody tr").count() == 4
    page.get_by_role("link", name="<b onclick").click()
    page.locator("h1", has_text=NAME).wait_for()
    assert page.locator(".notice").all_inner_texts() == ["<i>doubt</i>"]
    page.go_back()
    for name in ("inversions/a", "inversions/b"):
        page.get_by_role("checkbox", name=name).check()
    page.get_by_role("button", name="Compare selected inversions").click()
    page.locator("h1", has_text="2 inversions").wait_for()
    assert page.locator("figure img").count() == 3
    assert 'inversions" aria-current="page"' in server.get("/inversions/rivals").text
    saved = server.get("/inversions/rivals?file=")
    assert saved.headers["content-disposition"] == 'attachment; filename="rivals.html"'
    assert str(here) not in saved.text
    candidate = page.locator("tbody tr").first
    assert candidate.locator("td").first.inner_text() == "source"
    page.goto(f"{server.address}inversions/rivals")
    page.get_by_role("link", name="Candidate mctigue").click()
    page.locator("h1", has_text="rivals/mctigue").wait_for()


@pytest.mark.heavy
def test_a_damaged_inversion_is_told_and_what_lies_elsewhere_is_not_shown(here, serve, tmp_path):
    server = serve(here)
    edited(here / "inversions/b", lambda document: document.pop("parameters"))
    assert "b/result.json is damaged" in server.get("/inversions").text
    assert server.get("/inversions/inversions/b").status == 422
    outside = tmp_path / "outside"
    shutil.copytree(here / "rivals", outside)
    (here / "inversions/linked").symlink_to(outside)
    for path in (
        "../outside",
        "..%2Foutside",
        "%2E%2E/outside",
        str(outside),
        "runs",
        "a",
        ".",
        "inversions/a/maps.png",
    ):
        assert server.get(f"/inversions/{path}").status == 404, path
        assert server.get(f"/inversions?inversion={path}").status == 404, path
    assert "linked" not in server.get("/inversions").text
    (here / "rivals/other").symlink_to(outside)
    for path in ("rivals", "rivals/other"):
        assert server.get(f"/inversions/{path}").status == 404


@pytest.mark.heavy
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_no_page_of_inversions_is_wider_than_a_phone(
    here, serve, visit, findings, scheme
):
    server = serve(here)
    pair = "inversions?inversion=inversions/a&inversion=inversions/b"
    for path in ("inversions", "inversions/inversions/a", pair):
        page = visit(f"{server.address}{path}", color_scheme=scheme, width=400)
        assert findings(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        wide = visit(f"{server.address}{path}", color_scheme=scheme, width=1400)
        assert findings(wide) == [], path


@pytest.mark.heavy
def test_without_inversions_the_page_says_how_one_is_made(workspace, serve):
    assert "qexp invert unrest.nc --to inversions/mogi" in serve(workspace).get("/inversions").text
