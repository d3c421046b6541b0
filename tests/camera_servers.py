"""Cameras of a network: servers on this machine that show grey pictures, each brighter than the one before."""

from __future__ import annotations

import io
import socketserver
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
from PIL import Image

STEP = 8
"""How much brighter each picture is."""


def grey(i: int) -> np.ndarray:
    return np.full((48, 64, 3), STEP * (i % 30), np.uint8)


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[int]:
    """The port of a server that runs meanwhile."""
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def http_camera(frames: int | None) -> ThreadingHTTPServer:
    """Motion JPEG over HTTP, as cheap cameras send it; without a number of frames, until the client leaves."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            i = 0
            with suppress(OSError):  # the client left
                while frames is None or i < frames:
                    image = _jpeg(i)
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                    self.wfile.write(head.encode() + image + b"\r\n")
                    i += 1

        def log_message(self, *words: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def http_file(path: Path) -> ThreadingHTTPServer:
    """A server of one file."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            with suppress(OSError):  # the client left
                self.wfile.write(path.read_bytes())

        def log_message(self, *words: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def _jpeg(i: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(grey(i)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def rtsp_camera(transport_stream: bytes) -> socketserver.ThreadingTCPServer:
    """An RTSP server that sends an MPEG transport stream in RTP packets over the same connection, then ends it."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while request := self._request():
                answers = {
                    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
                    "PLAY": "Session: 1\r\n",
                }
                verb, number = request
                body = "v=0\r\ns=camera\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n" if verb == "DESCRIBE" else ""
                described = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n" if body else ""
                head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{answers.get(verb, '')}{described}\r\n"
                self.wfile.write((head + body).encode())
                if verb == "PLAY":
                    self._play()
                    return

        def _request(self) -> tuple[str, str] | None:
            """Verb and number of a request."""
            verb = self.rfile.readline().decode().split(" ")[0]
            headers = dict(line.decode().strip().split(": ", 1) for line in iter(self.rfile.readline, b"\r\n") if line)
            return (verb, headers["CSeq"]) if verb else None

        def _play(self) -> None:
            for i in range(0, len(transport_stream), 7 * 188):
                rtp = struct.pack(">BBHII", 0x80, 33, i // (7 * 188) % 2**16, i, 1) + transport_stream[i : i + 7 * 188]
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(rtp)) + rtp)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server
