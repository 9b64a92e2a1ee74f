"""Who may ask, and what nobody gets."""

import json
import socket

import pytest

from qexp.web.access import Access, host_name, names_of
from tests.runs.test_catalog import write_record
from tests.web.conftest import in_a_process


@pytest.fixture
def root(workspace):
    write_record(workspace, "a_0")
    return workspace


def test_a_page_says_what_may_run_on_it_and_is_never_framed(root, serve):
    answer = serve(root).get("/")
    assert answer.status == 200
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    nonce = policy["script-src"].removeprefix("'nonce-").removesuffix("'")
    assert len(nonce) > 20
    assert answer.text.count(f'nonce="{nonce}"') == answer.text.count(
        "<script"
    ) + answer.text.count("stylesheet")
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


def test_it_answers_for_its_own_names_and_for_addresses_only(root, serve):
    server = serve(root)
    for host in (
        f"localhost:{server.port}",
        "localhost:9000",
        "127.0.0.1",
        "[::1]:80",
        "10.1.2.3:8700",
    ):
        assert server.get("/", host_=host).status == 200, host
    for host in (
        "evil.example",
        "localhost.evil.example:80",
        "127.0.0.1.nip.io",
        "",
        "a b",
        "[::1",
        "localhost@evil",
    ):
        assert server.get("/", host_=host).status == 421, host
    assert serve(root, names=("runs.example",)).get("/", host_="runs.example").status == 200


def test_pages_of_others_get_nothing(root, serve):
    server = serve(root)
    own = f"http://localhost:{server.port}"
    assert server.get("/runs.json", origin=own).status == 200
    for origin in (
        "http://evil.example",
        "null",
        f"http://localhost:{server.port + 1}",
        f"{own}.evil.example",
    ):
        assert server.get("/runs.json", origin=origin).status == 403, origin
    for site in ("cross-site", "same-site"):
        assert server.get("/runs.json", sec_fetch_site=site, sec_fetch_mode="no-cors").status == 403
        assert server.get("/", sec_fetch_site=site, sec_fetch_mode="navigate").status == 200
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert server.get("/", method).status == 405


def test_others_than_this_machine_need_the_token(root, serve):
    server = serve(root, host="0.0.0.0")
    token = server.address.partition("?token=")[2]
    assert len(token) >= 32
    assert (server.get("/").status, server.get("/runs.json").status) == (401, 401)
    wrong = server.get(f"/?token={token[:-1]}")
    assert (wrong.status, "not the token" in wrong.text) == (401, True)
    entered = server.get(f"/runs/a_0?x=1&token={token}")
    assert (entered.status, entered.headers["location"]) == (303, "/runs/a_0?x=1")
    cookie = entered.headers["set-cookie"]
    assert ("HttpOnly" in cookie, "SameSite=strict" in cookie) == (True, True)
    assert server.get("/runs.json", cookie=cookie.partition(";")[0]).status == 200
    assert server.get("/runs.json", authorization=f"Bearer {token}").status == 200
    assert server.get("/runs.json", cookie=f"{cookie.partition('=')[0]}=x").status == 401
    assert (server.get("/page.css").status, server.get("/page.js").status) == (200, 200)
    assert server.get(f"//evil.example/?token={token}").headers["location"] == "/evil.example/"


def test_a_token_of_ones_own_is_taken_if_it_is_long_enough(root, serve, qexp, monkeypatch):
    monkeypatch.setenv("QEXP_TOKEN", "short")
    assert "at least 16" in qexp("serve", "--port", "0").failed()
    monkeypatch.setenv("QEXP_TOKEN", "a token of twenty characters")
    assert serve(root).get("/", authorization="Bearer a token of twenty characters").status == 200


def test_it_works_below_a_path_whether_or_not_a_proxy_takes_that_away(root, serve):
    server = serve(root, prefix="/qexp/here")
    assert server.address.endswith("/qexp/here/")
    for path in ("/qexp/here/", "/"):
        answer = server.get(path)
        assert (answer.status, 'href="/qexp/here/launches"' in answer.text) == (200, True)
    assert server.get("/qexp/here").headers["location"] == "/qexp/here/"
    assert json.loads(server.get("/qexp/here/runs.json").text)["total"] == 1
    assert server.get("/qexp/hereabouts").status == 404


@pytest.mark.heavy
def test_a_command_prints_the_address_and_ends_by_ctrl_c(root):
    with in_a_process(root) as server:
        assert server.get("/").status == 200
        assert json.loads(server.get("/runs.json").text)["total"] == 1


def test_options_that_cannot_work_are_errors_and_a_port_that_is_taken_is_named_with_what_would_work(
    root, qexp
):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        stderr = qexp("serve", "--port", str(port)).refused()
    assert (f"port {port} is taken" in stderr, "--port 0" in stderr) == (True, True), stderr
    for option, value in (
        ("--host", "no.such.host.example"),
        ("--prefix", "/a b"),
        ("--host", "192.0.2.1"),
    ):
        assert value in qexp("serve", "--port", "0", option, value).failed()


def test_names_of_hosts_are_read_as_browsers_write_them():
    assert [host_name(host) for host in ("Example.ORG:80", "[::1]:80", "", "x:y:z")] == [
        "example.org",
        "::1",
        "",
        "x",
    ]
    assert "example.org" in names_of("127.0.0.1", ("Example.ORG",))
    assert not Access(frozenset({"localhost"}), token="secret").knows("")


STEPS = [
    "..",
    "%2e%2e",
    "%2E%2e%2f",
    "..%2f",
    "..%5c",
    "%252e%252e",
    "....//",
    ".",
    "%00",
    "%0a",
    "\\..",
    "%ff%fe",
    "~",
    "a" * 5000,
    "\u202e".encode().hex("%"),
]
ROOTS = [
    "/",
    "/runs/",
    "/runs/a_0/",
    "/runs/a_0/figures/",
    "/runs/a_0/folds/",
    "/launches/",
    "/studies/",
    "/studies/s/",
    "/page.js/",
    "//",
    "/runs//",
]


@pytest.fixture
def figures(root):
    """The folder of figures of a run, and beside the workspace a picture that nobody may see."""
    (root.parent / "secret.png").write_text("secret")
    folder = root / "runs/a_0/results/figures"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.heavy
def test_no_path_leads_out_of_the_workspace_or_to_a_traceback(root, figures, serve):
    for name in ("own.png", "own.txt"):
        (figures / name).write_text("own")
    server = serve(root)
    assert server.get("/runs/a_0/figures/own.png").text == "own"
    assert server.get("/runs/a_0/figures/own.txt").status == 404
    for root in ROOTS:
        for step in STEPS:
            for path in (
                f"{root}{step}",
                f"{root}{step}/secret.png",
                f"{root}{step}/{step}/{step}/{step}/secret.png",
            ):
                quoted = path.encode("ascii", "ignore").decode().replace(" ", "%20")
                answer = server.get(quoted)
                assert answer.status in (404, 400), (quoted, answer.status)
                assert "secret" not in answer.text.replace("secret.png", "")
                assert "Traceback" not in answer.text


def test_links_do_not_lead_out_of_a_run(root, figures, serve):
    secret = root.parent / "secret.png"
    (figures / "out.png").symlink_to(secret)
    server = serve(root)
    refused = server.get("/runs/a_0/figures/out.png")
    assert (refused.status, "secret" in refused.text.replace("secret.png", "")) == (404, False)
    (figures / "out.png").unlink()
    log = root / "runs/a_0/attempts/01/log.txt"
    log.parent.mkdir(parents=True)
    log.symlink_to(secret)
    refused = server.get("/runs/a_0")
    assert (refused.status, "attempts/01/log.txt is a link" in refused.text) == (404, True)
