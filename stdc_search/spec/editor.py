"""What an editor needs to complete and check a spec: its JSON Schema, and the line that names it."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel

FILE = "stdc-search.schema.json"
"""What a schema is called that lies beside a spec."""
_OF_EDITORS = {
    "type": "string",
    "description": "Path of this schema, relative to the spec. Only editors read it.",
}


def modeline(schema: str = FILE) -> str:
    """The comment by which editors find the schema of a YAML file; its path starts from the file's folder."""
    return f"# yaml-language-server: $schema={schema}"


def schema(spec_class: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of a spec's file, with the help of every field."""
    whole = spec_class.model_json_schema()
    for one in (whole, *whole.get("$defs", {}).values()):
        _explain(one)
    whole["properties"] = {"$schema": _OF_EDITORS, **whole["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


def text(spec_class: type[BaseModel]) -> str:
    """The schema as the content of a file."""
    return json.dumps(schema(spec_class), indent=2) + "\n"


def _explain(one: dict[str, Any]) -> None:
    """Write the help of a class and its fields as editors show it."""
    fields = one.get("properties", {})
    for described in (one, *fields.values()):
        if "description" in described:  # editors would show each line of a docstring as a paragraph
            described["description"] = re.sub(r"(?<!\n)\n(?!\n)", " ", described["description"])
    if "kind" in fields:
        fields["kind"].setdefault("description", one["description"])
