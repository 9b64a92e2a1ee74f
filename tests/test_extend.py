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


def test_old_paths_lead_to_the_same_names(tmp_path):
    assert sorted(OLD) == extensions.FACES
    names = {name for names in OLD.values() for name in names}
    assert names < set(vars(extend))
    for number, (module, offered) in enumerate(OLD.items()):
        file = tmp_path / f"{number}.py"
        file.write_text(f"from {module} import {', '.join(offered)}")
        _, variables = extensions.variables_of(file)
        assert [name for name in offered if variables[name] is not getattr(extend, name)] == []


FORMS = {
    "from qexp.gone.deeper.tables import Entry": "Entry",
    "from qexp.gone.deeper.tables import *": "Entry",
    "from qexp.gone.deeper import tables": "tables.Entry",
    "from qexp.gone import deeper": "deeper.tables.Entry",
    "import qexp.gone.deeper.tables": "qexp.gone.deeper.tables.Entry",
    "import qexp.gone.deeper.tables as tables": "tables.Entry",
}
"""Import → what it is for."""


@pytest.mark.parametrize("line", FORMS)
def test_an_extension_of_an_old_run_finds_modules_that_have_moved(line, tmp_path, monkeypatch):
    monkeypatch.setattr(extensions, "FACES", ["qexp.gone.deeper.tables"])
    text = f"{line}\nLOSSES = {{'mine': {FORMS[line]}(lambda: abs, {{}}, '', {{'type': 'mine'}})}}"
    (tmp_path / "extensions.py").write_text(text)
    assert isinstance(tables_with(tmp_path / "extensions.py", of_a_run=True)["losses"]["mine"], extend.Entry)


def test_only_the_code_of_an_extension_finds_them_whenever_it_is_called(tmp_path):
    before = list(sys.meta_path), set(sys.modules)
    text = "def mogi():\n    from qexp.forward.point import mogi\n    return mogi\n\n\nfrom qexp.tables import Entry\n"
    (tmp_path / "extensions.py").write_text(text)
    _, variables = extensions.variables_of(tmp_path / "extensions.py")
    assert (variables["Entry"], variables["mogi"]()) == (extend.Entry, extend.mogi)
    assert (sys.meta_path, {name for name in set(sys.modules) - before[1] if name in OLD}) == (before[0], set())
    for module in ("qexp.forward", "qexp.forward.point", "qexp.tables"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(module)


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
