"""Files and plain values: a bounded reader of YAML 1.2 and JSON that knows its lines, and a writer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from io import StringIO
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import VersionedResolver

from stdc_search.errors import alike, closest
from stdc_search.spec import shipped
from stdc_search.spec.editor import FILE as SCHEMA
from stdc_search.spec.problems import Problem, SpecError, shown
from stdc_search.storage import is_endless

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 10_000
"""An alias counts as all that it stands for, each time."""
MAX_PATH = 1_000
"""Characters of a dotted path."""

_ENDINGS = (".yaml", ".yml", ".json")
_RESOLVER = VersionedResolver(version=(1, 2))
_LARGE = re.compile(r"\\U(?!0010|000[0-9a-fA-F])[0-9a-fA-F]{8}|^%YAML", re.MULTILINE)
_HINTS = {
    "mapping values are not allowed here": "; quote text that contains `: `, or fix the indentation",
    "that cannot start any token": "; quote the text",
    "expected <block end>": "; check the indentation",
}


class Document(NamedTuple):
    """What a file says."""

    values: dict[str, Any]
    """Mappings, tuples, strings, numbers, booleans, None."""
    lines: dict[str, int]
    """Line of each key and item by its dotted path; the empty path is the whole."""
    problems: tuple[Problem, ...] = ()
    """Parts that could not be read as intended; everything else was read."""


def read(file: Path) -> Document:
    """Read a YAML or JSON file.

    Raises:
        SpecError: there is no such file; it is no text, or not one document that is a mapping; it is beyond the bounds
            on size, depth or number of values.
    """
    reader = _Reader(file, _text(file))
    values = reader.document()
    values.pop("$schema", None)  # tells an editor what completes the file
    return Document(values, reader.lines, tuple(reader.problems))


def missing(file: Path, others: tuple[str, ...] = ()) -> str:
    """What to say of a file that does not exist: the most similar name beside it or among `others`."""
    if not os.path.isdir(file.parent):
        return f"does not exist; there is no folder {file.parent}"
    return f"does not exist; {closest(file.name, (*others, *_specs_in(file.parent)))}"


def _specs_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if path.suffix in _ENDINGS and path.name != SCHEMA)


def _text(file: Path) -> str:
    if is_endless(file):
        raise SpecError(Problem("", "a pipe or a device; give a file", file))
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            message = f"larger than {MAX_BYTES // 1024} KiB, the limit for a spec"
        elif b"\0" in content:
            message = "a binary file; a spec is YAML or JSON in UTF-8"
        else:
            return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 (byte {error.start}); save it as UTF-8"
    except FileNotFoundError:
        message = missing(file)
        if not file.is_absolute() and not alike(file.name, _specs_in(file.parent)):  # meant as a name?
            meant = shipped.nearest(file)
            message = f"does not exist; did you mean `{meant}`?" if meant else f"{message}; see `stdc-search specs`"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        if os.path.isdir(file):
            specs = [name for name in _specs_in(file) if not name.endswith(".json")] or _specs_in(file)
            message = f"a folder; give a spec in it: {', '.join(specs)}" if specs else "a folder without a spec"
    raise SpecError(Problem("", message, file))


class _Reader:
    """Builds plain values from the parser's events, so that no bound is passed before it is checked.

    Attributes:
        lines: of each key and item, by dotted path.
        problems: those that do not keep the rest from being read.
    """

    def __init__(self, file: Path, text: str) -> None:
        self.file, self.text = file, text
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self._events = self._parse()
        self._count = 0
        self._anchors: dict[str, tuple[Any, int]] = {}

    def document(self) -> dict[str, Any]:
        """The values of the only document."""
        next(self._events)  # the stream starts
        if isinstance(next(self._events), StreamEndEvent):
            raise self._wrong(1, "empty; a spec has at least a `network`")
        event = next(self._events)
        values = self._value(event, "", 1)
        if not isinstance(values, dict):
            what = "empty" if values is None else f"{shown(values)}, no mapping"
            raise self._wrong(event, f"{what}; a spec has at least a `network`")
        next(self._events)  # the document ends
        event = next(self._events)
        if not isinstance(event, StreamEndEvent):
            raise self._wrong(event, "a second document begins; a spec is one document: remove the other")
        return values

    def _parse(self) -> Iterator[Any]:
        # Brackets are counted first: the scanner looks far ahead and takes seconds for thousands of them.
        depths = accumulate((char in "[{") - (char in "]}") for char in self.text)
        deep = next((index for index, depth in enumerate(depths) if depth > MAX_DEPTH), None)
        if deep is not None:
            raise self._too_deep(self._line(deep))
        yaml = YAML(typ="safe", pure=True)
        try:
            yield from yaml.parse(self.text)
        except YAMLError as error:
            raise self._no_yaml(error) from None
        except (ValueError, OverflowError):  # of numbers in escapes and directives, which ruamel does not check
            found = _LARGE.search(self.text)
            line = self._line(found.start() if found else 0)
            raise self._wrong(line, "is not YAML: a number in an escape or a directive is too large") from None

    def _value(self, event: Any, path: str, depth: int) -> Any:
        before = self._count
        self._count += 1
        self.lines.setdefault(path, _line(event))
        if depth > MAX_DEPTH:
            raise self._too_deep(event)
        if getattr(event, "ctag", None) is not None:
            tag = str(event.ctag).replace("tag:yaml.org,2002:", "!!")
            self._note(event, path, f"the tag {tag} is not supported; remove it")
        match event:
            case AliasEvent():
                value = self._aliased(event, path)
            case ScalarEvent():
                value = self._scalar(event, path)
            case SequenceStartEvent():
                items = enumerate(self._until(SequenceEndEvent))
                value = tuple(self._value(item, _join(path, i), depth + 1) for i, item in items)
            case _:
                value = self._mapping(path, depth)
        if self._count > MAX_VALUES:
            raise self._wrong(event, f"more than {MAX_VALUES:,} values, with aliases expanded; a spec must have fewer")
        if event.anchor is not None and not isinstance(event, AliasEvent):
            self._anchors[event.anchor] = value, self._count - before
        return value

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _mapping(self, path: str, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for event in self._until(MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise self._wrong(event, "a key is not text; write `name: value`", path)
            key: str = event.value
            child = _join(path, key)
            if len(child) > MAX_PATH:
                raise self._wrong(event, f"the key {shown(key)} makes a path of more than {MAX_PATH:,} characters")
            if type(self._scalar(event, child)) not in (str, int):  # ids are keys, too, as text
                self._note(event, child, "this key is not text; fix the name, or quote it")
            if key in values:
                self._note(event, child, f"written twice, first in line {self.lines[child]}; keep one")
            self.lines.setdefault(child, _line(event))
            values[key] = self._value(next(self._events), child, depth + 1)
        return values

    def _scalar(self, event: ScalarEvent, path: str) -> Any:
        text: str = event.value
        if event.style == '"':  # JSON writes a character beyond 16 bits as two escapes
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if event.style is not None:
            return text
        # ruamel's own rules, since its writer quotes what they would take for something else than text.
        match str(_RESOLVER.resolve(ScalarNode, text, (True, False))).rpartition(":")[2]:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" | "float" as kind:
                try:
                    return float(text) if kind == "float" else _integer(text)
                except OverflowError:
                    self._note(event, path, f"{shown(text)} is beyond 64 bits; write a smaller number")
                except ValueError:
                    self._note(event, path, f"{shown(text)} cannot be read as a finite number")
        return text

    def _aliased(self, event: AliasEvent, path: str) -> Any:
        if event.anchor not in self._anchors:
            raise self._wrong(
                event,
                f"*{event.anchor} refers to no value: no anchor &{event.anchor} ends before it",
                path,
            )
        value, count = self._anchors[event.anchor]
        self._count += count
        return value

    def _line(self, index: int) -> int:
        return self.text.count("\n", 0, index) + 1

    def _note(self, event: Any, path: str, message: str) -> None:
        self.problems.append(Problem(path, message, self.file, _line(event)))

    def _wrong(self, place: Any, message: str, path: str = "") -> SpecError:
        """What ends the reading, at an event or in a line."""
        line = place if isinstance(place, int) else _line(place)
        return SpecError(*self.problems, Problem(path, message, self.file, line))

    def _too_deep(self, place: Any) -> SpecError:
        return self._wrong(place, f"nested more than {MAX_DEPTH} levels deep; is a bracket left open?")

    def _no_yaml(self, error: Any) -> SpecError:
        mark = getattr(error, "problem_mark", None)
        if mark is None:  # a character that YAML does not allow
            message = f"the character {self.text[error.position]!a} is not allowed; remove it"
            return self._wrong(self._line(error.position), message)
        if self.text[mark.index : mark.index + 1] == "\t":
            return self._wrong(mark.line + 1, "a tab where YAML allows only spaces; replace it by spaces")
        start = error.context_mark
        since = f" {error.context} from line {start.line + 1}" if start and start.line != mark.line else ""
        hint = next((hint for part, hint in _HINTS.items() if part in error.problem), "")
        return self._wrong(mark.line + 1, f"is not YAML: {error.problem}{since}{hint}")


def _line(event: Any) -> int:
    return event.start_mark.line + 1


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _integer(text: str) -> int:
    value = int(text, 0 if text.lstrip("+-")[:2] in ("0b", "0o", "0x") else 10)
    if value.bit_length() > 63:  # which nothing here needs, and Python may refuse to print
        raise OverflowError
    return value


class _Representer(SafeRepresenter):
    """Writes what is short and innermost on one line: `[512, 1024]`, `{width: 64, stride: 2}`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: Any, mapping: Any, flow_style: bool | None = None) -> Any:
        node = super().represent_mapping(tag, mapping, flow_style)
        if len(str(mapping)) > 130:
            node.flow_style = False
        return node

    def represent_str(self, data: str) -> Any:
        # ruamel would write some line breaks of Unicode as they are and read them as spaces.
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Representer.add_representer(str, _Representer.represent_str)


def to_yaml(values: Any) -> str:
    """Plain values as YAML, in their order."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None  # flow style for what is innermost
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 110
    stream = StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()


def to_json(values: Any) -> str:
    """Plain values as JSON, in their order."""
    return json.dumps(values, indent=2) + "\n"
