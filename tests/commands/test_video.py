"""Videos, a frame at a time."""

import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stdc_search.commands.video import VIDEO_ENDINGS, count_frames, redraw, writing
from stdc_search.errors import UserError

RATE = Fraction(30_000, 1001)
CODECS = {".webm": "libvpx", ".avi": "mpeg4"}


@pytest.fixture
def av():
    return pytest.importorskip("av", reason="the extra `video` is not installed")


def film(av, path: Path, frames: int = 6, size: tuple[int, int] = (48, 64), **options: str) -> Path:
    """A video of noise, brighter from frame to frame."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(CODECS.get(path.suffix, "libx264"), rate=RATE)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p" if size[1] % 2 == 0 else "yuv444p"
        for i in range(frames):
            pixels = noise.integers(30 * i % 200, 30 * i % 200 + 50, size=(*size, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def frames_of(av, path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def same(frame: np.ndarray) -> np.ndarray:
    return frame


@pytest.mark.parametrize("ending", VIDEO_ENDINGS)
def test_every_kind_of_video_is_read(av, ending, tmp_path):
    path = film(av, tmp_path / f"a{ending}")
    seen = []
    redraw(path, tmp_path / "out.mp4", same, seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert count_frames(path) == 6


@pytest.mark.parametrize("size", [(48, 64), (45, 63)])
def test_the_new_video_has_size_and_rate_of_the_old_one(av, size, tmp_path):
    redraw(film(av, tmp_path / "a.mp4", size=size), tmp_path / "out.mp4", same)
    with av.open(str(tmp_path / "out.mp4")) as container:
        (stream,) = container.streams
        assert (stream.height, stream.width, stream.average_rate, stream.frames) == (*size, RATE, 6)


def test_its_frames_are_what_is_drawn_in_their_order(av, tmp_path):
    redraw(film(av, tmp_path / "a.mp4"), tmp_path / "out.mp4", lambda frame: np.full_like(frame, frame.mean()))
    before, after = frames_of(av, tmp_path / "a.mp4"), frames_of(av, tmp_path / "out.mp4")
    for old, new in zip(before, after, strict=True):
        assert abs(new.astype(float) - old.mean()).max() < 6  # the coding loses that much
        assert new.std() < 2


def test_a_video_is_turned_as_its_header_says(av, tmp_path):
    path = film(av, tmp_path / "a.mp4", frames=1)
    plain = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    clockwise = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000)
    content = path.read_bytes()
    place = content.index(plain, content.index(b"tkhd"))
    path.write_bytes(content[:place] + clockwise + content[place + len(plain) :])
    seen = []
    redraw(path, tmp_path / "out.mp4", lambda frame: seen.append(frame) or frame)
    (stored,) = frames_of(av, path)
    assert np.array_equal(seen[0], np.rot90(stored, -1))
    assert frames_of(av, tmp_path / "out.mp4")[0].shape == (64, 48, 3)


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    if kind == "cut off":
        del content[half:]
    elif kind == "overwritten":
        content[half // 2 : half // 2 + 500] = bytes(500)
    else:
        content = bytearray(b"no video")
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["no video", "cut off"])
def test_a_video_of_which_nothing_can_be_read_is_an_error_that_leaves_nothing(av, kind, tmp_path):
    path = film(av, tmp_path / "a.mp4")  # its index comes last
    damage(path, kind)
    with pytest.raises(UserError, match=r"a\.mp4: cannot be read; the file is broken or not a video"):
        redraw(path, tmp_path / "out.mp4", same)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.filterwarnings("ignore:.*1 of its frames are broken")  # one core also decodes a broken last frame
@pytest.mark.parametrize(
    ("ending", "options"),
    [(".mkv", {}), (".webm", {}), (".mov", {"movflags": "faststart"}), (".mp4", {"movflags": "faststart"})],
)
def test_a_video_that_was_cut_off_is_written_as_far_as_it_goes_with_a_warning(av, ending, options, tmp_path):
    path = film(av, tmp_path / f"a{ending}", frames=40, **options)
    whole = frames_of(av, path)
    damage(path, "cut off")
    seen = []
    with pytest.warns(UserWarning, match=rf"a{ending}: is cut off: it can be read to second 0\.\d of 1\.3"):
        redraw(path, tmp_path / "out.mp4", lambda frame: seen.append(frame) or frame)
    assert 5 < len(seen) < 35
    assert len(frames_of(av, tmp_path / "out.mp4")) == len(seen)
    assert all(np.array_equal(a, b) for a, b in zip(seen[:-1], whole, strict=False))


def test_frames_that_cannot_be_read_are_left_out_with_a_warning(av, tmp_path):
    path = film(av, tmp_path / "a.mp4", frames=40)
    damage(path, "overwritten")
    seen = []
    with pytest.warns(UserWarning, match=r"a\.mp4: \d+ of its frames are broken and left out"):
        redraw(path, tmp_path / "out.mp4", same, seen.append)
    assert 20 < seen[-1] < 40


def test_a_video_that_was_there_stays_when_the_new_one_fails(av, tmp_path):
    (tmp_path / "out.mp4").write_text("old")

    def fail(frame):
        assert (tmp_path / "out.mp4").read_text("utf-8") == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        redraw(film(av, tmp_path / "a.mp4"), tmp_path / "out.mp4", fail)
    assert (tmp_path / "out.mp4").read_text("utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_missing_video_is_named(av, tmp_path):
    with pytest.raises(UserError, match=r"a\.mp4: cannot be read"):
        count_frames(tmp_path / "a.mp4")


def test_sound_alone_is_no_video(av, tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(UserError, match=r"a\.mkv: has no video stream"):
        count_frames(path)


def test_without_pyav_the_error_says_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"PyAV, which is not installed; type: pip install av"):
        count_frames(tmp_path / "a.mp4")


def test_a_frame_is_shown_from_its_second_on(av, tmp_path):
    with writing(tmp_path / "out.mp4", Fraction(25)) as write:
        for second in (0, 0.1, 0.5, 2):
            write(np.zeros((48, 64, 3), np.uint8), second)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx([0, 0.1, 0.5, 2], abs=1e-3)
