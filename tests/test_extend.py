"""`qexp.extend` is the one path for extensions."""

import re
from pathlib import Path

import pytest

from qexp.errors import QexpError
from qexp.kinds.tables import tables_with

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from qexp.goen.tables import Entry", "No module named 'qexp.goen'"),
        ("from qexp.extend import Enrty", "cannot import name 'Enrty' from 'qexp.extend'"),
    ],
)
def test_other_modules_and_names_are_unknown(tmp_path, line, said):
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
