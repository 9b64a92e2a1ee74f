"""`qexp.extend` is the one path for extensions; the older paths, which copies in runs have, lead to the same names."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from qexp import extend
from qexp.errors import QexpError
from qexp.kinds.tables import tables_with
from qexp.spec import extensions

ROOT = Path(__file__).parents[1]

OLD = {
    "qexp.baselines.estimators": ["Baseline"],
    "qexp.datasets.distributions": ["Distribution"],
    "qexp.datasets.generators": ["DeformationImages", "Requirement", "Source", "half_space"],
    "qexp.datasets.generators.deformation": ["DeformationImages", "Requirement", "Source"],
    "qexp.datasets.generators.generator": ["Generator"],
    "qexp.datasets.generators.requirements": ["below_surface"],
    "qexp.datasets.noises.layout": ["Grid", "Layout", "Points"],
    "qexp.datasets.noises.noise": ["Noise"],
    "qexp.datasets.splits": ["Fold", "Split", "SplitError"],
    "qexp.datasets.transforms.transform": ["Transform"],
    "qexp.errors": ["QexpError"],
    "qexp.forward.crack": ["penny", "penny_image"],
    "qexp.forward.dislocation": ["cdm", "cdm_image", "okada", "okada_image"],
    "qexp.forward.ellipsoid": ["yang", "yang_image"],
    "qexp.forward.geometry": ["grid", "line_of_sight", "project"],
    "qexp.forward.point": ["mctigue", "mctigue_image", "mogi", "mogi_image", "pcdm", "pcdm_image"],
    "qexp.metrics.metric": ["Additive", "Metric"],
    "qexp.models.activations": ["ACTIVATIONS"],
    "qexp.models.modules": ["JoiningEntry"],
    "qexp.models.shapes": ["Shape", "ShapeError"],
    "qexp.quantities": ["QUANTITIES", "Quantity"],
    "qexp.tables": ["Entry"],
    "qexp.training.callbacks": ["Callback", "Epoch"],
    "qexp.training.losses": ["Loss"],
    "qexp.training.schedules": ["ByEpoch", "Schedule"],
}
"""The paths from which extensions imported what they are made of before `qexp.extend` was there."""


def test_old_paths_lead_to_the_same_names():
    assert sorted(OLD) == extensions.FACES
    differing = [
        f"{module}.{name}"
        for module, names in OLD.items()
        for name in names
        if getattr(importlib.import_module(module), name) is not getattr(extend, name)
    ]
    assert differing == []
    assert {name for names in OLD.values() for name in names} < set(vars(extend))


def test_an_extension_of_an_old_run_finds_modules_that_have_moved(tmp_path, monkeypatch):
    monkeypatch.setattr(extensions, "FACES", ["qexp.gone.deeper.tables"])
    text = "from qexp.gone.deeper.tables import Entry\nLOSSES = {'mine': Entry(lambda: abs, {}, '', {'type': 'mine'})}"
    (tmp_path / "extensions.py").write_text(text)
    try:
        assert isinstance(tables_with(tmp_path / "extensions.py", of_a_run=True)["losses"]["mine"], extend.Entry)
    finally:
        for name in [name for name in sys.modules if name.startswith("qexp.gone")]:
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from qexp.goen.tables import Entry", "No module named 'qexp.goen'"),
        ("from qexp.extend import Enrty", "cannot import name 'Enrty' from 'qexp.extend'"),
    ],
)
def test_other_names_are_unknown_as_always(tmp_path, line, said):
    (tmp_path / "extensions.py").write_text(line)
    with pytest.raises(QexpError, match=said):
        tables_with(tmp_path / "extensions.py", of_a_run=True)


def test_documents_name_no_other_path_for_extensions():
    imported = re.compile(r"from (qexp[.\w]*) import")
    offenders = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
        for module in imported.findall(path.read_text())
        if module not in ("qexp", "qexp.extend")
    ]
    assert offenders == []
