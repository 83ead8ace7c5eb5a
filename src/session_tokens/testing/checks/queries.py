"""Checks of ``Store.read``: what is answered to each question, by records that were written through the API."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ...contract.queries import Count, Get, Members, Query, Scan, What
from ...contract.transaction import Transaction
from ...records import JSON, IdempotencyRecord, Issued, OwnerEntry, ServiceKey
from ...rules.owners import disable_owner
from ...rules.service_keys import add_service_key, remove_service_key
from ...rules.settings import write_setting
from ..harness import StoreBench, check

TEXT = "Ünï‑çødé 𝄞 \t line\nbreak \"quote\" 'tick' \\ % _ * {0} NUL-free"


def a_key(number: int, created_at: int = 5) -> ServiceKey:
    """Make a service key."""
    return ServiceKey(f"key_{number}", f"lookup {number}", "verify", created_at, None, None)


def keep_outcome(tx: Transaction, record: IdempotencyRecord) -> None:
    """Keep a first outcome."""
    tx.put_idempotency(record)


def ids_of(records: list[Any]) -> list[str]:
    """Return the ids of records, in their order."""
    return [record.id for record in records]


class SessionQueryChecks(StoreBench):
    """Questions about sessions and owners."""

    @check
    async def test_a_session_comes_back_by_its_id_as_it_was_written(self) -> None:
        opened = await self.tokens.open_session(
            "ann", idle_timeout=60, detachable=True, data={"step": [1, None, {"a": 1.5}], "text": TEXT},
            label="home – ü", user_agent="Browser/1.0 (X; Y)", address="2001:db8::1", client_id="key_1",
        )  # fmt: skip

        session, entry = await self.ask(Get("session", opened.id))
        assert session == opened.record
        assert session.details == opened.session.details
        assert entry is None

    @check
    async def test_a_session_that_never_ends_comes_back_so(self) -> None:
        opened = await self.tokens.open_session("ann", max_age=None)

        session, _ = await self.ask(Get("session", opened.id))
        assert session == opened.record
        assert session.expires_at is None

    @check
    async def test_a_session_brings_its_owners_entry_along(self) -> None:
        opened = await self.tokens.open_session("ann")
        await self.store.run(disable_owner, "ann")

        _, entry = await self.ask(Get("session", opened.id))
        by_lookup = await self.ask(Get("session_lookup", self.store.keyring.lookup(opened.secret)))
        assert entry == await self.ask(Get("entry", "ann"))
        assert entry.epoch == 1
        assert entry.disabled_at == entry.watermark
        assert by_lookup == (opened.record, entry)

    @check
    async def test_an_owners_entry_comes_back_as_it_was_written(self) -> None:
        await self.store.run(disable_owner, "ann")
        await self.tokens.enable_owner("ann")
        await self.store.run(disable_owner, "ann")
        entry = await self.ask(Get("entry", "ann"))

        assert isinstance(entry, OwnerEntry)
        assert (entry.owner, entry.epoch) == ("ann", 2)

    @check
    async def test_a_session_is_found_by_its_present_secret_only(self) -> None:
        opened = await self.tokens.open_session("ann")
        rotated = await self.tokens.rotate_session(opened.id)
        keyring = self.store.keyring

        assert (None, None) == tuple(await self.ask(Get("session_lookup", keyring.lookup(opened.secret))))
        assert (rotated.record, None) == tuple(await self.ask(Get("session_lookup", keyring.lookup(rotated.secret))))

    @check
    async def test_an_ended_session_is_found_by_its_id_and_not_by_its_secret(self) -> None:
        opened = await self.tokens.open_session("ann")
        await self.tokens.destroy_session(opened.id, reason="theft")

        session, _ = await self.ask(Get("session", opened.id))
        by_lookup, _ = await self.ask(Get("session_lookup", self.store.keyring.lookup(opened.secret)))
        assert (session.end_reason, session.deadline) == ("theft", 0)
        assert by_lookup is None

    @check
    async def test_the_sessions_of_an_owner_are_those_that_were_not_ended_oldest_first(self) -> None:
        opened = []
        for _ in range(20):
            opened.append(await self.tokens.open_session("ann", detachable=True))
            if self.clock_is_manual:
                self.clock.advance(ms=1)
        await self.tokens.open_session("bob")
        await self.tokens.detach_session(opened[3].id)
        await self.tokens.destroy_session(opened[5].id)

        sessions = list(await self.ask(Members("sessions_of", "ann")))
        assert set(ids_of(sessions)) == {issued.id for issued in opened} - {opened[5].id}
        assert sessions == sorted(sessions, key=lambda session: session.created_at)

    @check
    async def test_the_sessions_of_an_owner_hold_those_whose_time_is_over(self) -> None:
        opened = await self.tokens.open_session("ann", max_age=self.moment_s)
        await self.pass_moment()

        assert [opened.id] == ids_of(await self.ask(Members("sessions_of", "ann")))

    @check
    async def test_the_hot_path_finds_what_read_finds(self) -> None:
        opened = await self.tokens.open_session("ann")

        _, session, entry = await self.store.find_session(self.store.keyring.lookups(opened.secret))
        _, no_session, no_entry = await self.store.find_session(["nothing"])
        assert (session, entry) == (opened.record, None)
        assert (no_session, no_entry) == (None, None)


class TokenQueryChecks(StoreBench):
    """Questions about tokens."""

    async def issued(self, owner: str = "ann", **options: Any) -> tuple[Issued, Issued]:
        """Open a session and issue a token under it."""
        opened = await self.tokens.open_session(owner)
        return opened, await self.tokens.issue_token(opened.id, **options)

    @check
    async def test_a_token_comes_back_with_its_session_and_the_owners_entry(self) -> None:
        opened, token = await self.issued(value=TEXT, transferable=True, timeout=600, client_id="key_1")
        await self.store.run(disable_owner, "ann")
        entry = await self.ask(Get("entry", "ann"))
        lookup = self.store.keyring.lookup(token.secret)

        assert (token.record, opened.record, entry, None) == tuple(await self.ask(Get("token", token.id)))
        assert (token.record, opened.record, entry, None) == tuple(await self.ask(Get("token_lookup", lookup)))

    @check
    async def test_a_free_token_comes_back_alone(self) -> None:
        token = await self.tokens.issue_token(None, {"_owner": "eve", "_price": None, "": [True, 0.5, ""]})

        assert (token.record, None, None, None) == tuple(await self.ask(Get("token", token.id)))

    @check
    async def test_values_come_back_verbatim(self) -> None:
        values: list[JSON] = ["", " ", "null", "{}", TEXT, None, True, False, 0, -(2**63), 2**63 - 1, 1e300]
        values += [[], {}, [[TEXT]], {TEXT: [None]}]
        tokens = [await self.tokens.issue_token(None, value) for value in values]
        found = [(await self.ask(Get("token", token.id))).token.value for token in tokens]

        assert repr(found) == repr(values)

    @check
    async def test_a_listing_comes_back_with_its_price_and_currency(self) -> None:
        _, token = await self.issued(transferable=True)
        for price in (None, 0, "-3", "0.000000001", 10**18 - 1, "12.50"):
            currency = None if price is None else "EUR"
            offered = await self.tokens.offer_token(token.id, price=price, currency=currency, gift=price is None)
            found = (await self.ask(Get("token", token.id))).token

            assert found == offered
            assert found.price == (None if price is None else Decimal(price))
            assert str(found.price) == str(offered.price)

    @check
    async def test_a_token_is_found_by_its_present_secret_only(self) -> None:
        _, token = await self.issued(transferable=True)
        given = await self.tokens.transfer_token(token.id, giver="ann", receiver="bob")
        keyring = self.store.keyring

        old, new = keyring.lookup(token.secret), keyring.lookup(given.secret)
        assert (await self.ask(Get("token_lookup", old))).token is None
        assert (await self.ask(Get("token_lookup", new))).token == given.record
        assert (await self.store.find_token([old]))[1] is None
        _, found, session, _ = await self.store.find_token(keyring.lookups(given.secret))
        assert (found, session) == (given.record, None)

    @check
    async def test_a_destroyed_token_is_found_by_nothing(self) -> None:
        opened, token = await self.issued()
        await self.tokens.destroy_token(token.id)

        assert (None, None, None, None) == tuple(await self.ask(Get("token", token.id)))
        assert (await self.ask(Get("token_lookup", self.store.keyring.lookup(token.secret)))).token is None
        assert list(await self.ask(Members("tokens_of", opened.id, None))) == []

    @check
    async def test_the_tokens_of_a_session_come_oldest_first_up_to_the_limit(self) -> None:
        opened = await self.tokens.open_session("ann")
        for number in range(20):
            if self.clock_is_manual:
                self.clock.advance(ms=1)
            await self.tokens.issue_token(opened.id, number, transferable=number % 3 == 0)
        await self.issued("bob")
        tokens = list(await self.ask(Members("tokens_of", opened.id, None)))

        assert sorted(token.value for token in tokens) == list(range(20))
        assert tokens == sorted(tokens, key=lambda token: token.created_at)
        assert tokens[:7] == list(await self.ask(Members("tokens_of", opened.id, 7)))
        transferables = await self.ask(Members("transferables_of", opened.id))
        assert set(ids_of(transferables)) == {token.id for token in tokens if token.is_transferable}
        assert await self.ask(Count("tokens_of", opened.id)) == 20

    @check
    async def test_a_token_that_left_is_counted_where_it_went(self) -> None:
        opened, token = await self.issued(transferable=True)
        receiving = await self.tokens.open_session("bob")
        await self.tokens.transfer_token(token.id, giver="ann", receiver="bob")

        assert await self.ask(Count("tokens_of", opened.id)) == 0
        assert [token.id] == ids_of(await self.ask(Members("transferables_of", receiving.id)))

    @check
    async def test_parked_tokens_are_those_that_an_owner_holds_without_a_session(self) -> None:
        opened = await self.tokens.open_session("ann")
        issued = [await self.tokens.issue_token(opened.id, transferable=True) for _ in range(20)]
        await self.tokens.issue_token(None, "free")
        for token in issued[1:]:
            await self.tokens.transfer_token(token.id, giver="ann", receiver="bob")
        await self.tokens.transfer_token(issued[1].id, giver="bob", receiver="cyn")
        await self.tokens.destroy_token(issued[2].id)
        parked = await self.ask(Members("parked_tokens", "bob"))

        assert set(ids_of(parked)) == {token.id for token in issued[3:]}
        await self.tokens.open_session("bob")
        assert list(await self.ask(Members("parked_tokens", "bob"))) == []


class OtherQueryChecks(StoreBench):
    """Questions about outcomes, settings and service keys, and what holds for all questions."""

    @check
    async def test_an_outcome_comes_back_as_it_was_kept(self) -> None:
        opened = await self.tokens.open_session("ann", data={"text": TEXT})
        token = await self.tokens.issue_token(opened.id, [1.5, TEXT], transferable=True)
        for number, outcome in enumerate([opened.record, token.record, True, False, 7, None]):
            record = IdempotencyRecord(f"key {number}", "request", "00" * 16, "pepper", outcome, await self.now() + 999)
            await self.store.run(keep_outcome, record)

            found = await self.ask(Get("idempotency", record.key))
            assert repr(found) == repr(record)
            assert found == record

    @check
    async def test_a_setting_is_what_was_written_last(self) -> None:
        await self.store.run(write_setting, "greeting", TEXT)
        await self.store.run(write_setting, "other", "")
        assert await self.ask(Get("setting", "greeting")) == TEXT
        assert await self.ask(Get("setting", "other")) == ""

        await self.store.run(write_setting, "greeting", None)
        assert await self.ask(Get("setting", "greeting")) is None

    @check
    async def test_service_keys_are_found_by_id_and_secret_and_listed_oldest_first(self) -> None:
        keys = [a_key(number, created_at=100 - number) for number in range(12)]
        bounds = ("10.0.0.0/8", "ü:", "shop", "https://ä", 9_000, 5, 7)
        keys.append(ServiceKey("key_x", "lookup x", "admin", 50, 60, "label – ü", *bounds))
        for key in keys:
            await self.store.run(add_service_key, key)
        await self.store.run(remove_service_key, "key_4")
        kept = sorted((key for key in keys if key.id != "key_4"), key=lambda key: (key.created_at, key.id))

        assert list(await self.ask(Scan("keys"))) == kept
        assert await self.ask(Get("key", "key_x")) == keys[-1]
        assert await self.ask(Get("key_lookup", "lookup 3")) == keys[3]
        assert await self.ask(Get("key", "key_4")) is None
        assert await self.ask(Get("key_lookup", "lookup 4")) is None

    @check
    async def test_one_query_carries_all_look_up_keys_of_a_secret(self) -> None:
        opened = await self.tokens.open_session("ann")
        token = await self.tokens.issue_token(opened.id, "seat")
        await self.store.run(add_service_key, a_key(1))
        session_key, token_key = str(opened.session.lookup), str(token.token.lookup)
        for place in range(3):  # of the right key among those of other peppers
            asked: list[Query] = []
            looked_up: dict[What, str] = {
                "session_lookup": session_key, "token_lookup": token_key, "key_lookup": "lookup 1",
            }  # fmt: skip
            for what, lookup in looked_up.items():
                keys = ["x", "y"]
                keys.insert(place, lookup)
                asked.append(Get(what, keys[0], tuple(keys[1:])))
            for _ in range(2):  # a store may remember where a key leads
                _, found = await self.store.read(asked)
                assert (found[0].value.session, found[1].value.token.id) == (opened.record, token.id)
                assert found[2].value == a_key(1)
                _, looked_at = await self.store.look(asked)
                assert [answer.value for answer in looked_at] == [answer.value for answer in found]
        await self.tokens.rotate_session(opened.id)
        nobody: list[Query] = [Get("session_lookup", "x", ("y", session_key)), Get("key_lookup", "x", ("y",))]
        for ask in (self.store.read, self.store.look):
            _, found = await ask(nobody)
            assert [answer.value for answer in found] == [(None, None), None]

    @check
    async def test_a_look_sees_what_was_committed_since_the_last_one(self) -> None:
        opened = await self.tokens.open_session("ann")
        asked: list[Query] = [
            Get("session_lookup", str(opened.session.lookup)),
            Get("key_lookup", "lookup 1"),
            Get("key_lookup", "none"),
        ]

        async def looked_at() -> list[object]:
            first, *keys = [answer.value for answer in (await self.store.look(asked)).found]
            return [first.session and first.session.label, *keys]

        for _ in range(2):
            assert await looked_at() == [None, None, None]
        await self.store.run(add_service_key, a_key(1))
        for _ in range(2):
            assert await looked_at() == [None, a_key(1), None]
        await self.tokens.change_session(opened.id, label="phone")
        for _ in range(2):
            assert await looked_at() == ["phone", a_key(1), None]
        await self.store.run(remove_service_key, a_key(1).id)
        await self.tokens.destroy_session(opened.id)
        assert (await self.store.look(asked[1:])).found[0].value is None
        after = (await self.store.look(asked[:1])).found[0].value.session
        assert after is None or not after.authenticates(self.store.clock.now(), None)

    @check
    async def test_what_is_not_there_is_none_or_empty(self) -> None:
        queries: list[Query] = [
            Get("session", "ses_x"), Get("session_lookup", "x"), Get("entry", "x"), Get("token", "tok_x"),
            Get("token_lookup", "x"), Get("idempotency", "x"), Get("setting", "x"),
            Get("key", "key_x"), Get("key_lookup", "x"),
        ]  # fmt: skip
        _, found = await self.store.read(queries)
        values = [answer.value for answer in found]
        assert values == [(None, None), (None, None), None, (None,) * 4, (None,) * 4, None, None, None, None]

        lists: list[Query] = [
            Members("sessions_of", "x"), Members("tokens_of", "ses_x", None),
            Members("transferables_of", "ses_x"), Members("parked_tokens", "x"),
            Scan("keys"),
        ]  # fmt: skip
        _, found = await self.store.read(lists)
        assert [list(answer.value) for answer in found] == [[]] * 5
        assert await self.ask(Count("tokens_of", "ses_x")) == 0

    @check
    async def test_many_wants_are_answered_in_their_order(self) -> None:
        opened = [await self.tokens.open_session(f"owner {number}") for number in range(40)]
        queries: list[Query] = []
        for issued in opened:
            queries += [Get("session", issued.id), Members("sessions_of", issued.session.owner)]
        _, found = await self.store.read([*queries, *queries])

        for number, issued in enumerate(opened * 2):
            assert found[2 * number].value.session == issued.record
            assert ids_of(found[2 * number + 1].value) == [issued.id]

    @check
    async def test_questions_with_the_same_words_are_not_taken_for_one_another(self) -> None:
        opened = await self.tokens.open_session("ann")
        await self.store.run(write_setting, "ann", "a setting")
        await self.store.run(disable_owner, "ann")
        _, found = await self.store.read(
            [Members("sessions_of", "ann"), Get("entry", "ann"), Get("setting", "ann"), Members("parked_tokens", "ann")]
        )

        assert ids_of(found[0].value) == [opened.id]
        assert found[1].value.owner == "ann"
        assert found[2].value == "a setting"
        assert list(found[3].value) == []

    @check
    async def test_strange_names_are_only_names(self) -> None:
        owners = ["*", "%", "a", "A", "a:b", "{a}", "'; DROP TABLE x; --", "$1", "é", "\U0001d11e", "a" * 255, "ann*"]
        opened = [await self.tokens.open_session(owner) for owner in owners]

        for owner, issued in zip(owners, opened, strict=True):
            assert ids_of(await self.ask(Members("sessions_of", owner))) == [issued.id]
            assert (await self.ask(Get("session", issued.id))).session.owner == owner
