"""The command that shows events, follows them, and has a store keep them or not."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from .._sync.api import SessionTokens
from ..errors import StoreError
from ..events import Event
from . import exits
from .commands import opened, say_what_is_missing
from .exits import UsageError
from .going_together import insist_on_nothing_else
from .output import print_json, print_row, print_table

COLUMNS = ("at", "kind", "subject_id", "owner", "reason", "id")
EVENTS_AT_ONCE = 100
LONGEST_WAIT_S = 5.0
ENDED_WITHIN_S = 5.0
"""How long it may take to leave off tidily, once somebody has interrupted it."""


def events(options: Namespace) -> int:
    """Show a page of events, follow them, or switch them on or off."""
    if options.name is not None and not options.follow:
        raise UsageError("--name goes with --follow")
    if options.switch is not None:
        switch = "--on" if options.switch == "durable" else "--off"
        insist_on_nothing_else(options, switch, "--follow", "--after", "--owner", "--limit")
    if options.limit is not None and options.follow:
        raise UsageError("--limit is of a page; --follow prints all that come, so leave one of them out")
    with opened(options) as tokens:
        if options.switch is not None:
            return _switch(options, tokens)
        if options.follow:
            with _ended_when_interrupted():
                return _follow(options, tokens)
        page = tokens.events(
            after=options.after, owner=options.owner, limit=EVENTS_AT_ONCE if options.limit is None else options.limit
        )
    shown = [event.to_dict() for event in page]
    if options.json:
        print_json({"events": shown, "next": page.after, "unreadable": list(page.unreadable)})
    else:
        print_table(COLUMNS, shown)
        say_what_is_missing(page)
    return exits.OK


def _switch(options: Namespace, tokens: SessionTokens) -> int:
    tokens.set_setting("events", options.switch)
    if options.json:
        print_json({"events": options.switch})
    else:
        print(f"events are {options.switch} from now on; processes that are open see it within 30 s")
    return exits.OK


def _follow(options: Namespace, tokens: SessionTokens) -> int:
    """Print events as they come, until interrupted; a store that is away for a while ends nothing."""
    wait_s = 0.5
    with tokens.follow_events(after=options.after, name=options.name, owner=options.owner) as follower:
        while True:
            try:
                for event in follower.next_few():
                    _say(options, event)
                wait_s = 0.5
            except StoreError:
                if wait_s > LONGEST_WAIT_S:
                    raise
                time.sleep(wait_s)
                wait_s *= 2


@contextmanager
def _ended_when_interrupted() -> Iterator[None]:
    """End this process soon after Ctrl-C, also where Python raises it in the midst of a lock's work and it is lost.

    Who ignores it goes on doing so, as a job in the background of a shell.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    last_resort = threading.Timer(ENDED_WITHIN_S, os._exit, (exits.INTERRUPTED,))
    last_resort.daemon = True

    def interrupt(*_: object) -> None:
        if not last_resort.is_alive():
            last_resort.start()
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        last_resort.cancel()


def _say(options: Namespace, event: Event) -> None:
    record = event.to_dict()
    if options.json:
        print_json(record)
        sys.stdout.flush()
    else:
        print_row(COLUMNS, record)
