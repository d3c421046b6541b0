"""The report page of a run, served to this machine."""

from __future__ import annotations

import http.client
import re
import threading

import pytest

from stdc_search.commands.watch import Watch
from stdc_search.errors import UserError
from stdc_search.records import append
from tests.report.fakes import record, write_run


@pytest.fixture
def server(tmp_path):
    server = Watch(write_run(tmp_path / "camvid", []))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def asked(server: Watch, path: str = "/", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=120)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_page_follows_the_run(server):
    assert "No candidate has finished yet" in asked(server)[1]
    states = [asked(server, "/state")[1]]
    for number in range(2):
        append(server.folder / "results.jsonl", record(number, 40.0 + number, 100.0 - number))
        states.append(asked(server, "/state")[1])
        page = asked(server)[1]
        assert f"candidates: {number + 1} complete" in page
    assert len({*states}) == 3
    before = (server.folder / "report" / "index.html").stat().st_mtime_ns
    assert asked(server)[1] == page  # nothing has changed, so it is not made again
    assert (server.folder / "report" / "index.html").stat().st_mtime_ns == before


def test_a_page_knows_the_state_that_it_shows(server):
    """A candidate that ends while a browser loads the page makes it load again."""
    append(server.folder / "results.jsonl", record(0))
    page = asked(server)[1]
    append(server.folder / "results.jsonl", record(1))
    shown = re.search(r'<head><meta name="state" content="([^"]+)">', page)
    assert shown and shown[1] != asked(server, "/state")[1]
    shown = re.search(r'<head><meta name="state" content="([^"]+)">', asked(server)[1])
    assert shown and shown[1] == asked(server, "/state")[1]


def test_a_report_that_cannot_be_made_says_why_and_looks_again(server):
    (server.folder / "results.jsonl").write_text('{"<b>": 1}\n', "utf-8")
    status, page = asked(server)
    assert status == 200 and 'http-equiv="refresh"' in page
    assert "The report cannot be made: " in page and "results.jsonl:1: is not a record" in page and "<b>" not in page
    (server.folder / "results.jsonl").write_text(record(0).model_dump_json() + "\n", "utf-8")
    assert "candidates: 1 complete" in asked(server)[1]


@pytest.mark.parametrize("path", ["/spec.yaml", "/../spec.yaml", "/report/index.html", "/state/x"])
def test_nothing_else_is_served(server, path):
    assert asked(server, path)[0] == 404


@pytest.mark.parametrize("host", ["example.org", "example.org:8000", "127.0.0.1.example.org", ""])
def test_a_foreign_page_that_points_here_gets_nothing(server, host):
    assert asked(server, Host=host)[0] == 403
    assert asked(server, Host=f"localhost:{server.server_port}")[0] == 200


def test_a_wrong_folder_and_a_taken_port_are_told(server, tmp_path):
    with pytest.raises(UserError, match="is not a run folder"):
        Watch(tmp_path)
    with pytest.raises(UserError, match=r"--port \d+: cannot be used \(Address already in use\); give another one"):
        Watch(server.folder, server.server_port)
