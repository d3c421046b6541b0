"""Networks on another device, through OpenSSH: the user's own `~/.ssh/config`, keys and jump hosts hold.

`device/` is copied over for as long as the connection lasts; the device needs a Python with NumPy and the runtime.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import threading
import time
import warnings
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import stdc_search
from stdc_search.device.alone import WaitsForMeasurement
from stdc_search.device.bench import Turns
from stdc_search.device.disturbance import ReferenceTime
from stdc_search.device.runtimes import Nodes, Runner, Settings, UnavailableError
from stdc_search.device.wire import Channel, ForeignError, to_array, to_bytes
from stdc_search.errors import UserError
from stdc_search.latency.machine import machine_of

OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": 15,
    "ServerAliveInterval": 15,
    "ServerAliveCountMax": 4,
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "ControlMaster": "no",
}
"""Of ssh: it never asks, notices within a minute that a device is gone, and gives it nothing but the program. It starts
no master connection, which would hold its output open after its end."""
FINAL = ("Permission denied", "Host key verification failed", "Bad port", "Bad configuration", "usage: ssh")
"""Complaints of ssh that waiting does not mend."""
AGAIN = 20.0
"""Seconds between two attempts to reach a device that went away."""
DEATHS = 3
"""How often the same work is begun on a device that it ends, or whose connection it outlasts."""
OLDEST = """
import sys
if sys.version_info < (3, 9):
    sys.exit("Python 3.9 or newer is needed, and this is %d.%d" % sys.version_info[:2])
"""
START = f"""{OLDEST}
import os, tempfile
with tempfile.TemporaryDirectory(prefix="stdc-search-program-") as folder:
    path = os.path.join(folder, "device.zip")
    with open(path, "wb") as file:
        file.write(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))
    sys.path.insert(0, path)
    from stdc_search.device.server import main
main()
"""
"""What the device's Python runs: it reads the program, imports it, removes its file and starts it."""
Result = TypeVar("Result")


class AwayError(UnavailableError):
    """A device does not answer."""


class LostError(AwayError):
    """The connection to a device was cut, or its program killed, in the middle of work."""


class DeviceAway(UserWarning):
    """A device does not answer; what needs it waits."""


@cache
def program() -> bytes:
    """The part of this package that a device needs, as a zip file."""
    root = Path(stdc_search.__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("stdc_search/__init__.py", "")
        for path in (root / "errors.py", root / "storage.py", *sorted((root / "device").glob("*.py"))):
            archive.write(path, f"stdc_search/{path.relative_to(root).as_posix()}")
    return buffer.getvalue()


def patiently(address: str, work: Callable[[], Result]) -> Result:
    """Do work on a device; if the device goes away, wait for it and begin again.

    Raises:
        UserError: the work was lost several times.
    """
    deaths = 0
    while True:
        try:
            return work()
        except AwayError as error:
            deaths += isinstance(error, LostError)
            if deaths == DEATHS:
                raise UserError(f"{error}; it was tried {DEATHS} times") from None
            warnings.warn(f"{error}; waiting for {address}", DeviceAway, stacklevel=2)
            time.sleep(AGAIN)


@contextmanager
def connect(address: str, python: str) -> Iterator[Remote]:
    """A connection to a device.

    Args:
        address: `ssh://user@host:port`, of which user and port may be missing.
        python: its Python.

    Raises:
        AwayError: it does not answer, now or later.
        UnavailableError: the device lacks Python, NumPy or a runtime.
    """
    ssh = shlex.split(os.environ.get("STDC_SEARCH_SSH") or "ssh")
    options = [part for name, value in OPTIONS.items() for part in ("-o", f"{name}={value}")]
    command = [*ssh, "-T", *options, address, f"{python} -u -c {shlex.quote(START)}"]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except FileNotFoundError:
        raise UnavailableError(f"{address}: there is no `{ssh[0]}` here; install the OpenSSH client") from None
    assert process.stdin is not None and process.stdout is not None
    said: deque[str] = deque(maxlen=20)
    listener = threading.Thread(target=_listen, args=(process, said), daemon=True)
    listener.start()
    try:
        yield Remote(address, python, process, said, listener)
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:  # it is in the middle of something that nobody waits for
            process.kill()
            process.wait()
        listener.join(1)
        process.stdout.close()


def _listen(process: subprocess.Popen[bytes], said: deque[str]) -> None:
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            if text := line.decode(errors="replace").strip():
                said.append(text)


def _plain(value: Any) -> Any:
    """What a device says, without characters that a terminal would obey."""
    if isinstance(value, str):
        return "".join(one if one.isprintable() or one == "\n" else " " for one in value)
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    return value


class Remote:
    """A device at the other end of a connection."""

    def __init__(
        self, address: str, python: str, process: subprocess.Popen[bytes], said: deque[str], listener: threading.Thread
    ) -> None:
        self.address, self.python, self.process, self.said, self.listener = address, python, process, said, listener
        assert process.stdin is not None and process.stdout is not None
        self.channel = Channel(process.stdout, process.stdin)
        self.kept: dict[bytes, int] = {}
        self.greeted = False
        try:
            process.stdin.write(b"%d\n" % len(program()) + program())
        except BrokenPipeError:
            raise self._ended() from None
        about, _ = self.ask("hello")
        self.greeted = True
        self.machine = machine_of(_plain(about["facts"]))
        self.cores: int = about["cores"]

    def open_file(self, settings: Settings, content: bytes, profile: bool = False) -> Runner:
        """As `device.runtimes.open_file`, there."""
        about, _ = self.ask("open", content, settings=list(settings), profile=profile)
        number = about["runner"]

        def load(images: np.ndarray) -> tuple[int, int]:
            return number, self._keep(images)

        def run(loaded: tuple[int, int]) -> np.ndarray:
            _, (result,) = self.ask("run", runner=loaded[0], images=loaded[1])
            return to_array(result)

        return Runner(load, run, lambda result: result, about["device"])

    def _keep(self, images: np.ndarray) -> int:
        """The number of images there; equal ones are sent once."""
        content = to_bytes(images)
        key = sha256(content).digest()
        if key not in self.kept:
            self.kept[key] = self.ask("keep", content)[0]["images"]
        return self.kept[key]

    def forget(self) -> None:
        """Free the memory of all images there."""
        self.ask("forget")
        self.kept.clear()

    def bench(self, cores: int) -> RemoteBench:
        return RemoteBench(self, cores)

    def ask(self, do: str, *blobs: bytes, **given: Any) -> tuple[dict[str, Any], list[bytes]]:
        """The answer to a request (`device/server.py`)."""
        try:
            self.channel.send({"do": do, **given}, *blobs)
            answer, contents = self.channel.receive()
            while "warning" in answer:
                warnings.warn(f"{self.address}: {_plain(answer['warning'])}", WaitsForMeasurement, stacklevel=3)
                answer, contents = self.channel.receive()
        except ForeignError as error:
            self._ended()
            raise UnavailableError(
                f"{self.address}: sent {_plain(str(error))} instead of an answer; its shell must print nothing when "
                "it starts a program"
            ) from None
        except (EOFError, ConnectionError):
            raise self._ended() from None
        if "unavailable" in answer:
            raise UnavailableError(f"{self.address}: {_plain(answer['unavailable'])}")
        if "refused" in answer:  # this network alone, and not what the device lacks
            raise UserError(f"{self.address}: {_plain(answer['refused'])}")
        if "failed" in answer:
            raise RuntimeError(f"{self.address}: {_plain(answer['failed'])}\n{_plain(answer['trace'])}")
        return answer, contents

    def _ended(self) -> UnavailableError:
        """Why the other end is gone."""
        with suppress(OSError):
            self.channel.writer.close()
        self.channel.reader.close()  # what it still sends could keep it from ending
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.listener.join(1)
        last = _plain(self.said[-1]).removeprefix("ssh: ") if self.said else "it said nothing"
        if code == 255 and any(text in last for text in FINAL):
            return UnavailableError(f"{self.address}: {last}")
        if self.greeted:
            return LostError(f"{self.address}: the connection was lost, or the program there was killed ({last})")
        if code == 255:  # ssh's own
            return AwayError(f"{self.address}: {last}")
        if code in (126, 127):
            return UnavailableError(f"{self.address}: has no `{self.python}`; name its Python in `latency.python`")
        if "ModuleNotFoundError" in last:
            remedy = f"type there: {self.python} -m pip install numpy onnxruntime"
            return UnavailableError(f"{self.address}: {self.python} cannot start ({last}); {remedy}")
        return UnavailableError(f"{self.address}: {self.python} failed: {last}")


class RemoteBench:
    """As `device.bench.Bench`, there."""

    def __init__(self, remote: Remote, cores: int) -> None:
        self.remote, self.cores = remote, cores

    def __enter__(self) -> RemoteBench:
        self.remote.ask("begin", cores=self.cores)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self.remote.kept.clear()
        if kind is None:  # otherwise the connection may be gone
            self.remote.ask("end")

    def add(self, runner: Runner, images: np.ndarray) -> None:
        number, kept = runner.load(images)
        self.remote.ask("add", runner=number, images=kept)

    def measure(self, *, least: int, most: int, repeats: int, clock: Any = None) -> Turns:
        answer, _ = self.remote.ask("measure", least=least, most=most, repeats=repeats)
        turns = Turns(**answer)
        return turns._replace(references={kind: ReferenceTime(*one) for kind, one in turns.references.items()})

    def nodes(self) -> list[list[Nodes] | None]:
        return json.loads(self.remote.ask("nodes")[1][0])
