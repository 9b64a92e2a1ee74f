"""Inversions in folders: which are found, what is believed of them, and several side by side."""

import json
import math
import shutil

import numpy as np
import pytest
from matplotlib.path import Path as MplPath

import qexp as package
from qexp.deformation.epicentres import epicentres
from qexp.deformation.stored import estimates, inversions_in, read_record
from qexp.observations.observation import write_observation
from tests.conftest import copied, shared_folder
from tests.deformation.observed import observed


@shared_folder
def volcano(root):
    """A workspace with inversions of two observations, one of them with two candidates."""
    (root / "specs").mkdir(parents=True)
    for name, offsets in (("first.nc", (0.03, -0.02)), ("second.nc", (0.01, 0.0))):
        seen = observed(size=8, offsets=offsets)
        seen.tracks[0].displacement[:] += 0.0003 * (name == "second.nc")
        write_observation(seen, root / name)
    options = {"starts": 4, "history": "qexp invert <first>", "workspace": root}
    both = ["mogi", "mctigue"]
    bounds = {"radius": (0.2, 0.6)}
    package.invert(root / "first.nc", source="mogi", to=root / "inversions/a", **options)
    package.invert(root / "second.nc", source="mogi", to=root / "inversions/b", **options)
    package.invert(root / "first.nc", source=both, bounds=bounds, to=root / "rivals", **options)


@pytest.fixture
def here(volcano, tmp_path, monkeypatch):
    """A copy of it, which is the current directory."""
    monkeypatch.delenv("QEXP_WORKSPACE", raising=False)
    return copied(volcano, tmp_path, monkeypatch)


def edited(folder, change):
    """Change the `result.json` of an inversion."""
    document = json.loads((folder / "result.json").read_text())
    change(document)
    (folder / "result.json").write_text(json.dumps(document))


@pytest.mark.heavy
def test_inversions_of_a_workspace_are_listed_with_what_they_found_and_of_what(here, qexp):
    rows = qexp("ls", "--inversions").quiet().splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["inversions/a", "inversions/b", "rivals"]
    assert all(word in rows[2] for word in ("second.nc", "mogi", "depth", " km", "reduced χ²"))
    condition = "parameters.depth.value > 0 and name != 'rivals'"
    options = ("--where", condition, "--sort", "created", "--reverse", "--json")
    listed = json.loads(qexp("ls", "--inversions", *options).quiet())
    assert [one["name"] for one in listed] == ["inversions/b", "inversions/a"]
    depth = listed[0]["parameters"]["depth"]
    assert depth["interval95"][0] < depth["value"] < depth["interval95"][1]
    assert (listed[0]["version"], listed[0]["data"]) == (package.__version__, 128)
    assert "--tag" in qexp("ls", "--inversions", "--tag", "good").failed()


@pytest.mark.heavy
def test_what_is_half_written_in_runs_or_of_others_is_no_inversion(here, monkeypatch):
    for name in (".a.12345678.draft", "inversions/.a.12345678.draft", "runs/a/results"):
        shutil.copytree(here / "rivals", here / name)
        (here / name / "result.json").unlink()  # the candidates are written first
    (here / "other").mkdir()
    (here / "other/result.json").write_text('{"parameters": {}}')
    names = [str(folder.relative_to(here)) for folder in inversions_in(here)]
    assert names == ["inversions/a", "inversions/b", "rivals"]


@pytest.mark.heavy
def test_an_inversion_says_whether_its_observation_is_as_it_was(here, qexp):
    assert "first.nc\n" in qexp("show", "inversions/a").quiet()
    assert "--network and --to are for runs" in qexp("show", "inversions/a", "--network").failed(2)
    assert (
        "first.nc\n" in qexp("show", f"rivals/{read_record(here / 'rivals', '')['source']}").quiet()
    )
    (here / "first.nc").write_bytes((here / "second.nc").read_bytes())
    assert "first.nc, which has changed since" in qexp("show", "inversions/a").quiet()
    shutil.move(here / "inversions/a", here / "inversions/2018/deep/a")
    shown = qexp("show", "inversions/2018/deep/a").quiet()
    assert "first.nc, which is no longer where it was" in shown
    assert "qexp invert <first>" in shown
    assert next(one["name"] for one in package.inversions()) == "inversions/2018/deep/a"


LIES = {
    "value": lambda document: document["parameters"]["depth"].update(value="<b>"),
    "unit": lambda document: document["parameters"]["depth"].update(unit={"km": 1}),
    "interval": lambda document: document["parameters"]["depth"].update(interval95=[1]),
    "points": lambda document: document["tracks"]["ascending"].update(n="many"),
    "tracks": lambda document: document.update(tracks=[]),
    "fit": lambda document: document.update(chi2_reduced=None),
    "observation": lambda document: document.update(observation="first.nc"),
    "correlations": lambda document: document.update(correlations={"east": {"north": "1"}}),
    "criteria": lambda document: document.update(log_determinant="0"),
    "remarks": lambda document: document.update(remarks=3),
    "source": lambda document: document.pop("correlations") and document.pop("parameters"),
    "version": lambda document: document.update(qexp_format="qexp inversion 2"),
}


@pytest.mark.heavy
def test_a_record_that_lies_or_is_torn_is_a_warning_and_hides_no_other(here, qexp):
    for name, change in LIES.items():
        shutil.copytree(here / "inversions/a", here / "inversions" / name)
        edited(here / "inversions" / name, change)
        assert qexp("show", f"inversions/{name}").code == 5
    (here / "inversions/torn").mkdir()
    whole = (here / "inversions/a/result.json").read_bytes()
    (here / "inversions/torn/result.json").write_bytes(whole[:900])
    done = qexp("ls", "--inversions")
    assert done.code == 0
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr.count("warning:") == len(LIES) + 1


@pytest.mark.heavy
def test_a_record_does_not_say_what_it_is_called_and_where_it_lies(here, qexp):
    edited(here / "inversions/a", lambda document: document.update(name="b", path=str(here)))
    (first, *_) = package.inversions()
    assert (first["name"], first["path"]) == ("inversions/a", str(here / "inversions/a"))


@pytest.mark.heavy
def test_what_an_earlier_version_wrote_is_shown_without_what_it_did_not_say(here, qexp):
    def older(document):
        for key in ("observation", "version", "created", "data", "log_determinant"):
            del document[key]
        for track in document["tracks"].values():
            del track["kind"], track["noise"]

    edited(here / "inversions/a", older)
    assert "not recorded" in qexp("show", "inversions/a").quiet()
    compared = qexp("compare", "inversions/a", "inversions/b").quiet()
    assert "whether their data are independent is not recorded" in compared
    assert "ΔAICc" not in compared


@pytest.mark.heavy
def test_a_posterior_of_an_earlier_version_has_no_evidence_and_is_shown_and_compared(here, qexp):
    package.invert(here / "first.nc", starts=4, posterior=True, draws=200, to=here / "inversions/c")

    def older(document):
        assert document["posterior"]["log_evidence"] > 0
        for key in ("log_evidence", "log_evidence_error"):
            del document["posterior"][key]

    edited(here / "inversions/c", older)
    assert "median" in qexp("show", "inversions/c").quiet()
    assert "ΔAICc" in qexp("compare", "inversions/a", "inversions/c").quiet()


def rows_below(text, title):
    """The rows of the table with a column of this title, as dictionaries."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(title))
    rows = {}
    for line in lines[first + 1 :]:
        rows[line.split(" ")[0]] = line.split()
    return rows


@pytest.mark.heavy
def test_differences_of_independent_data_are_in_units_of_their_errors(here, qexp):
    text = qexp("compare", "inversions/a", "inversions/b").quiet()
    assert (
        "inversions/b less inversions/a: their data count as independent, though both have" in text
    )
    one, other = (estimates(read_record(here / f"inversions/{name}", name)) for name in "ab")
    difference = other["depth"].value - one["depth"].value
    error = math.hypot(one["depth"].scaled_error, other["depth"].scaled_error)
    _, unit, value, written, in_errors = rows_below(text, "difference")["depth"]
    assert unit == "km"
    assert float(value) == pytest.approx(difference, abs=0.006 * error + 1e-4)
    assert float(written) == pytest.approx(error, rel=0.05)
    assert float(in_errors) == pytest.approx(difference / error, abs=0.051)
    assert "AICc and BIC compare fits to the same data" in text


@pytest.mark.heavy
def test_candidates_of_the_same_data_have_the_criteria_with_which_they_were_compared(here, qexp):
    rivals = json.loads((here / "rivals/result.json").read_text())["comparison"]
    folders = [f"rivals/{rival['source']}" for rival in rivals]
    text = qexp("compare", *folders).quiet()
    assert "their data are the same, so that errors of differences are not known" in text
    written = rows_below(text, "what")
    assert written["ΔAICc"][1:] == [f"{rival['delta_aicc']:.1f}" for rival in rivals]
    assert written["ΔBIC"][1:] == [f"{rival['delta_bic']:.1f}" for rival in rivals]
    printed = json.loads(qexp("compare", *folders, "--json").quiet())
    assert [one["source"] for one in printed] == [rival["source"] for rival in rivals]


@pytest.mark.heavy
def test_positions_in_other_systems_and_angles_in_other_units_are_not_compared(here):
    edited(here / "inversions/b", lambda document: document.update(crs=None))
    edited(here / "inversions/b", lambda document: document["parameters"]["depth"].update(unit="m"))
    table = package.open_inversions(["inversions/a", "inversions/b"]).view().parts[-4]
    assert "different reference systems" in table.title
    assert [row[0] for row in table.rows] == ["delta_volume"]


@pytest.mark.heavy
def test_what_opens_has_a_volume_beside_that_of_a_chamber(here):
    def opens(document):
        for name, value, unit in (
            ("length", 2.0, "km"),
            ("width", 1.5, "km"),
            ("opening", 0.4, "m"),
        ):
            document["parameters"][name] = {"value": value, "unit": unit, "interval95": None}

    edited(here / "inversions/b", opens)
    volume = estimates(read_record(here / "inversions/b", "b"))["opened_volume"]
    assert (volume.value, volume.unit) == (pytest.approx(1.2), "10⁶ m³")


@pytest.mark.heavy
def test_an_epicentre_lies_in_an_ellipse_that_holds_90_percent_of_what_its_errors_allow(here):
    record = read_record(here / "inversions/a", "a")
    record["correlations"]["east"]["north"] = 0.6
    errors = [record["parameters"][name]["scaled_error"] for name in ("east", "north")]
    (axis,) = epicentres([record]).axes
    outline = max((np.transpose(line.get_data()) for line in axis.lines), key=len)
    centre = [record["parameters"][name]["value"] / 1000 for name in ("east", "north")]
    covariance = np.outer(errors, errors) * [[1, 0.6], [0.6, 1]] / 1e6
    random = np.random.default_rng(0).multivariate_normal(centre, covariance, 20_000)
    assert MplPath(outline).contains_points(random).mean() == pytest.approx(0.9, abs=0.008)


@pytest.mark.heavy
def test_inversions_are_not_compared_with_runs_and_other_folders_are_none(here, qexp):
    assert "nothing: no inversion" in qexp("compare", "inversions/a", "nothing").failed(3)
    assert "no run 'specs'" in qexp("show", "specs").failed(3)


@pytest.mark.heavy
def test_a_report_of_an_inversion_holds_its_maps_and_how_it_was_made(here, qexp, monkeypatch):
    monkeypatch.setenv("QEXP_FIGURES", "yes")
    qexp("observe", "first.nc", "--to", "seen.nc").done()
    qexp("invert", "seen.nc", "--starts", "4", "--to", "drawn").done()
    qexp("report", "drawn", "--title", "<Unrest>").done()
    page = (here / "drawn.html").read_text()
    assert "<h1>&lt;Unrest&gt;</h1>" in page
    for alt in ("maps", "seen"):
        assert f'" alt="{alt}">' in page
    assert "How it was made" in page
    assert str(here) not in page
    (here / "seen.nc").write_bytes((here / "second.nc").read_bytes())
    qexp("report", "drawn").done()
    assert 'alt="seen"' not in (here / "drawn.html").read_text()
    qexp("report", "drawn", "inversions/b", "--to", "two.html").done()
    assert (here / "two.html").read_text().count("data:image/svg+xml") == 3
