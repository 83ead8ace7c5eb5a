"""Checks of tokens through the API: bound, transferable and free ones, changing hands and waiting for some."""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum

from ...errors import (
    Conflict,
    IdempotencyMismatch,
    LimitReached,
    NotOwner,
    NotTransferable,
    OwnerDisabled,
    UnknownToken,
)
from ...records import Issued
from ...settings import Settings
from ..harness import StoreBench, check, refused


class Word(StrEnum):
    """Texts as an application may name them."""

    ANN = "ann"
    BOB = "bob"
    SEAT = "seat"
    REVOKED = "revoked"


class Mixed(str, Enum):  # noqa: UP042  # shows itself by another text than it holds
    """The same of an older kind."""

    SEAT = "seat"


class Number(IntEnum):
    """A number as an application may name it."""

    TWO = 2


class TokenChecks(StoreBench):
    """The life of a token."""

    async def transferable(self, owner: str = "ann") -> tuple[Issued, Issued]:
        """Open a session and issue a transferable token under it."""
        opened = await self.tokens.open_session(owner)
        return opened, await self.tokens.issue_token(opened.id, "seat 12", transferable=True)

    @check
    async def test_the_end_of_a_session_decides_over_its_tokens_at_once(self) -> None:
        opened, moving = await self.transferable()
        bound = await self.tokens.issue_token(opened.id)
        free = await self.tokens.issue_token(None)
        await self.tokens.destroy_session(opened.id)

        for _ in range(3):
            assert await self.tokens.verify_token(bound.secret) is None
            assert await self.tokens.get_token(bound.id) is None
            assert await self.tokens.verify_token(moving.secret) is None
            waiting = await self.tokens.get_token(moving.id)
            assert waiting is not None
            assert (waiting.owner, waiting.previous_owner, waiting.session_id) == (None, "ann", None)
            assert await self.tokens.verify_token(free.secret) == free.record
            await self.tokens.sweep()

    @check
    async def test_what_a_session_holds_is_good_until_its_end_whatever_its_kind(self) -> None:
        opened, held = await self.tokens.open_session("ann", max_age=600), []
        for transferable in (False, True):
            for timeout, held_for in ((None, 600_000), (7_200, 600_000), (60, 60_000)):
                token = await self.tokens.issue_token(opened.id, transferable=transferable, timeout=timeout)
                held.append(token)
                verified = await self.tokens.verify_token_until(token.secret)

                assert verified is not None and verified[0] == token.record
                start = token.token.created_at if held_for < 600_000 else opened.session.created_at
                assert verified[1] == start + held_for
        free = await self.tokens.issue_token(None)

        assert await self.tokens.verify_token_until(free.secret) == (free.record, None)
        await self.tokens.destroy_session(opened.id)
        assert [await self.tokens.verify_token_until(token.secret) for token in held] == [None] * 6
        assert await self.tokens.verify_token_until("stt_nonsense") is None

    @check
    async def test_of_a_session_with_very_many_tokens_none_lives_on(self) -> None:
        opened = await self.tokens.open_session("ann")
        bound = [await self.tokens.issue_token(opened.id, transferable=number % 50 == 0) for number in range(620)]
        await self.tokens.destroy_session(opened.id)
        unassigned = {token.id for token in bound[::50]}

        assert [await self.tokens.verify_token(token.secret) for token in bound[1::97]] == [None] * 7
        while await self.tokens.sweep():
            listed = (await self.tokens.list_tokens()).items
            assert {token.id for token in listed} == unassigned
        assert {token.id for token in (await self.tokens.list_tokens(unassigned=True)).items} == unassigned

    @check
    async def test_a_transfer_gives_the_receiver_a_new_secret_and_kills_the_givers(self) -> None:
        _, token = await self.transferable()
        receiving = await self.tokens.open_session("bob")
        given = await self.tokens.transfer_token(token.secret, giver="ann", receiver="bob")

        assert given.id == token.id
        assert await self.tokens.verify_token(token.secret) is None
        assert await self.tokens.verify_token(given.secret) == given.record
        assert (given.token.owner, given.token.session_id, given.token.epoch) == ("bob", receiving.id, 1)
        assert given.token.value == "seat 12"

    @check
    async def test_a_refused_transfer_changes_nothing(self) -> None:
        opened, token = await self.transferable()
        bound = await self.tokens.issue_token(opened.id)
        await self.tokens.disable_owner("cyn")
        for error, transfer in (
            (NotOwner, self.tokens.transfer_token(token.id, giver="bob", receiver="cyn")),
            (NotOwner, self.tokens.transfer_token(token.id, giver=None, receiver="bob")),
            (OwnerDisabled, self.tokens.transfer_token(token.id, giver="ann", receiver="cyn")),
            (NotTransferable, self.tokens.transfer_token(bound.id, giver="ann", receiver="bob")),
            (Conflict, self.tokens.transfer_token(token.id, giver="ann", receiver="bob", epoch=1)),
        ):
            with refused(error):
                await transfer

        assert await self.tokens.verify_token(token.secret) == token.record
        assert await self.tokens.verify_token(bound.secret) is not None

    @check
    async def test_a_parked_token_verifies_and_joins_the_next_session(self) -> None:
        _, token = await self.transferable()
        given = await self.tokens.transfer_token(token.id, giver="ann", receiver="bob")
        assert given.token.session_id is None
        assert await self.tokens.verify_token(given.secret) == given.record

        opened = await self.tokens.open_session("bob")
        joined = await self.tokens.verify_token(given.secret)
        assert joined is not None
        assert (joined.session_id, joined.epoch) == (opened.id, 1)
        assert [listed.id for listed in (await self.tokens.list_tokens(session=opened.id)).items] == [token.id]

    @check
    async def test_an_unassigned_token_is_claimed_once(self) -> None:
        opened, token = await self.transferable()
        await self.tokens.destroy_session(opened.id)
        claiming = await self.tokens.open_session("bob")
        claimed = await self.tokens.claim_token(token.id, session_key=claiming.secret)

        assert (claimed.token.owner, claimed.token.session_id, claimed.token.epoch) == ("bob", claiming.id, 1)
        assert await self.tokens.verify_token(claimed.secret) == claimed.record
        with refused(Conflict):
            await self.tokens.claim_token(token.id, session_key=claiming.id)

    @check
    async def test_an_unassigned_token_is_gone_after_its_disownment_timeout(self) -> None:
        opened = await self.tokens.open_session("ann")
        token = await self.tokens.issue_token(opened.id, transferable=True, disownment_timeout=self.moment_s)
        claiming = await self.tokens.open_session("bob")
        await self.tokens.destroy_session(opened.id)
        await self.pass_moment()

        for _ in range(2):
            assert await self.tokens.get_token(token.id) is None
            with refused(UnknownToken):
                await self.tokens.claim_token(token.id, session_key=claiming.id)
            await self.tokens.sweep()

    @check
    async def test_a_token_is_dead_after_its_own_timeout_swept_or_not(self) -> None:
        opened = await self.tokens.open_session("ann")
        bound = await self.tokens.issue_token(opened.id, timeout=self.moment_s)
        free = await self.tokens.issue_token(None, timeout=self.moment_s)
        await self.pass_moment()

        for _ in range(2):
            assert await self.tokens.verify_token(bound.secret) is None
            assert await self.tokens.verify_token(free.secret) is None
            assert (await self.tokens.list_tokens()).items == []
            await self.tokens.sweep()
        assert await self.tokens.verify_session(opened.secret) is not None

    @check
    async def test_a_new_secret_at_its_owners_wish_kills_the_old_one(self) -> None:
        _, token = await self.transferable()
        again = await self.tokens.reissue_token(token.id, owner="ann")

        assert await self.tokens.verify_token(token.secret) is None
        assert await self.tokens.verify_token(again.secret) == again.record
        with refused(NotOwner):
            await self.tokens.reissue_token(token.id, owner="bob")

    @check
    async def test_value_and_clocks_can_be_changed_by_version(self) -> None:
        _, token = await self.transferable()
        changed = await self.tokens.change_token(token.id, value={"seat": 13}, timeout=None, version=1)

        assert (changed.value, changed.version) == ({"seat": 13}, 2)
        assert await self.tokens.verify_token(token.secret) == changed
        with refused(Conflict):
            await self.tokens.change_token(token.id, value=14, version=1)

    @check
    async def test_a_session_holds_no_more_tokens_than_its_cap(self) -> None:
        capped = await self.another(Settings(max_tokens_per_session=3))
        opened = await capped.open_session("ann")
        tokens = [await capped.issue_token(opened.id) for _ in range(3)]
        with refused(LimitReached):
            await capped.issue_token(opened.id)

        await capped.destroy_token(tokens[0].id)
        await capped.issue_token(opened.id)

    @check
    async def test_what_is_over_and_what_is_borrowed_do_not_count_at_the_cap_of_tokens(self) -> None:
        capped = await self.another(Settings(max_tokens_per_session=2))
        opened, lender = await capped.open_session("ann"), await capped.open_session("bob")
        for token in [await capped.issue_token(lender.id) for _ in range(2)]:
            await capped.lend_token(token.id, borrower="ann")
        for _ in range(2):
            await capped.issue_token(opened.id, timeout=self.moment_s)
        await self.pass_moment()

        for _ in range(2):
            await capped.issue_token(opened.id)
        with refused(LimitReached):
            await capped.issue_token(opened.id)

    @check
    async def test_a_destroyed_token_stays_dead(self) -> None:
        _, token = await self.transferable()
        assert await self.tokens.destroy_token(token.secret) is True
        assert await self.tokens.destroy_token(token.id) is False

        assert await self.tokens.verify_token(token.secret) is None
        with refused(UnknownToken):
            await self.tokens.transfer_token(token.id, giver="ann", receiver="bob")

    @check
    async def test_a_retried_transfer_gets_the_same_secret(self) -> None:
        other = await self.another()
        _, token = await self.transferable()
        given = await self.tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
        again = await other.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")

        assert (again.secret, again.record) == (given.secret, given.record)
        assert await self.tokens.verify_token(given.secret) == given.record
        with refused(IdempotencyMismatch):
            await other.transfer_token(token.id, giver="ann", receiver="cyn", idempotency_key="once")

    @check
    async def test_texts_and_numbers_that_an_application_names_are_kept_as_what_they_hold(self) -> None:
        opened = await self.tokens.open_session(Word.ANN, label=Word.SEAT, acr=Mixed.SEAT, data={Word.SEAT: Mixed.SEAT})
        issued = await self.tokens.issue_token(
            opened.id, Mixed.SEAT, transferable=True, uses=Number.TWO, tag=Mixed.SEAT, scope=Word.SEAT,
            for_client=Mixed.SEAT,
        )  # fmt: skip
        await self.tokens.offer_token(issued.id, price=Number.TWO, currency=Mixed.SEAT, to=Word.BOB)
        other = await self.another()
        session, token = await other.verify_session(opened.secret), await other.verify_token(issued.secret)

        assert session is not None and token is not None
        texts = (session.owner, session.label, session.acr, token.value, token.tag, token.scope, token.for_client)
        assert texts == ("ann", "seat", "seat", "seat", "seat", "seat", "seat")
        more = (token.currency, token.reserved_for)
        assert more == ("seat", "bob")
        assert {type(each) for each in (*texts, *more)} == {str}
        assert (token.uses_left, type(token.uses_left)) == (2, int)
        assert session.data == {"seat": "seat"}
        assert [each.id for each in (await other.list_tokens(tag="seat")).items] == [issued.id]
        await other.destroy_session(opened.id, reason=Word.REVOKED)  # type: ignore[arg-type]
        left = await self.tokens.get_token(issued.id)
        assert left is not None and left.previous_owner == "ann"
