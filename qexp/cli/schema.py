"""qexp schema"""

from __future__ import annotations

from qexp.cli.arguments import KindArgument
from qexp.cli.console import WorkspaceOption, print_json


def schema(kind: KindArgument, workspace: WorkspaceOption = None) -> None:
    """Print the JSON Schema of a kind of spec, table parameters included, for editors."""
    from qexp.assemble import tables_here
    from qexp.did_you_mean import suggestion
    from qexp.errors import QexpError
    from qexp.spec.schema import DOCUMENTS, whole_schema

    if kind not in DOCUMENTS:
        raise QexpError(f"no kind of spec '{kind}'; {suggestion(kind, DOCUMENTS)}")
    print_json(whole_schema(kind, tables_here(workspace)))
