"""Checks of ``Store.run``, ``due`` and ``close``: a rule is done whole, once, on the store's time, or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ...contract.queries import Count, Get, Members
from ...contract.transaction import Transaction
from ...errors import AlreadyExists
from ...events import Event
from ...records import IdempotencyRecord, OwnerEntry, Session, Token
from ...rules.service_keys import add_service_key
from ...rules.settings import write_setting
from ..harness import StoreBench, check, outcomes, refused
from .queries import a_key

AT_ONCE = 12
COMMITS_MAX_MS = 60_000


class Nothing(Exception):
    """What a rule of these checks raises in the middle of its work."""


def write_everything(tx: Transaction, session: Session, token: Token, fails: bool) -> str:
    """Write one record of each kind, and fail afterwards on request."""
    tx.put_session(None, session)
    tx.put_token(None, token)
    tx.put_entry(None, OwnerEntry(session.owner, 0, None, 0))
    tx.put_idempotency(IdempotencyRecord("key", "request", "00", "pepper", None, tx.now + 1000))
    tx.put_setting("name", "text")
    tx.put_service_key(None, a_key(1))
    tx.note(("session_opened", session, None))
    tx.note(("token_issued", token, None))
    if fails:
        raise Nothing
    return "done"


def count_up(tx: Transaction, name: str) -> int:
    """Add one to a number that is kept as a setting."""
    number = int(tx.setting(name) or 0) + 1
    time.sleep(0)  # other threads come in here, if the store lets them
    tx.put_setting(name, str(number))
    return number


def take_one_of_two(tx: Transaction, mine: str, other: str) -> bool:
    """Take a thing unless the other one is taken: both must never be."""
    if tx.setting(mine) is not None or tx.setting(other) is not None:
        return False
    tx.put_setting(mine, "taken")
    return True


class TransactionChecks(StoreBench):
    """One rule, done whole or not at all."""

    async def unsaved(self, owner: str = "ann") -> tuple[Session, Token]:
        """Make a session and a transferable token under it that are in no store: taken out of this one again."""
        opened = await self.tokens.open_session(owner)
        issued = await self.tokens.issue_token(opened.id, "value", transferable=True)
        session, token = opened.session, issued.token

        def take_out(tx: Transaction) -> None:
            tx.put_token(tx.token(token.id), None)
            tx.put_session(tx.session(session.id), None)

        await self.store.run(take_out)
        return session, token

    async def kept(self, session: Session, token: Token) -> list[object]:
        """Return what the store has of what ``write_everything`` writes."""
        _, found = await self.store.read([
            Get("session", session.id), Members("sessions_of", session.owner), Get("token", token.id),
            Members("tokens_of", session.id, None),
            Get("entry", session.owner), Get("idempotency", "key"), Get("setting", "name"), Get("key", "key_1"),
        ])  # fmt: skip
        values = [answer.value for answer in found]
        return [values[0].session, *values[1], values[2].token, *values[3], *values[4:]]

    @check
    async def test_all_that_a_rule_writes_is_there_afterwards(self) -> None:
        session, token = await self.unsaved()
        told: list[Event] = []
        self.store.listeners.add(told.append)

        assert await self.store.run(write_everything, session, token, False) == "done"
        kept = await self.kept(session, token)
        assert kept[:5] == [session, session, token, token, OwnerEntry("ann", 0, None, 0)]
        assert None not in kept
        assert [event.kind for event in told] == ["session_opened", "token_issued"]

    @check
    async def test_a_rule_that_raises_leaves_everything_as_it_was(self) -> None:
        session, token = await self.unsaved()
        told: list[Event] = []
        self.store.listeners.add(told.append)
        with refused(Nothing):
            await self.store.run(write_everything, session, token, True)

        assert await self.kept(session, token) == [None] * 6
        assert told == []
        assert await self.store.run(write_everything, session, token, False) == "done"
        assert len(told) == 2

    @check
    async def test_what_was_taken_out_is_gone_from_every_index(self) -> None:
        session, token = await self.unsaved()

        assert await self.kept(session, token) == [None] * 6
        assert (await self.ask(Get("session_lookup", str(session.lookup)))).session is None
        assert (await self.ask(Get("token_lookup", str(token.lookup)))).token is None
        assert await self.ask(Count("tokens_of", session.id)) == 0
        assert list(await self.ask(Members("transferables_of", session.id))) == []

    @check
    async def test_a_rule_may_be_waited_for_no_longer_than_so_long(self) -> None:
        await self.store.run_within(30, write_setting, "name", "text")
        assert await self.ask(Get("setting", "name")) == "text"
        with refused(Nothing):
            await self.store.run_within(30, write_everything, *await self.unsaved(), True)

    @check
    async def test_a_rule_reads_what_read_answers(self) -> None:
        opened = await self.tokens.open_session("ann")
        issued = [await self.tokens.issue_token(opened.id, transferable=number != 1) for number in range(4)]
        parked = await self.tokens.transfer_token(issued[0].id, giver="ann", receiver="bob")
        await self.store.run(write_setting, "name", "text")
        await self.store.run(add_service_key, a_key(1))
        session, last, lookup = opened.session, issued[3].token, self.store.keyring.lookup(issued[3].secret)

        held = sorted(token.id for token in issued[2:])

        def look(tx: Transaction) -> list[Any]:
            return [
                tx.session(session.id), tx.session_by_lookup(str(session.lookup)), tx.entry("ann"), tx.token(last.id),
                tx.token_by_lookup(lookup), list(tx.sessions_of("ann")), len(tx.tokens_of(session.id, None)),
                len(tx.tokens_of(session.id, 2)), sorted(token.id for token in tx.transferables_of(session.id)),
                tx.token_count_of(session.id), list(tx.parked_tokens("bob")), tx.idempotency("key"),
                tx.setting("name"), tx.service_key("key_1"),
            ]  # fmt: skip

        assert await self.store.run(look) == [
            session, session, None, last, last, [session], 3, 2, held, 3, [parked.record], None,
            "text", a_key(1),
        ]  # fmt: skip

    @check
    async def test_a_rule_that_finds_nothing_reads_none_and_empty(self) -> None:
        def look(tx: Transaction) -> list[Any]:
            return [
                tx.session("ses_x"), tx.session_by_lookup("x"), tx.entry("x"), tx.token("tok_x"),
                tx.token_by_lookup("x"), tx.idempotency("x"), tx.setting("x"), tx.service_key("key_x"),
                len(tx.sessions_of("x")), len(tx.tokens_of("ses_x", None)), len(tx.transferables_of("ses_x")),
                tx.token_count_of("ses_x"), len(tx.parked_tokens("x")),
            ]  # fmt: skip

        assert await self.store.run(look) == [None] * 8 + [0] * 5

    @check
    async def test_a_rule_may_write_much_at_once(self) -> None:
        opened = await self.tokens.open_session("ann")
        template = (await self.tokens.issue_token(opened.id)).token

        def write_many(tx: Transaction) -> None:
            for number in range(700):
                tx.put_token(
                    None, template.replace(id=f"tok_{number:024}", lookup=f"lookup {number}", text=str(number))
                )

        await self.store.run(write_many)
        assert await self.ask(Count("tokens_of", opened.id)) == 701
        assert {token.text for token in await self.ask(Members("tokens_of", opened.id, None))} >= set(
            map(str, range(700))
        )

    @check
    async def test_the_time_is_the_stores_and_never_goes_back(self) -> None:
        before = await self.now()
        instants = [await self.store.run(lambda tx: tx.now) for _ in range(3)]
        opened = await self.tokens.open_session("ann")
        after = await self.now()

        assert [before, *instants, opened.session.created_at, after] == sorted(
            [before, *instants, opened.session.created_at, after]
        )
        assert after - before < COMMITS_MAX_MS
        if self.clock_is_manual:
            assert before == after == self.clock.now()
            self.clock.advance(ms=1)
            assert await self.now() == await self.store.run(lambda tx: tx.now) == before + 1

    @check
    async def test_what_run_returned_is_seen_by_every_other_handle(self) -> None:
        other = await self.another()
        for number in range(10):
            opened = await self.tokens.open_session(f"owner {number}")
            assert await other.verify_session(opened.secret) == opened.record
            assert await other.destroy_session(opened.id)
            assert await self.tokens.verify_session(opened.secret) is None

    @check
    async def test_events_are_told_after_the_commit_once_with_its_instant(self) -> None:
        told: list[Event] = []
        remove = self.store.listeners.add(told.append)
        before = await self.now()
        opened = await self.tokens.open_session("ann")
        after = await self.now()
        token = await self.tokens.issue_token(opened.id, transferable=True)
        await self.tokens.transfer_token(token.id, giver="ann", receiver="bob")
        await self.tokens.destroy_session(opened.id)
        await self.tokens.destroy_session(opened.id)
        remove()
        await self.tokens.open_session("cyn")

        assert [event.kind for event in told] == [
            "session_opened", "token_issued", "token_transferred", "session_ended",
        ]  # fmt: skip
        assert before <= told[0].at <= after
        assert told[2][2:6] == (token.id, "bob", None, "ann")
        assert told[3][2:5] == (opened.id, "ann", "logout")

    @check
    async def test_a_callback_that_fails_disturbs_nothing(self) -> None:
        def fail(event: Event) -> None:
            raise Nothing

        self.store.listeners.add(fail)
        opened = await self.tokens.open_session("ann")

        assert await self.tokens.verify_session(opened.secret) is not None


def none_then_put(look: Callable[[Transaction], Any], put: Callable[[Transaction, int], None]) -> Callable[..., bool]:
    """Make a rule that writes only where it finds nothing: of many at once exactly one may write."""

    def rule(tx: Transaction, number: int) -> bool:
        if look(tx):
            return False
        put(tx, number)
        return True

    return rule


class IsolationChecks(TransactionChecks):
    """Many rules at once: each as if it were alone."""

    async def only_one_writes(
        self, look: Callable[[Transaction], Any], put: Callable[[Transaction, int], None]
    ) -> None:
        """Run a rule that writes where it finds nothing many times at once, and see that one did."""
        other = await self.another()
        rule = none_then_put(look, put)
        stores = (self.store, other.store)
        answers, refusals = await outcomes([stores[number % 2].run(rule, number) for number in range(AT_ONCE)])

        assert refusals == []
        assert sorted(answers) == [False] * (AT_ONCE - 1) + [True]

    @check
    async def test_no_count_is_lost(self) -> None:
        other = await self.another()
        stores = (self.store, other.store)
        numbers, refusals = await outcomes([stores[turn % 2].run(count_up, "visits") for turn in range(24)])

        assert refusals == []
        assert sorted(numbers) == list(range(1, 25))
        assert await self.ask(Get("setting", "visits")) == "24"

    @check
    async def test_two_rules_that_read_what_the_other_writes_do_not_both_go_through(self) -> None:
        other = await self.another()
        for turn in range(8):
            left, right = f"left {turn}", f"right {turn}"
            taken, _ = await outcomes([
                self.store.run(take_one_of_two, left, right),
                other.store.run(take_one_of_two, right, left),
            ])  # fmt: skip
            assert sorted(taken) == [False, True]

    @check
    async def test_no_phantom_settings(self) -> None:
        await self.only_one_writes(lambda tx: tx.setting("x"), lambda tx, number: tx.put_setting("x", str(number)))

    @check
    async def test_no_phantom_service_keys(self) -> None:
        await self.only_one_writes(
            lambda tx: tx.service_key("key_1"), lambda tx, number: tx.put_service_key(None, a_key(1, number))
        )

    @check
    async def test_no_phantom_outcomes(self) -> None:
        record = IdempotencyRecord("key", "request", "00", "pepper", None, await self.now() + 99_999)
        await self.only_one_writes(
            lambda tx: tx.idempotency("key"),
            lambda tx, number: tx.put_idempotency(record._replace(outcome=number)),
        )

    @check
    async def test_no_phantom_entries(self) -> None:
        await self.only_one_writes(
            lambda tx: tx.entry("ann"), lambda tx, number: tx.put_entry(None, OwnerEntry("ann", number, None, 0))
        )

    @check
    async def test_no_phantom_sessions_under_one_id(self) -> None:
        session, _ = await self.unsaved()
        await self.only_one_writes(lambda tx: tx.session(session.id), lambda tx, number: tx.put_session(None, session))

    @check
    async def test_no_phantom_sessions_under_one_secret(self) -> None:
        session, _ = await self.unsaved()
        await self.only_one_writes(
            lambda tx: tx.session_by_lookup(str(session.lookup)),
            lambda tx, number: tx.put_session(None, session.replace(id=f"ses_{number:024}")),
        )

    @check
    async def test_no_phantom_sessions_of_an_owner(self) -> None:
        session, _ = await self.unsaved()
        await self.only_one_writes(
            lambda tx: tx.sessions_of("ann"),
            lambda tx, number: tx.put_session(None, session.replace(id=f"ses_{number:024}", lookup=f"lookup {number}")),
        )

    async def only_one_token(self, look: Callable[[Transaction, Token], Any]) -> None:
        """See that one token of many is issued where ``look`` finds none."""
        opened = await self.tokens.open_session("ann")
        _, template = await self.unsaved("bob")
        template = template.replace(owner="ann", session_id=opened.id)
        await self.only_one_writes(
            lambda tx: look(tx, template),
            lambda tx, number: tx.put_token(None, template.replace(id=f"tok_{number:024}", lookup=f"lookup {number}")),
        )

    @check
    async def test_no_phantom_tokens_of_a_session(self) -> None:
        await self.only_one_token(lambda tx, token: tx.tokens_of(str(token.session_id), None))

    @check
    async def test_no_phantom_tokens_of_a_session_within_a_limit(self) -> None:
        await self.only_one_token(lambda tx, token: tx.tokens_of(str(token.session_id), 5))

    @check
    async def test_no_phantom_transferables_of_a_session(self) -> None:
        await self.only_one_token(lambda tx, token: tx.transferables_of(str(token.session_id)))

    @check
    async def test_no_phantom_counts_of_tokens(self) -> None:
        await self.only_one_token(lambda tx, token: tx.token_count_of(str(token.session_id)))

    @check
    async def test_no_phantom_tokens_under_one_id(self) -> None:
        opened = await self.tokens.open_session("ann")
        _, token = await self.unsaved("bob")
        token = token.replace(session_id=opened.id, owner="ann")
        await self.only_one_writes(lambda tx: tx.token(token.id), lambda tx, number: tx.put_token(None, token))

    @check
    async def test_no_phantom_parked_tokens(self) -> None:
        _, token = await self.unsaved()
        parked = token.replace(session_id=None, owner="bob")
        await self.only_one_writes(
            lambda tx: tx.parked_tokens("bob"),
            lambda tx, number: tx.put_token(None, parked.replace(id=f"tok_{number:024}", lookup=f"lookup {number}")),
        )

    @check
    async def test_what_exists_is_not_created_again(self) -> None:
        kept, refusals = await outcomes([self.store.run(add_service_key, a_key(1, turn)) for turn in range(AT_ONCE)])

        assert len(kept) == 1
        assert {type(error) for error in refusals} == {AlreadyExists}
        assert await self.ask(Get("key", "key_1")) == kept[0]

    @check
    async def test_reads_of_one_call_hold_as_of_one_instant(self) -> None:
        def move(tx: Transaction, number: int) -> None:
            tx.put_setting("left", str(number))
            tx.put_setting("right", str(number))

        async def write() -> None:
            for number in range(40):
                await self.store.run(move, number)

        other = await self.another()
        writing = asyncio.ensure_future(write())
        while not writing.done():
            _, found = await other.store.read([Get("setting", "left"), Get("setting", "right")])
            assert found[0].value == found[1].value
            await asyncio.sleep(0)
        await writing
