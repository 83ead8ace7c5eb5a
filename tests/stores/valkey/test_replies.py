"""Replies that came with another one are taken out of the driver's buffer, as the driver would have answered them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
import valkey
import valkey.asyncio
from valkey._parsers import _AsyncLibvalkeyParser, _AsyncRESP2Parser

from session_tokens.stores.valkey.connections import arrived
from session_tokens.stores.valkey.packing import pack

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    ("parser", "protocol"), [(_AsyncLibvalkeyParser, 2), (_AsyncLibvalkeyParser, 3), (_AsyncRESP2Parser, 2)]
)
async def test_no_reply_is_lost_or_comes_twice(valkey_url: str, parser: Any, protocol: int) -> None:
    """However the driver's parser keeps them, and though one of them is an error."""
    connection: Any = valkey.asyncio.Connection(
        port=urlsplit(valkey_url).port or 0, parser_class=parser, protocol=protocol, socket_timeout=30
    )
    await connection.connect()
    commands = [[b"ECHO", b"1"], [b"NONSENSE"], [b"EXISTS", b"nothing"], [b"GET", b"nothing"], [b"ECHO", b"2"]]
    packed = b"".join(map(pack, commands))
    for _ in range(20):
        await connection.send_packed_command([packed], check_health=False)
        replies: list[Any] = []
        while len(replies) < len(commands):
            try:
                replies.append(await connection.read_response(disable_decoding=True))
            except valkey.ResponseError as error:
                replies.append(error)
            replies += arrived(connection, len(commands) - len(replies))

        assert [b"1", 0, None, b"2"] == [replies[0], *replies[2:]]
        assert isinstance(replies[1], valkey.ResponseError)
    await connection.disconnect()
