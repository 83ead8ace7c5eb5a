"""Looking through a whole store: is each record genuine, and do the records agree with one another?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..errors import CorruptRecord
from .postgres_address import Address
from .postgres_decoding import Decoder
from .postgres_reading import Statement

BATCH = 1000


class Problem(NamedTuple):
    """Something in the store that is not as it should be.

    Attributes:
        kind: ``session``, ``token``, ``owner``, ``idempotency``, ``setting`` or ``service key``.
        id: of the record.
        text: what is wrong.
    """

    kind: str
    id: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.text}"


class _Table(NamedTuple):
    kind: str
    name: str
    key: str
    json: str


TABLES = (
    _Table("session", "sessions", "id", "{schema}.session_json_v1(t)"),
    _Table("token", "tokens", "id", "{schema}.token_json_v1(t)"),
    _Table("owner", "owners", "owner", "{schema}.owner_json_v1(t)"),
    _Table(
        "idempotency", "idempotency", "key",
        "json_build_array(t.key, t.request, t.nonce, t.key_id, t.outcome, t.expires_at, t.mac, t.stamp)::text",
    ),
    _Table("setting", "settings", "name", "json_build_array(t.name, t.text, t.mac, t.stamp)::text"),
    _Table("service key", "service_keys", "id", "{schema}.key_json_v1(t)"),
)  # fmt: skip

_LOST_TOKENS = """
    SELECT t.id, t.session_id FROM {schema}.tokens t
    WHERE t.session_id IS NOT NULL AND NOT EXISTS (SELECT FROM {schema}.sessions s WHERE s.id = t.session_id)
    ORDER BY t.id LIMIT {batch}
"""


def checking(address: Address, decoder: Decoder) -> Any:
    """A script over one connection (see ``postgres_schema``) that answers the problems found, as a list."""
    decoders: dict[str, Callable[[str], Any]] = {
        "session": decoder.session,
        "token": decoder.token,
        "owner": decoder.entry,
        "idempotency": decoder.idempotency,
        "setting": decoder.setting,
        "service key": decoder.key,
    }
    problems: list[Problem] = []
    for table in TABLES:
        after = ""
        while True:
            text = (
                f"SELECT t.{table.key}, {table.json} FROM {{schema}}.{table.name} t"
                f" WHERE t.{table.key} > %s ORDER BY t.{table.key} LIMIT {BATCH}"
            ).format(schema=address.schema)
            rows: Sequence[tuple[str, str]] = yield Statement(text, (after,))
            for key, record in rows:
                try:
                    decoders[table.kind](record)
                except CorruptRecord as error:
                    problems.append(Problem(table.kind, key, str(error)))
            if len(rows) < BATCH:
                break
            after = rows[-1][0]
    lost = yield Statement(_LOST_TOKENS.format(schema=address.schema, batch=BATCH), ())
    problems += [Problem("token", id, f"its session {session_id} is not there") for id, session_id in lost]
    return problems
