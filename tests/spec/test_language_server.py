"""Editors complete, explain and check specs: a real language server, the one of VS Code's YAML extension.

`npm install yaml-language-server` installs it; without it on the PATH the tests are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

SERVER = shutil.which("yaml-language-server")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(SERVER is None, reason="yaml-language-server is not installed")]


class Editor:
    """Speaks to a language server as an editor does (JSON-RPC over its standard input and output)."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        self.server, self.last = server, 0
        self.problems: dict[str, list[dict[str, Any]]] = {}
        self.ask("initialize", processId=None, rootUri=ROOT.as_uri(), capabilities={})
        self.tell("initialized")
        settings = {"yaml": {"completion": True, "hover": True, "validate": True, "schemaStore": {"enable": False}}}
        self.tell("workspace/didChangeConfiguration", settings=settings)

    def tell(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        self.last += 1
        self._send({"id": self.last, "method": method, "params": params})
        while True:
            answer = self._receive()
            if answer.get("id") == self.last and "method" not in answer:
                return answer.get("result")

    def check(self, path: Path, text: str | None = None) -> list[str]:
        """Open a file; what is underlined in it."""
        uri = path.as_uri()
        text = path.read_text("utf-8") if text is None else text
        self.problems.pop(uri, None)
        self.tell("textDocument/didOpen", textDocument={"uri": uri, "languageId": "yaml", "version": 1, "text": text})
        while uri not in self.problems:
            self._receive()
        return [f"{one['range']['start']['line'] + 1}: {one['message']}" for one in self.problems[uri]]

    def at(self, method: str, path: Path, line: int, column: int) -> Any:
        place = {"textDocument": {"uri": path.as_uri()}, "position": {"line": line - 1, "character": column}}
        return self.ask(f"textDocument/{method}", **place)

    def _send(self, message: dict[str, Any]) -> None:
        assert self.server.stdin is not None
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(content), content))
        self.server.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self.server.stdout is not None
        length = 0
        while (line := self.server.stdout.readline().strip()) or not length:
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        message = json.loads(self.server.stdout.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self.problems[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:  # a question of the server, such as for its settings
            items = message.get("params", {}).get("items", [])
            self._send({"id": message["id"], "result": [None] * len(items) if items else None})
        return message


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with subprocess.Popen([str(SERVER), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        yield Editor(server)
        server.kill()


def test_nothing_is_underlined_in_shipped_specs(editor: Editor) -> None:
    found = {path.name: editor.check(path) for path in sorted((ROOT / "specs").rglob("*.yaml"))}
    assert {name: problems for name, problems in found.items() if problems} == {}
    assert len(found) > 20


def test_mistakes_are_underlined_in_their_line_and_fields_are_completed_and_explained(editor: Editor) -> None:
    path = ROOT / "specs" / "being_written.yaml"  # not on disk, as in an editor
    text = (ROOT / "specs" / "quickstart.yaml").read_text("utf-8")
    lines = text.replace("  batch: 4\n", "  batch: -4\n").replace("classes: 7", "clases: 7").splitlines()
    lines.insert(lines.index("  batch: -4") + 1, "  ")
    problems = editor.check(path, "\n".join(lines))
    where = {int(one.split(":")[0]): one for one in problems}
    assert {lines.index("  batch: -4") + 1, lines.index("  clases: 7") + 1} <= where.keys()
    blank = lines.index("  batch: -4") + 2
    offered = editor.at("completion", path, blank, 2)["items"]
    (seeds,) = [item for item in offered if item["label"] == "seeds"]
    assert "trained once with each" in json.dumps(seeds["documentation"])
    assert "head_rate" not in {item["label"] for item in offered}  # it is there already
    hover = editor.at("hover", path, lines.index("  head_rate: 1.0") + 1, 4)
    assert "learning rate" in json.dumps(hover)
