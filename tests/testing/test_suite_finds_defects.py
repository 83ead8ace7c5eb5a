"""The suite can fail: stores with one defect each are found out by the check that is named beside the defect."""

from __future__ import annotations

from typing import Any

import pytest

from session_tokens.clock import NEVER
from session_tokens.contract.queries import Count, Members, Scan, Snapshot, TokenResult
from session_tokens.contract.store import BlockingStore
from session_tokens.testing.checks.late import LateChecks
from session_tokens.testing.conformance import BlockingStoreConformance
from session_tokens.testing.harness import checks_of
from tests.helpers.tiny_store import tiny_store_class

Tiny = tiny_store_class()


def is_of(query: Any, name: str) -> bool:
    """Whether a query asks for the members of a set."""
    return isinstance(query, Members) and query.what == name


class ForgetsTheLimit(Tiny):  # type: ignore[misc, valid-type]  # the class of the page has no types
    def answer(self, query: Any) -> Any:
        if is_of(query, "tokens_of"):
            query = query._replace(limit=None)
        return super().answer(query._replace(limit=10**9) if isinstance(query, Scan) else query)


class ForgetsThePlace(Tiny):  # type: ignore[misc, valid-type]
    def answer(self, query: Any) -> Any:
        if isinstance(query, Scan) and query.after is not None:
            return []
        return super().answer(query)


class ListsBackwards(Tiny):  # type: ignore[misc, valid-type]
    def answer(self, query: Any) -> Any:
        answer = super().answer(query)
        return answer[::-1] if isinstance(query, Scan) else answer


class LeavesOutWhatIsOver(Tiny):  # type: ignore[misc, valid-type]
    def answer(self, query: Any) -> Any:
        answer = super().answer(query)
        now = self.clock.now()
        return [session for session in answer if now < session.deadline] if is_of(query, "sessions_of") else answer


class LeavesOutDetached(Tiny):  # type: ignore[misc, valid-type]
    def answer(self, query: Any) -> Any:
        answer = super().answer(query)
        return [session for session in answer if not session.is_detached] if is_of(query, "sessions_of") else answer


class BringsNoEntryAlong(Tiny):  # type: ignore[misc, valid-type]
    def answer(self, query: Any) -> Any:
        answer = super().answer(query)
        return answer._replace(entry=None) if isinstance(answer, TokenResult) else answer


class CountsBoundTokensOnly(Tiny):  # type: ignore[misc, valid-type]
    def answer(self, query: Any) -> Any:
        if query == Count("tokens_of", query[1]):
            return sum(not token.is_transferable for token in super().answer(Members("tokens_of", query.whose, None)))
        return super().answer(query)


class ParksNothing(Tiny):  # type: ignore[misc, valid-type]
    def answer(self, query: Any) -> Any:
        return [] if is_of(query, "parked_tokens") else super().answer(query)


class ForgetsOutcomes(Tiny):  # type: ignore[misc, valid-type]
    def answer(self, query: Any) -> Any:
        return None if query[0] == "idempotency" else super().answer(query)


class KeepsDeletedSettings(Tiny):  # type: ignore[misc, valid-type]
    def put(self, kind: str, id: str, record: Any) -> None:
        if kind != "settings" or record is not None:
            super().put(kind, id, record)


class CutsLongTexts(Tiny):  # type: ignore[misc, valid-type]
    def put(self, kind: str, id: str, record: Any) -> None:
        if kind == "tokens" and record is not None:
            record = record.replace(text=record.text.strip())
        super().put(kind, id, record)


class TellsNothing(Tiny):  # type: ignore[misc, valid-type]
    def commit_now(self, commit: Any) -> Any:
        commit.changes.notes.clear()
        return super().commit_now(commit)


class CommitsHalf(Tiny):  # type: ignore[misc, valid-type]
    def commit_now(self, commit: Any) -> Any:
        del commit.changes.tokens[600:]
        return super().commit_now(commit)


class NeverLooksAtStamps(Tiny):  # type: ignore[misc, valid-type]
    def commit_now(self, commit: Any) -> Any:
        commit.stamps.clear()
        return super().commit_now(commit)


class NeverLooksAtTheClock(Tiny):  # type: ignore[misc, valid-type]
    def commit_now(self, commit: Any) -> Any:
        commit.changes.not_after = NEVER
        return super().commit_now(commit)


class RefusesLateEnds(Tiny):  # type: ignore[misc, valid-type]
    def commit_now(self, commit: Any) -> Any:
        now, changes = self.clock.now(), commit.changes
        return all(now < old.deadline for old, _ in changes.sessions if old) and super().commit_now(commit)


class ReadsOneByOne(Tiny):  # type: ignore[misc, valid-type]
    def read_now(self, queries: Any) -> Any:
        answers = [super(ReadsOneByOne, self).read_now([query]) for query in reversed(queries)]
        return Snapshot(self.clock.now(), [answer.found[0] for answer in answers])


class StandsStill(Tiny):  # type: ignore[misc, valid-type]
    def read_now(self, queries: Any) -> Any:
        self.first = getattr(self, "first", self.clock.now())
        return super().read_now(queries)._replace(now=self.first)


class IsDueTooEarly(Tiny):  # type: ignore[misc, valid-type]
    def due_now(self, now: int, limit: int) -> Any:
        return super().due_now(now + 1, limit)


class IsDueWithoutLimit(Tiny):  # type: ignore[misc, valid-type]
    def due_now(self, now: int, limit: int) -> Any:
        return super().due_now(now, 10**9)


class StaysOpen(Tiny):  # type: ignore[misc, valid-type]
    def check_open(self) -> None:
        pass


class BelievesTheDead(Tiny):  # type: ignore[misc, valid-type]
    """A session that was ended is found by its secret for ever."""

    def put(self, kind: str, id: str, record: Any) -> None:
        former = self.kept[kind].get(id)
        if kind == "sessions" and record is not None and record.lookup is None and former is not None:
            record = record.replace(lookup=former.lookup)
        super().put(kind, id, record)


class MixesUpQuestions(Tiny):  # type: ignore[misc, valid-type]
    def answer(self, query: Any) -> Any:
        if query[0] in ("session", "token") and query.key.endswith("x"):
            return None
        return super().answer(query)


class ForgetsWhatIsDue(Tiny):  # type: ignore[misc, valid-type]
    def answer(self, query: Any) -> Any:
        if query[0] == "due":
            return []
        answer = super().answer(query)
        return [each for each in answer if each.token.is_unassigned] if query[0] == "tokens" else answer


class KeepsOneEventOfACommit(Tiny):  # type: ignore[misc, valid-type]
    def commit_now(self, commit: Any) -> bool:
        commit.changes.events = commit.changes.events[:1]
        return bool(super().commit_now(commit))


class ForgetsWhatItTookAway(Tiny):  # type: ignore[misc, valid-type]
    def read_events_now(self, after: Any, limit: int) -> Any:
        return super().read_events_now(after, limit)._replace(trimmed=(0, 0))


class ShowsALogAgain(Tiny):  # type: ignore[misc, valid-type]
    def read_events_now(self, after: Any, limit: int) -> Any:
        return super().read_events_now((0, 0) if limit == 3 else after, limit)


class BelievesEveryPlace(Tiny):  # type: ignore[misc, valid-type]
    def read_events_now(self, after: Any, limit: int) -> Any:
        return super().read_events_now(after, limit)._replace(newest=(2**64, 0))


DEFECTS = [
    (ForgetsTheLimit, "test_the_tokens_of_a_session_come_oldest_first_up_to_the_limit"),
    (ForgetsTheLimit, "test_a_listing_answers_no_more_than_its_limit_and_no_less_than_there_is"),
    (ForgetsThePlace, "test_a_listing_reads_far_beyond_what_does_not_match"),
    (ListsBackwards, "test_sessions_are_listed_in_order_of_creation_page_by_page"),
    (LeavesOutWhatIsOver, "test_the_sessions_of_an_owner_hold_those_whose_time_is_over"),
    (LeavesOutDetached, "test_the_sessions_of_an_owner_are_those_that_were_not_ended_oldest_first"),
    (BringsNoEntryAlong, "test_a_token_comes_back_with_its_session_and_the_owners_entry"),
    (CountsBoundTokensOnly, "test_the_tokens_of_a_session_come_oldest_first_up_to_the_limit"),
    (ParksNothing, "test_a_parked_token_verifies_and_joins_the_next_session"),
    (ForgetsOutcomes, "test_a_retry_with_its_idempotency_key_gets_the_first_outcome"),
    (KeepsDeletedSettings, "test_a_setting_is_what_was_written_last"),
    (CutsLongTexts, "test_values_come_back_verbatim"),
    (TellsNothing, "test_events_are_told_after_the_commit_once_with_its_instant"),
    (CommitsHalf, "test_a_rule_may_write_much_at_once"),
    (NeverLooksAtStamps, "test_now_no_count_is_lost"),
    *[(NeverLooksAtTheClock, name) for name in checks_of(LateChecks) if "may_come_late" not in name],
    (NeverLooksAtTheClock, "test_now_a_touch_that_comes_late_brings_nobody_back"),
    (RefusesLateEnds, "test_ends_may_come_late"),
    (ReadsOneByOne, "test_many_wants_are_answered_in_their_order"),
    (StandsStill, "test_the_time_is_the_stores_and_never_goes_back"),
    (StandsStill, "test_a_session_is_over_when_its_time_is_swept_or_not"),
    (IsDueTooEarly, "test_a_session_is_due_at_its_deadline_and_not_before"),
    (IsDueTooEarly, "test_a_token_is_due_at_its_deadline_and_not_before"),
    (IsDueWithoutLimit, "test_no_more_is_due_than_was_asked_for_and_the_longest_due_first"),
    (StaysOpen, "test_a_closed_store_says_so_and_never_answers_less"),
    (BelievesTheDead, "test_an_ended_session_is_found_by_its_id_and_not_by_its_secret"),
    (KeepsOneEventOfACommit, "test_what_is_kept_is_what_callbacks_are_told"),
    (ForgetsWhatItTookAway, "test_what_is_kept_is_capped_and_a_follower_is_told_of_the_gap"),
    (ShowsALogAgain, "test_a_page_goes_on_where_the_one_before_ended"),
    (BelievesEveryPlace, "test_who_comes_from_another_log_is_told_so"),
    (MixesUpQuestions, "test_what_is_not_there_is_none_or_empty"),
    (ForgetsWhatIsDue, "test_a_token_whose_session_is_over_is_listed_as_unassigned_before_any_sweep"),
    (ForgetsWhatIsDue, "test_tokens_of_sessions_that_ended_in_one_write_are_unassigned_before_any_sweep"),
]


@pytest.mark.parametrize(("store", "name"), DEFECTS, ids=lambda part: getattr(part, "__name__", part))
def test_a_defect_is_found(store: Any, name: str) -> None:
    class Suite(BlockingStoreConformance):
        opens_again = False

        def open_store_now(self) -> BlockingStore:
            opened: BlockingStore = store(self.clock)
            return opened

    with pytest.raises((AssertionError, AttributeError, TypeError)):  # a compiled core asks what kind of answer it got
        getattr(Suite(), name)()
