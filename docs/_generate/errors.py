"""Reference of the exit codes, from the errors that cause them."""

from __future__ import annotations

from collections import defaultdict

from _generate.markdown import code, prose, table
from qexp import errors


def page() -> str:
    by_code: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for name, thing in vars(errors).items():
        if isinstance(thing, type) and issubclass(thing, errors.QexpError):
            by_code[thing.exit_code].append((name, (thing.__doc__ or "").splitlines()[0]))
    rows = [[code("0"), "Success.", ""]]
    for number, raised in sorted(by_code.items()):
        rows += [[code(str(number)), prose(text), code(name)] for name, text in raised]
    return (
        "# Exit codes\n\nA script can rely on these. In Python the same conditions are exceptions"
        " of `qexp.errors`. `qexp verify` and `qexp wait` exit with 1 if bits differ or a run"
        " failed. With `qexp --debug COMMAND` an error is shown with its traceback.\n\n"
        + table(["code", "when", "exception"], rows)
        + "\n"
    )
