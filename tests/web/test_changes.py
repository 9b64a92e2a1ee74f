"""Changes are made for pages of a server that allows them, and for nobody else."""

import json
import re
import socket
from urllib.parse import urlsplit

import pytest

from qexp.store import directory
from tests.runs.test_catalog import write_record
from tests.web.conftest import in_a_process

TOKEN = "twenty characters or more"


@pytest.fixture
def root(workspace, monkeypatch):
    monkeypatch.setenv("QEXP_TOKEN", TOKEN)
    write_record(workspace, "a_0")
    return workspace


def sent(server, kind: str, body: str, secret: str = "", **headers: str):
    all_headers = {"authorization": f"Bearer {TOKEN}", "x_qexp_secret": secret, **headers}
    return server.get(f"/changes/{kind}", "POST", body, **all_headers)


def secret_of(server) -> str:
    return re.search(
        r'data-secret="([^"]+)"', server.get("/", authorization=f"Bearer {TOKEN}").text
    )[1]


def test_a_server_that_only_reads_changes_nothing_and_another_needs_a_token_even_on_this_machine(
    root, serve, monkeypatch
):
    server = serve(root)
    assert "data-secret" not in server.get("/", authorization=f"Bearer {TOKEN}").text
    refused = sent(server, "tag", '{"runs": ["a_0"], "add": ["x"]}', "guess")
    assert (refused.status, "--allow-changes" in refused.text) == (403, True)
    assert directory.read_annotations(root / "runs/a_0") == {}
    monkeypatch.delenv("QEXP_TOKEN")
    server = serve(root, allow_changes=True)
    assert "?token=" in server.address
    assert server.get("/").status == 401


def test_a_change_comes_from_a_page_of_this_server(root, serve):
    server = serve(root, allow_changes=True)
    secret, body = secret_of(server), '{"runs": ["a_0"], "add": ["x"]}'
    for given, headers in (
        ("", {}),
        (secret[:-1], {}),
        (secret, {"origin": "http://evil.example"}),
        (secret, {"origin": "null"}),
        (secret, {"sec_fetch_site": "cross-site"}),
        (secret, {"host_": "evil.example"}),
        (secret, {"authorization": "Bearer no"}),
    ):
        assert sent(server, "tag", body, given, **headers).status in (401, 403, 421), (
            given,
            headers,
        )
    assert server.get("/changes/tag", authorization=f"Bearer {TOKEN}").status == 405
    assert directory.read_annotations(root / "runs/a_0") == {}
    done = sent(server, "tag", body, secret, origin=f"http://localhost:{server.port}")
    assert (done.status, json.loads(done.text)) == (200, {"done": ["a_0"], "failed": {}})
    assert directory.read_annotations(root / "runs/a_0")["tags"] == ["x"]


def test_what_becomes_of_each_run_is_said(root, serve):
    server = serve(root, allow_changes=True)
    secret = secret_of(server)

    def failed(kind: str, *runs: str, **wanted: object) -> dict[str, str]:
        return json.loads(sent(server, kind, json.dumps({"runs": runs, **wanted}), secret).text)[
            "failed"
        ]

    assert failed("note", "a_0", "../a_0", "nobody", text="seen").keys() == {"../a_0", "nobody"}
    assert directory.read_annotations(root / "runs/a_0")["note"] == "seen"
    assert "not a valid tag" in failed("tag", "a_0", add=["two words"])["a_0"]
    assert "is not running" in failed("stop", "a_0")["a_0"]
    assert (
        "in the trash" in failed("restore", "b_0")["b_0"]
        or "trash is empty" in failed("restore", "b_0")["b_0"]
    )
    assert failed("remove", "a_*").keys() == {"a_*"}
    assert failed("remove", "a_0") == {}
    assert failed("restore", "a_0") == {}
    assert (root / "runs/a_0").is_dir()


def test_a_run_that_is_named_twice_is_changed_once_and_bodies_that_no_page_sends_are_refused_in_words(
    root, serve
):
    server = serve(root, allow_changes=True)
    answer = sent(
        server, "tag", json.dumps({"runs": ["a_0"] * 2000, "add": ["x"]}), secret_of(server)
    )
    assert json.loads(answer.text) == {"done": ["a_0"], "failed": {}}
    texts = [
        "",
        "{",
        "[]",
        '{"run": "a_0"}',
        '{"runs": "a_0"}',
        '{"runs": [1]}',
        '{"runs": [], "text": 1}',
    ]
    for body in (*texts, " " * 1_100_000):
        refused = sent(server, "tag", body, secret_of(server))
        assert (refused.status, bool(json.loads(refused.text)["error"])) == (400, True), body[:100]


@pytest.mark.heavy
def test_a_request_that_is_torn_ends_without_a_traceback(root):
    with in_a_process(root, "--allow-changes") as server:  # which looks for tracebacks
        address = urlsplit(server.address)
        secret = secret_of(server)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = [
                "POST /changes/tag HTTP/1.1",
                f"Host: localhost:{address.port}",
                f"Authorization: Bearer {TOKEN}",
                f"X-Qexp-Secret: {secret}",
                "Transfer-Encoding: chunked",
                "",
                "zz",
                "",
            ]
            connection.sendall("\r\n".join(head).encode())
            connection.recv(1000)
        assert server.get("/", authorization=f"Bearer {TOKEN}").status == 200
