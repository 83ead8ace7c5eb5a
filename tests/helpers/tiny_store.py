"""The store that the page of the suite teaches with, taken from that page, so that what is taught is what is tested."""

from __future__ import annotations

import functools
import inspect
import textwrap
from typing import Any

from session_tokens.testing import conformance


@functools.cache
def tiny_store_class() -> Any:
    """Return the class of the page."""
    block = (conformance.__doc__ or "").split("::\n\n")[1]
    code = textwrap.dedent("\n".join(block.splitlines()[:-2]))
    names: dict[str, Any] = {"__name__": "tiny_store"}
    exec(compile(code, inspect.getfile(conformance), "exec"), names)  # noqa: S102  # the page shows it to be run
    return names["TinyStore"]
