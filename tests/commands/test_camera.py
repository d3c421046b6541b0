"""Live sources: real servers on this machine, read as cameras are."""

import signal
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from socket import create_server
from threading import Event, Timer
from types import SimpleNamespace

import numpy as np
import pytest

from stdc_search.commands import camera
from stdc_search.commands.camera import Newest, is_camera, name_of, watch
from stdc_search.errors import UserError
from tests.camera_servers import STEP, grey, http_camera, http_file, rtsp_camera, serving

av = pytest.importorskip("av", reason="the extra `video` is not installed")


def levels_of(path: Path) -> list[int]:
    """The number of each frame of a video, from its brightness."""
    with av.open(str(path)) as container:
        return [round(frame.to_ndarray(format="rgb24").mean() / STEP) for frame in container.decode(video=0)]


def same(frame: np.ndarray) -> np.ndarray:
    return frame


@pytest.mark.parametrize("source", ["0", "/dev/video2", "rtsp://host/live", "http://host:81/stream"])
def test_numbers_devices_and_addresses_are_cameras(source):
    assert is_camera(source)


@pytest.mark.parametrize("source", ["a.mp4", "0.png", "videos/0", "/dev/shm/a.mkv"])
def test_paths_are_not_cameras(source):
    assert not is_camera(source)


def test_a_folder_whose_name_is_a_number_is_no_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("0").mkdir()
    assert not is_camera("0")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("0", "camera-0"),
        ("/dev/video2", "camera-2"),
        ("rtsp://me:secret@host:554/live/1?token=secret", "host-live-1"),
        ("http://10.0.0.2/", "10.0.0.2"),
    ],
)
def test_the_name_of_a_camera_shows_no_password(source, name):
    assert name_of(source) == name


def test_a_stream_is_written_until_its_end_with_a_warning(tmp_path):
    seen = []
    with serving(http_camera(20)) as port, pytest.warns(UserWarning, match="127.0.0.1-live: the stream ended"):
        dropped = watch(f"http://127.0.0.1:{port}/live", tmp_path / "out.mp4", same, seen.append)
    levels = levels_of(tmp_path / "out.mp4")
    assert len(levels) == len(seen) == 20 - dropped
    assert levels == sorted(set(levels)) and levels[-1] == 19


def test_ctrl_c_ends_a_camera_and_its_video_is_whole(tmp_path):
    def told(frames: int) -> None:
        if frames == 5:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with serving(http_camera(None)) as port:
        watch(f"http://127.0.0.1:{port}/live", tmp_path / "out.mp4", same, told)
    assert len(levels_of(tmp_path / "out.mp4")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert signal.getsignal(signal.SIGINT) == before


def test_a_second_ctrl_c_stops_at_once_and_leaves_nothing(tmp_path):
    def told(frames: int) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with serving(http_camera(None)) as port, pytest.raises(KeyboardInterrupt):
        watch(f"http://127.0.0.1:{port}/live", tmp_path / "out.mp4", same, told)
    assert not list(tmp_path.iterdir())


def test_rtsp_is_read(tmp_path):
    path = tmp_path / "a.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for i in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(i), format="rgb24")))
        container.mux(stream.encode())
    with serving(rtsp_camera(path.read_bytes())) as port, pytest.warns(UserWarning, match="the stream ended"):
        dropped = watch(f"rtsp://127.0.0.1:{port}/live", tmp_path / "out.mp4", same)
    levels = levels_of(tmp_path / "out.mp4")
    assert levels == sorted(set(levels))
    assert levels[-1] == len(levels) + dropped - 1 >= 18  # the end of the last picture is not sent


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("99", "camera-99: the camera cannot be opened: No such file or directory; list the cameras of this machine"),
        ("rtsp://me:secret@127.0.0.1:1/x", "127.0.0.1-x: the camera cannot be opened: Connection refused; check the"),
        ("http://127.0.0.1:1/x", "127.0.0.1-x: the camera cannot be opened: Connection refused; check the address"),
        ("ftp://127.0.0.1/x", "127.0.0.1-x: ftp:// is not supported; use one of rtsp, rtsps, http, https"),
    ],
)
def test_a_camera_that_cannot_be_opened_is_one_error_without_a_password(source, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        watch(source, tmp_path / "out.mp4", same)
    assert "secret" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_camera_that_sends_nothing_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(camera, "PATIENCE", 0.1)
    with create_server(("127.0.0.1", 0)) as silent, pytest.raises(UserError, match="it gave nothing for"):
        watch(f"http://127.0.0.1:{silent.getsockname()[1]}/live", tmp_path / "out.mp4", same)


def test_a_file_of_a_server_is_no_camera(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for i in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(i), format="rgb24")))
        container.mux(stream.encode())
    with serving(http_file(path)) as port, pytest.raises(UserError, match="is a video of 2 s and no camera; download"):
        watch(f"http://127.0.0.1:{port}/a.mp4", tmp_path / "out.mp4", same)


def test_frames_that_come_while_one_is_drawn_are_dropped_but_for_the_newest():
    drawing, all_came = Event(), Event()

    def frames():
        yield "first"
        drawing.wait()
        yield from ("late", "later", "newest")
        all_came.set()

    newest, seen = Newest(frames()), []
    with newest.until_interrupted():
        for _, frame in newest:
            seen.append(frame)
            drawing.set()
            all_came.wait()
    assert seen == ["first", "newest"] and newest.seen == 4


def test_ctrl_c_before_the_first_frame_says_that_nothing_is_written(monkeypatch, tmp_path):
    stopped = Event()

    def frames(_):
        signal.raise_signal(signal.SIGINT)
        stopped.wait(10)
        yield from ()

    stream = SimpleNamespace(thread_type="")
    container = SimpleNamespace(streams=SimpleNamespace(video=[stream]), decode=frames)
    monkeypatch.setattr(camera, "_opened", lambda _: nullcontext(container))
    monkeypatch.setattr(camera, "rate_of", lambda _: Fraction(25))
    Timer(2, stopped.set).start()
    with pytest.raises(UserError, match="0: stopped before its first frame; nothing is written"):
        watch("0", tmp_path / "out.mp4", same)
    assert not list(tmp_path.iterdir())
