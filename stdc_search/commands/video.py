"""Videos, a frame at a time. PyAV, which has FFmpeg in it, is the extra `video`, and loaded when there is a video."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stdc_search.errors import UserError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm")

Rgb = NDArray[np.uint8]


def count_frames(path: Path) -> int:
    """Number of frames of a video, read or estimated from its header; at least 1.

    Raises:
        UserError: it cannot be read.
    """
    with _opened(path) as (container, stream):
        seconds = (container.duration or 0) / 1e6
        return max(stream.frames or round(seconds * (_rate(stream) or 0)), 1)


def redraw(source: Path, target: Path, draw: Callable[[Rgb], Rgb], told: Callable[[int], None] | None = None) -> None:
    """Write an MP4 whose frames are drawn from those of a video, of the same size and frame rate, without its sound.

    Only a few frames are in memory. A rotation that the header asks of players is done to the frames. The file is
    there once it is whole.

    Args:
        source: a video.
        target: the MP4.
        draw: a frame, [height, width, 3], to one of its size.
        told: called with the number of frames done.

    Raises:
        UserError: the video cannot be read to its end.
    """
    import av.error

    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with _opened(source) as (container, stream), av.open(str(temporary), "w", format="mp4") as output:
            encoder = None
            for done, frame in enumerate(_frames(source, container, stream), start=1):
                drawn = av.VideoFrame.from_ndarray(np.ascontiguousarray(draw(frame)), format="rgb24")
                if encoder is None:
                    encoder = output.add_stream("libx264", rate=_rate(stream) or 25)
                    encoder.width, encoder.height = drawn.width, drawn.height
                    # Colours of half the size, as every player takes them, need even sizes.
                    encoder.pix_fmt = "yuv444p" if drawn.width % 2 or drawn.height % 2 else "yuv420p"
                elif (drawn.width, drawn.height) != (encoder.width, encoder.height):
                    raise UserError(f"{source}: changes its size at frame {done}; split the video there")
                output.mux(encoder.encode(drawn))
                if told is not None:
                    told(done)
            if encoder is None:
                raise UserError(f"{source}: has no readable frame; the file is broken")
            output.mux(encoder.encode())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video and the stream of its pictures."""
    try:
        import av.error
    except ImportError:
        raise UserError(
            f"{path}: reading videos needs PyAV, which is not installed; type: pip install 'stdc-search[video]'"
        ) from None
    try:
        container = av.open(str(path))
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: cannot be read; the file is broken or not a video: {error.strerror}") from None
    with container:
        if not container.streams.video:
            raise UserError(f"{path}: has no video stream; give a video")
        stream = container.streams.video[0]
        # A file that was cut off would end early without a word, where its index came first.
        if max((entry.pos + entry.size for entry in stream.index_entries), default=0) > path.stat().st_size:
            raise UserError(f"{path}: is truncated; its index lists frames beyond its end")
        stream.thread_type = "AUTO"
        yield container, stream


def _frames(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[Rgb]:
    import av.error

    done = 0
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise UserError(f"{path}: is broken at frame {done + 1}")
            yield np.rot90(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), round(frame.rotation / 90))
            done += 1
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: is broken after {done} frames: {error.strerror}") from None


def _rate(stream: VideoStream) -> Fraction | None:
    return stream.average_rate or stream.guessed_rate
