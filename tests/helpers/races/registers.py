"""What one token and one session are when everything happens one by one: the registers that a history is judged by.

A register answers which registers may come after an operation with a given answer: none if the answer is impossible
now, itself if the operation changes nothing. Deadlines are not modelled: races are run without timeouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

NOT_SEEN = "not seen"  # the secret that an operation without an answer made: somebody may have it, or nobody


class Register:
    """One thing, changed one step at a time; equal registers have the same future."""

    KINDS: ClassVar[frozenset[str]]

    def steps(self, kind: str, outcome: str, given: dict[str, Any], answered: dict[str, Any]) -> Sequence[Self]:
        """Return the registers that may follow; empty where this answer cannot be given now.

        The method `after_` + kind answers the register after the operation was done, `None` where it cannot be.
        """
        if kind == "verify":
            return self.after_verify(given["secret"], answered) if outcome == "ok" else [self]
        if kind == "read":
            return [self] if outcome != "ok" or self.shows(answered) else []
        changed = getattr(self, f"after_{kind}")(given, answered)
        if outcome == "unseen":
            return [] if changed in (None, self) else [changed]
        if outcome == "ok":
            return [] if changed is None else [changed]
        return [self] if self.may_refuse(kind, outcome, given) else []

    def may_refuse(self, kind: str, outcome: str, given: dict[str, Any]) -> bool:
        raise NotImplementedError

    def shows(self, answered: dict[str, Any]) -> bool:
        raise NotImplementedError

    def after_verify(self, secret: str, answered: dict[str, Any]) -> Sequence[Self]:
        raise NotImplementedError


@dataclass(frozen=True)
class TokenRegister(Register):
    """A transferable token: who owns it, in which epoch, under which secret, with which value.

    Kinds: `issue(owner, value)`, `transfer(giver, receiver)`, `claim(owner)`, `reissue(owner)`, `change(value)`,
    `unassign(owner)` (a session of this owner that may hold it has ended), `destroy` -> ended, `verify(secret)` ->
    accepted, owner, epoch, `read` -> found, owner, epoch, value. Whatever makes a secret answers its mark as `secret`.
    """

    KINDS = frozenset("issue transfer claim reissue change unassign destroy verify read".split())

    born: bool = False
    alive: bool = False
    owner: str | None = None
    previous_owner: str | None = None
    epoch: int = 0
    secret: str | None = None
    value: Any = None
    past: frozenset[str] = frozenset()

    def may_refuse(self, kind: str, outcome: str, given: dict[str, Any]) -> bool:
        if outcome == "UnknownToken":
            return not self.alive
        if outcome == "NotOwner" and kind == "transfer":
            return self.alive and not self.may_be_given_by(given["giver"])
        if outcome == "NotOwner" and kind == "reissue":
            return self.alive and self.owner != given["owner"]
        if outcome == "Conflict" and kind == "claim":
            return self.alive and self.owner is not None
        return True  # about something else: a session, a disabled owner, a race that was lost

    def may_be_given_by(self, giver: str | None) -> bool:
        return giver == self.owner or (self.owner is None and giver == self.previous_owner)

    def shows(self, answered: dict[str, Any]) -> bool:
        if not answered["found"]:
            return not self.alive
        return self.alive and all(
            getattr(self, name) == answered[name] for name in ("owner", "epoch", "value") if name in answered
        )

    def after_verify(self, secret: str, answered: dict[str, Any]) -> Sequence[Self]:
        authentic = self.alive and self.owner is not None and secret == self.secret
        if not answered["accepted"]:
            return [] if authentic else [self]
        if self.secret == NOT_SEEN and secret not in self.past:
            return replace(self, secret=secret).after_verify(secret, answered)
        return [self] if authentic and self.shows({"found": True} | answered) else []

    def after_issue(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        if self.born:
            return None
        born = replace(self, born=True, alive=True, owner=given["owner"], value=given.get("value"))
        return replace(born, epoch=answered.get("epoch", 0)).with_secret(answered)

    def after_transfer(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        return self.in_hands_of(given["receiver"], answered) if self.may_be_given_by(given["giver"]) else None

    def after_claim(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        return self.in_hands_of(given["owner"], answered) if self.owner is None else None

    def in_hands_of(self, owner: str, answered: dict[str, Any]) -> Self | None:
        if not self.alive or answered.get("epoch", self.epoch + 1) != self.epoch + 1:
            return None
        return replace(self, owner=owner, previous_owner=self.owner, epoch=self.epoch + 1).with_secret(answered)

    def after_reissue(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        return self.with_secret(answered) if self.alive and self.owner == given["owner"] else None

    def after_change(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        return replace(self, value=given["value"]) if self.alive else None

    def after_unassign(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        held = self.alive and self.owner == given["owner"]
        return replace(self, owner=None, previous_owner=self.owner) if held else self

    def after_destroy(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        if not answered.get("ended", True):
            return None if self.alive else self
        return replace(self, alive=False, owner=None, secret=None) if self.alive else None

    def with_secret(self, answered: dict[str, Any]) -> Self:
        past = self.past if self.secret is None else self.past | {self.secret}
        return replace(self, past=past, secret=answered.get("secret", NOT_SEEN))


@dataclass(frozen=True)
class SessionRegister(Register):
    """A session: whether it is attached, detached or ended, under which secret, with which data.

    Kinds: `open(owner)`, `rotate`, `detach`, `attach`, `end` -> ended, `write(changes)`, `verify(secret)` -> accepted,
    `read` -> found, data. Whatever makes a secret answers its mark as `secret`.
    """

    KINDS = frozenset("open rotate detach attach end write verify read".split())

    state: str = "unborn"
    secret: str | None = None
    data: frozenset[tuple[str, Any]] = frozenset()
    past: frozenset[str] = frozenset()

    @property
    def alive(self) -> bool:
        return self.state in ("attached", "detached")

    def may_refuse(self, kind: str, outcome: str, given: dict[str, Any]) -> bool:
        if outcome in ("UnknownSession", "SessionEnded"):
            return not self.alive or not self.fits(given) or self.secret == NOT_SEEN
        if outcome == "Conflict" and kind == "attach":
            return self.state == "attached"
        return True

    def shows(self, answered: dict[str, Any]) -> bool:
        if not answered["found"]:
            return not self.alive
        return self.alive and frozenset(answered["data"].items()) == self.data

    def after_verify(self, secret: str, answered: dict[str, Any]) -> Sequence[Self]:
        authentic = self.state == "attached" and secret == self.secret
        if not answered["accepted"]:
            return [] if authentic else [self]
        if self.state == "attached" and self.secret == NOT_SEEN and secret not in self.past:
            return [replace(self, secret=secret)]
        return [self] if authentic else []

    def after_open(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        if self.state != "unborn":
            return None
        return replace(self, data=frozenset(given.get("data", {}).items())).attached(answered)

    def after_rotate(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        return self.attached(answered) if self.state == "attached" and self.fits(given) else None

    def after_detach(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        if not self.alive or not self.fits(given):
            return None
        past = self.past if self.secret is None else self.past | {self.secret}
        return replace(self, state="detached", past=past, secret=None)

    def after_attach(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        return self.attached(answered) if self.state == "detached" else None

    def after_end(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        if not answered.get("ended", True):
            return self if self.may_refuse("end", "UnknownSession", given) else None
        return replace(self, state="ended", secret=None, data=frozenset()) if self.alive and self.fits(given) else None

    def after_write(self, given: dict[str, Any], answered: dict[str, Any]) -> Self | None:
        if not self.alive or not self.fits(given):
            return None
        return replace(self, data=frozenset((dict(self.data) | given["changes"]).items()))

    def fits(self, given: dict[str, Any]) -> bool:
        """Whether the key that was given, if it was a secret, is the one that authenticates."""
        return self.secret == NOT_SEEN or given.get("secret", self.secret) == self.secret

    def attached(self, answered: dict[str, Any]) -> Self:
        past = self.past if self.secret is None else self.past | {self.secret}
        return replace(self, state="attached", past=past, secret=answered.get("secret", NOT_SEEN))
