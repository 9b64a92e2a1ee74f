"""Reference of the formats of observations, from the table of their readers."""

from __future__ import annotations

from _generate.markdown import code, table
from qexp.base.options import flags_of, in_shell
from qexp.deformation.options import ObserveOptions
from qexp.observations.readers import READERS

HEAD = """# Formats of observations

What [`qexp observe`](commands/observe.md) reads. Of the formats that recognise a file, the first here reads it. An
option that counts for none of the files of a command is an error. Files of stations can also be given by `--gnss`,
with their unit by `--gnss-unit`. [Invert observed deformation](../how-to/observed-deformation.md#what-it-reads) says
more of each format."""


def page() -> str:
    flags = {field.name: flags_of(field)[-1] for field, _ in in_shell(ObserveOptions)}
    rows = [
        [
            f"{reader.help}{'; also by `--gnss`' if reader.stations else ''}",
            ", ".join(code(flag) for name, flag in flags.items() if name in reader.takes),
        ]
        for reader in READERS.built_in.values()
    ]
    return f"{HEAD}\n\n{table(['files', 'options that count for them'], rows)}\n"
