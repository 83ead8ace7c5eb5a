"""The state machine: every command, in any order and at any instant, given to the model and to each store alike.

Theory of operation. A rule draws arguments in the model's names, gives the command to the model and then to every world
(one real store each), and compares what comes back: the same record, or an error of the same name. After each step
`agree` compares everything that can be read, and `Watch` checks the invariants without asking the model. Keys are drawn
mostly from what lives, and now and then from everything that ever was: dead secrets, ended sessions, ids of the other
kind, strings that never were a key.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from session_tokens import settings as library_settings
from session_tokens.clock import ManualClock
from tests.model.choices import (
    IDEMPOTENCY_MS,
    NO_KEY,
    START_MS,
    STEPS_MS,
    USE_EVERY_MS,
    ages,
    drawn,
    general_settings,
    holders,
    idle_timeouts,
    owners,
    prices,
    session_keys,
    small_limits,
    some,
    token_keys,
    token_timeouts,
    values,
    when_a_store_is_durable,
    when_all_stores_are_durable,
    when_commands_are_kept,
    when_owners_are_disabled,
    when_sessions_are_detached,
    when_sessions_live,
    when_tokens_are_unassigned,
    when_tokens_live,
)
from tests.model.invariants import Watch
from tests.model.naive import NaiveTokens, Record, Refusal
from tests.model.worlds import Refused, StoreKind, World, in_order_of


@dataclass
class Kept:
    """A command that was given with an idempotency key, and what each world answered first."""

    command: str
    positional: tuple[Any, ...]
    named: Record
    given_at: int
    answers: list[Any]


class SessionsAndTokens(RuleBasedStateMachine):
    """The model beside one world per store in `kinds`; subclasses say which."""

    kinds: ClassVar[tuple[StoreKind, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.worlds: list[World] = []
        self.fields_written = 0
        self.commands_given = 0
        self.kept: list[Kept] = []

    @initialize(
        settings=general_settings, first=st.lists(owners, min_size=1, max_size=5), batch=st.sampled_from([500, 1, 2])
    )  # fmt: skip
    def begin(self, settings: Record, first: list[str], batch: int) -> None:
        """Small batches: what is cleaned up step by step must look done from the first step on."""
        self.limits = pytest.MonkeyPatch()
        self.batch = batch
        self.limits.setattr(library_settings, "CLEANING_BATCH", batch)
        self.clock = ManualClock(START_MS)
        self.given_settings, self.most_sessions = settings, settings["max_sessions"]
        self.model = NaiveTokens({"detached_timeout": settings["max_age"]} | settings, self.clock.now())
        self.worlds = [World(kind, settings, self.clock) for kind in self.kinds]
        self.watches = [Watch(world) for world in self.worlds]
        for owner in first:  # else most runs would be spent on a store that holds next to nothing
            self.open_session(owner, {"detachable": True})
            self.give("issue_token", self.holders_now()[0], "bound")
            self.give("issue_token", self.holders_now()[-1], "hot potato", transferable=True)

    def teardown(self) -> None:
        for world in self.worlds:
            world.close()
        if self.worlds:
            self.limits.undo()

    # What to draw from.

    def session_keys_now(self) -> list[str]:
        living = [key for s in self.model.living_sessions() for key in (s.id, s.secret) if key is not None]
        return living * 4 + list(self.worlds[0].strings) + list(NO_KEY)

    def holders_now(self) -> list[str]:
        """Sessions to issue under or to claim for: mostly living ones."""
        living = [key for s in self.model.living_sessions() for key in (s.id, s.secret) if key is not None]
        return living * 12 or self.session_keys_now()

    def token_keys_now(self) -> list[str]:
        living = [key for token in self.model.living_tokens() for key in (token.id, token.secret)]
        return living * 4 + list(self.worlds[0].strings) + list(NO_KEY)

    def unassigned_keys_now(self) -> list[str]:
        return [token.id for token in self.model.living_tokens() if token.unassigned_at is not None]

    def detached_keys_now(self) -> list[str]:
        return [session.id for session in self.model.living_sessions() if session.detached_at is not None]

    def deadlines_now(self) -> list[int]:
        """All instants to come at which something will change by itself."""
        ends = [at for session in self.model.living_sessions() for at, _ in self.model.session_deadlines(session)]
        ends += [at for token in self.model.living_tokens() for at in self.model.token_deadlines(token)]
        ends += [s.last_seen_at + s.idle_timeout // 16 for s in self.model.living_sessions() if s.idle_timeout]
        return sorted({at for at in ends if at > self.model.now}) or [self.model.now + 1]

    # Giving one command to the model and to every world.

    def give(self, command: str, *positional: Any, **named: Any) -> Any:
        try:
            expected = getattr(self.model, command)(*positional, **named)
        except Refusal as refusal:
            expected = Refused(str(refusal))
        self.commands_given += 1
        named = self.with_version(named)
        if command != "verify_session" and self.commands_given % 2:
            named["idempotency_key"] = f"key {self.commands_given}"
        answers = [world.ask(command, *positional, **named) for world in self.worlds]
        for world, answer in zip(self.worlds, answers, strict=True):
            self.compare(world, command, expected, answer)
        errors = {answer for answer in answers if isinstance(answer, Refused)}
        assert len(errors) <= 1, f"{command}: the stores refuse it with {errors}"
        if "idempotency_key" in named and not errors:
            self.kept.append(Kept(command, positional, named, self.model.now, answers))
        self.tell_events()
        self.model.advance(self.model.now)  # a changed clock may have run out already
        return expected

    def with_version(self, named: Record) -> Record:
        """The worlds count versions in their own way: hand them the pair by which they know what the model means."""
        version = named.get("version")
        return dict(named) if version is None else {**named, "version": (self.versioned, version)}

    def compare(self, world: World, command: str, expected: Any, answer: Any) -> None:
        if isinstance(expected, Refused) and isinstance(answer, Refused):
            assert answer.name in expected.name.split(" or "), f"{world.kind.name}: {command}: {answer}, not {expected}"
            return
        if isinstance(expected, dict) and "secret" in expected and not isinstance(answer, Refused):
            world.learn_issued(expected, answer)
        self.same(world, command, expected, world.in_model_terms(answer))
        if isinstance(expected, dict) and "data" in expected:
            record = getattr(answer, "record", answer)
            world.versions.setdefault((expected["id"], expected["version"]), record.version)

    def same(self, world: World, what: str, expected: Any, got: Any) -> None:
        assert comparable(got) == comparable(expected), (
            f"{world.kind.name}: {what}\n  model   {expected}\n  library {got}"
        )

    def tell_events(self) -> None:
        """I8: each change that the model made has one event in every world, and nothing else has.

        A command may sweep what it finds dead on its way (disabling an owner does), and then tells of that expiry too.
        """
        expected = Counter(self.model.events)
        self.model.events = []
        for world in self.worlds:
            told = Counter(
                (kind, id, reason if kind == "session_ended" else None)
                for kind, id, reason in world.take_events()
                if not self.told_of_expiry(world, kind, id, reason)
            )
            assert told == expected, f"{world.kind.name}: events {told - expected} too many, {expected - told} missing"

    def told_of_expiry(self, world: World, kind: str, id: str, reason: str | None) -> bool:
        """Whether an event is the one that is owed for an expiry; it is not owed any more."""
        possible = self.model.expired.get(id)
        if kind not in ("session_ended", "token_ended") or possible is None:
            return False
        assert id not in world.swept, f"{world.kind.name}: a second {kind} of {id}"
        assert kind == "token_ended" or reason in possible, f"{world.kind.name}: {id} ended {reason}, not {possible}"
        world.swept.add(id)
        return True

    # Commands on sessions. Few rules with many commands each: Hypothesis leaves out some of the rules in each run.

    @rule(
        owner=owners,
        options=some(
            idle_timeout=idle_timeouts, max_age=ages, label=st.just("phone"), data=st.just({"a": 1}),
            detached_timeout=ages, detachable=st.sampled_from([True, True, True, False]),
        ),
    )  # fmt: skip
    def open_session(self, owner: str, options: Record) -> None:
        parked = len(self.model.parked(owner))
        self.give("open_session", owner, **options)
        if parked >= self.batch:  # those that have not joined stay parked until a sweep
            self.sweep_everything(1000)

    @precondition(when_sessions_live)
    @rule(key=session_keys, wait_ms=st.sampled_from(USE_EVERY_MS), times=st.integers(1, 3))
    def use_session(self, key: str, wait_ms: int, times: int) -> None:
        for _ in range(times):
            self.give("verify_session", key)
            self.move_to(self.model.now + wait_ms)

    @precondition(when_sessions_live)
    @rule(key=session_keys)
    def rotate_session(self, key: str) -> None:
        self.give("rotate_session", key)

    @precondition(when_sessions_live)
    @rule(key=session_keys, twice=st.booleans())
    def detach_session(self, key: str, twice: bool) -> None:
        self.give("detach_session", key)
        if twice:
            self.give("detach_session", key)

    @precondition(when_sessions_live)
    @rule(key=session_keys, options=some(reason=st.sampled_from(["theft", "revoked", "evicted"])))
    def destroy_session(self, key: str, options: Record) -> None:
        self.give("destroy_session", key, **options)

    @precondition(when_sessions_are_detached)
    @rule(key=st.one_of(drawn("detached_keys_now"), drawn("detached_keys_now"), session_keys))
    def attach_session(self, key: str) -> None:
        self.give("attach_session", key)

    @precondition(when_sessions_live)
    @rule(
        key=session_keys,
        changes=some(
            idle_timeout=idle_timeouts, max_age=ages, detached_timeout=ages, label=st.just("other"),
            detachable=st.booleans(),
        ),
    )  # fmt: skip
    def change_session(self, key: str, changes: Record) -> None:
        if changes:
            self.give("change_session", key, **changes)

    @precondition(when_sessions_live)
    @rule(
        key=session_keys, names=st.sets(st.sampled_from("abc"), min_size=1), remove=st.booleans(),
        nothing=st.booleans(), behind=st.integers(0, 3),
    )  # fmt: skip
    def update_session_data(self, key: str, names: set[str], remove: bool, nothing: bool, behind: int) -> None:
        """Every value is new or none, so that each write is a change; what is there is removed, what is not written."""
        session = next((s for s in self.model.living_sessions() if key in (s.id, s.secret)), None)
        self.fields_written += 1
        removed = sorted(name for name in names if session is not None and remove and name in session.data)
        changes: Record = dict.fromkeys(sorted(names - set(removed)), None if nothing else self.fields_written)
        self.versioned = session and session.id
        version = None if session is None or behind == 0 else max(1, session.version - behind + 1)
        self.give("update_session_data", key, changes, removed=removed, version=version)

    @precondition(when_sessions_live)
    @rule(owner=owners, kept=st.one_of(st.none(), session_keys), honest=st.booleans())
    def destroy_sessions(self, owner: str, kept: str | None, honest: bool) -> None:
        session = next((s for s in self.model.living_sessions() if kept in (s.id, s.secret)), None)
        self.give("destroy_sessions", session.owner if honest and session else owner, except_session=kept)

    @rule(owner=owners, briefly=st.booleans())
    def disable_owner(self, owner: str, briefly: bool) -> None:
        self.give("disable_owner", owner)
        if briefly:
            self.give("enable_owner", owner)

    @precondition(when_owners_are_disabled)
    @rule(owner=owners)
    def enable_owner(self, owner: str) -> None:
        self.give("enable_owner", owner)

    # Commands on tokens.

    @rule(
        key=st.one_of(holders, holders, st.none()), value=values, transferable=st.booleans(),
        options=some(timeout=token_timeouts, disownment_timeout=token_timeouts),
    )  # fmt: skip
    def issue_token(self, key: str | None, value: Any, transferable: bool, options: Record) -> None:
        self.give("issue_token", key, value, transferable=transferable, **options)

    @precondition(when_sessions_live)
    @rule(key=holders, options=some(timeout=token_timeouts, disownment_timeout=token_timeouts))
    def issue_transferable_token(self, key: str, options: Record) -> None:
        self.give("issue_token", key, "hot potato", transferable=True, **options)

    @precondition(when_tokens_live)
    @rule(key=token_keys, giver=st.one_of(st.none(), owners), receiver=owners, honest=st.sampled_from([1, 1, 1, 0]))
    def transfer_token(self, key: str, giver: str | None, receiver: str, honest: int) -> None:
        token = next((token for token in self.model.living_tokens() if key in (token.id, token.secret)), None)
        if honest and token is not None:
            giver = token.owner or token.previous_owner
        self.give("transfer_token", key, giver=giver, receiver=receiver)

    @precondition(when_tokens_live)
    @rule(key=token_keys, session_key=holders)
    def claim_token(self, key: str, session_key: str) -> None:
        self.give("claim_token", key, session_key=session_key)

    @precondition(when_tokens_are_unassigned)
    @rule(key=drawn("unassigned_keys_now"), session_key=holders, receiver=owners, by_transfer=st.booleans())
    def take_unassigned_token(self, key: str, session_key: str, receiver: str, by_transfer: bool) -> None:
        if by_transfer:
            self.give("transfer_token", key, giver=None, receiver=receiver)
        else:
            self.give("claim_token", key, session_key=session_key)

    @precondition(when_tokens_live)
    @rule(key=token_keys, owner=owners, honest=st.booleans())
    def reissue_token(self, key: str, owner: str, honest: bool) -> None:
        token = next((token for token in self.model.living_tokens() if key in (token.id, token.secret)), None)
        self.give("reissue_token", key, owner=token.owner if honest and token and token.owner else owner)

    @precondition(when_tokens_live)
    @rule(key=token_keys, price=prices, currency=st.sampled_from([None, "EUR"]), gift=st.booleans())
    def offer_token(self, key: str, price: Decimal | None, currency: str | None, gift: bool) -> None:
        self.give("offer_token", key, price=price, currency=currency, gift=gift)

    @precondition(when_tokens_live)
    @rule(key=token_keys, command=st.sampled_from(["withdraw_token", "destroy_token"]))
    def use_token(self, key: str, command: str) -> None:
        self.give(command, key)

    @precondition(when_tokens_live)
    @rule(key=token_keys, changes=some(timeout=token_timeouts, disownment_timeout=token_timeouts, value=st.just("new")))
    def change_token(self, key: str, changes: Record) -> None:
        if changes:
            self.give("change_token", key, **changes)

    # Retries: for a day the first answer, its secret too, whatever has happened since; and nothing changes.

    def kept_now(self) -> list[int]:
        return [n for n, kept in enumerate(self.kept) if self.model.now < kept.given_at + IDEMPOTENCY_MS]

    @precondition(when_commands_are_kept)
    @rule(which=drawn("kept_now"))
    def retry(self, which: int) -> None:
        kept = self.kept[which]
        for world, first in zip(self.worlds, kept.answers, strict=True):
            again = world.ask(kept.command, *kept.positional, **kept.named)
            self.same(world, f"retry of {kept.command}", world.in_model_terms(first), world.in_model_terms(again))
        self.tell_events()

    @precondition(when_commands_are_kept)
    @rule(which=drawn("kept_now"), owner=owners)
    def reuse_an_idempotency_key(self, which: int, owner: str) -> None:
        """The same key with another request is refused."""
        kept = self.kept[which]
        if kept.command in ("open_session", "disable_owner", "enable_owner") and owner != kept.positional[0]:
            for world in self.worlds:
                again = world.ask(kept.command, owner, **kept.named)
                assert again == Refused("IdempotencyMismatch"), f"{world.kind.name}: {kept.command} again: {again}"
            self.tell_events()

    # Time, sweeping, restarting.

    def move_to(self, now: int) -> None:
        self.clock.advance(ms=now - self.clock.now())
        assert self.clock.now() == now
        self.model.advance(now)

    @rule(step_ms=st.sampled_from(STEPS_MS))
    def pass_time(self, step_ms: int) -> None:
        self.move_to(self.model.now + step_ms)

    @rule(which=drawn("deadlines_now"), offset_ms=st.sampled_from([-1, 0, 1]))
    def pass_time_to_a_deadline(self, which: int, offset_ms: int) -> None:
        self.move_to(max(self.model.now, which + offset_ms))

    def sweep_once(self, world: World, limit: int) -> int:
        swept: int = world.store.sweep(limit=limit)
        assert 0 <= swept <= limit, f"{world.kind.name}: swept {swept} of at most {limit}"
        for event in world.take_events():
            assert self.told_of_expiry(world, *event), f"{world.kind.name}: {event} while sweeping, which is no expiry"
        return swept

    @rule(limit=small_limits)
    def sweep_a_little(self, limit: int) -> None:
        for world in self.worlds:
            self.sweep_once(world, limit)

    @rule(limit=st.sampled_from([1, 1000]))
    def sweep_everything(self, limit: int) -> None:
        for world in self.worlds:
            rounds = 0
            while self.sweep_once(world, limit):
                rounds += 1
                assert rounds < 1000, f"{world.kind.name}: sweeping never comes to an end"
            untold = set(self.model.expired) - self.model.may_stay_silent - world.swept
            assert not untold, f"{world.kind.name}: swept, and no event for {untold}"

    @precondition(when_a_store_is_durable)
    @rule()
    def restart(self) -> None:
        for world in self.worlds:
            if world.kind.durable:
                world.restart(self.given_settings)

    @precondition(when_all_stores_are_durable)
    @rule(settings=general_settings)
    def restart_with_other_settings(self, settings: Record) -> None:
        """Other general values hold for what is made later, and the cap for the next opening."""
        self.given_settings = settings
        caps = (self.most_sessions, settings["max_sessions"])  # a lower cap waits for the owner's next opening
        self.most_sessions = None if None in caps else max(caps)
        self.model.settings = {"detached_timeout": settings["max_age"]} | settings
        for world in self.worlds:
            world.restart(settings)

    # Reading.

    @rule(limit=small_limits, owner=st.one_of(st.none(), owners), detached=st.sampled_from([None, True, False]))
    def list_sessions_in_small_pages(self, limit: int, owner: str | None, detached: bool | None) -> None:
        filters = {"owner": owner} | ({} if detached is None else {"detached": detached})
        self.same_listing("list_sessions", limit, filters)

    @rule(limit=small_limits, filters=some(owner=owners, transferable=st.booleans(), sellable=st.booleans(),
                                           unassigned=st.booleans(), session=session_keys))  # fmt: skip
    def list_tokens_in_small_pages(self, limit: int, filters: Record) -> None:
        if filters.get("session", "s1") in self.model.sessions:  # by id; a living session or one that has ended
            self.same_listing("list_tokens", limit, filters)

    def same_listing(self, command: str, limit: int, filters: Record) -> None:
        expected = getattr(self.model, command)(**filters)
        for world in self.worlds:
            got = [world.in_model_terms(record) for record in world.listed(command, limit, **filters)]
            self.same(world, f"{command} {filters}", in_order_of(world, self.model, expected), got)

    @invariant()
    def agree(self) -> None:
        if not self.worlds:
            return
        self.same_listing("list_sessions", 500, {})
        self.same_listing("list_tokens", 500, {})
        for world in self.worlds:
            for name, string in [*world.strings.items(), *world.strangers.items(), ("", "")]:
                for command in ("verify_session", "verify_token", "get_session", "get_token"):
                    quietly = {"touch": False} if command == "verify_session" else {}
                    got = world.in_model_terms(getattr(world.store, command)(string, **quietly))
                    self.same(world, f"{command} {name}", getattr(self.model, command)(name, **quietly), got)
            assert not world.take_events(), f"{world.kind.name}: reading told of an event"

    @invariant()
    def invariants_hold(self) -> None:
        for watch in getattr(self, "watches", []):
            watch.check(self.most_sessions)


def comparable(answer: Any) -> Any:
    """Leave out what each side counts in its own way."""
    if isinstance(answer, list):
        return [comparable(item) for item in answer]
    if isinstance(answer, dict) and "data" in answer:
        same = {name: value for name, value in answer.items() if name != "version"}
        return same if answer["idle_timeout"] is not None else same | {"last_seen_at": None}
    return answer
