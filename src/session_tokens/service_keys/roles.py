"""Who may do what over HTTP: one table of roles, default deny, with no role that contains another by accident.

A role says what a *program* is for. ``verify`` only asks. ``issue`` opens sessions and issues tokens. ``transfer``
moves tokens: hands them over, lends them, accepts offers. ``worker`` takes what waits in the pool, uses it up and puts
it back. ``revoke`` ends things and never makes any, which makes it safe for a program that reacts to incidents.
``audit`` reads. ``operator`` reads and ends, for the people who run the service. ``admin`` does all of it and is the
only role that manages service keys.
"""

from __future__ import annotations

from ..errors import InvalidInput
from ..validation import plain

ROLES = ("verify", "issue", "transfer", "worker", "revoke", "audit", "operator", "admin")

PERMISSIONS: dict[str, frozenset[str]] = {
    "introspect": frozenset({"verify", "issue", "transfer", "worker", "admin"}),
    # Those who issue may revoke what they made; the others whatever they are shown (``revokes_all``).
    "revoke": frozenset({"issue", "transfer", "revoke", "operator", "admin"}),
    "revoke_all": frozenset({"revoke", "operator", "admin"}),
    "open_session": frozenset({"issue", "admin"}),
    "read_sessions": frozenset({"issue", "audit", "operator", "admin"}),
    "change_session": frozenset({"issue", "admin"}),
    "end_session": frozenset({"revoke", "operator", "admin"}),
    "rotate_session": frozenset({"issue", "admin"}),
    "detach_session": frozenset({"issue", "operator", "admin"}),
    "attach_session": frozenset({"issue", "admin"}),
    "disable_owner": frozenset({"revoke", "operator", "admin"}),
    "enable_owner": frozenset({"operator", "admin"}),
    "issue_token": frozenset({"issue", "admin"}),
    "read_tokens": frozenset({"issue", "transfer", "audit", "operator", "admin"}),
    "change_token": frozenset({"issue", "admin"}),
    "destroy_token": frozenset({"revoke", "operator", "admin"}),
    "reissue_token": frozenset({"issue", "transfer", "admin"}),
    "move_token": frozenset({"transfer", "admin"}),
    "accept_offer": frozenset({"transfer", "admin"}),
    "lend_token": frozenset({"transfer", "admin"}),
    "consume_token": frozenset({"worker", "admin"}),
    "release_token": frozenset({"transfer", "worker", "admin"}),
    "claim_next": frozenset({"worker", "admin"}),
    "hand_over": frozenset({"transfer", "admin"}),
    "read_keys": frozenset({"audit", "admin"}),
    "manage_keys": frozenset({"admin"}),
    "call_tables": frozenset({"admin"}),
    "read_events": frozenset({"admin"}),
    "manage_webhooks": frozenset({"admin"}),
    "read_owners": frozenset({"audit", "operator", "admin"}),
    "rename_owner": frozenset({"admin"}),
    "forget_owner": frozenset({"admin"}),
    "read_audit": frozenset({"audit", "admin"}),
    "explain": frozenset({"audit", "operator", "admin"}),
    "read_settings": frozenset({"admin"}),
    "manage_settings": frozenset({"admin"}),
    "read_metrics": frozenset({"audit", "operator", "admin"}),
}
"""What each act asks for. An act that is not here is allowed to nobody."""


def may(role: str, act: str) -> bool:
    """Whether a key of ``role`` may do ``act``; unknown roles and acts may not."""
    return role in PERMISSIONS.get(act, ())


def role_of(given: object) -> str:
    """Return a role.

    Raises:
        TypeError: it is not a ``str``.
        InvalidInput: there is no such role.
    """
    if not isinstance(given, str):
        raise TypeError(f"a role is a str, not {type(given).__name__}")
    if given not in ROLES:
        raise InvalidInput(f"there is no such role; use one of {', '.join(ROLES)}")
    return plain(given)
