"""Columns, sizes, groups and limits of `qexp ls`."""

import csv
import io
import json
import re
import shutil
import statistics
import sys

import pytest

import qexp as package
from qexp.cli.console import fit
from qexp.results.errors import own_results
from qexp.runs.columns import usual_columns
from qexp.store.directory import RunDirectory
from tests.cli.test_commands import Terminal
from tests.conftest import RESOLVED
from tests.runs.test_catalog import write_record


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def listed(qexp, finished):
    """`listed("--size")`: what `qexp ls` prints of the two finished runs; it must be well."""

    return lambda *options: qexp("ls", *options, "--workspace", finished).quiet()


def test_columns_are_fields_metrics_and_keys_of_the_spec(listed, finished):
    columns = [
        "name",
        "seed",
        "epochs.best",
        "code.commit",
        "test.depth.mae",
        "results.validation.depth.r2",
        "learning_rate",
        "spec.epochs",
        "dataset.fixed.noise",
        "dataset",
        "sizes",
        "sizes.0",
        "optimizer.type",
    ]
    for document in json.loads(listed("--json", "--columns", ",".join(columns))):
        directory = RunDirectory(finished / "runs" / document["name"])
        record, spec = directory.record(), directory.spec()
        values = [
            record.name,
            record.seed,
            record.epochs.best,
            record.code.commit,
            record.results["test"]["depth"]["mae"],
            record.results["validation"]["depth"]["r2"],
            spec["learning_rate"],
            spec["epochs"],
            spec["dataset"]["fixed"]["noise"],
            record.dataset,
            spec["sizes"],
            spec["sizes"][0],
            spec["optimizer"]["type"],
        ]
        assert document == dict(zip(columns, values, strict=True))


def test_table_csv_and_json_show_the_same_columns(listed):
    options = ("--columns", "name, seed, test.depth.mae, losses, sizes")
    documents = json.loads(listed("--json", *options))
    for row, document in zip(rows_of(listed("--csv", *options)), documents, strict=True):
        assert (row["name"], int(row["seed"]), float(row["test.depth.mae"])) == tuple(
            document.values()
        )[:3]
        assert json.loads(row["losses"]) == document["losses"]
        assert json.loads(row["sizes"]) == document["sizes"]
    head, *rows = table(listed(*options))
    assert head == ["name", "seed", "test.depth.mae", "(km)", "losses", "sizes"]
    assert [row[0] for row in rows] == ["sound_0", "sound_1"]
    errors = [document["test.depth.mae"] for document in documents]
    assert [float(row[2]) for row in rows] == pytest.approx(errors, rel=1e-3)


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ("nmae", "no field 'nmae'; did you mean 'name'?"),
        ("loss", "no field 'loss'; did you mean 'validation.loss'?"),
        ("name,lerning_rate", "no field 'lerning_rate'; did you mean 'learning_rate'?"),
        ("spec.lerning_rate", "no field 'spec.lerning_rate'; did you mean 'spec.learning_rate'?"),
        (
            "dataset.fixed.nois",
            "no field 'dataset.fixed.nois'; did you mean 'dataset.fixed.noise'?",
        ),
        ("test.deph.mae", "no field 'test.deph.mae'; did you mean 'test.depth.mae'?"),
        (
            "results.test.depth.maee",
            "no field 'results.test.depth.maee'; did you mean 'results.test.depth.mae'?",
        ),
        ("code.comit", "no field 'code.comit'"),
        ("vesuvius", "no field 'vesuvius'; known: attempts, caution, code"),
        ("lr", "no field 'lr'; did you mean 'learning_rate'?"),
        ("set", "no field 'set'; what --set changed is 'overrides'"),
        ("batch", "no field 'batch'; did you mean 'batch_size'?"),
        ("best", "no field 'best'; did you mean 'epochs.best'?"),
        (
            "depth",
            "no field 'depth'; did you mean 'test.depth.mae'? Others with depth: test.depth.r2, ",
        ),
        ("name,", "a name is empty"),
        ("name,,seed", "a name is empty"),
    ],
)
@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)], ids=["table", "csv", "json"])
def test_a_column_that_no_run_has_is_answered_with_the_nearest(
    finished, qexp, columns, complaint, form
):
    assert complaint in qexp("ls", "--columns", columns, *form, "--workspace", finished).refused()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ("ls", "--group", "seed", "--group", "tags"),
            "--group is given 2 times; write --group seed,tags",
        ),
        (
            ("ls", "--where", "tag == 'a'"),
            "no field 'tag'; for runs with a tag, write 'TAG' in tags",
        ),
        (
            ("ls", "--where", "experience == sound"),
            "no field 'sound'; a text has quotation marks: 'sound'",
        ),
        (("ls", "--columns", "parameters"), "the number of weights of the network is 'weights'"),
        (
            ("run", "sound", "--grid", "epochs=1,2", "seed=1,2"),
            "seed=1,2 is no experience; if it belongs to --grid",
        ),
        (("run", "sound", "--seed", "0:3"), "for several: --seeds 0:3"),
    ],
)
def test_a_slip_is_answered_with_what_to_write(finished, qexp, words, complaint):
    assert complaint in qexp(*words, "--workspace", finished).refused()


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("learning_rate == 1e-3", ["sound_0", "sound_1"]),
        ("dataset.fixed.noise > 0 or seed == 1", ["sound_1"]),
        ("test.depth.mae == results.test.depth.mae and spec.epochs == 2", ["sound_0", "sound_1"]),
        ("sizes.0 == 8", ["sound_0", "sound_1"]),
        ("optimizer.type in ['sgd'] or code.commit == 'none'", []),
        ("size > 1e12", []),
        ("epochs == 2", ["sound_0", "sound_1"]),
        ("validation.depth.median_relative_error < -1", []),
        ("epochs.best != null and stopped == null", ["sound_0", "sound_1"]),
    ],
)
def test_a_condition_compares_any_column(listed, where, names):
    assert [
        document["name"] for document in json.loads(listed("--json", "--where", where))
    ] == names


def test_a_condition_reads_files_only_of_runs_that_the_catalog_does_not_decide(here, qexp, opened):
    shutil.copytree(here / "runs/sound_0", here / "runs/other")
    record = json.loads((here / "runs/other/run.json").read_text())
    (here / "runs/other/run.json").write_text(json.dumps({**record, "name": "other", "seed": 9}))
    assert qexp("ls").code == 0

    def read(where: str) -> list[str]:
        opened.clear()
        assert qexp("ls", "--no-refresh", "--where", where).code == 0
        return [
            str(path.relative_to(path.parents[1]))
            for path in opened
            if path.name in ("run.json", "spec.json")
        ]

    assert read("seed == 9 and experience == 'sound' and results.test.depth.mae < 1") == []
    assert read("seed == 9 and learning_rate < 1") == ["other/spec.json"]


def test_what_some_runs_or_all_do_not_have_is_empty_and_a_metric_may_still_come(workspace, qexp):
    assert qexp("ls", "--columns", "name,whatever", "--csv") == (0, "name,whatever\n", "")
    assert qexp("ls", "--columns", "name,whatever", "--json") == (0, "[]\n", "")
    assert qexp("ls", "--columns", "name,whatever").code == 0
    write_record(workspace, "done", results={"test": {"depth": {"mae": 0.25}}})
    write_record(workspace, "young", state="created", results={})
    options = ("ls", "--columns", "name,test.depth.mae,error")
    assert table(qexp(*options).stdout)[1:] == [["done", "0.25", "-"], ["young", "-", "-"]]
    assert table(qexp(*options, "--status", "created").stdout)[1:] == [["young", "-", "-"]]
    assert rows_of(qexp(*options, "--csv").stdout)[1] == {
        "name": "young",
        "test.depth.mae": "",
        "error": "",
    }


def test_a_run_whose_spec_is_gone_or_damaged_has_empty_cells_and_hides_no_other(workspace, qexp):
    for name, content in {"a": json.dumps({**RESOLVED, "rate": 5}), "b": "{", "c": None}.items():
        directory = write_record(workspace, name)
        if content is not None:
            (directory / "spec.json").write_text(content)
    code, stdout, stderr = qexp("ls", "--columns", "name,rate,spec.rate")
    assert code == 0
    assert table(stdout) == [
        ["name", "rate", "spec.rate"],
        ["a", "5", "5"],
        ["b", "-", "-"],
        ["c", "-", "-"],
    ]
    assert [line.split()[1].rpartition("runs/")[2] for line in stderr.splitlines()] == [
        "b/spec.json",
        "c/spec.json",
    ]
    documents = json.loads(qexp("ls", "--columns", "spec", "--json").stdout)
    assert [document["spec"] is None for document in documents] == [False, True, True]


def test_a_cell_is_one_line_whatever_is_in_it(workspace, qexp):
    note = "two\nlines\x1b[31m and\ta colour"
    write_record(workspace, "a", note=note, error="x\r\ny")
    shown = qexp("ls", "--columns", "name,note,error").stdout
    assert (len(shown.splitlines()), "\x1b" in shown) == (2, False)
    assert json.loads(qexp("ls", "--columns", "note", "--json").stdout) == [{"note": note}]


def test_the_size_of_a_run_is_the_sum_of_its_files_wherever_it_is_stored(workspace, qexp, tmp_path):
    directory = write_record(workspace, "a")
    (directory / "checkpoints/deeper").mkdir(parents=True)
    (directory / "checkpoints/deeper/weights").write_bytes(b"0" * 1_500_000)
    (directory / "link").symlink_to(directory / "checkpoints")
    bytes_ = sum(
        path.lstat().st_size for path in directory.rglob("*") if path.is_symlink() or path.is_file()
    )
    assert json.loads(qexp("ls", "--size", "--json").stdout)[0]["size"] == bytes_
    assert json.loads(qexp("ls", "--size", "--json", "--columns", "name").stdout) == [
        {"name": "a", "size": bytes_}
    ]
    assert int(rows_of(qexp("ls", "--size", "--csv").stdout)[0]["size"]) == bytes_
    head, row = qexp("ls", "--size").stdout.splitlines()
    # not the first to go
    assert [re.split("  +", line)[1].strip() for line in (head, row)] == ["size", "1.5 MB"]
    directory.rename(tmp_path / "elsewhere")
    directory.symlink_to(tmp_path / "elsewhere")
    assert json.loads(qexp("ls", "--columns", "size", "--json").stdout) == [{"size": bytes_}]


def test_runs_are_named_by_patterns(workspace, qexp):
    for name in ("a_0", "a_1", "b_0"):
        write_record(workspace, name)
    assert qexp("ls", "a_*", "-q").stdout.split() == ["a_0", "a_1"]
    assert qexp("ls", "b_0", "a_1", "-q", "--sort", "name").stdout.split() == ["a_1", "b_0"]
    assert "no run matches 'c_*'" in qexp("ls", "c_*").failed(3)


def test_runs_are_ordered_by_any_column(workspace, qexp):
    for name, length in {"a": 30_000, "b": 10_000, "c": 20_000}.items():
        directory = write_record(workspace, name, results={"test": {"depth": {"mae": 1 / length}}})
        (directory / "file").write_bytes(b"0" * length)
    assert qexp("ls", "-q", "--sort", "size").stdout.split() == ["b", "c", "a"]
    assert qexp("ls", "-q", "--sort", "test.depth.mae", "--limit", "2").stdout.split() == ["a", "c"]
    assert qexp("ls", "-q", "--sort", "size", "--reverse", "--limit", "1").stdout.split() == ["a"]


def test_a_limit_takes_the_newest_or_the_first_of_an_order(workspace, qexp):
    for index, day in enumerate([3, 1, 2]):
        write_record(
            workspace, f"run_{index}", seed=9 - index, created=f"2026-01-0{day}T00:00:00.000+00:00"
        )
    assert qexp("ls", "-q", "--limit", "2").stdout.split() == ["run_0", "run_2"]
    assert qexp("ls", "-q", "--limit", "2", "--sort", "seed").stdout.split() == ["run_2", "run_1"]
    assert qexp("ls", "-q", "--limit", "9").stdout.split() == ["run_0", "run_1", "run_2"]
    assert len(json.loads(qexp("ls", "--json", "--limit", "1").stdout)) == 1
    assert qexp("ls", "--limit", "0").code == 2


@pytest.fixture
def grouped(workspace):
    errors = {"a": [0.1, 0.2, 0.6], "b": [0.5], "c": []}
    for experience, values in errors.items():
        for seed, error in enumerate(values):
            results = {"test": {"depth": {"mae": error}}}
            write_record(
                workspace, f"{experience}_{seed}", experience=experience, seed=seed, results=results
            )
        write_record(
            workspace, f"{experience}_9", experience=experience, seed=9, state="failed", results={}
        )
    return errors


def test_groups_count_runs_and_states_and_average_the_errors_that_there_are_in_every_form(
    grouped, qexp
):
    documents = json.loads(qexp("ls", "--group", "experience", "--json").stdout)
    assert [document["experience"] for document in documents] == ["a", "b", "c"]
    for document, values in zip(documents, grouped.values(), strict=True):
        assert document["n"] == len(values) + 1
        assert document["states"] == ({"done": len(values)} if values else {}) | {"failed": 1}
    mean, deviation = statistics.mean(grouped["a"]), statistics.stdev(grouped["a"])
    error = documents[0]["test"]["depth"]["mae"]
    assert error == {"n": 3, "mean": pytest.approx(mean), "std": pytest.approx(deviation)}
    assert documents[1]["test"]["depth"]["mae"] == {"n": 1, "mean": 0.5, "std": None}
    assert documents[2]["test"] == {}
    lines = qexp("ls", "--group", "experience").stdout.splitlines()
    assert lines[0].split() == ["experience", "n", "states", "test", "depth", "mae", "(km)"]
    assert lines[1].split() == ["a", "4", "3", "done,", "1", "failed", "0.30", "±", "0.26"]
    assert lines[2].split() == ["b", "2", "1", "done,", "1", "failed", "0.5"]
    assert lines[3].split() == ["c", "1", "1", "failed", "-"]
    rows = rows_of(qexp("ls", "--group", "experience", "--csv", "--size").stdout)
    assert [(row["experience"], row["n"], row["done"], row["failed"]) for row in rows] == [
        ("a", "4", "3", "1"), ("b", "2", "1", "1"), ("c", "1", "0", "1"),
    ]  # fmt: skip
    assert float(rows[0]["test.depth.mae.mean"]) == pytest.approx(0.3)
    assert rows[2]["test.depth.mae.mean"] == ""
    assert int(rows[2]["size"]) > 0


def test_groups_have_the_means_of_columns_in_the_order_of_the_one_they_are_sorted_by(
    workspace, qexp
):
    runs = (("a", 0, 0.3, 0.1), ("a", 1, 0.5, 0.1), ("b", 0, 0.2, 0.2), ("b", 1, 0.4, 0.2))
    for name, seed, validation, test in runs:
        results = {
            part: {"depth": {"mae": value}}
            for part, value in (("validation", validation), ("test", test))
        }
        folder = write_record(
            workspace, f"{name}_{seed}", experience=name, seed=seed, results=results
        )
        losses = ((True, 3), (True, validation), (False, 4))
        lines = [
            {"epoch": n, "train": {"loss": 1}, "validation": {"loss": loss}, "best": best}
            for n, (best, loss) in enumerate(losses, 1)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    lines = qexp(
        "ls", "--group", "experience", "--sort", "validation.depth.mae"
    ).stdout.splitlines()
    assert re.split("  +", lines[0].strip())[3:] == [
        "validation.depth.mae (km)",
        "test.depth.mae (km)",
    ]
    assert [line.split()[0] for line in lines[1:]] == ["b", "a"]
    options = (
        "--group",
        "experience",
        "--columns",
        "validation.loss",
        "--sort",
        "validation.loss",
        "--reverse",
    )
    documents = json.loads(qexp("ls", *options, "--json").stdout)
    assert [
        document["means"]["validation.loss"]["mean"] for document in documents
    ] == pytest.approx([0.4, 0.3])
    rows = rows_of(qexp("ls", *options, "--csv").stdout)
    assert [float(row["validation.loss.mean"]) for row in rows] == pytest.approx([0.4, 0.3])
    listed = rows_of(
        qexp("ls", "--columns", "name,validation.loss", "--sort", "validation.loss", "--csv").stdout
    )
    assert [row["name"] for row in listed] == ["b_0", "a_0", "b_1", "a_1"]


def test_csv_and_data_frames_have_a_column_for_each_key_that_runs_override_differently(
    workspace, qexp
):
    for seed, rate in enumerate((0.1, 0.2)):
        overrides = [f"learning_rate={rate}", f"epochs={seed + 3}", "batch_size=8"]
        folder = write_record(
            workspace, f"a_{seed}", seed=seed, overrides=overrides, digest=str(seed)
        )
        (folder / "spec.json").write_text(
            json.dumps({**RESOLVED, "learning_rate": rate, "epochs": seed + 3})
        )
    rows = rows_of(qexp("ls", "--csv").stdout)
    assert [(row["learning_rate"], row["spec.epochs"]) for row in rows] == [
        ("0.1", "3"),
        ("0.2", "4"),
    ]
    assert "batch_size" not in rows[0]
    frame = package.runs(workspace=workspace).to_pandas()
    assert [list(frame[key]) for key in ("learning_rate", "spec.epochs")] == [[0.1, 0.2], [3, 4]]


def test_groups_can_share_any_column_and_are_limited(grouped, listed, qexp):
    assert [
        document["n"] for document in json.loads(listed("--group", "learning_rate", "--json"))
    ] == [2]
    assert [
        document["n"] for document in json.loads(listed("--group", "dataset.varyings", "--json"))
    ] == [2]
    assert len(qexp("ls", "--group", "experience", "--limit", "2").stdout.splitlines()) == 3
    assert "did you mean 'experience'?" in qexp("ls", "--group", "experiense").failed()


@pytest.mark.parametrize(
    "options", ["--group seed --columns state", "-q --columns name", "-q --size", "-q --group seed"]
)
def test_options_that_exclude_each_other_are_refused_rather_than_ignored(finished, qexp, options):
    assert "leave out" in qexp("ls", *options.split(), "--workspace", finished).refused()


def test_specs_are_read_only_when_a_column_needs_them_and_only_of_the_runs_that_are_listed(
    finished, qexp, opened
):
    def read():
        return [path.parent.name for path in opened if path.name == "spec.json"]

    for options in (
        (),
        ("--columns", "name,seed,test.depth.mae"),
        ("--group", "experience"),
        ("--csv",),
        ("--json",),
    ):
        qexp("ls", *options, "--workspace", finished)
    assert read() == []
    qexp(
        "ls",
        "--limit",
        "1",
        "--columns",
        "name,learning_rate,dataset.fixed.noise",
        "--workspace",
        finished,
    )
    assert read() == ["sound_1"]


@pytest.mark.slow
def test_a_terminal_gets_the_newest_fifty_and_is_told_of_the_others(workspace, monkeypatch, capsys):
    from qexp.cli import app

    for index in range(52):
        write_record(workspace, f"run_{index}", created=f"2026-01-01T00:00:{index:02d}.000+00:00")
    for options, shown in (
        ((), 50),
        (("--columns", "name"), 50),
        (("--all",), 52),
        (("--limit", "51"), 51),
    ):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        app(["ls", *options], prog_name="qexp", standalone_mode=False)
        assert len(re.findall(r"^run_", terminal.getvalue(), re.MULTILINE)) == shown
        assert ("and 2 older ones" in capsys.readouterr().err) == (shown == 50)


def test_runs_are_listed_by_validation_with_the_test_error_beside_it_and_changes_are_given_up_last():
    errors = {"validation": {"depth": {"mae": 1.0}}, "test": {"depth": {"mae": 2.0}}}
    run = {
        "name": "mogi_quick_92ea81_0",
        "state": "done",
        "seed": 0,
        "results": errors,
        "units": {"depth": "km"},
        "overrides": ["learning_rate=0.001"],
        "tags": [],
        "caution": "",
        "epochs": None,
        "folds": None,
        "created": None,
    }
    columns = usual_columns([run])
    titles = [column.title for column in columns]
    assert titles[:2] == ["name", "set"]
    assert titles[-3:-1] == ["validation depth mae (km)", "test depth mae (km)"]
    fitted = fit(titles, [[column.text(run) for column in columns]], titles[3:-1], width=44)
    assert ["learning_rate=0.001"] in fitted.lines[0]
    assert "created" in fitted.left_out


@pytest.mark.heavy
def test_figures_in_a_folder_of_their_own_leave_those_of_the_run_as_they_are(
    finished, tmp_path, qexp
):
    run = RunDirectory(finished / "runs/sound_0")
    before = {path: path.read_bytes() for path in run.path.rglob("*.png")}
    options = ("--only", "learning_curve", "--width", "single", "--to", tmp_path / "prints")
    qexp("figures", "sound_0", *options, "--workspace", finished).done()
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.png")] == [
        type(tmp_path)("prints/sound_0/learning_curve.png")
    ]
    assert {path: path.read_bytes() for path in run.path.rglob("*.png")} == before


def test_the_metrics_of_the_experience_stand_before_those_of_every_experience(tmp_path):
    results = {"test": {"depth": {"mae": 1.0, "r2": 0.5, "own": 3.0}}}
    write_record(tmp_path, "a_0", results=results)
    directory = RunDirectory(tmp_path / "runs/a_0")
    first = next(own_results(directory, directory.record()))
    assert first.columns == ["part", "output", "own", "mae (km)", "r2"]
