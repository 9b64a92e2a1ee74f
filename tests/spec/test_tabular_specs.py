"""Experiences on rows of a file: what of them is right, and what is said of the rest."""

import json
import os
import random

import pytest

from qexp.base.quantities import QUANTITIES
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError
from qexp.kinds import experiments
from qexp.kinds.experiments import experience
from qexp.kinds.objects import dataset_of
from qexp.kinds.tables import BUILT_IN
from qexp.runs.order import read_overrides
from qexp.spec.experiences import caution, units_of
from qexp.spec.kinds import KINDS
from qexp.spec.schema import whole_schema
from tests.conftest import Specs

DATASET = {
    "type": "tabular",
    "path": "moon/rows.csv",
    "inputs": {"reflectance": ["M415", "M750"], "angles": ["inc"]},
    "outputs": {"tio2": "TiO2"},
    "identifiers": ["Site"],
    "units": {"tio2": "wt%"},
    "groups": {"mission": {"column": "Site", "pattern": r"^\D+\d+"}},
}
MODEL = {
    "inputs": {"reflectance": {"size": [2]}, "angles": {"size": [1]}},
    "outputs": ["tio2"],
    "operations": {
        "join": {"module": "concatenate"},
        "look": {"module": "denses", "parameters": {"filters": [4, 1]}},
    },
    "branches": [
        {"x_name": ["reflectance", "angles"], "y_name": "tio2", "operations": ["join", "look"]}
    ],
}
EXPERIENCE = {
    "model": "rows",
    "dataset": "rows",
    "inputs": ["reflectance", "angles"],
    "outputs": ["tio2"],
    "split": "leave_one_out",
    "inner": {"type": "k_fold", "parameters": {"folds": 3}},
    "epochs": 2,
    "batch_size": 4,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "losses": {"tio2": "mse"},
    "transforms": {"reflectance": "standardize", "tio2": "log"},
}
DOCUMENTS = {"dataset": DATASET, "model": MODEL, "experience": EXPERIENCE}
MISSIONS = {"Apollo12": 4, "Apollo17": 5, "Luna16": 3}


def rows(**columns):
    """A file of twelve rows; a column can be given, and is drawn otherwise."""
    draw = random.Random(1)
    sites = [
        f"{mission}-{number}" for mission, count in MISSIONS.items() for number in range(count)
    ]
    table = {"Site": sites}
    for name in ("M415", "M750", "inc", "TiO2"):
        table[name] = columns.get(name, [round(draw.uniform(0.1, 1), 3) for _ in sites])
    lines = [
        ",".join(table),
        *(",".join(map(str, cells)) for cells in zip(*table.values(), strict=True)),
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def workspace(specs):
    (specs.root / "data" / "moon").mkdir(parents=True)
    (specs.root / "data" / "moon" / "rows.csv").write_text(rows())
    Specs(specs.root, DOCUMENTS, "rows")
    return Workspace(specs.root)


@pytest.fixture
def spoil(specs, workspace):
    return Specs(specs.root, DOCUMENTS, "rows").spoil


@pytest.fixture
def data(workspace):
    def data(**columns):
        (workspace.root / "data" / "moon" / "rows.csv").write_text(rows(**columns))

    return data


def resolved(workspace, *overrides):
    return experience("rows", read_overrides("--set", overrides), workspace)


def test_the_schema_and_the_builders_know_the_same_types_of_datasets():
    assert whole_schema("dataset", BUILT_IN)["properties"]["type"]["enum"] == list(KINDS)


GROUPS_APART = (
    "warning: specs/experiences/rows.json at $.split: 3 of 3 groups 'mission' are in training and"
    " held out as well: errors are those of new rows of known groups; for new groups hold whole"
    ' groups out: {"type": "group_k_fold", "parameters": {"by": "mission"}}'
)
"""The dataset declares groups, and the experience leaves one row out."""


def test_an_experience_on_rows_is_right_and_its_dataset_is_made(workspace, qexp):
    messages = qexp(
        "validate", "specs/experiences/rows.json", "specs/datasets/rows.json"
    ).messages()
    assert messages == f"{GROUPS_APART}\n2 specs are right\n"
    dataset = dataset_of(resolved(workspace).document["dataset"], BUILT_IN)
    assert len(dataset) == 12
    assert set(dataset.column("mission")) == set(MISSIONS)


def test_every_default_and_unit_of_rows_is_written_out_and_none_of_generated_data(workspace):
    spec = resolved(workspace).document
    defaults = {"select": {}, "members": 1, "protocol": "honest", "baselines": []}
    assert {key: spec[key] for key in defaults} == defaults
    assert spec["split"] == {"type": "leave_one_out", "parameters": {}}
    assert spec["inner"]["parameters"] == {"folds": 3, "shuffle": True, "repeats": 1}
    assert "sizes" not in spec
    assert spec["dataset"]["outputs"] == {"tio2": ["TiO2"]}
    assert resolved(workspace, "inner=null", "keep=last").document["inner"] is None
    generated = experience("sound", {}, workspace).document
    assert not {"inner", "select", "members", "protocol", "baselines"} & set(generated)
    assert (
        units_of(spec, QUANTITIES)
        == spec["dataset"]["units"]
        == {"reflectance": "", "angles": "", "tio2": "wt%"}
    )
    assert units_of(generated, QUANTITIES)["depth"] == "km"  # that qexp knows by its name


def test_a_resolved_experience_is_a_valid_one_with_the_same_digest(specs, workspace):
    resolved_spec = resolved(workspace)
    specs.write("experience", resolved_spec.document, "whole")
    again = experience("whole", {}, workspace)
    assert (again.document, again.digest) == (resolved_spec.document, resolved_spec.digest)


@pytest.mark.parametrize(
    ("kind", "path", "short", "long"),
    [
        ("experience", "split", "leave_one_out", {"type": "leave_one_out", "parameters": {}}),
        (
            "experience",
            "inner",
            {"type": "k_fold"},
            {"type": "k_fold", "parameters": {"folds": 5, "repeats": 1}},
        ),
        ("experience", "members", ..., 1),
        ("experience", "protocol", ..., "honest"),
        ("dataset", "outputs.tio2", "TiO2", ["TiO2"]),
        ("dataset", "missing", ..., "error"),
        ("dataset", "units.angles", ..., ""),
        ("dataset", "found", ..., "/nowhere/rows.csv"),
    ],
)
def test_short_and_long_forms_have_one_digest(workspace, spoil, kind, path, short, long):
    digests = set()
    for value in (short, long):
        spoil(kind, (path, value))
        digests.add(resolved(workspace).digest)
    assert len(digests) == 1


# The file


def test_another_content_under_the_same_name_is_another_digest_and_another_place_is_not(
    workspace, data, tmp_path_factory, monkeypatch
):
    before = resolved(workspace).digest
    data(inc=range(12))
    changed = resolved(workspace).digest
    assert changed != before
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (workspace.root / "data" / "moon").rename(elsewhere / "moon")
    monkeypatch.setenv("QEXP_DATA", os.pathsep.join(["/nowhere", str(elsewhere)]))
    assert resolved(workspace).digest == changed


def test_a_file_that_is_not_there_is_reported_with_the_places_where_it_was_sought(
    spoil, problems, monkeypatch
):
    monkeypatch.setenv("QEXP_DATA", os.pathsep.join(["/first", "/second"]))
    (message,) = problems(spoil("dataset", ("path", "moon/row.csv")))
    assert message.startswith("specs/datasets/rows.json at $.path: there is no file 'moon/row.csv'")
    assert "did you mean 'rows.csv'" in message
    for folder in ("data/moon/row.csv", "/first/moon/row.csv", "/second/moon/row.csv"):
        assert folder in message


@pytest.fixture
def stood_in(workspace, spoil):
    """The rows are there under the name of a stand-in alone."""
    spoil("dataset", ("stand_in", "moon/made_up.csv"))
    rows_file = workspace.root / "data" / "moon" / "rows.csv"
    return rows_file.rename(rows_file.with_name("made_up.csv"))


def test_a_stand_in_is_used_where_the_file_is_found_nowhere_and_that_is_said(
    workspace, stood_in, qexp
):
    assert qexp(
        "validate", "specs/datasets/rows.json", "specs/experiences/rows.json"
    ).messages().splitlines() == [
        (
            "warning: specs/datasets/rows.json at $: 'moon/rows.csv' was not found; stand-in data"
            " are used, 'moon/made_up.csv'; put the file into data/, or add its folder to QEXP_DATA"
        ),
        GROUPS_APART,
        "2 specs are right",
    ]
    assert caution(resolved(workspace).document) == "made with stand-in data"
    both = resolved(workspace, "protocol=as_published", "inner=null").document
    assert caution(both) == "made with stand-in data; selected on the test data"


def test_warnings_that_differ_only_in_names_are_told_once_with_the_files(workspace, stood_in, qexp):
    rows_file = workspace.root / "specs/datasets/rows.json"
    others = [workspace.root / f"specs/datasets/{name}.json" for name in "ab"]
    for other in others:
        other.write_text(rows_file.read_text().replace("moon/rows.csv", f"moon/{other.stem}.csv"))
    first, count = qexp("validate", rows_file, *others).messages().splitlines()
    assert first.startswith("warning: specs/datasets/rows.json at $: 'moon/rows.csv' was not found")
    assert first.endswith("; 2 more like it: specs/datasets/a.json, specs/datasets/b.json")
    assert count == "3 specs are right"


def test_a_file_that_is_there_needs_no_stand_in_wherever_it_is(
    workspace, data, stood_in, monkeypatch, tmp_path
):
    of_stand_in = resolved(workspace).digest
    elsewhere = tmp_path / "elsewhere" / "moon"
    elsewhere.mkdir(parents=True)
    (elsewhere / "rows.csv").write_text(rows(inc=range(12)))
    monkeypatch.setenv("QEXP_DATA", str(elsewhere.parent))
    resolved_spec = resolved(workspace)
    assert caution(resolved_spec.document) == ""
    assert resolved_spec.digest != of_stand_in
    assert dataset_of(resolved_spec.document["dataset"], BUILT_IN).warnings == []


def test_what_was_prepared_goes_on_with_the_stand_in_or_the_file_that_it_had(
    workspace, data, stood_in, monkeypatch
):
    with_stand_in = resolved(workspace).document["dataset"]
    data()
    with_file = resolved(workspace).document["dataset"]
    assert dataset_of(with_stand_in, BUILT_IN).path == stood_in
    for document in (with_stand_in, with_file):
        document["found"] = "/no/longer/there.csv"
    assert dataset_of(with_stand_in, BUILT_IN, workspace).path == stood_in
    (workspace.root / "data" / "moon" / "rows.csv").unlink()
    with pytest.raises(DatasetError, match=r"there is no file 'moon/rows\.csv'"):
        dataset_of(with_file, BUILT_IN, workspace)


def test_where_neither_the_file_nor_its_stand_in_is_found_both_are_named(stood_in, problems):
    stood_in.unlink()
    missing, stand_in = problems("specs/datasets/rows.json")
    assert missing.startswith(
        "specs/datasets/rows.json at $.path: there is no file 'moon/rows.csv'"
    )
    assert stand_in.startswith(
        "specs/datasets/rows.json at $.stand_in: there is no file 'moon/made_up.csv'"
    )


def test_what_a_dataset_that_is_right_may_not_have_meant_is_a_warning(workspace, data, qexp):
    data(inc=[30] * 12)
    assert qexp(
        "validate", "specs/datasets/rows.json", "specs/experiences/rows.json"
    ).messages().splitlines() == [
        (
            "warning: specs/datasets/rows.json at $: column 'inc' of 'angles' is 30 in all 12 rows:"
            " it has no information for a network"
        ),
        GROUPS_APART,
        "2 specs are right",
    ]


# What is wrong, where, and what would work

DATASETS_WITH_A_FAULT = {
    "a column that is not there": (
        "inputs.reflectance",
        ["M415", "M751"],
        "$.inputs.reflectance[1]",
        "'M750'",
    ),
    "an output that is not there": (
        "outputs.tio2",
        "TiO",
        "$.outputs.tio2[0]",
        "did you mean 'TiO2'",
    ),
    "an answer among the inputs": (
        "inputs.angles",
        ["TiO2"],
        "$.outputs.tio2",
        "would see the answer",
    ),
    "a variable that is both": (
        "outputs.angles",
        "TiO2",
        "$.outputs.angles",
        "'angles' is also an input",
    ),
    "no columns": ("inputs.angles", [], "$.inputs.angles", "at least 1"),
    "a column twice": ("inputs.angles", ["inc", "inc"], "$.inputs.angles", "must not repeat"),
    "a unit of nothing": ("units.tio", "wt%", "$.units.tio", "did you mean 'tio2'"),
    "an unknown rule": ("missing", "dropp", "$.missing", "did you mean 'drop'"),
    "an unknown key": ("output", {}, "$.output", "did you mean 'outputs'"),
    "a group by no column": (
        "groups.mission.column",
        "site",
        "$.groups.mission.column",
        "did you mean 'Site'",
    ),
    "a group that is a column": (
        "groups.mission",
        "Site",
        "$.groups.mission",
        '; write {"column": "Site"}',
    ),
    "no regular expression": (
        "groups.mission.pattern",
        "(",
        "$.groups.mission.pattern",
        "not a regular expression",
    ),
    "another file than before": ("fingerprint", "0123", "$.fingerprint", "has changed"),
    "an unknown type": ("type", "tabularr", "$.type", "did you mean 'tabular'"),
}


@pytest.mark.parametrize(
    ("path", "value", "where", "words"), DATASETS_WITH_A_FAULT.values(), ids=DATASETS_WITH_A_FAULT
)
def test_a_dataset_with_one_fault_gets_one_complaint_at_the_fault(
    spoil, problems, path, value, where, words
):
    (message,) = problems(spoil("dataset", (path, value)))
    assert message.startswith(f"specs/datasets/rows.json at {where}: ")
    assert words in message


def by_group(group, **parameters):
    return {"type": "group_k_fold", "parameters": {"by": group, **parameters}}


def held_out(*missions):
    return {"type": "held_out", "parameters": {"by": "mission", "values": list(missions)}}


EXPERIENCES_WITH_A_FAULT = {
    "shares for rows": ("split", [0.8, 0.2], "$.split", '{"type": "leave_one_out"}'),
    "an unknown split": ("split", "leave_one", "$.split", "did you mean 'leave_one_out'"),
    "sizes of rows": ("sizes", [8, 4, 4], "$.sizes", "'sizes' is for generated datasets"),
    "more folds than rows": (
        "split",
        {"type": "k_fold", "parameters": {"folds": 13}},
        "$.split.parameters.folds",
        "13 folds of 12 rows",
    ),
    "a group of nothing": (
        "split",
        by_group("misson"),
        "$.split.parameters.by",
        "no column 'misson'",
    ),
    "one group only": (
        "inner",
        held_out("Luna17"),
        "$.inner.parameters.values",
        "in the fold '001': no row has the mission 'Luna17'; did you mean 'Luna16'?",
    ),
    "more inner folds than rows": (
        "inner",
        {"type": "k_fold", "parameters": {"folds": 12}},
        "$.inner.parameters.folds",
        "in the fold '001': 12 folds of 11 rows",
    ),
    "a split that is a number": ("split", 3, "$.split", "must be an object"),
    "the best epoch of no rows": ("inner", ..., "$.keep", "add $.inner"),
    "an inner part that chooses nothing": ("keep", "last", "$.inner", "leave it out"),
    "as published and inner": ("protocol", "as_published", "$.inner", "leave out one of the two"),
    "an unknown protocol": ("protocol", "honestly", "$.protocol", "did you mean 'honest'"),
    "an optimizer of whole matrices": ("optimizer", "muon", "$.optimizer", "use 'adamw'"),
    "no members": ("members", 0, "$.members", "at least 1"),
    "an unknown baseline": (
        "baselines",
        ["mean", "rigde"],
        "$.baselines[1]",
        "did you mean 'ridge'",
    ),
    "a look at held-out rows": (
        "additional_callbacks",
        ["test_evaluate"],
        "$.additional_callbacks[0]",
        "leave out",
    ),
    "a choice among nothing": ("select.learning_rate", [], "$.select.learning_rate", "at least 1"),
    "a choice among what is no list": (
        "select.learning_rate",
        1e-3,
        "$.select.learning_rate",
        "must be a list",
    ),
    "a choice of an unknown key": (
        "select",
        {"learning_rat": [1]},
        "$.select.learning_rat",
        "'learning_rate'",
    ),
    "a choice of the question": (
        "select",
        {"outputs": [["tio2"]]},
        "$.select.outputs",
        "cannot be chosen",
    ),
    "a choice of what is averaged": (
        "select",
        {"members": [1, 2]},
        "$.select.members",
        "cannot be chosen",
    ),
    "a choice of a wrong value": (
        "select.learning_rate",
        [1e-3, 0],
        "$.select.learning_rate[1]",
        "greater than 0",
    ),
    "a choice of an unknown parameter": (
        "select",
        {"optimizer": [{"type": "adam", "parameters": {"eps": 1}}]},
        "$.select.optimizer[0]",
        "optimizer.parameters.eps: unknown key 'eps'",
    ),
    "a choice in an unknown operation": (
        "select",
        {"model.operations.lok.parameters.filters": [[1]]},
        "$.select.model.operations.lok.parameters.filters[0]",
        "lok",
    ),
    "a choice that no machine can hold": (
        "select",
        {"model.operations.look.parameters.filters": [[10**6, 10**6, 1]]},
        "$.select.model.operations.look.parameters.filters[0]",
        "model.operations.look: 8 TB to train its weights",
    ),
    "a logarithm of nothing": (
        "transforms.angles",
        "log",
        "$.transforms.angles",
        "row 4, column 'inc': 0 becomes",
    ),
    "an answer among the inputs": (
        "inputs",
        ["reflectance", "tio2"],
        "$.outputs[0]",
        "would see the answer",
    ),
    "an output that is not there": ("outputs", ["tio"], "$.outputs[0]", "did you mean 'tio2'"),
    "an input that is not there": (
        "inputs",
        ["reflectance", "angle"],
        "$.inputs[1]",
        "did you mean 'angles'",
    ),
}


@pytest.mark.parametrize(
    ("path", "value", "where", "words"),
    EXPERIENCES_WITH_A_FAULT.values(),
    ids=EXPERIENCES_WITH_A_FAULT,
)
def test_an_experience_with_a_fault_gets_a_complaint_at_the_fault(
    spoil, data, problems, path, value, where, words
):
    data(inc=[1, 2, 0, *range(3, 12)])
    message = problems(spoil("experience", (path, value)))
    here = [
        line for line in message if line.startswith(f"specs/experiences/rows.json at {where}: ")
    ]
    assert here, message
    assert words in here[0]


def test_keys_for_rows_are_refused_for_generated_data(specs, workspace, problems):
    message = problems(
        specs.spoil(
            "experience",
            ("inner", "leave_one_out"),
            ("members", 2),
            ("split", {"type": "leave_one_out"}),
        )
    )
    assert [line.partition(" at ")[2].partition(":")[0] for line in message] == [
        "$.inner",
        "$.members",
        "$.split",
    ]
    assert "[0.8, 0.2]" in message[2]


def test_all_problems_of_an_experience_are_reported_together(spoil, problems):
    spoil("dataset", ("inputs.angles", ["incc"]), ("identifiers", ["site"]))
    message = problems(
        spoil("experience", ("members", 0), ("split", [0.5, 0.5]), ("learning_rat", 1))
    )
    assert [line.partition(" at ")[2].partition(":")[0] for line in message] == [
        "$.learning_rat", "$.members", "$.split", "$.inputs.angles[0]", "$.identifiers[0]",
    ]  # fmt: skip


def test_choosing_needs_rows_to_choose_on(spoil, problems):
    changes = ("inner", ...), ("keep", "last")
    (message,) = problems(
        spoil("experience", *changes, ("select", {"learning_rate": [1e-3, 1e-2]}))
    )
    assert "at $.select: " in message
    assert "add $.inner" in message
    (message,) = problems(
        spoil("experience", *changes, ("additional_callbacks", ["early_stopping"]))
    )
    assert "at $.additional_callbacks[0]: 'early_stopping' needs validation rows" in message


@pytest.mark.parametrize(
    "changes",
    [
        [("inner", ...), ("keep", "last")],
        [("inner", ...), ("protocol", "as_published")],
        [
            ("inner", ...),
            ("protocol", "as_published"),
            ("additional_callbacks", ["early_stopping"]),
        ],
        [("keep", "last"), ("select", {"learning_rate": [1e-3, 1e-2]})],
        [("keep", "last"), ("baselines", ["ridge", "svr"])],
        [("additional_callbacks", ["early_stopping"]), ("members", 3)],
        [
            (
                "select",
                {"epochs": [1, 2], "model.operations.look.parameters.filters": [[4, 1], [8, 1]]},
            )
        ],
        [("split", by_group("mission")), ("batch_size", 64)],
        [("split", held_out("Luna16"))],
        [("split", by_group("Site", folds=3))],
        [("split", {"type": "random", "parameters": {"share": 0.25, "repeats": 3}})],
    ],
)
def test_what_makes_sense_is_right(spoil, qexp, changes):
    qexp("validate", spoil("experience", *changes)).done()


def test_an_input_must_have_as_many_values_as_columns(workspace, spoil, problems):
    spoil("model", ("inputs.reflectance.size", [3]))
    (message,) = problems("specs/experiences/rows.json")
    assert message.endswith(
        "rows.json at $.inputs[0]: its shape in the dataset is [2], but the model's input is [3]"
    )


def test_an_inner_split_by_groups_that_leaves_one_group_names_the_fold(spoil, problems):
    split = held_out("Apollo12", "Apollo17")
    (message,) = problems(spoil("experience", ("split", split), ("inner", by_group("mission"))))
    assert (
        "at $.inner.parameters.by: in the fold 'held_out': all 3 rows have the same 'mission'"
        in message
    )


def test_a_column_that_is_constant_in_all_rows_or_in_the_training_rows_of_a_fold_is_named(
    spoil, data, problems
):
    data(M750=[0.2] * 12)
    (message,) = problems("specs/experiences/rows.json")
    assert "$.transforms.reflectance: column 'M750'" in message
    data(M750=[0.2] * 4 + [0.3] * 8)
    (message,) = problems(
        spoil("experience", ("split", by_group("mission")), ("inner", ...), ("keep", "last"))
    )
    assert (
        "$.transforms.reflectance: in the fold 'Apollo12', column 'M750': values that are all 0.3"
        in message
    )


def test_a_last_batch_of_one_row_is_refused_where_it_is_normalised_over_the_batch(
    workspace, spoil, problems, qexp
):
    spoil(
        "model",
        ("operations.norm", {"module": "batch_norm"}),
        ("branches.0.operations", ["join", "norm", "look"]),
    )
    (message,) = problems(spoil("experience", ("inner", ...), ("keep", "last"), ("batch_size", 5)))
    assert "$.batch_size: the last of the batches of 11 samples has a single sample" in message
    assert (
        qexp(
            "validate", spoil("experience", ("inner", ...), ("keep", "last"), ("batch_size", 4))
        ).code
        == 0
    )


def test_candidates_are_all_combinations_of_what_select_lists_completed(workspace, spoil):
    alone = resolved(workspace).document
    assert json.dumps(experiments.candidates(alone, BUILT_IN)) == json.dumps([({}, alone)])
    spoil("experience", ("select", {"learning_rate": [1e-3, 1e-2], "optimizer": ["adam", "sgd"]}))
    spec = resolved(workspace).document
    candidates = experiments.candidates(spec, BUILT_IN)
    assert [chosen for chosen, _ in candidates] == [
        {"learning_rate": rate, "optimizer": optimizer}
        for rate in (1e-3, 1e-2)
        for optimizer in ("adam", "sgd")
    ]
    assert [document["learning_rate"] for _, document in candidates] == [1e-3, 1e-3, 1e-2, 1e-2]
    assert candidates[0][1]["optimizer"] == spec["optimizer"]
    assert candidates[1][1]["optimizer"]["parameters"]
