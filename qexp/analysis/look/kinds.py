"""How each kind of dataset is looked at: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qexp.analysis.look.generated import ImagesView
from qexp.analysis.look.gridded import FieldsView
from qexp.analysis.look.spectra import SpectraView
from qexp.analysis.look.tabular import RowsView
from qexp.analysis.look.view import View

KINDS: Mapping[str, type[View[Any, Any]]] = {
    "generated": ImagesView,
    "tabular": RowsView,
    "gridded": FieldsView,
    "spectra": SpectraView,
}
"""Type of the dataset → the class of the view of one of its parts."""
