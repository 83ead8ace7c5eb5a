"""The fields of Django's sessions as the texts of JSON by which they are compared and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...records.compact import compact
from ..fields import SCALARS

_sorted = json.JSONEncoder(sort_keys=True).encode


def texts_of(data: Mapping[Any, Any]) -> dict[str, str]:
    """Return field → JSON text of its value; ``TypeError`` for what JSON cannot hold."""
    texts = {}
    for field, value in data.items():
        if type(field) is not str:  # names that are numbers become text, as they always did in Django
            return texts_of(json.loads(json.dumps(dict(data))))
        try:
            plain = value if type(value) in SCALARS else json.loads(json.dumps(value))
            texts[field] = compact(plain) if type(plain) in SCALARS else _sorted(plain)
        except (TypeError, ValueError) as error:
            raise TypeError(f"the session's field {field[:40]!r} cannot be kept as JSON: {error}") from error
    return texts


def as_in_django(value: Any) -> Any:
    """Return a field that another engine read as ours would keep it."""
    return json.loads(json.dumps(value))
