"""One error for several callers: each raises its own, so that their tracebacks do not grow into one another."""

from __future__ import annotations


def own_copy(error: BaseException) -> BaseException:
    """Return a copy of an error for one of several callers; the error itself where it cannot be copied."""
    try:
        own = type(error)(*error.args)
        own.__dict__.update(error.__dict__)
    except Exception:
        return error
    own.__cause__ = error.__cause__ or error
    return own
