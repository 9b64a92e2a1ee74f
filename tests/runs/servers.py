"""Real servers on this machine for tests of remotes, and connections to them that are cut."""

import getpass
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

PATIENCE = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(port: int, *command: str, log: Path) -> Iterator[None]:
    """A server in a process of its own, as soon as it listens."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def s3(folder: Path) -> Iterator[int]:
    """The port of an S3 server with a bucket `lab`, which takes any credentials."""
    import boto3

    with served(
        port := free_port(),
        sys.executable,
        "-m",
        "moto.server",
        "-p",
        str(port),
        log=folder / "s3.log",
    ):
        boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}").create_bucket(Bucket="lab")
        yield port


def demand_credentials(port: int) -> None:
    """Let the S3 server refuse credentials that it does not know."""
    urlopen(
        Request(
            f"http://127.0.0.1:{port}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}
        )
    ).close()


@contextmanager
def ssh(folder: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The port of an SSH server, and options that let this user in."""
    if not (server := shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")):
        pytest.skip("there is no SSH server: apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user", "stranger"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    port, host = free_port(), (folder / "host.pub").read_text().split(" ")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host[0]} {host[1]}\n")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "PidFile": "none",
        "UsePAM": "no",
        "AuthorizedKeysFile": folder / "user.pub",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
        "MaxStartups": 100,
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "sshd_config").write_text(
        "".join(f"{key} {value}\n" for key, value in settings.items())
    )
    with served(
        port, server, "-D", "-e", "-f", str(folder / "sshd_config"), log=folder / "ssh.log"
    ):
        yield port, {
            "username": getpass.getuser(), "client_keys": str(folder / "user"),
            "known_hosts": str(folder / "known_hosts"),
        }  # fmt: skip


class Cut:
    """A port that passes connections on, all of which break down when so many bytes have passed."""

    def __init__(self, to: int) -> None:
        self.to, self.left, self._open = to, math.inf, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def after(self, count: float) -> None:
        """Break all connections now, and again when so many bytes have passed."""
        self.left = count
        self._break()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self.to))
            self._open += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 14):
                self.left -= len(data)
                if self.left < 0:
                    self._break()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def _break(self) -> None:
        while self._open:
            # another thread may do so, too
            with suppress(OSError, IndexError), self._open.pop() as one:
                one.shutdown(socket.SHUT_RDWR)
