"""Files that survive a crash: written as a whole, or a line at a time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

UNFINISHED = ".stdc-search"
"""Suffix of files that are being written; no other file has it."""


def is_endless(path: Path) -> bool:
    """Whether a path is a pipe, a socket or a device, which a reader may wait for without end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file that has its old or its new content whatever happens, and is on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:  # which names the temporary file
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def is_being_written(temporary: Path) -> bool:
    """Whether another process of this machine that still runs is writing a temporary file, as `report` may.

    A process of another machine is taken for one that ended.
    """
    number = temporary.name.removesuffix(UNFINISHED).rpartition(".")[2]
    if not number.isdecimal() or int(number) == os.getpid():  # in containers, a killed process often had our number
        return False
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return False
    try:
        os.kill(int(number), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def append_line(path: Path, line: str) -> None:
    """Add a line to a file: one write, on disk when this returns; nothing is left of a write that failed."""
    data = f"{line}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        start = os.fstat(descriptor).st_size
        try:
            if os.write(descriptor, data) < len(data):
                raise OSError(f"{path}: the line was not written completely; is the disk full?")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, start)
            raise
    finally:
        os.close(descriptor)


def cut_torn_line(path: Path) -> None:
    """Remove what a crash left of a last line, so that the next record starts on its own."""
    if path.exists() and not (data := path.read_bytes()).endswith(b"\n") and data:
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
            os.fsync(file.fileno())
