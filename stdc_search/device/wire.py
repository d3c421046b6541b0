"""Messages between two processes: a line of JSON, then the bytes of arrays and files."""

from __future__ import annotations

import io
import json
import threading
from typing import IO, Any

import numpy as np

LONGEST = 1 << 24
"""Bytes of a line; what is longer is no message of ours."""


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
            EOFError: the other end has closed, or sends something else.
        """
        line = self.reader.readline(LONGEST)
        if not line.endswith(b"\n"):
            raise EOFError("the connection ended")
        try:
            message = json.loads(line)
            sizes = message.pop("sizes")
        except (ValueError, KeyError, AttributeError):
            raise EOFError(f"not a message: {line[:100]!r}") from None
        blobs = [self.reader.read(size) for size in sizes]
        if [len(blob) for blob in blobs] != sizes:
            raise EOFError("the connection ended")
        return message, blobs


def to_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def to_array(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)
