"""Whatever JSON stands in a spec file, its check ends in findings or in none, and in nothing
else.
"""

import copy
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from qexp.base.formats import json_bytes
from qexp.base.workspace import Workspace
from qexp.kinds.experiments import examine, experience, spec_cache
from qexp.spec.experiences import type_of
from qexp.spec.resolution import REFERENCES

REPOSITORY = Path(__file__).resolve().parents[2]

REMOVED = object()

VALUES = [
    None,
    True,
    False,
    0,
    1,
    -1,
    0.5,
    65537,
    10**9 + 7,
    2**62,
    1e308,
    -1e308,
    1e-320,
    "",
    "text",
    "\ud800",
    "a\0b",
    "\x1b[31m",
    "../x",
    [],
    [1],
    ["text"],
    [[]],
    [[1, 2], [3]],
    [None],
    [{}],
    {},
    {"a": 1},
    {"type": 5},
    {"type": "chain", "parameters": {"of": [{"type": 5}]}},
]
"""One of each type of JSON at least, and what is at the edge of it."""


@pytest.fixture
def workspace(tmp_path, made_up_data):
    """A workspace with the shipped specs and small data for all of them."""
    shutil.copytree(REPOSITORY / "specs", tmp_path / "specs")
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    return Workspace(tmp_path)


def documents(workspace):
    """Every shipped spec with its file; experiences once more with dataset and model written
    out.
    """
    for file in sorted(workspace.specs.rglob("*.json")):
        document = json.loads(file.read_text())
        yield file, document
        whole = "extends" not in document
        if file.parent.name == "experiences" and whole and type_of(document).trains:
            parts = {
                kind: json.loads(
                    (workspace.specs / f"{kind}s" / f"{document[kind]}.json").read_text()
                )
                for kind in REFERENCES
            }
            yield file, {**document, **parts}


def paths_in(document, path=()):
    for step, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield (*path, step)
        if isinstance(value, dict | list):
            yield from paths_in(value, (*path, step))


def changed(document, path, value):
    changed_document = copy.deepcopy(document)
    *way, last = path
    inside = changed_document
    for step in way:
        inside = inside[step]
    if value is REMOVED:
        del inside[last]
    else:
        inside[last] = value
    return changed_document


def check(file, document, workspace):
    """What `validate` does with a file, and `run` with one that is right: both look at it in the
    same way.
    """
    before = file.read_text()
    file.write_text(json.dumps(document))
    try:
        parts = spec_cache(workspace)
        found = examine(file, parts)
        assert all(str(problem) for problem in [*found.problems, *found.warnings])
        if not found.problems and file.parent.name == "experiences":
            json_bytes(experience(str(file), {}, workspace).document)
    finally:
        file.write_text(before)


@pytest.mark.heavy
def test_a_spec_with_anything_removed_or_replaced_is_right_or_told_what_is_wrong(workspace):
    every = [
        (file, document, path)
        for file, document in documents(workspace)
        for path in paths_in(document)
    ]
    near_the_top = [case for case in every if len(case[-1]) <= 2]
    draw = random.Random(1)
    cases = [
        (*case, REMOVED) for case in (*draw.sample(every, 40), *draw.sample(near_the_top, 150))
    ]
    cases += [(*draw.choice(every), draw.choice(VALUES)) for _ in range(330)]
    for file, document, path, value in cases:
        try:
            check(file, changed(document, path, value), workspace)
        except Exception as error:
            what = "removed" if value is REMOVED else f"= {json.dumps(value)}"
            raise AssertionError(
                f"{file.relative_to(workspace.root)} with {path} {what}"
            ) from error


@pytest.mark.parametrize("value", VALUES, ids=lambda value: json.dumps(value)[:20])
@pytest.mark.parametrize("kind", ["datasets", "models", "experiences"])
def test_any_json_value_can_be_the_whole_of_a_spec_file(workspace, kind, value):
    name = "mogi_quick.json" if kind == "experiences" else "mogi*.json"
    check(next((workspace.specs / kind).glob(name)), value, workspace)


WRONG = [
    ("experience", "dataset", ..., "$: the key 'dataset' is missing"),
    ("dataset", "type", ..., "$: the key 'type' is missing"),
    (
        "experience",
        "transforms.depth",
        {"type": "chain", "parameters": {"of": [{"type": 5}]}},
        (
            "$.transforms.depth.parameters.of[0].type: must be the name of a transform, but is the"
            " number 5"
        ),
    ),
    (
        "experience",
        "transforms.depth",
        {
            "type": "chain",
            "parameters": {
                "of": ["log", {"type": "log_ratios", "parameters": {"reference": None}}]
            },
        },
        (
            "$.transforms.depth.parameters.of[1].parameters.reference: must be a whole number, but"
            " is null"
        ),
    ),
    (
        "experience",
        "transforms.depth",
        {"type": "chain", "parameters": {"of": ["scale"]}},
        "$.transforms.depth.parameters.of[0]: 'scale' needs parameters: {",
    ),
    (
        "experience",
        "description",
        "\ud800",
        "$.description: holds \\ud800, half of a surrogate pair",
    ),
    ("experience", "losses.\udfff", "mse", "$.losses: a key holds \\udfff, half of"),
    (
        "dataset",
        "",
        {"type": "spectra", "path": "x", "channels": 65521, "patch_size": 65520},
        "$.patch_size: patches of 65520 channels do not divide a spectrum of 65521; 65521 would",
    ),
    (
        "dataset",
        "",
        '{"fixed": ' + '{"a": ' * 60 + "0" + "}" * 61,
        "$: nested too deeply to be a spec; at most 50",
    ),
    ("dataset", "", " " * 1_000_001, "$: is too large: 1,000,001 bytes, at most 1,000,000"),
    (
        "experience",
        "transforms.depth",
        json.loads('{"type": "chain", "parameters": {"of": [' * 17 + '"log"' + "]}}" * 17),
        "$: nested too deeply to be a spec",
    ),
]


@pytest.mark.parametrize(
    ("kind", "path", "value", "expected"), WRONG, ids=[wrong[-1][:60] for wrong in WRONG]
)
def test_what_is_wrong_is_told_by_validate_and_by_run_and_nothing_is_written(
    specs, qexp, problems, kind, path, value, expected
):
    told = problems(specs.write(kind, value) if path == "" else specs.spoil(kind, (path, value)))
    assert any(expected in line for line in told), told
    assert expected in qexp("run", "sound").refused()
    assert not Path("runs").exists()


def test_an_operation_that_leaves_no_channels_is_told_where_it_is_used_so(specs, problems):
    model = {
        "inputs": {"spectrum": {"size": [64]}},
        "outputs": ["toc"],
        "operations": {
            "tokens": {"module": "masked_encoder", "parameters": {"size": "tiny"}},
            "pool": {"module": "token_pooling"},
        },
        "branches": [
            {"x_name": "spectrum", "y_name": "toc", "operations": ["tokens", "pool", "pool"]}
        ],
    }
    (said,) = problems(specs.write("model", model))
    assert (
        "$.branches[0].operations[2]: operation 'pool': makes a tensor of shape [2] from 2 samples"
        in said
    )


def test_a_wrong_spec_does_not_hide_what_is_wrong_with_the_others(specs, qexp):
    specs.write("experience", {"epochs": 3}, name="first")
    specs.write("experience", "[", name="second")
    specs.write("dataset", {"type": "gridded", "path": "x", "made_by": 5}, name="third")
    specs.spoil("model", ("operations.block.parameters.filters", [0]))
    os.mkfifo("specs/experiences/never.json")
    Path("specs/experiences/endless.json").symlink_to("/dev/zero")
    specs.write("experience", {"extends": "x" * 300}, name="long")
    stderr = qexp("validate").refused()
    listed = qexp("specs")
    assert listed.code == 0
    for name in ("sound", "first", "never", "endless", "long"):
        assert name in listed.stdout
    for name, what in {
        "experiences/never": "$: cannot be read: it is not a plain file",
        "experiences/endless": "$: cannot be read: it is not a plain file",
        "experiences/long": "$.extends: no experience 'xxx",
        "experiences/first": "$: the key 'dataset' is missing",
        "experiences/second": "$: not valid JSON at line 1, column 2",
        "datasets/third": "$.made_by: must be a text or null",
        "models/sound": "$.operations.block.parameters.filters[0]: must be at least 1",
    }.items():
        assert f"specs/{name}.json at {what}" in stderr
    assert stderr.endswith("9 specs, 7 with problems\n")
