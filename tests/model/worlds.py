"""One real library instance seen through the model's names, so that several stores can stand beside one model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from session_tokens import Forgotten, Issued, Session, SessionTokens, SessionTokensError, Settings, Token
from session_tokens.clock import ManualClock
from tests.model.naive import SESSION_FIELDS, TOKEN_FIELDS, NaiveTokens, Record

DURATIONS = (
    "idle_timeout",
    "max_age",
    "detached_timeout",
    "timeout",
    "token_timeout",
    "disownment_timeout",
    "until",
    "grace",
)
KEYS = ("session_key", "session", "except_session", "giver")
FIRST_IS_A_KEY = frozenset({
    "verify_session", "rotate_session", "detach_session", "attach_session", "change_session", "update_session_data",
    "destroy_session", "get_session", "issue_token", "verify_token", "transfer_token", "claim_token", "reissue_token",
    "offer_token", "withdraw_token", "change_token", "destroy_token", "get_token", "accept_offer", "release_token",
    "lend_token", "recall_token", "consume_token",
})  # fmt: skip
PEPPER = bytes(range(32))
LISTING_LIMIT = 500


@dataclass(frozen=True)
class StoreKind:
    """A store to try: its name, its URL in a fresh folder, and whether it outlives being closed."""

    name: str
    url: Callable[[Path], str]
    durable: bool

    def open(self, folder: Path, settings: Settings, clock: ManualClock) -> SessionTokens:
        return SessionTokens.open(self.url(folder), settings=settings, clock=clock, sweep=False, pepper=PEPPER)


MEMORY = StoreKind("memory", lambda folder: "memory://", durable=False)
SQLITE = StoreKind("sqlite", lambda folder: f"sqlite:///{folder / 'sessions.db'}", durable=True)


class World:
    """The library over one store: it takes and gives the model's names and milliseconds.

    Attributes:
        strings: the model's name of an id or secret -> what this store gave out for it.
        told: the events since they were last taken.
        swept: the model's names of what this store has told to be expired.
    """

    def __init__(self, kind: StoreKind, settings: Record, clock: ManualClock) -> None:
        self.kind, self.clock = kind, clock
        self.folder = Path(tempfile.mkdtemp(prefix="session-tokens-"))
        self.strings: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.versions: dict[tuple[str, int], int] = {}
        self.told: list[Any] = []
        self.swept: set[str] = set()
        self.strangers = well_formed_but_unknown()
        self.open(settings)

    def open(self, settings: Record) -> None:
        self.store = self.kind.open(self.folder, Settings(**in_library_units(settings)), self.clock)
        self.store.subscribe(self.told.append)

    def restart(self, settings: Record) -> None:
        self.store.close()
        self.open(settings)

    def close(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # From the model to the library and back.

    def learn(self, name: str, string: str) -> None:
        assert self.names.setdefault(string, name) == name, f"{name} was given out before as {self.names[string]}"
        self.strings[name] = string

    def string_of(self, name: str | None) -> str | None:
        return None if name is None else self.strings.get(name) or self.strangers.get(name, name)

    def name_of(self, id: str | None) -> str | None:
        return None if id is None else self.names[id]

    def owner_of(self, owner: str | None) -> str | None:
        """Return an owner as the model calls them: a pseudonym has a name there."""
        return None if owner is None else self.names.get(owner, owner)

    def ask(self, command: str, *positional: Any, **named: Any) -> Any:
        """Give the command to the library; answer what it answered, or the name of its error as `Refused(name)`."""
        if command in FIRST_IS_A_KEY:
            positional = (self.string_of(positional[0]), *positional[1:])
        named = in_library_units(named) | {key: self.string_of(named[key]) for key in KEYS if key in named}
        if named.get("version") is not None:
            named["version"] = self.versions[named["version"]]
        try:
            return getattr(self.store, command)(*positional, **named)
        except SessionTokensError as error:
            return Refused(type(error).__name__)

    def learn_issued(self, expected: Record, answer: Any) -> None:
        """Where the model made a secret, take this store's secret and id under the model's names."""
        assert isinstance(answer, Issued), f"{self.kind.name}: expected {expected}, got {answer!r}"
        self.learn(expected["id"], answer.record.id)
        if expected["secret"] is None:  # it waits for a claim, which gives it one
            assert answer.secret is None, f"{self.kind.name}: a secret for {expected}"
        else:
            self.learn(expected["secret"], answer.secret)

    def in_model_terms(self, answer: Any) -> Any:
        """Return a record, page item, flag or number as the model would have answered it."""
        if isinstance(answer, Issued):
            secret = None if answer.secret is None else self.names[answer.secret]
            return self.in_model_terms(answer.record) | {"secret": secret}
        if isinstance(answer, Session):
            record = {name: getattr(answer, name) for name in SESSION_FIELDS} | {"expires_at": answer.expires_at}
            return record | {
                "id": self.name_of(answer.id), "owner": self.owner_of(answer.owner), "data": dict(answer.data),
                "idle_timeout": in_ms(answer.idle_timeout), "max_age": in_ms(answer.max_age),
            }  # fmt: skip
        if isinstance(answer, Token):
            record = {name: getattr(answer, name) for name in TOKEN_FIELDS} | {"expires_at": answer.expires_at}
            return record | {
                "id": self.name_of(answer.id), "session_id": self.name_of(answer.session_id),
                "kind": str(answer.kind), "owner": self.owner_of(answer.owner),
                "previous_owner": self.owner_of(answer.previous_owner) if answer.is_unassigned else None,
                "reserved_for": self.owner_of(answer.reserved_for), "borrower": self.owner_of(answer.borrower),
            }  # fmt: skip
        if isinstance(answer, Forgotten):
            return {"pseudonym": self.names[answer.pseudonym]}
        return answer

    # Listings.

    def pages(self, command: str, limit: int, **filters: Any) -> Iterator[list[Any]]:
        after = None
        while True:
            page = self.ask(command, after=after, limit=limit, **filters)
            assert len(page.items) <= limit, f"{self.kind.name}: a page of {len(page.items)}, limit {limit}"
            yield page.items
            after = page.after
            if after is None:
                return

    def listed(self, command: str, limit: int = LISTING_LIMIT, **filters: Any) -> list[Any]:
        return [record for page in self.pages(command, limit, **filters) for record in page]

    def take_events(self) -> list[tuple[str, str, str | None]]:
        told, self.told[:] = [(e.kind, self.names.get(e.subject_id, e.subject_id), e.reason) for e in self.told], []
        return told


def well_formed_but_unknown() -> dict[str, str]:
    """Return the ids and secrets of another store: right in form, unknown here."""
    with SessionTokens.open("memory://", sweep=False) as other:
        session = other.open_session("stranger")
        token = other.issue_token(session.id)
        return {
            "strange session": session.id, "strange session secret": session.secret, "strange token": token.id,
            "strange token secret": token.secret,
        }  # fmt: skip


@dataclass(frozen=True)
class Refused:
    """The library raised the error of this name."""

    name: str


def in_library_units(named: Record) -> Record:
    """Return the arguments with every duration as a `timedelta`: seconds as floats would be rounded by the test."""
    return {
        name: timedelta(milliseconds=value) if name in DURATIONS and value is not None else value
        for name, value in named.items()
    }


def in_ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def in_order_of(world: World, model: NaiveTokens, records: list[Record]) -> list[Record]:
    """Sort the model's records as this store must list them: by creation, then by its own ids."""
    made = {thing.id: thing.created_at for thing in (*model.sessions.values(), *model.tokens.values())}
    return sorted(records, key=lambda record: (made[record["id"]], world.strings[record["id"]]))
