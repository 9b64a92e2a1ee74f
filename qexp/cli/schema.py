"""qexp schema"""

from __future__ import annotations

from qexp import api
from qexp.cli.arguments import KindArgument
from qexp.cli.console import WorkspaceOption, print_json


def schema(kind: KindArgument, workspace: WorkspaceOption = None) -> None:
    """Print the JSON Schema of a kind of spec, including the parameters of table entries, for use in editors."""
    print_json(api.schema(kind, workspace=workspace))
