"""The types of a spec's fields, without what pydantic wraps around them."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag


def leaves(annotation: Any) -> list[Any]:
    """The types that a value may have, without `Annotated` and unions around them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return leaves(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [leaf for member in get_args(annotation) for leaf in leaves(member)]
    return [annotation]


def members_by_tag(annotation: Any) -> dict[Any, Any]:
    """Members of a union by pydantic's `Tag`, where they have one."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return members_by_tag(get_args(annotation)[0])
    members = get_args(annotation) if origin in (Union, UnionType) else ()
    tags = {member: tag for member in members for tag in getattr(member, "__metadata__", ()) if isinstance(tag, Tag)}
    return {tag.tag: get_args(member)[0] for member, tag in tags.items()}


def specs_in(annotation: Any) -> list[type[BaseModel]]:
    return [leaf for leaf in leaves(annotation) if isinstance(leaf, type) and issubclass(leaf, BaseModel)]


def literals_in(annotation: Any) -> list[Any]:
    return [value for leaf in leaves(annotation) if get_origin(leaf) is Literal for value in get_args(leaf)]


def kinds_of(spec: type[BaseModel]) -> list[Any]:
    """Legal values of a spec's `kind`."""
    return literals_in(spec.model_fields["kind"].annotation) if "kind" in spec.model_fields else []


def container_in(annotation: Any) -> Any:
    return next((leaf for leaf in leaves(annotation) if get_origin(leaf) in (tuple, dict)), Any)


def item_of(annotation: Any, key: int | str) -> Any:
    """Type of a list's or mapping's item."""
    container = container_in(annotation)
    types = get_args(container)
    if get_origin(container) is dict:
        return types[1]
    if len(types) == 2 and types[1] is Ellipsis:
        return types[0]
    return types[key] if isinstance(key, int) and key < len(types) else Any
