"""What commands share."""

from __future__ import annotations

import pytest

from stdc_search.cli.options import progress_bar


def test_without_a_terminal_a_line_tells_the_progress_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("stdc_search.cli.options.monotonic", lambda: now)
    with progress_bar("networks written") as progress:
        for done in range(1, 10):
            now += 10
            progress(done, 9)
        now += 60
        progress(70, None, "frames read")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        *(f"networks written: {done} of 9" for done in (3, 6, 9)),
        "frames read: 70",
    ]
    assert not captured.out
