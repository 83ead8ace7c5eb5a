"""What goes with which action of a command; a word that means nothing there is refused, never passed over."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from ..settings import UNSET
from .exits import UsageError

KEYS: Mapping[str, tuple[str, ...]] = {
    "KEY_ID": ("rotate", "revoke"),
    "--secret-file": ("find",),
    "--role": ("create",),
    "--label": ("create",),
    "--network": ("create",),
    "--owner-prefix": ("create",),
    "--namespace": ("create",),
    "--audience": ("create",),
    "--max-age": ("create",),
    "--rate": ("create",),
    "--owner-creations": ("create",),
    "--expires": ("create", "rotate"),
    "--overlap": ("rotate",),
}
WEBHOOKS: Mapping[str, tuple[str, ...]] = {"--overlap": ("rotate",)}


def insist_on_action(options: Namespace, goes_with: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse what was given and does not go with the action that was asked for.

    Raises:
        UsageError: names it, and the actions with which it goes.
    """
    for word, actions in goes_with.items():
        if options.action not in actions and _given(options, word):
            kept = "; a rotated key keeps what it was made with" if options.action == "rotate" else ""
            raise UsageError(f"{word} goes with {options.command} {' and '.join(actions)}{kept}")


def insist_on_nothing_else(options: Namespace, what: str, *words: str) -> None:
    """Refuse each of these words beside something with which none of them goes.

    Raises:
        UsageError: names the first that was given.
    """
    for word in words:
        if _given(options, word):
            raise UsageError(f"{word} does not go with {what}")


def _given(options: Namespace, word: str) -> bool:
    name = "id" if word == "KEY_ID" else word.removeprefix("--").replace("-", "_")
    value: Any = getattr(options, name)
    if name in ("expires", "overlap"):  # to which ``None`` is said, by ``never``
        return value is not UNSET
    return value is not None and value is not False
