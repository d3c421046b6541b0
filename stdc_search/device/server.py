"""Times networks for another machine, which sends them through a pipe."""

from __future__ import annotations

import _thread
import json
import os
import select
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import IO, Any, Union

import numpy as np

from stdc_search.device.alone import WaitsForMeasurement
from stdc_search.device.bench import Bench
from stdc_search.device.hardware import facts, physical_cores
from stdc_search.device.runtimes import Runner, Settings, UnavailableError, open_file
from stdc_search.device.wire import Channel, to_array, to_bytes
from stdc_search.errors import UserError

PATIENCE = 600
"""Seconds that a kept machine waits for the next request. The other end may be gone without a word."""
PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "ncnn")
Answer = Union[dict[str, Any], bytes]


class Server:
    """Answers requests; each method is one."""

    def __init__(self) -> None:
        self.runners: list[Runner] = []
        self.images: list[np.ndarray] = []
        self.bench: Bench | None = None
        self.stack = ExitStack()

    def hello(self) -> Answer:
        """Facts of this machine, and the cores that this process may use."""
        return {"facts": facts(PACKAGES), "cores": physical_cores()}

    def open(self, content: bytes, settings: list[Any], profile: bool) -> Answer:
        """Make a file ready; the answer has its number."""
        self.runners.append(open_file(Settings(*settings), content, profile))
        return {"runner": len(self.runners) - 1, "device": self.runners[-1].device}

    def keep(self, content: bytes) -> Answer:
        """Keep images; the answer has their number."""
        self.images.append(to_array(content))
        return {"images": len(self.images) - 1}

    def run(self, runner: int, images: int) -> Answer:
        """The result of one call."""
        one = self.runners[runner]
        return to_bytes(one.fetch(one.run(one.load(self.images[images]))))

    def forget(self) -> Answer:
        """Forget all images."""
        self.images.clear()
        return {}

    def begin(self, cores: int) -> Answer:
        """Wait until this machine is free, and keep it."""
        self.bench = self.stack.enter_context(Bench(cores))
        return {}

    def add(self, runner: int, images: int) -> Answer:
        """Put a network on the bench."""
        assert self.bench is not None
        self.bench.add(self.runners[runner], self.images[images])
        return {}

    def measure(self, least: int, most: int, repeats: int) -> Answer:
        assert self.bench is not None
        return self.bench.measure(least=least, most=most, repeats=repeats)._asdict()

    def nodes(self) -> Answer:
        assert self.bench is not None
        return json.dumps(self.bench.nodes()).encode()

    def end(self) -> Answer:
        """Let the machine go, and forget everything."""
        self.stack.close()
        self.runners, self.images, self.bench = [], [], None
        return {}


def serve(channel: Channel) -> None:
    """Answer requests until the other end closes, or keeps the machine without asking anything."""
    server = Server()
    methods: dict[str, Callable[..., Answer]] = {
        name: getattr(server, name) for name, value in vars(Server).items() if name[0] != "_" and callable(value)
    }
    with server.stack:
        while server.bench is None or select.select([channel.reader], [], [], PATIENCE)[0]:
            try:
                request, blobs = channel.receive()
            except EOFError:
                return
            try:
                answer = methods[request.pop("do")](*blobs, **request)
            except UserError as error:
                channel.send({"unavailable" if isinstance(error, UnavailableError) else "refused": str(error)})
            except Exception as error:
                channel.send({"failed": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()})
            else:
                channel.send({}, answer) if isinstance(answer, bytes) else channel.send(answer)


def main() -> None:
    """Serve the process that started this one, through its standard input and output."""
    # Libraries may print to standard output, which belongs to the messages: what they print goes to standard error.
    writer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    channel = Channel(sys.stdin.buffer, writer)
    warnings.simplefilter("ignore")  # what libraries warn of does not concern who asks
    warnings.simplefilter("always", WaitsForMeasurement)
    warnings.showwarning = lambda message, *_, **__: channel.send({"warning": str(message)})
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us may ignore it
    threading.Thread(target=_end_with, args=[channel.reader], daemon=True).start()
    with suppress(BrokenPipeError, KeyboardInterrupt):  # nobody waits for the answer any more
        serve(channel)


def _end_with(pipe: IO[bytes]) -> None:
    """Interrupt the main thread, whatever it does, when nobody is at the other end of a pipe any more."""
    poll = select.poll()
    poll.register(pipe, 0)  # it always reports that
    poll.poll()
    _thread.interrupt_main()
