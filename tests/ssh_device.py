"""A device to be reached by SSH: a real `sshd` on this machine's loopback, with keys and a Python of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
NEEDED = pytest.mark.skipif(
    not (Path(SSHD).exists() and shutil.which("ssh") and shutil.which("taskset")),
    reason="needs sshd, ssh and taskset (Debian: openssh-server)",
)


class Device:
    """The device. Its Python runs on one core, and sees NumPy and the runtimes, not this package nor PyTorch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.address = f"ssh://127.0.0.1:{self.port}"
        self.python = str(
            self._python("python-of-the-device", ["numpy", "onnxruntime", "flatbuffers", "openvino", "ncnn"])
        )
        self.daemon: subprocess.Popen[bytes] | None = None
        for name in ("host", "other", "user"):
            self._keygen(name)
        (folder / "authorized_keys").write_bytes((folder / "user.pub").read_bytes())
        self.know("host")
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/host\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nUsePAM no\nPasswordAuthentication no\n"
        )
        (folder / "ssh_config").write_text(
            f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\n"
            "StrictHostKeyChecking yes\nGlobalKnownHostsFile none\nLogLevel ERROR\n"
        )
        self.ssh = f"ssh -F {folder}/ssh_config"

    def know(self, key: str) -> None:
        """Write the key that the host is known by."""
        public = (self.folder / f"{key}.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")

    def start(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it separates its privileges
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "sshd.log").open("ab") as log:
            self.daemon = subprocess.Popen(command, stderr=log, start_new_session=True)
        for _ in range(200):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        """End the daemon and all its connections."""
        if self.daemon is not None:
            for child in psutil.Process(self.daemon.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # it has just ended by itself
                    child.kill()
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    def bare_python(self, *packages: str) -> str:
        """The path of a Python that sees only these packages."""
        return str(self._python(f"python-with-{'-'.join(packages) or 'nothing'}", list(packages)))

    def _python(self, name: str, packages: list[str]) -> Path:
        """A script that starts this Python without its site-packages, on one core."""
        site = self.folder / f"{name}-packages"
        site.mkdir()
        for home in map(Path, sys.path):
            for package in packages:
                for found in (*home.glob(package), *home.glob(f"{package}-*.dist-info"), *home.glob(f"{package}.libs")):
                    if not (site / found.name).exists():
                        (site / found.name).symlink_to(found)
        path = self.folder / name
        cpu = min(os.sched_getaffinity(0))
        base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        shared = tempfile.gettempdir()  # the locks of this process, which no other test takes
        path.write_text(f'#!/bin/sh\nTMPDIR={shared} PYTHONPATH={site} exec taskset -c {cpu} {base} -S "$@"\n')
        path.chmod(0o755)
        return path

    def _keygen(self, name: str) -> None:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
        subprocess.run(command, check=True)


@contextmanager
def device_in(folder: Path) -> Iterator[Device]:
    device = Device(folder)
    device.start()
    try:
        yield device
    finally:
        device.stop()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
