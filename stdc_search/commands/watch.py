"""Serves the report page of a run to this machine's browser, and makes it anew when a candidate ends."""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from stdc_search.commands.report import report
from stdc_search.errors import UserError
from stdc_search.run_folder import FINALS, PAGE, RESULTS, check_run_folder

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
"""What a browser may call this machine. Another name comes from a foreign page that was made to point here."""
WAITING = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
    "<title>Waiting</title><p>{}; this page looks again every 5 seconds.</p></html>"
)


class Watch(ThreadingHTTPServer):
    """A server of one page, on this machine only.

    Args:
        folder: the run's; it need not have results yet.
        port: 0 for a free one.

    Raises:
        UserError: the folder is not a run folder, or the port is taken.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        check_run_folder(folder)
        self.folder, self._made, self._lock = folder, "", Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(f"--port {port}: cannot be used ({error.strerror}); give another one") from None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def state(self) -> str:
        """Changes when a candidate ends."""
        files = [self.folder / RESULTS, self.folder / FINALS / RESULTS]
        return " ".join(str(file.stat().st_size if file.is_file() else 0) for file in files)

    def page(self) -> str:
        """The page as it is now, with the state that it shows; if there is none, why."""
        with self._lock:  # two tabs need it once
            if (state := self.state()) != self._made:
                try:
                    if report(self.folder).candidates.empty:
                        return WAITING.format("No candidate has finished yet")
                except UserError as error:
                    return WAITING.format(escape(f"The report cannot be made: {error}"))
                self._made = state
            page = (self.folder / PAGE).read_text("utf-8")
            return page.replace("<head>", f'<head><meta name="state" content="{state}">', 1)


class _Handler(BaseHTTPRequestHandler):
    server: Watch

    def do_GET(self) -> None:
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name not in NAMES:
            self.send_error(HTTPStatus.FORBIDDEN, "This page is served to this machine only")
        elif self.path == "/":
            self._answer(self.server.page(), "text/html")
        elif self.path == "/state":
            self._answer(self.server.state(), "text/plain")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, text: str, kind: str) -> None:
        content = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the terminal belongs to the person."""
