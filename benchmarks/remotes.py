"""Rates of `qexp push` and `qexp pull` beside those of fsspec alone, for the same files, to servers
on this machine.

For a folder also beside `rclone copy`, which compares hashes, too, where rclone is installed.

Run: python -m benchmarks.remotes [COUNT [PROTOCOL ...]]
COUNT runs (default: 1,000) have 2 MB each. Protocols are file, ssh and s3, the last with a server
that keeps everything in memory; all by default.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from fsspec.core import url_to_fs

from benchmarks import served_workspace
from qexp import api
from tests.runs import servers

FILES, SIZE = 10, 190_000
"""Files of random bytes in each run, beside its record and its spec, and their size [bytes]."""


@contextmanager
def place(protocol: str, root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The URL of an empty place, and options of fsspec for it."""
    (root / "server").mkdir()
    if protocol == "file":
        yield f"file://{root}/place", {"auto_mkdir": True}
    elif protocol == "ssh":
        with servers.ssh(root / "server") as (port, options):
            yield f"ssh://127.0.0.1{root}/place", {"port": port, **options}
    else:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        with servers.s3(root / "server") as port:
            yield "s3://lab", {"endpoint_url": f"http://127.0.0.1:{port}"}


def seconds(action: Callable[[], object]) -> float:
    """The time that an action takes until what it has written is on the disk."""
    begun = perf_counter()
    action()
    os.sync()
    return perf_counter() - begun


def measure(root: Path, url: str, options: Mapping[str, Any], count: int) -> dict[str, float]:
    """What was done → seconds that it took."""
    here, there = root / "here", root / "there"
    served_workspace.make(here, count)
    for run in (here / "runs").glob("*_*"):
        for number in range(FILES):
            (run / f"part_{number}.bin").write_bytes(os.urandom(SIZE))
    api.init(there)
    written = ", ".join(
        f'{key} = "{value}"' for key, value in options.items() if key != "auto_mkdir"
    )
    for workspace in (here, there):
        with (workspace / "qexp.toml").open("a") as settings:
            settings.write(f'\n[remotes.lab]\nurl = "{url}/lab"\noptions = {{{written}}}\n')
    os.sync()
    system, path = url_to_fs(f"{url}/plain", **options)
    files = [
        file.relative_to(here / "runs") for file in (here / "runs").rglob("*") if file.is_file()
    ]

    def get() -> None:  # file by file: sshfs cannot fetch folders
        for folder in {file.parent for file in files}:
            (root / "back" / folder).mkdir(parents=True, exist_ok=True)
        system.get(
            [f"{path}/{file}" for file in files], [str(root / "back" / file) for file in files]
        )

    def shared(how: Callable[..., Any], workspace: Path) -> None:
        if failed := how("lab", workspace=workspace).failed:
            sys.exit(f"{how.__name__}: {next(iter(failed.values()))}")

    rclone = ["rclone", "copy", "-q", f"{here}/runs", f"{path}-rclone"]
    copied = shutil.which(rclone[0]) is not None and url.startswith("file:")
    return {
        **({"rclone": seconds(lambda: subprocess.run(rclone, check=True))} if copied else {}),
        "put": seconds(lambda: system.put(f"{here}/runs/", f"{path}/", recursive=True)),
        "push": seconds(lambda: shared(api.push, here)),
        "second push": seconds(lambda: shared(api.push, here)),
        "get": seconds(get),
        "pull": seconds(lambda: shared(api.pull, there)),
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    protocols = sys.argv[2:] or ["file", "ssh", "s3"]
    for protocol in protocols:
        with TemporaryDirectory() as folder, place(protocol, Path(folder)) as (url, options):
            took = measure(Path(folder), url, options, count)
        print(f"{protocol:4}", ", ".join(f"{name} {value:.1f} s" for name, value in took.items()))
        print(
            f"     rate over fsspec's: push {took['put'] / took['push']:.2f}, pull"
            f" {took['get'] / took['pull']:.2f}"
        )
        if "rclone" in took:
            print(f"     rate over rclone's: push {took['rclone'] / took['push']:.2f}")


if __name__ == "__main__":
    main()
