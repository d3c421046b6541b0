"""Videos, a frame at a time. PyAV, which has FFmpeg in it, is the extra `video`, and loaded when there is a video."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stdc_search.errors import UserError
from stdc_search.storage import is_endless

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
CLOCK = 90_000
"""Ticks of a second in the files that we write; the frame rates in use are whole numbers of them."""

Rgb = NDArray[np.uint8]


def count_frames(path: Path) -> int:
    """Number of frames of a video, read or estimated from its header; at least 1.

    Raises:
        UserError: it cannot be read.
    """
    with opened(path) as (container, stream):
        return max(stream.frames or round(_promised(container, stream) * (rate_of(stream) or 0)), 1)


def redraw(source: Path, target: Path, draw: Callable[[Rgb], Rgb], told: Callable[[int], None] | None = None) -> None:
    """Write an MP4 whose frames are drawn from those of a video, of the same size and frame rate, without its sound.

    Only a few frames are in memory. Frames that cannot be read are left out, and the end of a file that was cut off;
    a warning says so.

    Args:
        source: a video.
        target: the MP4.
        draw: a frame, [height, width, 3], to one of its size.
        told: called with the number of frames done.

    Raises:
        UserError: no frame of the video can be read, or its frames differ in size.
    """
    with opened(source) as (container, stream):
        rate = rate_of(stream) or Fraction(25)
        with writing(target, rate) as write:
            done = 0
            for frame in _frames(source, container, stream):
                write(draw(pixels(frame)), done / rate)
                done += 1
                if told is not None:
                    told(done)
            if not done:
                raise UserError(f"{source}: has no readable frame; the file is broken")


@contextmanager
def writing(target: Path, rate: Fraction) -> Iterator[Callable[[Rgb, Any], None]]:
    """A function that appends a picture to an MP4, and the second at which it is shown.

    The file is there once it is whole; without a picture, there is none.
    """
    import av

    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    encoder = None
    try:
        with av.open(str(temporary), "w", format="mp4") as output:

            def write(picture: Rgb, second: Any) -> None:
                nonlocal encoder
                height, width = picture.shape[:2]
                if encoder is None:
                    # The slower presets save space, and take longer than the network.
                    encoder = output.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
                    encoder.codec_context.time_base = Fraction(1, CLOCK)
                    encoder.width, encoder.height = width, height
                    # Colours of half the size, as every player takes them, need even sizes.
                    encoder.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
                elif (width, height) != (encoder.width, encoder.height):
                    size = f"from {encoder.height} x {encoder.width} to {height} x {width}"
                    raise UserError(f"{target.name}: the video changes its size {size}; split it there")
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts, frame.time_base = round(second * CLOCK), Fraction(1, CLOCK)
                output.mux(encoder.encode(frame))

            yield write
            if encoder is not None:
                output.mux(encoder.encode())
        if encoder is not None:
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video and the stream of its pictures.

    Raises:
        UserError: it cannot be read, or PyAV is not installed.
    """
    av = pyav(path)
    if is_endless(path):
        raise UserError(f"{path}: is a pipe or a device, not a file")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: cannot be read; the file is broken or not a video: {error.strerror}") from None
    with container:
        if not container.streams.video:
            raise UserError(f"{path}: has no video stream; give a video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def pyav(wanted_for: Any) -> Any:
    """The package `av`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("av")
    except ImportError:
        message = "videos and cameras need PyAV, which is not installed; type: pip install av"
        raise UserError(f"{wanted_for}: {message}") from None


def pixels(frame: VideoFrame) -> Rgb:
    """A frame, [height, width, 3], turned as its header asks players to."""
    return np.rot90(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), round(frame.rotation / 90))


def rate_of(stream: VideoStream) -> Fraction | None:
    return stream.average_rate or stream.guessed_rate


def _frames(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """The frames that can be read; warns of the others."""
    import av.error

    broken, end = 0, 0.0
    packets = container.demux(stream)
    while True:
        try:
            frames = next(packets).decode()
        except StopIteration:
            break
        except av.error.FFmpegError:
            broken += 1  # the next packet may be whole; at the end of what can be read there is none
            continue
        for frame in frames:
            if frame.is_corrupt:
                broken += 1
            else:
                end = max(end, frame.time or 0.0)
                yield frame
    start = (container.start_time or 0) / 1e6
    end += 1 / (rate_of(stream) or 25) - start
    if broken:
        warnings.warn(f"{path}: {broken} of its frames are broken and left out", stacklevel=2)
    # Where there is sound, which may be longer, the header tells the end of the pictures only roughly.
    if _promised(container, stream) - end > (1.0 if len(container.streams) > 1 else 2 / (rate_of(stream) or 25)):
        message = f"is cut off: it can be read to second {end:.1f} of {_promised(container, stream):.1f}"
        warnings.warn(f"{path}: {message}", stacklevel=2)


def _promised(container: InputContainer, stream: VideoStream) -> float:
    """Seconds that the header tells, or that follow from its number of frames."""
    seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    return max(seconds or (container.duration or 0) / 1e6, 0.0)
