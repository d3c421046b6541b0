"""A shipped spec -> a file of one's own."""

from __future__ import annotations

from pathlib import Path

from stdc_search.errors import UserError
from stdc_search.spec import editor
from stdc_search.spec.run import RunSpec
from stdc_search.spec.shipped import text
from stdc_search.storage import write_atomically


def copy(name: str, out: Path) -> None:
    """Write a copy of a shipped spec, with the schema for editors beside it.

    Raises:
        UserError: the file exists, its name does not end with .yaml, or no shipped spec has this name.
    """
    if out.exists():
        raise UserError(f"{out} exists; give another --out, or delete it")
    if out.suffix not in (".yaml", ".yml"):
        raise UserError(f"{out}: a copy is YAML; give it a name that ends with .yaml")
    _, _, content = text(name).partition("\n")  # the first line names the schema, which lies elsewhere
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out.with_name(editor.FILE), editor.text(RunSpec))
    write_atomically(out, f"{editor.modeline()}\n{content}")
