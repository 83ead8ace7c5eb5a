"""A client that is closed while a command of it is under way."""

from __future__ import annotations

import asyncio

import pytest

from session_tokens import AsyncSessionTokens, StoreUnavailable
from session_tokens.crypto.minting import new_secret


async def test_a_client_that_is_closed_between_two_tries_says_so() -> None:
    st = await AsyncSessionTokens.connect("http://127.0.0.1:1", key=new_secret("stk_"), retry_for=60)
    listing = asyncio.create_task(st.list_sessions())
    await asyncio.sleep(0.1)
    await st.close()

    with pytest.raises(StoreUnavailable, match="closed; connect again"):
        await listing
