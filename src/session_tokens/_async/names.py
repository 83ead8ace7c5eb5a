"""Giving an owner another name, and forgetting one, for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from json.encoder import encode_basestring
from typing import Any

from .. import validation as inputs
from ..audit.log import audit_keys
from ..contract.event_log import LOOKED_AT_ONCE
from ..contract.queries import Get
from ..errors import InvalidInput
from ..records import Forgotten
from ..rules import names as rules
from ..rules.audit import entry_name, forget_in_entries, head_queries, heads_in, names_in, pseudonym_of
from ..rules.expiry import Uncleaned, sweep_owner, sweep_session
from ..rules.idempotency import known_outcome
from ..rules.names import NewName
from ..rules.renaming import rename_owner
from ..rules.webhooks import HOOKS, hooks_of
from .core import AsyncCore

REWRITTEN_AT_ONCE = 50
"""Records that one commit rewrites."""


class AsyncNameCommands(AsyncCore):
    """What becomes of an owner's name."""

    async def rename_owner(self, owner: str, to: str, *, idempotency_key: str | None = None) -> int:
        """Give an owner another name: their living sessions and tokens go with them, secrets and ids stay.

        One commit decides. What else names them goes on with the new name before the call returns: sessions that are
        over, offers to them, loans to them that end by time alone, who had a token before, and what commands with an
        idempotency key answered. That goes through all records of the store. Broken off, it is done when the same is
        asked once more. Events and the audit log tell of this change, and of what was before it under the old name.

        Returns:
            How many living sessions and tokens were moved; 0 where there are none.

        Raises:
            Conflict: the other name has living sessions or tokens: end those of one, or hand its tokens over.
            OwnerDisabled: the other name is disabled.
            LimitReached: there are more than 1,000 sessions and tokens.
            InvalidInput: one of them can never be an owner or is reserved, both are the same, or the store cannot tell
                its records.
            CorruptRecord, UnknownPepper: a record cannot be read, which may name them; ``session-tokens check --fix``
                sets it aside, then ask once more.
        """
        owner, to = inputs.receiver_of("owner", owner), inputs.receiver_of("to", to)
        if owner == to:
            raise InvalidInput("both names are the same")
        await self.store.dump("owner", "", 1)  # a store that cannot tell its records is found before anything is done
        old, new = self._pseudonyms(owner)[0], self._pseudonyms(to)[0]
        args = (owner, to, rules.mark_of(old), new)
        moved: int | None = None
        while moved is None:
            try:
                moved = await self._do("rename_owner", idempotency_key, (owner, to), rename_owner, *args)
            except Uncleaned as left:
                await self._run(sweep_session, self._policy, left.id)
        _, (mark,) = await self.store.read([Get("setting", rules.mark_of(old))])
        if mark.value != new:  # a retry of what was done long ago: who has the old name now is somebody else
            return moved
        await self._sweep_behind(owner)
        await self._name_anew(NewName(owner, to, is_pseudonym=False))
        await self._run(rules.settle_renaming, old)
        return moved

    async def forget_owner(self, owner: str, *, idempotency_key: str | None = None) -> Forgotten:
        """Forget an owner: end what is theirs, and put a pseudonym in place of their name wherever it is kept.

        They are disabled first, so that nothing of theirs lives or comes to be; that is over when all is done. Their
        sessions are remembered as revoked, without label, address, user agent and data. Transferable tokens are
        unassigned, offers to them withdrawn, loans to them over. What names them is replaced in records, outcomes under
        idempotency keys, events, what waits for webhooks, and audit entries, whose chains stay whole. What applications
        wrote into values, tags, and labels and data of others is theirs to erase, and so are backups.

        It goes through all records, in batches. Broken off, it is done when the same is asked once more; until then
        they stay disabled. Who was renamed is forgotten under each name by itself.

        Returns:
            The pseudonym, and how much was replaced by this call.

        Raises:
            InvalidInput: it can never be an owner, or is one that is reserved; or the store cannot tell its records.
            Conflict: they have sessions again, as they were enabled meanwhile, or some that cannot be read.
            CorruptRecord, UnknownPepper: a record cannot be read, which may name them; ``session-tokens check --fix``
                sets it aside, then ask once more.
            StoreBusy: on Valkey, the log of events is being rewritten by another process.
        """
        owner = inputs.receiver_of("owner", owner)
        pseudonym, *others = self._pseudonyms(owner)
        if idempotency_key is not None:
            known: Sequence[int] | None = await self._known("forget_owner", idempotency_key, (owner,))
            if known is not None:
                return Forgotten(pseudonym, *known)
        await self.store.dump("owner", "", 1)
        most = self._policy.ended_at_once
        while True:
            try:
                await self._run(rules.begin_forgetting, owner, pseudonym, tuple(others), most)
                break
            except Uncleaned:
                await self._run(sweep_owner, owner, most)
        await self._sweep_behind(owner)
        name = NewName(owner, pseudonym, is_pseudonym=True)
        sessions, tokens, outcomes = await self._name_anew(name)
        events = await self.store.rewrite_events(name.event) if self.store.keeps_events else 0
        waiting = await self._name_in_webhooks(name)
        entries = await self._forget_in_audit(owner)
        await self._run(rules.end_forgetting, owner)
        counts = (sessions, tokens, outcomes, events, waiting, entries)
        if idempotency_key is not None:
            counts = await self._do("forget_owner", idempotency_key, (owner,), known_outcome, counts)
        return Forgotten(pseudonym, *counts)

    def _pseudonyms(self, owner: str) -> list[str]:
        """Return what stands for an owner who is not to be named, under each key, the current one first."""
        return list(dict.fromkeys(pseudonym_of(key, owner) for key in audit_keys(self._keyring).values()))

    async def _sweep_behind(self, owner: str) -> None:
        """End, each for itself, the sessions of an owner that are over."""
        most = self._policy.ended_at_once
        while await self._run(sweep_owner, owner, most) == most:
            pass

    async def _name_anew(self, name: NewName) -> tuple[int, int, int]:
        """Name an owner anew in all records; return in how many sessions, tokens and outcomes."""
        return (
            await self._walk("session", rules.name_in_sessions, name),
            await self._walk("token", rules.name_in_tokens, name),
            await self._walk("idempotency", rules.name_in_outcomes, name),
        )

    async def _walk(self, kind: str, rule: Callable[..., int], name: NewName) -> int:
        """Go through all records of a kind and run a rule on those that name an owner; return how many it rewrote."""
        count, place = 0, ""
        while True:
            records, following = await self.store.dump(kind, place, LOOKED_AT_ONCE)
            keys = [record.key if kind == "idempotency" else record.id for record in records if name.concerns(record)]
            for batch in _batches(keys):
                count += await self._rewritten(rule, name, batch)
            if following is None:
                return count
            place = following

    async def _rewritten(self, rule: Callable[..., int], name: NewName, keys: Sequence[str]) -> int:
        while True:
            try:
                return await self._run(rule, name, keys)
            except Uncleaned as left:
                await self._run(sweep_session, self._policy, left.id)

    async def _name_in_webhooks(self, name: NewName) -> int:
        """Name an owner anew in what waits for webhooks; return in how many events."""
        _, found = await self.store.read([Get("setting", HOOKS)])
        count = 0
        for hook in hooks_of(found[0].value):
            count += await self._run(rules.name_in_webhook, name, hook.id)
        return count

    async def _forget_in_audit(self, owner: str) -> int:
        """Take an owner's name away from beside all entries of the audit log; return from how many."""
        heads = heads_in(await self.store.read(head_queries()))
        named, count = encode_basestring(owner), 0
        entries = (entry_name(number, chain) for chain in heads for number in range(1, heads[chain].number + 1))
        while some := list(islice(entries, LOOKED_AT_ONCE)):
            _, found = await self.store.read([Get("setting", entry) for entry in some])
            stored: Iterator[tuple[str, Any]] = ((entry, one.value) for entry, one in zip(some, found, strict=True))
            naming = [entry for entry, text in stored if text and named in text and owner in names_in(text).values()]
            for batch in _batches(naming):
                count += await self._run(forget_in_entries, owner, batch)
        return count


def _batches(keys: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for first in range(0, len(keys), REWRITTEN_AT_ONCE):
        yield tuple(keys[first : first + REWRITTEN_AT_ONCE])
