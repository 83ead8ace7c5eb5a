"""The state machine: every command, in any order and at any instant, given to the model and to each store alike.

Theory of operation. A rule draws arguments in the model's names, gives the command to the model and then to every world
(one real store each), and compares what comes back: the same record, or an error of the same name. After each step
`agree` compares what can be read, and `Watch` checks the invariants without asking the model (`close_every` says in
which steps all of it). Keys are drawn mostly from what lives, and now and then from everything that ever was: dead
secrets, ended sessions, ids of the other kind, strings that never were a key.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from tests.model.choices import (
    USE_EVERY_MS,
    ages,
    drawn,
    general_settings,
    idle_timeouts,
    owners,
    session_keys,
    small_limits,
    some,
    when_a_store_is_durable,
    when_all_stores_are_durable,
    when_commands_are_kept,
    when_owners_are_disabled,
    when_secrets_are_former,
    when_sessions_are_detached,
    when_sessions_live,
)
from tests.model.naive import Record
from tests.model.naive_sessions import pseudonym_of
from tests.model.token_rules import TokenRules
from tests.model.worlds import Refused, in_order_of

READS: list[tuple[str, Record]] = [
    ("verify_session", {"touch": False}), ("verify_token", {}), ("get_session", {}), ("get_token", {}),
]  # fmt: skip


class SessionsAndTokens(TokenRules):
    """All commands; subclasses say on which stores."""

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
    @rule(key=session_keys, grace=st.sampled_from([None, 1_000, 5_000, 60_000]), times=st.integers(1, 6))
    def rotate_session(self, key: str, grace: int | None, times: int) -> None:
        """With grace also again, and so often that the oldest secrets are forgotten."""
        for _ in range(1 if grace is None else times):
            issued = self.give("rotate_session", key, **({} if grace is None else {"grace": grace}))
            if times > 2 and isinstance(issued, dict):
                key = issued["secret"]

    @precondition(when_secrets_are_former)
    @rule(key=drawn("former_secrets_now"), renewed=st.booleans())
    def use_a_former_secret(self, key: str, renewed: bool) -> None:
        """It is good for a while, and then ends the session."""
        if renewed:
            self.give("rotate_session", key, grace=5_000)
        else:
            self.give("verify_session", key)

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

    @rule(owner=owners, to=st.one_of(st.none(), owners))
    def call_otherwise(self, owner: str, to: str | None) -> None:
        """An owner gets another name, or is forgotten; what was answered before names them so too."""
        if owner == to:
            return
        if to is None:
            self.give("forget_owner", owner)
        elif isinstance(self.give("rename_owner", owner, to), Refused):
            return
        for kept in self.kept:
            kept.rename(owner, to or pseudonym_of(owner), is_forgotten=to is None)

    # Retries: for a day the first answer, its secret too, whatever has happened since; and nothing changes.

    @precondition(when_commands_are_kept)
    @rule(which=drawn("kept_now"))
    def retry(self, which: int) -> None:
        kept = self.kept[which]
        for world, first in zip(self.worlds, kept.answers, strict=True):
            again = world.ask(kept.command, *kept.positional, **kept.named)
            self.same(world, f"retry of {kept.command}", first, world.in_model_terms(again))
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

    @rule(
        limit=small_limits,
        filters=some(
            owner=owners,
            transferable=st.booleans(),
            sellable=st.booleans(),
            unassigned=st.booleans(),
            tag=st.just("job"),
            session=session_keys,
        ),
    )
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
        """Compare what can be read: everything in a step that is looked at closely, else what lives or just lived."""
        if not self.worlds:
            return
        self.steps += 1
        self.same_listing("list_sessions", 500, {})
        self.same_listing("list_tokens", 500, {})
        stolen = self.model.stolen_secrets()  # to look with one of these would end a session
        names = [name for name in self.worlds[0].strings if name not in stolen]
        living = [name for name in names if self.lives(name)]
        recent = [name for name in names if name in living or name in self.lived]
        self.lived = living
        for name in [*names, *self.worlds[0].strangers, ""] if self.is_close else recent:
            self.same_reads(name)
        for world in self.worlds:
            assert not world.take_events(), f"{world.kind.name}: reading told of an event"

    @property
    def is_close(self) -> bool:
        return self.steps % self.close_every == 0

    def lives(self, name: str) -> bool:
        return any(getattr(self.model, command)(name, **how) is not None for command, how in READS)

    def same_reads(self, name: str) -> None:
        for command, how in READS:
            expected = getattr(self.model, command)(name, **how)
            for world in self.worlds:
                got = world.in_model_terms(getattr(world.store, command)(world.string_of(name), **how))
                self.same(world, f"{command} {name}", expected, got)

    @invariant()
    def invariants_hold(self) -> None:
        if self.is_close:
            for watch in getattr(self, "watches", []):
                watch.left_alone = self.model.stolen_secrets()
                watch.check(self.most_sessions)
