"""What the record cache remembers, and when it is not asked."""

from __future__ import annotations

from session_tokens.contract.record_cache import IDS_MAX, REFUSALS_MAX, SEEN_MAX, RecordCache
from session_tokens.stores.common.seen_parts import NAMES, TEXT_MAX, SeenParts


def made() -> RecordCache:
    return RecordCache(lambda: 0, NAMES)


def test_a_large_text_is_not_kept_and_a_large_set_neither() -> None:
    seen = SeenParts(lambda: 0, str)
    for name, length in (("a", TEXT_MAX), ("b", TEXT_MAX + 1)):
        seen.saw(("setting", name), "1", "x" * length, length)
    seen.saw_set("few", None, ["s"] * IDS_MAX)
    seen.saw_set("many", None, ["s"] * (IDS_MAX + 1))

    assert seen.get(("setting", "a")) == (None, "1", "x" * TEXT_MAX)
    assert seen.get("few") == (None, None, ["s"] * IDS_MAX)
    assert seen.get(("setting", "b")) is None and seen.get("many") is None
    seen.saw(("setting", "a"), "2", "x" * (TEXT_MAX + 1), TEXT_MAX + 1)
    assert seen.get(("setting", "a")) is None


def test_what_is_remembered_is_bounded() -> None:
    record_cache = made()
    for number in range(5 * SEEN_MAX):
        record_cache.keep(number, (None, "1", number))

    assert sum(record_cache.get(number) is not None for number in range(5 * SEEN_MAX)) <= 2 * SEEN_MAX


def test_wrong_guesses_make_more_and_more_commands_read_first_and_right_ones_fewer() -> None:
    record_cache = made()

    def rule(tx: object) -> int:
        tx.put_setting("name", "text")  # type: ignore[attr-defined]  # of a transaction
        return 7

    def reads_first() -> int:
        return next(number for number in range(1000) if record_cache.cached_run(rule, ()) is not None)

    assert reads_first() == 0
    spans = []
    for _ in range(REFUSALS_MAX + 2):
        record_cache.was_wrong()
        spans.append(reads_first())
    assert spans == [1, 3, 7, 15, 31, 63, 63, 63]
    record_cache.was_right()
    record_cache.was_right()
    record_cache.was_wrong()
    assert reads_first() == 31


def test_a_rule_that_asks_for_what_was_not_seen_is_tried_less_and_less_until_it_finds_it() -> None:
    record_cache, runs = made(), list[int]()

    def rule(tx: object) -> None:
        runs.append(1)
        tx.session("s1")  # type: ignore[attr-defined]  # of a transaction
        tx.put_setting("name", "text")  # type: ignore[attr-defined]

    assert not any(record_cache.cached_run(rule, ()) for _ in range(300))
    assert 30 < len(runs) < 50
    record_cache.keep(("session", "s1"), (None, "1", None))
    assert sum(record_cache.cached_run(rule, ()) is not None for _ in range(300)) > 290
