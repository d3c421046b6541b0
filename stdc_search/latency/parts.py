"""The words by which a table of times knows a part of a network."""

from __future__ import annotations

from typing import cast

from stdc_search.network.cost import Part, Shapes
from stdc_search.network.models.decoder import ContextPath


def words_of(part: Part) -> str:
    """Everything that a part's time depends on: its class, arguments and input shapes."""
    if issubclass(part.kind, ContextPath):  # it reads only the size of the shallowest features, not their channels
        ((batch, _, *size), *others), *rest = cast(tuple[Shapes, ...], part.inputs)
        part = part._replace(inputs=(((batch, *size), *others), *rest))
    return str(part)
