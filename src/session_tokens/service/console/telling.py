"""What is done in the console, and refused there, in the service's log and among its counts, audit log or not.

A line names the service key, where it came from, the act, and the id of what it was done to; owners stand in the audit
log alone, as everywhere.
"""

from __future__ import annotations

import logging
from typing import Final

from starlette.requests import Request

from ...crypto.secret_form import KEY_ID, SESSION_ID, TOKEN_ID, is_id
from ..counted import TOLD

log = logging.getLogger("session_tokens.console")

DONE: Final = "done"
FOREIGN_SITE: Final = "foreign_site"
NOT_ENTERED: Final = "not_entered"
CSRF_REFUSED: Final = "csrf_refused"
ROLE_REFUSED: Final = "role_refused"
PROOF_ASKED: Final = "proof_asked"
KEY_REFUSED: Final = "key_refused"
THROTTLED: Final = "throttled"
FAILED: Final = "failed"
NOT_DONE: Final = "not_done"
NOTHING_TO_DO: Final = "nothing_to_do"
ASKED_FIRST: Final = "asked_first"

_WORDS = {
    DONE: "an act in the console was done",
    FOREIGN_SITE: "an act in the console was refused: another site sent it",
    NOT_ENTERED: "an act in the console was refused: nobody has entered",
    CSRF_REFUSED: "an act in the console was refused: its form is not one that this visitor was shown",
    ROLE_REFUSED: "an act in the console was refused: the role may not do it",
    PROOF_ASKED: "an act in the console waits for the key to be proved again",
    KEY_REFUSED: "a console log-in was refused",
    THROTTLED: "a source failed to enter the console too often",
    FAILED: "an act in the console failed",
    NOT_DONE: "an act in the console was not done",
    NOTHING_TO_DO: "an act in the console found nothing to do",
    ASKED_FIRST: "an act in the console waits to be confirmed",
}
_EVENTS = {KEY_REFUSED: "authentication_failed", THROTTLED: "throttled"}


def tell(request: Request, act: str, outcome: str, source: str, key_id: str | None = None) -> None:
    """Write an act and its outcome down, and leave them to be counted.

    Args:
        request: that asked for it.
        act: its name, one of a set that does not grow.
        outcome: one of the words of this module.
        source: the address that it came from.
        key_id: of the service key of whoever asked, where that is known.
    """
    request.scope[TOLD] = (act, outcome)
    subject = request.path_params.get("id", "")
    known = any(is_id(kind, subject) for kind in (SESSION_ID, TOKEN_ID, KEY_ID))
    log.log(
        logging.INFO if outcome in (DONE, NOTHING_TO_DO, PROOF_ASKED, ASKED_FIRST) else logging.WARNING,
        _WORDS[outcome],
        extra={
            "event": _EVENTS.get(outcome, "console_act"),
            "act": act,
            "outcome": outcome,
            "source": source,
            "key_id": key_id,
            "subject_id": subject if known else None,
        },
    )
