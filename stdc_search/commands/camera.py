"""Live sources, a frame at a time: cameras of this machine and of the network. Frames are dropped rather than late."""

from __future__ import annotations

import re
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stdc_search.commands.video import Rgb, pixels, pyav, rate_of, writing
from stdc_search.errors import UserError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

PATIENCE = 10.0
"""Seconds that a camera may take to answer, and for each frame."""
SCHEMES = ("rtsp", "rtsps", "http", "https")


def is_camera(source: str) -> bool:
    """Whether it is the number of a camera, its device file, or an address, and not the path of a file."""
    if re.fullmatch(r"[0-9]+", source):
        return not Path(source).exists()
    return source.startswith("/dev/video") or "://" in source


def name_of(source: str) -> str:
    """A camera as files and messages name it: without the password that an address may contain."""
    if "://" not in source:
        return f"camera-{Path(source).name.removeprefix('video')}"
    address = urlsplit(source)
    return re.sub(r"[^\w.]+", "-", f"{address.hostname or ''}{address.path}").strip("-.")


def watch(source: str, target: Path, draw: Callable[[Rgb], Rgb], told: Callable[[int], None] | None = None) -> int:
    """Write an MP4 of what a camera shows, until Ctrl-C or the end of its stream; each frame is drawn and has its time.

    Args:
        source: see `is_camera`.
        target: the MP4; it is there when the camera has ended.
        draw: a frame, [height, width, 3], to one of its size.
        told: called with the number of frames done.

    Returns:
        The number of frames that were dropped, because newer ones came while one was drawn.

    Raises:
        UserError: the camera cannot be opened, or gives no frame.
    """
    with _opened(source) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"  # threads for whole frames would each hold one back
        newest = Newest(container.decode(stream))
        done, first = 0, 0.0
        with newest.until_interrupted(), writing(target, rate_of(stream) or Fraction(25)) as write:
            for second, frame in newest:
                first = first if done else second
                write(draw(pixels(frame)), second - first)
                done += 1
                if told is not None:
                    told(done)
    if newest.interrupted and not done:
        raise UserError(f"{name_of(source)}: stopped before its first frame; nothing is written")
    if not newest.interrupted:
        message = f"{name_of(source)}: the stream ended" + (f": {_reason(newest.error)}" if newest.error else "")
        if not done:
            raise UserError(f"{message}, without a frame; check the camera")
        warnings.warn(message, stacklevel=2)
    return newest.seen - done


class Newest:
    """The newest frame each time, and the second at which it came; a thread reads, so that no older one waits."""

    def __init__(self, frames: Iterator[VideoFrame]) -> None:
        self.seen = 0
        self.interrupted = False
        self.error: Exception | None = None
        self._frames, self._changed = frames, Condition()
        self._waiting: tuple[float, VideoFrame] | None = None
        self._ended = False
        self._reader = Thread(target=self._read, daemon=True)

    def __iter__(self) -> Iterator[tuple[float, VideoFrame]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                frame, self._waiting = self._waiting, None
            if frame is None or self.interrupted:
                return
            yield frame

    @contextmanager
    def until_interrupted(self) -> Iterator[None]:
        """Read meanwhile. Ctrl-C ends the frames, so that a video can be completed; a second one interrupts it."""
        before = signal.signal(signal.SIGINT, self._interrupt)
        self._reader.start()
        try:
            yield
        finally:
            self._end()
            self._reader.join()  # at most for `PATIENCE`: it must not read from what is closed
            signal.signal(signal.SIGINT, before)

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._changed:
                    if self._ended:
                        break
                    self.seen += 1
                    self._waiting = monotonic(), frame
                    self._changed.notify()
        except Exception as error:  # told by the thread that waits for frames
            self.error = error
        self._end()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _interrupt(self, number: int, frame: object) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self._end()


@contextmanager
def _opened(source: str) -> Iterator[InputContainer]:
    av = pyav(name := name_of(source))
    if "://" in source and (scheme := urlsplit(source).scheme) not in SCHEMES:
        raise UserError(f"{name}: {scheme}:// is not supported; use one of {', '.join(SCHEMES)}")
    where, how = source, None
    options = {"rtsp_transport": "tcp"} if source.startswith("rtsp") else {}  # UDP loses parts of frames
    if "://" not in source:
        where, how = f"/dev/video{source.removeprefix('/dev/video')}", "v4l2"
    try:
        container = av.open(where, format=how, options=options, timeout=PATIENCE, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: a system without this kind of camera
        remedy = "list the cameras of this machine: ls /dev/video*" if how else "check the address, and the camera"
        raise UserError(f"{name}: the camera cannot be opened: {_reason(error)}; {remedy}") from None
    with container:
        if not container.streams.video:
            raise UserError(f"{name}: has no video stream; give a camera")
        if container.duration and source.startswith("http"):
            raise UserError(f"{name}: is a video of {container.duration / 1e6:.0f} s and no camera; download it first")
        yield container


def _reason(error: Exception) -> str:
    """What an error of PyAV says, without the address, which may contain a password."""
    if type(error).__name__ == "ExitError":
        return f"it gave nothing for {PATIENCE:.0f} s"
    return getattr(error, "strerror", None) or str(error)
