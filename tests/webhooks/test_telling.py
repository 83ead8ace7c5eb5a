"""Whoever runs the service reads in its log that a webhook takes nothing, and why, long before anything is given up."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens, Settings
from session_tokens.rules.webhooks import Hook, take_lease
from session_tokens.testing import ManualClock
from session_tokens.webhooks.delivering import Deliverer
from session_tokens.webhooks.hooks import add_webhook
from session_tokens.webhooks.sending import Sender
from tests.helpers.servers.certificates import Authority
from tests.helpers.webhook_receiver import Receiver, receiving

LOGGER = "session_tokens.webhooks"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


class Desk:
    """A webhook for ends of sessions, and a deliverer that works when told."""

    def __init__(self, tokens: AsyncSessionTokens, clock: ManualClock, hook: Hook, allowed: Sequence[str]) -> None:
        self.tokens, self.clock, self.hook = tokens, clock, hook
        self.deliverer = Deliverer(tokens, Sender(allowed))

    async def rounds(self) -> None:
        """Work until nothing more is tried, an hour later than before."""
        self.clock.advance(3_600)
        await self.tokens.store.run(take_lease, self.deliverer._who, 10**12)
        while (await self.deliverer.round(self.hook.id))[0]:
            pass

    async def ends(self, owner: str) -> None:
        """Open a session and end it."""
        await self.tokens.destroy_session((await self.tokens.open_session(owner)).id)


@asynccontextmanager
async def desk_for(url: str, allowed: Sequence[str]) -> AsyncIterator[Desk]:
    clock = ManualClock()
    durable = Settings(max_sessions=None, events="durable", max_age=30 * 86_400)
    async with await AsyncSessionTokens.open("memory://", settings=durable, clock=clock, sweep=False) as tokens:
        hook, _ = await add_webhook(tokens, url, kinds=["session_ended"])
        made = Desk(tokens, clock, hook, allowed)
        try:
            yield made
        finally:
            await made.deliverer._sender.close()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    caplog.clear()
    return lines


async def test_it_is_told_once_and_when_it_takes_again(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with desk_for(f"{receiver.url}/hooks?key=hidden", ["127.0.0.1"]) as desk:
        await desk.ends("ann")
        await desk.rounds()
        assert told(caplog) == []

        receiver.answer = lambda message: 503
        await desk.ends("ben")
        await desk.rounds()
        await desk.ends("cyn")
        await desk.rounds()
        (line,) = told(caplog)
        assert desk.hook.id in line and "HTTP 503" in line and "tried again" in line and "hidden" not in line

        receiver.answer = lambda message: 200
        await desk.rounds()
        (line,) = told(caplog)
        assert desk.hook.id in line and "again" in line
        assert sorted(event["owner"] for event in receiver.events()) == ["ann", "ben", "cyn"]


async def test_one_event_that_is_refused_among_others_does_not_fill_the_log(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = lambda message: 400 if message["data"]["owner"] == "ann" else 200
    caplog.set_level(logging.INFO, LOGGER)
    async with desk_for(receiver.url, ["127.0.0.1"]) as desk:
        for owner in ("ann", "ben", "ann", "cyn"):
            await desk.ends(owner)
            await desk.rounds()

    assert len(told(caplog)) <= 2


async def test_an_address_that_is_not_allowed_names_the_remedy(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk_for(receiver.url.replace("http:", "https:"), []) as desk:
        await desk.ends("ann")
        await desk.rounds()

    (line,) = told(caplog)
    assert "serve --webhook-allow" in line


async def test_a_certificate_that_nobody_vouches_for_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    issued = Authority(tmp_path, "nobody's").issue("localhost", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server, desk_for(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", ["127.0.0.1"]) as desk:
        await desk.ends("ann")
        await desk.rounds()

    (line,) = told(caplog)
    assert "certificate" in line
