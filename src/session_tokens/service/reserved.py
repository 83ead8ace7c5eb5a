"""The console's own sessions, which nobody opens, renews or shows through the API.

Their owner is ``console:`` and the id of a service key. Such an owner is no proof of anything, since whoever opens
sessions names owners; the console knows its own by their client, which no request can choose. A program that may open
or rotate sessions would else enter the console as any operator, and an operator would pass where users are let in.
"""

from __future__ import annotations

from ..errors import InvalidInput
from ..settings import CONSOLE_OWNERS


def is_console_owner(owner: str) -> bool:
    """Whether an owner is one that the console opens sessions for."""
    return owner.startswith(CONSOLE_OWNERS)


def refuse_to_disable(owner: str) -> None:
    """Refuse to disable whom the console opens sessions for: an operator could shut every admin out for good.

    Raises:
        InvalidInput: the owner is one of those.
    """
    if is_console_owner(owner):
        raise InvalidInput("owners that begin with console: are service keys in the console; revoke the key instead")
