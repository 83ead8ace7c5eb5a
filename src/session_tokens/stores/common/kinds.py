"""The kinds of record: for each its columns, its look-up keys, its indexes, and how a record becomes a row and back.

Theory of operation. Every store that outlives the process derives from this table what it knows of a kind: tables,
column lists and indexes of SQL (``sql_tables``), packed rows, copies, checks, and what is emptied or counted. To add a
field to a record, add it to ``SessionDetails``, ``TokenDetails``, ``ServiceKey`` or their like (``records/``) and, as
the last line of its kind here, with a ``?``; stores that are there already get the column by one migration
(``migrations``). ``tests/stores/test_adding_a_field.py`` does it. What was written before keeps its MAC, which covers
no trailing absences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

from ...clock import Clock
from ...records import OwnerEntry, ServiceKey
from .record_codec import (
    Row,
    Setting,
    idempotency_of,
    idempotency_row,
    plain_row,
    session_of,
    session_row,
    token_of,
    token_row,
)

Type = Literal["name", "text", "number", "flag"]
"""What a column holds: a text that is compared byte by byte and may be a key, any text, 64 bits, or 0 and 1."""


class Column(NamedTuple):
    """A column of a kind's table.

    Attributes:
        name: as in SQL.
        type: what it holds.
        may_be_null: whether it may be absent.
        is_sealed: whether a sealed store seals it; of text that nothing is found by.
    """

    name: str
    type: Type
    may_be_null: bool
    is_sealed: bool = False


class Index(NamedTuple):
    """An index of a kind's table.

    Attributes:
        name: what is appended to the table's name.
        columns: in their order.
        where: which records stand in it, as SQL that every database understands; ``{living}`` stands for those that
            were not ended. Empty for all. A database without partial indexes leaves it away.
        is_unique: whether no two records may stand in the same place.
    """

    name: str
    columns: tuple[str, ...]
    where: str = ""
    is_unique: bool = False


class _Kind(NamedTuple):
    """The fields of ``Kind``.

    Attributes:
        name: as people read it.
        table: the name of its table, which its MACs cover too.
        columns: of its table, the key first.
        trimmed_row: answers the columns of a record, in their order, without what is absent at the end.
        record: answers the record of its columns; raises ``CorruptRecord`` for what ``row`` cannot have made.
        indexes: beside that of its key.
        stamp: the column that changes with each change of a record, ``None`` where records are written unread.
        checks: conditions that each row meets, as SQL.
    """

    name: str
    table: str
    columns: tuple[Column, ...]
    trimmed_row: Callable[[Any], Row]
    record: Callable[[Sequence[Any], Clock], Any]
    indexes: tuple[Index, ...] = ()
    stamp: str | None = None
    checks: tuple[tuple[str, str], ...] = ()


class Kind(_Kind):
    """One kind of record, with what each commit asks of it, worked out once."""

    def row(self, record: Any) -> Row:
        """Return all columns of a record, in their order."""
        row = self.trimmed_row(record)
        return row + (None,) * (len(self.columns) - len(row))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def sealed_places(self) -> tuple[int, ...]:
        """Where the columns stand in a row that a sealed store seals."""
        return tuple(place for place, column in enumerate(self.columns) if column.is_sealed)

    @cached_property
    def stamp_place(self) -> int:
        """Where the stamp stands in a row."""
        assert self.stamp is not None, "it has none"
        return self.names.index(self.stamp)

    @property
    def key(self) -> str:
        """The column by which a record is known."""
        return self.columns[0].name

    @property
    def is_looked_up(self) -> bool:
        """Whether its records have look-up keys beside their own."""
        return "lookup" in self.names


class RecordSet(NamedTuple):
    """A set of records that rules ask for (``contract.queries.SetName``): those of a kind with one value in a column.

    Attributes:
        kind: of its members.
        of: the column that says whose set it is.
        whose: answers that column of a record, ``None`` for one that belongs to nobody's set.
        where: which of these belong to it, as in ``Index``; empty for all.
        locked_as: the name under which it is locked: that of the set whose every change is a change of it.
    """

    kind: Kind
    of: str
    whose: Callable[[Any], str | None]
    where: str
    locked_as: str


def _columns(text: str) -> tuple[Column, ...]:
    """Return the columns in a table of name and type; a ``?`` says that it may be null, ``sealed`` what that says."""
    lines = (line.split() for line in text.strip().splitlines())
    return tuple(
        Column(name, kept_as.rstrip("?"), kept_as.endswith("?"), also == ["sealed"])  # type: ignore[arg-type]
        for name, kept_as, *also in lines
    )


_SESSION: Final = _columns("""
    id                      name
    owner                   name
    lookup                  name?
    created_at              number
    last_seen_at            number
    authenticated_at        number
    deadline                number
    idle_timeout_ms         number?
    max_age_ms              number?
    detached_timeout_ms     number?
    detachable              flag
    detached_at             number?
    ended_at                number?
    end_reason              text?
    sweep_at                number
    owner_epoch             number
    version                 number
    client_id               text?
    name                    text?
    label                   text?  sealed
    user_agent              text?  sealed
    address                 text?  sealed
    data                    text?  sealed
    data_versions           text?  sealed
    successor               name?
    moves                   number?
    ahead_ms                number?
    secret_kind             text?
    acr                     text?
    amr                     text?
    timed_from              number?
    db_hash                 text?
    rotation                text?
""")
_TOKEN: Final = _columns("""
    id                      name
    owner                   name?
    lookup                  name?
    kind                    text
    session_id              name?
    value                   text   sealed
    is_json                 flag
    created_at              number
    timeout_ms              number?
    own_deadline            number
    deadline                number
    disownment_timeout_ms   number?
    held_since              number
    unassigned_at           number?
    previous_owner          name?
    epoch                   number
    version                 number
    client_id               text?
    name                    text?
    listed                  flag?
    price                   text?
    currency                text?
    gift                    flag?
    scope                   text?
    audience                text?
    tag                     name?
    uses_left               number?
    reserved_for            name?
    reserved_until          number?
    borrower                name?
    lent                    name?
    loans                   text?
    for_client              text?
""")
_OWNER: Final = _columns("""
    owner                   name
    epoch                   number
    disabled_at             number?
    watermark               number
    reason                  text
""")
_IDEMPOTENCY: Final = _columns("""
    key                     name
    request                 text   sealed
    nonce                   text
    key_id                  text
    outcome                 text   sealed
    expires_at              number
""")
_SETTING: Final = _columns("""
    name                    name
    text                    text
""")
_SERVICE_KEY: Final = _columns("""
    id                      name
    lookup                  name
    role                    text
    created_at              number
    expires_at              number?
    label                   text?
    networks                text?
    owner_prefix            text?
    namespace               text?
    audience                text?
    max_age_ms              number?
    rate                    number?
    owner_creations         number?
""")

_ORDER: Final = ("created_at", "id")
"""The order of every set and listing."""
NEVER_IN_SQL: Final = "9223372036854775807"

SESSION: Final = Kind(
    "session",
    "sessions",
    _SESSION,
    session_row,
    session_of,
    (
        Index("lookup", ("lookup",), "lookup IS NOT NULL", is_unique=True),
        Index("of_owner", ("owner", *_ORDER), "{living}"),
        Index("in_order", _ORDER, "{living}"),
        Index("detached", _ORDER, "{living} AND detached_at IS NOT NULL"),
        Index("replaced", ("successor", *_ORDER), "successor IS NOT NULL"),
        Index("to_sweep", ("sweep_at",), f"sweep_at < {NEVER_IN_SQL}"),
    ),
    stamp="version",
    checks=(("ended_is_dead", "(ended_at IS NULL) = (deadline > 0)"),),
)
TOKEN: Final = Kind(
    "token",
    "tokens",
    _TOKEN,
    token_row,
    lambda row, clock: token_of(row),
    (
        Index("lookup", ("lookup",), "lookup IS NOT NULL", is_unique=True),
        Index("of_session", ("session_id", *_ORDER), "session_id IS NOT NULL"),
        Index("of_owner", ("owner", *_ORDER), "owner IS NOT NULL"),
        Index("parked", ("owner", *_ORDER), "session_id IS NULL AND owner IS NOT NULL"),
        Index("in_order", _ORDER),
        Index("listed", _ORDER, "listed = 1"),
        Index("unassigned", _ORDER, "unassigned_at IS NOT NULL"),
        Index("tagged", ("tag", *_ORDER), "tag IS NOT NULL"),
        Index("waiting", ("unassigned_at", "id"), "unassigned_at IS NOT NULL"),
        Index("waiting_tagged", ("tag", "unassigned_at", "id"), "unassigned_at IS NOT NULL AND tag IS NOT NULL"),
        Index("to_sweep", ("deadline",), f"deadline < {NEVER_IN_SQL}"),
    ),
    stamp="version",
    checks=(
        ("kind", "kind IN ('free', 'session-bound', 'transferable')"),
        ("unassigned_has_no_owner", "unassigned_at IS NULL OR (owner IS NULL AND session_id IS NULL)"),
    ),
)
OWNER: Final = Kind("owner", "owners", _OWNER, plain_row, lambda row, clock: OwnerEntry(*row), stamp="epoch")
IDEMPOTENCY: Final = Kind(
    "idempotency",
    "idempotency",
    _IDEMPOTENCY,
    idempotency_row,
    idempotency_of,
    (Index("to_sweep", ("expires_at",)),),
)
SETTING: Final = Kind("setting", "settings", _SETTING, plain_row, lambda row, clock: Setting(*row))
SERVICE_KEY: Final = Kind(
    "service key",
    "service_keys",
    _SERVICE_KEY,
    plain_row,
    lambda row, clock: ServiceKey(*row),
    (Index("lookup", ("lookup",), is_unique=True),),
    stamp="lookup",
)

KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in (OWNER, SETTING, SERVICE_KEY, SESSION, TOKEN, IDEMPOTENCY)}
"""In the order in which they are copied: an owner is disabled before the first session of theirs is there."""

RECORDS: Final[dict[str, tuple[Kind, str]]] = {
    "session": (SESSION, "id"),
    "session_lookup": (SESSION, "lookup"),
    "token": (TOKEN, "id"),
    "token_lookup": (TOKEN, "lookup"),
    "entry": (OWNER, "owner"),
    "idempotency": (IDEMPOTENCY, "key"),
    "setting": (SETTING, "name"),
    "key": (SERVICE_KEY, "id"),
    "key_lookup": (SERVICE_KEY, "lookup"),
}
"""The records that a rule may get (``contract.queries.What``): the kind of each, and the column that says which."""

RECORD_SETS: Final[dict[str, RecordSet]] = {
    "sessions_of": RecordSet(SESSION, "owner", lambda session: session.owner, "{living}", "sessions_of"),
    "predecessors_of": RecordSet(
        SESSION, "successor", lambda session: session.details.successor, "", "predecessors_of"
    ),
    "tokens_of": RecordSet(TOKEN, "session_id", lambda token: token.session_id, "", "tokens_of"),
    "transferables_of": RecordSet(
        TOKEN, "session_id", lambda token: token.session_id, "kind = 'transferable'", "tokens_of"
    ),
    "parked_tokens": RecordSet(
        TOKEN, "owner", lambda token: token.owner if token.session_id is None else None, "session_id IS NULL",
        "parked_tokens",
    ),
}  # fmt: skip
"""The sets of which a rule may ask for all members, the first few, or their number."""
