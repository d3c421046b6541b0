"""The program on a device."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from stdc_search.device.alone import alone
from stdc_search.device.wire import Channel


@contextmanager
def program() -> Iterator[tuple[subprocess.Popen[bytes], Channel]]:
    command = [sys.executable, "-c", "from stdc_search.device.server import main; main()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process, Channel(process.stdout, process.stdin)
        finally:
            process.kill()


def test_it_answers_until_the_other_end_closes():
    with program() as (process, channel):
        channel.send({"do": "hello"})
        assert channel.receive()[0]["cores"] >= 1
        channel.writer.close()
        assert process.wait(60) == 0


def test_it_ends_in_the_middle_of_work_that_nobody_waits_for(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where locks are
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with alone(), program() as (process, channel):
        channel.send({"do": "begin", "cores": 1})
        assert "another process measures" in channel.receive()[0]["warning"]
        channel.writer.close()
        assert process.wait(60) == 0
