"""The general session timeout that several processes share, read while it is set here."""

from __future__ import annotations

import asyncio
from typing import Any

from session_tokens import FROM_DB, AsyncTokenTables
from tests.helpers.user_dbs import AsyncDB


async def test_a_timeout_that_is_set_while_the_shared_one_is_read_holds() -> None:
    asked, going_on = asyncio.Event(), asyncio.Event()

    class Slow(AsyncDB):
        async def get_key_value(self, t_token: str) -> Any:
            if t_token == "session_tokens:general_session_timeout":
                asked.set()
                await going_on.wait()
                return "5000"
            return await super().get_key_value(t_token)

    async with AsyncTokenTables(Slow(), sweep=False) as tables:
        await tables.set_general_session_timeout(FROM_DB)
        adding = asyncio.create_task(tables.add_session("s1", "ann"))
        await asked.wait()
        await tables.set_general_session_timeout(60_000)
        going_on.set()
        await adding
        await tables.add_session("s2", "bob")

        assert await tables.get_session_timeout("s2") == 60_000
