"""Records, specs and logs may be somebody else's: nothing in them acts on a terminal, or on a
spreadsheet.
"""

import csv
import io
import json
import zipfile

import pytest

from qexp.base.formats import write_csv
from tests.conftest import prepare_with

ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\x08 \u202eback\u200b"
"""Colour, the title of the window, a cleared screen, the beginning of the line, one letter back,
other directions.
"""

HARMLESS = "ünder µm 10⁶ m³ → 北 a\u00a0b"

FORMULA = '=HYPERLINK("http://example.com","look")'


def acts_on_a_terminal(text):
    return [letter for letter in text if not letter.isprintable() and letter not in "\n\t\u00a0"]


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def foreign(here):
    """A workspace in which sound_0 says what somebody else has made it say."""
    run = here / "runs/sound_0"
    text = ESCAPES + HARMLESS
    change(
        run / "run.json",
        experience=text,
        model=text,
        note=text + "\nstate  lost",
        caution=text,
        overrides=[text],
        tags=[text],
        error=text,
    )
    (run / "labels.json").unlink(missing_ok=True)
    prepare_with(run, lambda spec: spec["losses"].update({text: {"type": text, "parameters": {}}}))
    with (run / "attempts/01/log.txt").open("a") as log:
        log.write(f"{text}\n")
    return here


@pytest.mark.parametrize(
    "command",
    [
        "show sound_0",
        "logs sound_0",
        "ls",
        "ls --columns name,note,caution,overrides",
        "ls --group experience",
        "ls --lineage",
        "compare sound_0 sound_0",
        "tag sound_0",
        "doctor",
    ],
)
def test_what_a_run_says_does_not_act_on_the_terminal(foreign, qexp, command):
    _, stdout, stderr = qexp(*command.split())
    assert acts_on_a_terminal(stdout + stderr) == []


def test_control_characters_are_written_out_and_all_others_stay_and_json_is_exact(foreign, qexp):
    assert (
        r"\x1b[31mred\x1b]0;title\x07\x9b2J\r\x08 \u202eback\u200b" + HARMLESS
        in qexp("logs", "sound_0").stdout
    )
    assert r"\x1b[31mred" in qexp("show", "sound_0").stdout
    (listed,) = json.loads(qexp("ls", "--json").stdout)
    assert listed["experience"] == ESCAPES + HARMLESS
    assert json.loads(qexp("show", "sound_0", "--json").stdout)["error"] == ESCAPES + HARMLESS
    # A note of several lines cannot pass for other lines of the record.
    lines = qexp("show", "sound_0").stdout.splitlines()
    assert [line for line in lines if line.startswith("state")] == [f"{'state':<12} done"]
    assert any(line == " " * 13 + "state  lost" for line in lines)


def test_keys_and_texts_of_a_spec_do_not_act_on_the_terminal(specs, qexp):
    specs.spoil(
        "experience", (f"losses.{ESCAPES}", ESCAPES), ("epochs", ESCAPES), ("description", 5)
    )
    stderr = qexp("validate").refused()
    assert acts_on_a_terminal(stderr) == []
    assert r"\x1b[31mred" in stderr
    assert acts_on_a_terminal(qexp("run", "sound").stderr) == []


def test_an_archive_does_not_act_on_the_terminal(specs, qexp):
    newer = {"format": "qexp run", "version": 99, "qexp": ESCAPES, "run": ESCAPES, "sha256": {}}
    contents = [
        {"manifest.json": json.dumps(newer)},
        {f"x/{ESCAPES}": "", "manifest.json": json.dumps(newer)},
    ]
    for number, members in enumerate(contents):
        archive = specs.root / f"{number}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for member, text in members.items():
                file.writestr(member, text)
        code, stdout, stderr = qexp("import", archive)
        assert code in (2, 5)
        assert acts_on_a_terminal(stdout + stderr) == []
        assert r"\x1b" in stderr


def test_a_cell_of_a_csv_file_is_no_formula_and_a_number_stays_one(here, qexp):
    change(
        here / "runs/sound_0/run.json",
        note=FORMULA,
        overrides=["-2+3", "@x"],
        error="+1.5e3",
        caution="\tx",
    )
    columns = ["name", "note", "overrides", "error", "caution", "learning_rate", "seed"]
    (row,) = csv.DictReader(io.StringIO(qexp("ls", "--csv", "--columns", ",".join(columns)).done()))
    cells = ["sound_0", f"'{FORMULA}", "'-2+3 @x", "+1.5e3", "'\tx", "0.001", "0"]
    assert row == dict(zip(columns, cells, strict=True))
    assert json.loads(qexp("ls", "--json", "--columns", "note").stdout)[0]["note"] == FORMULA


def test_negative_numbers_in_a_csv_file_have_nothing_before_them(tmp_path):
    write_csv(
        tmp_path / "a.csv", ["bias", "=name"], [[-0.25, "a"], ["-0.25", "-b"], [None, "-inf"]]
    )
    assert (tmp_path / "a.csv").read_text() == "bias,'=name\n-0.25,a\n-0.25,'-b\n,-inf\n"
