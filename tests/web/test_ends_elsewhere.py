"""A log-out in one process closes the WebSockets of another: on every store that processes share, events or not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from session_tokens import AsyncSessionTokens, Settings
from tests.helpers.servers import postgres, valkey
from tests.helpers.socket_site import PEPPER, socket_site


@pytest.fixture(params=["sqlite", "postgres", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'site.db'}"
    elif request.param == "valkey":
        yield f"{valkey.shared_server().url}?namespace={tmp_path.name}"
    else:
        made = postgres.shared_server().new_database()
        yield made
        postgres.shared_server().drop_database(made)


@pytest.mark.process
@pytest.mark.parametrize("events", [None, "durable"])
@pytest.mark.process
async def test_a_log_out_in_another_process_closes_it(url: str, events: str | None) -> None:
    settings = Settings() if events is None else Settings(events="durable")
    async with await AsyncSessionTokens.open(url, settings=settings, pepper=PEPPER) as st:
        sessions = [await st.open_session("ann") for _ in range(3)]
        with socket_site(url) as address:
            sockets = [
                await connect(address, additional_headers={"cookie": f"session={each.secret}"}) for each in sessions
            ]
            for socket in sockets:
                await socket.send("hello")
                assert "hello" == await socket.recv()
            await st.rotate_session(sessions[0].session.id)
            await st.destroy_sessions("ann", except_session=sessions[0].session.id)
            codes = []
            for socket in sockets[1:]:
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(socket.recv(), 60)
                codes.append((socket.close_code, socket.close_reason))
            await sockets[0].send("still here")

            assert "still here" == await sockets[0].recv()
            assert [4001, 4001] == [code for code, _ in codes]
            if events is not None:  # it was heard, and not seen: the reason came along
                assert {"the session has ended: logout"} == {reason for _, reason in codes}
            await sockets[0].close()
