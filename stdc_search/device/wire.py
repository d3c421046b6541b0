"""Messages between two processes: a line of JSON, then the bytes of arrays and files."""

from __future__ import annotations

import io
import json
import threading
from typing import IO, Any

import numpy as np

LONGEST, LARGEST = 1 << 24, 1 << 32
"""Bytes of a line and of what follows it, at most; what is longer is no message of ours."""


class ForeignError(EOFError):
    """What arrived is no message of ours."""


class Channel:
    """Sends and receives messages."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self.reader, self.writer = reader, writer
        self._alone = threading.Lock()

    def send(self, message: dict[str, Any], *blobs: bytes) -> None:
        line = json.dumps({**message, "sizes": [len(blob) for blob in blobs]}).encode() + b"\n"
        with self._alone:
            for part in (line, *blobs):
                self.writer.write(part)
            self.writer.flush()

    def receive(self) -> tuple[dict[str, Any], list[bytes]]:
        """The next message.

        Raises:
            EOFError: the other end has closed.
            ForeignError: it sends something else.
        """
        line = self.reader.readline(LONGEST)
        if not line.endswith(b"\n"):
            raise ForeignError(repr(line[:60])) if len(line) == LONGEST else EOFError("the connection ended")
        try:
            message = json.loads(line)
            sizes = message.pop("sizes")
            if not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) > LARGEST:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ForeignError(repr(line[:60])) from None
        blobs = [self.reader.read(size) for size in sizes]
        if [len(blob) for blob in blobs] != sizes:
            raise EOFError("the connection ended")
        return message, blobs


def to_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def to_array(content: bytes) -> np.ndarray:
    """The array of some bytes.

    Raises:
        ForeignError: they are no array.
    """
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, MemoryError, SyntaxError) as error:
        raise ForeignError(f"no array: {error}") from None
