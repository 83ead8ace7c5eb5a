"""What the state machine stands on: a command given to the model and to each store, compared, and time moved on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from session_tokens import Forgotten
from session_tokens import settings as library_settings
from session_tokens.clock import ManualClock
from tests.model.choices import (
    IDEMPOTENCY_MS,
    NO_KEY,
    START_MS,
    STEPS_MS,
    drawn,
    general_settings,
    owners,
    small_limits,
)
from tests.model.invariants import Watch
from tests.model.naive import NaiveTokens, Record, Refusal
from tests.model.worlds import Refused, StoreKind, World

NAMED = ("owner", "previous_owner", "reserved_for", "borrower")
"""The fields of records that name owners."""


@dataclass
class Kept:
    """A command that was given with an idempotency key, and what was answered first, in the model's terms."""

    command: str
    positional: tuple[Any, ...]
    named: Record
    given_at: int
    answers: list[Any]

    def rename(self, owner: str, to: str, *, is_forgotten: bool) -> None:
        """Name an owner anew in what was answered; of who is forgotten it tells no more than that."""
        for answer in self.answers:
            if isinstance(answer, dict):
                is_theirs = answer.get("owner") == owner and "data" in answer
                named = {field: to for field in NAMED if answer.get(field) == owner}
                answer.update(named | ({"data": {}, "label": None} if is_theirs and is_forgotten else {}))


class MachineCore(RuleBasedStateMachine):
    """The model beside one world per store in `kinds`, what to draw from, and how time goes on.

    Attributes:
        close_every: of so many steps one is looked at closely: every string that was ever given out, every listing and
            all invariants. The others compare the command's answer, the events, the whole listings, and all reads of
            what lives or lived a step ago. A server is asked some two hundred questions by a close look.
        lived: the model's names of what lived when it was last looked at.
    """

    kinds: ClassVar[tuple[StoreKind, ...]]
    close_every: ClassVar[int] = 1
    versioned: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.worlds: list[World] = []
        self.fields_written = 0
        self.commands_given = 0
        self.kept: list[Kept] = []
        self.steps = 0
        self.lived: list[str] = []

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
            self.give("open_session", owner, detachable=True)
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
        living = [key for token in self.model.living_tokens() for key in (token.id, token.secret) if key is not None]
        living += [loan.secret for _, loan in self.model.living_loans()]
        return living * 4 + list(self.worlds[0].strings) + list(NO_KEY)

    def transferable_keys_now(self) -> list[str]:
        keys = [token.id for token in self.model.living_tokens() if token.kind == "transferable"]
        return keys or self.token_keys_now()

    def unassigned_keys_now(self) -> list[str]:
        return [token.id for token in self.model.living_tokens() if token.unassigned_at is not None]

    def owned_keys_now(self) -> list[str]:
        return [token.id for token in self.model.living_tokens() if token.owner is not None]

    def offered_keys_now(self) -> list[str]:
        return [token.id for token in self.model.living_tokens() if token.listed]

    def counted_keys_now(self) -> list[str]:
        """Of tokens whose uses are counted: their ids, secrets and those of their loans, used up ones too."""
        counted = [token for token in self.model.tokens.values() if token.uses_left is not None]
        keys = [key for token in counted for key in (token.id, token.secret)]
        keys += [loan.secret for token, loan in self.model.living_loans() if token.uses_left is not None]
        return [key for key in keys if key in self.worlds[0].strings]

    def detached_keys_now(self) -> list[str]:
        return [session.id for session in self.model.living_sessions() if session.detached_at is not None]

    def former_secrets_now(self) -> list[str]:
        return [secret for session in self.model.living_sessions() for secret, _ in session.former]

    def deadlines_now(self) -> list[int]:
        """All instants to come at which something will change by itself."""
        ends = [at for session in self.model.living_sessions() for at, _ in self.model.session_deadlines(session)]
        ends += [at for token in self.model.living_tokens() for at in self.model.token_deadlines(token)]
        ends += [loan.until for _, loan in self.model.living_loans() if loan.until is not None]
        ends += [token.reserved_until for token in self.model.living_tokens() if token.reserved_until is not None]
        ends += [until for session in self.model.living_sessions() for _, until in session.former]
        ends += [s.last_seen_at + s.idle_timeout // 16 for s in self.model.living_sessions() if s.idle_timeout]
        return sorted({at for at in ends if at > self.model.now}) or [self.model.now + 1]

    def kept_now(self) -> list[int]:
        return [n for n, kept in enumerate(self.kept) if self.model.now < kept.given_at + IDEMPOTENCY_MS]

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
        if "idempotency_key" in named and not errors and answers[0] is not None:  # None: nothing to claim
            first = [world.in_model_terms(answer) for world, answer in zip(self.worlds, answers, strict=True)]
            self.kept.append(Kept(command, positional, named, self.model.now, first))
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
        if isinstance(answer, Forgotten):
            world.learn(expected["pseudonym"], answer.pseudonym)
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


def comparable(answer: Any) -> Any:
    """Leave out what each side counts in its own way."""
    if isinstance(answer, list):
        return [comparable(item) for item in answer]
    if isinstance(answer, dict) and "data" in answer:
        same = {name: value for name, value in answer.items() if name != "version"}
        return same if answer["idle_timeout"] is not None else same | {"last_seen_at": None}
    return answer
