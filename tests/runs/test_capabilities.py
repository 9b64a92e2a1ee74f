"""Whatever a capability hands over is shown everywhere; nobody asks for a capability by its
name.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest

import qexp as package
from qexp.base.text import Table
from qexp.results import capabilities
from qexp.results.capabilities import CAPABILITIES, Columns, Parts, Results, class_of
from tests.conftest import copied


class Luck(Results):
    """Of a run, by the digest of its name."""

    section = "Luck"

    def document(self) -> dict[str, Any]:
        return {"luck": {"depth": 7.5}}

    def tables(self) -> Parts:
        yield Table(
            "how lucky it was",
            ["output", "luck (km)"],
            [["depth", "7.5"]],
            frozenset(["luck (km)"]),
        )
        yield "luck does not last"

    def columns(self) -> Columns:
        return {"depth": {"mean": 7.5}}

    compared = columns

    @staticmethod
    def possible_columns(units: Mapping[str, str]) -> dict[str, str]:
        return {f"luck.{output}.mean": unit for output, unit in units.items()}


@pytest.mark.heavy
def test_what_a_capability_hands_over_is_shown_listed_compared_and_reported(
    finished, qexp, tmp_path, monkeypatch
):
    copied(finished, tmp_path, monkeypatch)
    monkeypatch.setitem(capabilities.CAPABILITIES, "luck", f"{__name__}:Luck")
    text = qexp("show", "sound_0").stdout
    assert "\n\nhow lucky it was\n" in text
    assert "luck does not last" in text
    assert json.loads(qexp("show", "sound_0", "--json").stdout)["luck"] == {"depth": 7.5}
    assert "luck.depth.mean (km)" in qexp("ls", "--columns", "name,luck.depth.mean").stdout
    assert qexp("ls", "-q", "--where", "luck.depth.mean > 7").stdout.split() == [
        "sound_0",
        "sound_1",
    ]
    assert "did you mean 'luck.depth.mean'" in qexp("ls", "--columns", "luck.depth.meen").stderr
    document = package.compare("sound_0", "sound_1").document()
    (row,) = [row for row in document["results"] if row["metric"] == "luck.mean"]
    assert (row["output"], row["unit"], row["values"]) == ("depth", "km", [7.5, 7.5])
    run = package.open_run("sound_0")
    page = run.report(tmp_path / "sound.html").read_text()
    assert "<h2>Luck</h2>" in page
    for shown in (page, run._repr_html_()):
        assert "how lucky it was" in shown
        assert "luck does not last" in shown


def test_every_capability_of_the_table_has_its_class():
    for name in CAPABILITIES:
        assert issubclass(class_of(name), Results)
        assert all(
            column.startswith(f"{name}.")
            for column in class_of(name).possible_columns({"depth": "km"})
        )
