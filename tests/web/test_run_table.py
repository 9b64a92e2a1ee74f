"""The table of runs answers what `qexp ls` answers."""

import json
from urllib.parse import urlencode

import pytest

import qexp as package
from tests.runs.test_catalog import write_record


@pytest.fixture
def root(workspace):
    for seed, error in enumerate([0.3, 0.1, 0.2]):
        tags = ["good"] if seed else []
        write_record(
            workspace,
            f"a_{seed}",
            seed=seed,
            tags=tags,
            results={"test": {"depth": {"mae": error}}},
        )
    write_record(
        workspace, "b_0", experience="other", state="failed", results={}, note="no luck", launch="x"
    )
    return workspace


def answer_to(server, **query):
    return json.loads(server.get(f"/runs.json?{urlencode(query)}").text)


def names(answer):
    return [row["name"] for row in answer["rows"]]


def test_rows_are_chosen_and_ordered_as_by_ls(root, serve, qexp):
    server = serve(root)
    for condition in (
        "seed < 2",
        "test.depth.mae < 0.25 and 'good' in tags",
        "state == 'failed'",
        "note != null",
    ):
        listed = qexp("ls", "-q", "--where", condition).stdout.split()
        assert names(answer_to(server, where=condition, sort="name", descending=0)) == listed, (
            condition
        )
    by_error = qexp("ls", "-q", "--sort", "test.depth.mae").stdout.split()
    assert names(answer_to(server, sort="test.depth.mae", descending=0)) == by_error
    assert (
        names(answer_to(server, status="failed"))
        == names(answer_to(server, search="NO luck"))
        == ["b_0"]
    )
    assert names(answer_to(server, tag="good", sort="seed")) == ["a_2", "a_1"]
    assert answer_to(server)["states"] == {"done": 3, "failed": 1}


def test_cells_are_those_of_ls_and_rows_come_in_slices(root, serve, qexp):
    server = serve(root)
    query = {"columns": "name,seed,test.depth.mae", "sort": "name", "descending": 0}
    answer = answer_to(server, **query)
    assert [column["title"] for column in answer["columns"]] == [
        "name",
        "seed",
        "test.depth.mae (km)",
    ]
    listed = [
        line.replace("-", "–").split()
        for line in qexp("ls", "--columns", query["columns"]).stdout.splitlines()[1:]
    ]
    assert [row["cells"] for row in answer["rows"]] == listed
    part = answer_to(server, **query, first=1, count=2)
    assert (names(part), part["total"]) == (["a_1", "a_2"], 4)


def test_groups_lead_to_their_runs(root, serve):
    server = serve(root)
    answer = answer_to(server, group="experience")
    assert [row["cells"][:3] for row in answer["rows"]] == [
        ["made", "3", "3 done"],
        ["other", "1", "1 failed"],
    ]
    assert answer["rows"][0]["cells"][3] == "0.20 ± 0.10"
    assert sorted(names(answer_to(server, where=answer["rows"][0]["where"]))) == [
        "a_0",
        "a_1",
        "a_2",
    ]


def test_what_cannot_be_answered_is_said_in_words_and_numbers_that_make_no_sense_do_no_harm(
    root, serve
):
    server = serve(root)
    for query, words in (
        ({"where": "seed <"}, "cannot understand"),
        ({"where": "__import__('os')"}, "only comparisons"),
        ({"where": "no_such_field == 1"}, "no field 'no_such_field'"),
        ({"sort": "sead"}, "did you mean 'seed'"),
        ({"columns": "test.depht.mae"}, "did you mean"),
        ({"status": "finished"}, "no such state"),
    ):
        answer = server.get(f"/runs.json?{urlencode(query)}")
        assert (answer.status, words in json.loads(answer.text)["error"]) == (400, True), query
    for text in ("first=-1", "count=x", "first=" + "9" * 30, "count=99999999", "descending=maybe"):
        assert server.get(f"/runs.json?{text}").status == 200, text


@pytest.mark.heavy
def test_who_has_the_newest_rows_is_sent_nothing(root, serve):
    server = serve(root)
    tag = server.get("/runs.json").headers["etag"]
    assert server.get("/runs.json", if_none_match=tag).status == 304
    write_record(root, "c_0")
    while server.get("/runs.json", if_none_match=tag).status == 304:
        pass
    assert answer_to(server)["total"] == 5


def test_words_for_completion_are_fields_values_and_tags(root, serve):
    words = json.loads(serve(root).get("/words.json").text)
    assert {"seed", "state", "test.depth.mae"} <= set(words["fields"])
    assert words["values"]["experience"] == ["made", "other"]
    assert words["tags"] == ["good"]


def test_a_run_that_cannot_be_read_is_listed_with_the_reason(root, serve):
    (root / "runs/a_0/run.json").write_text("{")
    answer = answer_to(serve(root), status="damaged")
    assert names(answer) == ["a_0"]
    assert any("a_0" in text for text in answer["warnings"])


def test_losses_of_rows_in_sight_are_small_curves_of_their_epochs(trained, serve):
    answer = json.loads(
        serve(trained).get("/losses.json?run=mogi_quick_1&run=nothing&run=..%2F..").text
    )
    losses = [line["validation"]["loss"] for line in package.open_run("mogi_quick_1").metrics]
    assert list(answer) == ["mogi_quick_1"]
    assert answer["mogi_quick_1"] == pytest.approx(losses, rel=1e-3)


@pytest.mark.heavy
def test_what_all_runs_set_is_said_once(sweep, serve):
    asked = "/runs.json?where=experience+%3D%3D+%22mogi_quick%22"
    answer = json.loads(serve(sweep).get(asked).text)
    assert [change.partition("=")[0] for change in answer["shared"]] == ["epochs", "sizes"]
    index = [column["title"] for column in answer["columns"]].index("set")
    assert {row["cells"][index] for row in answer["rows"]} == {
        "learning_rate=0.001",
        "learning_rate=0.004",
    }
