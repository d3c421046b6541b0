"""The content of a run -> its identity, which stays the same when specs get new fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

LATER_FIELDS = {
    "data.style": "camvid",
    "data.encoding.map": {},
    "*network.backbone.stem_pool": False,
    "*network.backbone.stages.*.kind": "stdc",
    "*network.backbone.stages.*.convs": "plain",
    "*network.decoder.kind": "bisenet",
    "*network.decoder.fusion_squeeze": 4,
    "network.bias": False,
    "training.augment_on": "cpu",
    "training.augmentation.base_size": None,
    "training.recipe": None,
    "evaluation.antialias": False,
}
"""Fields that are newer than some records, as patterns of paths. At these values they change nothing, so identities
leave them out and old records keep theirs. A new field of the network, data, training or evaluation belongs here."""


def hashed(content: Mapping[str, Any]) -> str:
    """Hash of what a spec contains, without those of LATER_FIELDS that change nothing."""
    known = _without_later_fields(content)
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _without_later_fields(content: Any, path: str = "") -> Any:
    """The content of a spec without those of LATER_FIELDS that change nothing."""
    if isinstance(content, Mapping):
        paths = {key: f"{path}.{key}".lstrip(".") for key in content}
        later = {
            key
            for key, its in paths.items()
            if any(
                pattern.endswith(f".{key}") and content[key] == value and fnmatchcase(its, pattern)
                for pattern, value in LATER_FIELDS.items()
            )
        }
        return {key: _without_later_fields(content[key], paths[key]) for key in content if key not in later}
    if isinstance(content, list):
        return [_without_later_fields(item, f"{path}.{i}") for i, item in enumerate(content)]
    return content
