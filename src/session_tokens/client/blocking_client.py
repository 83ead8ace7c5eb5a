# Generated from client/async_client.py by tools/generate_sync.py; change that file and run it again.
"""The API of the library over the HTTP service, for threads."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable
from functools import wraps
from ssl import SSLContext
from typing import Any, Concatenate, NoReturn, ParamSpec, Self, TypeVar

import httpx2

from .._sync.commands import SyncCommands
from ..contract.forks import Owned
from ..contract.near_cache import bound_of
from ..crypto.secret_form import SESSION_ID, TOKEN_ID, TOKEN_SECRET, is_id, is_secret, is_session_secret
from ..errors import InvalidInput
from ..records import Session, Token
from ..settings import Duration
from ..stores.common.server_clock import ServerClock
from .blocking_following import RemoteEvents
from .calls import CALLS, VERIFY_SESSION, VERIFY_TOKEN, Call, request_of
from .exchange import NotOffered, Pause, Sent, Step, Unanswered, exchange
from .in_time import tried_now
from .near import NearAnswers
from .service_address import ServiceAddress
from .types import CHECKS, checks_of

P = ParamSpec("P")
T = TypeVar("T")


def remote(
    like: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[RemoteTokens, P], T]:
    """Return a command that takes the arguments of the library's own and is carried out by the service."""
    call, signature = CALLS[like.__name__], inspect.signature(like)
    defaults, checks = signature.parameters, checks_of(signature.parameters)

    @wraps(like)
    def command(self: RemoteTokens, /, *args: P.args, **options: P.kwargs) -> T:
        bound = signature.bind(self, *args, **options).arguments
        given = {name: value for name, value in bound.items() if value is not defaults[name].default}
        del given["self"]
        for name, value in given.items():
            if name in checks:
                checks[name](name, value)
        answer: T = self._do(call, given)
        return answer

    return command


class RemoteTokens:
    """``SessionTokens`` over HTTP: the same names, records and errors; made by ``SessionTokens.connect``.

    It may be shared by any number of threads. What works on the inside of a store (settings, peppers, sweeping) is not
    here.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str,
        timeout: Duration = 5.0,
        retry_for: Duration = 10.0,
        tls: SSLContext | None = None,
        near_cache: Duration | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Prepare the connections; none is made yet.

        Args:
            url: where the service is; https, or http on this machine.
            key: the secret of a service key (``stk_…``), whose role says what may be done.
            timeout: seconds for one try.
            retry_for: for how many seconds a command is sent again where the service does not answer, or is busy.
            tls: how the service is recognised; as the system does if not given.
            near_cache: seconds that the answer of a verification may be older than a change made elsewhere, 0.2 to 60;
                0 for none. As ``SESSION_TOKENS_NEAR_CACHE`` says if not given.
            transport: how requests are sent, for tests.

        Raises:
            InvalidInput: an address, key or duration that can never be right.
        """
        address = ServiceAddress(url, key, timeout, retry_for)
        self._timeout_s, self._retry_for_s = address.timeout_s, address.retry_for_s
        self._clock = ServerClock()
        bound_s = bound_of(near_cache, os.environ)
        self._near = NearAnswers(bound_s, self._clock.now) if bound_s else None
        options: dict[str, Any] = {"verify": True if tls is None else tls}
        if transport is not None:
            options = {"transport": transport}
        if not address.is_secure:
            options["trust_env"] = False  # a proxy of the environment, on another machine, would read along
        options |= {"base_url": address.url, "headers": address.headers, "timeout": address.timeout_s}
        self._options, self._owned = options, Owned()
        self._http = httpx2.Client(**options)
        self._left: list[httpx2.Client] = []  # to the process that this one was forked from: not ours to close

    def _of_this_process(self) -> httpx2.Client:
        """Return the client with the connections of this process, which a forked one makes anew."""
        self._owned.look(self._begin_anew)
        return self._http

    def _begin_anew(self) -> None:
        if not self._http.is_closed:
            self._left.append(self._http)
            self._http = httpx2.Client(**self._options)

    def close(self) -> None:
        """Close the connections; calling it again does nothing."""
        if self._near is not None:
            self._near.changed()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"RemoteTokens({str(self._http.base_url)!r})"

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("_") and hasattr(SyncCommands, name):
            raise NotOffered(f"{name} is not offered over HTTP; it works where the store is")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _do(self, call: Call, arguments: dict[str, Any]) -> Any:
        """Carry a command out."""
        steps = exchange(call, arguments, self._clock, self._retry_for_s)
        try:
            step = next(steps)
            while True:
                step = steps.send(self._take(step))
        except StopIteration as stop:
            return stop.value
        finally:
            if self._near is not None and call.changes:  # also where it may have been done
                self._near.changed()

    def _take(self, step: Step) -> Sent | Unanswered | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        return tried_now(self._of_this_process(), step, self._timeout_s)

    def verify_session(self, secret: str, *, touch: bool = True) -> Session | None:
        """Return the living session of a secret, ``None`` for everything else; see ``SessionTokens``."""
        if not isinstance(secret, str):
            raise TypeError(f"a secret is a str, not {type(secret).__name__}")
        if not is_session_secret(secret):
            return None
        asking = None if self._near is None else self._near.session(secret, touch=bool(touch))
        if isinstance(asking, Session):
            return asking
        session: Session | None = self._do(VERIFY_SESSION, {"secret": secret, "touch": touch})
        if self._near is not None and asking is not None:
            self._near.keep(asking, session)
        return session

    def verify_token(self, secret: str) -> Token | None:
        """Return the living token of a secret, ``None`` for everything else; see ``SessionTokens``."""
        if not isinstance(secret, str):
            raise TypeError(f"a secret is a str, not {type(secret).__name__}")
        if not is_secret(TOKEN_SECRET, secret):
            return None
        asking = None if self._near is None else self._near.token(secret)
        if isinstance(asking, Token):
            return asking
        token: Token | None = self._do(VERIFY_TOKEN, {"secret": secret})
        if self._near is not None and asking is not None:
            self._near.keep(asking, token)
        return token

    def get_session(self, id: str) -> Session | None:
        """Return the living session of an id, ``None`` for everything else; see ``SessionTokens``."""
        if not isinstance(id, str):
            raise TypeError(f"an id is a str, not {type(id).__name__}")
        return _get_session(self, id) if is_id(SESSION_ID, id) else None

    def get_token(self, id: str) -> Token | None:
        """Return the living token of an id, ``None`` for everything else; see ``SessionTokens``."""
        if not isinstance(id, str):
            raise TypeError(f"an id is a str, not {type(id).__name__}")
        return _get_token(self, id) if is_id(TOKEN_ID, id) else None

    def follow_events(
        self, *, after: str | None = None, name: str | None = None, owner: str | None = None
    ) -> RemoteEvents:
        """Return an iterator over events that waits for those to come; it never ends by itself.

        Each event comes at least once, those of one session or token in order, also where the service was restarted
        meanwhile. It is an error where the service does not answer for ``retry_for``; iterating goes on after that.

        Args:
            after: the id of the last event that you have; without it, it begins with the oldest that is kept.
            name: not offered over HTTP: keep ``Event.id``, and begin ``after`` it.
            owner: only what concerns them, as owner or as the one before.

        Raises:
            InvalidInput: a name, or what can be no event or owner; on the first step: the store keeps no events.
        """
        if name is not None:
            raise InvalidInput("a service remembers no followers; keep Event.id and begin after= it")
        for what, given in (("after", after), ("owner", owner)):
            CHECKS["str | None"](what, given)
        asked = request_of(CALLS["events"], {"after": after, "owner": owner}, None)
        return RemoteEvents(self._of_this_process(), self._retry_for_s, asked.path)

    open_session = remote(SyncCommands.open_session)
    log_in = remote(SyncCommands.log_in)
    rotate_session = remote(SyncCommands.rotate_session)
    detach_session = remote(SyncCommands.detach_session)
    attach_session = remote(SyncCommands.attach_session)
    change_session = remote(SyncCommands.change_session)
    update_session_data = remote(SyncCommands.update_session_data)
    destroy_session = remote(SyncCommands.destroy_session)
    destroy_sessions = remote(SyncCommands.destroy_sessions)
    disable_owner = remote(SyncCommands.disable_owner)
    enable_owner = remote(SyncCommands.enable_owner)
    list_sessions = remote(SyncCommands.list_sessions)
    issue_token = remote(SyncCommands.issue_token)
    transfer_token = remote(SyncCommands.transfer_token)
    claim_token = remote(SyncCommands.claim_token)
    reissue_token = remote(SyncCommands.reissue_token)
    offer_token = remote(SyncCommands.offer_token)
    withdraw_token = remote(SyncCommands.withdraw_token)
    accept_offer = remote(SyncCommands.accept_offer)
    lend_token = remote(SyncCommands.lend_token)
    recall_token = remote(SyncCommands.recall_token)
    consume_token = remote(SyncCommands.consume_token)
    release_token = remote(SyncCommands.release_token)
    claim_next_token = remote(SyncCommands.claim_next_token)
    hand_over = remote(SyncCommands.hand_over)
    change_token = remote(SyncCommands.change_token)
    destroy_token = remote(SyncCommands.destroy_token)
    list_tokens = remote(SyncCommands.list_tokens)
    events = remote(SyncCommands.events)
    explain = remote(SyncCommands.explain)
    list_audit = remote(SyncCommands.list_audit)
    list_owners = remote(SyncCommands.list_owners)
    list_disabled_owners = remote(SyncCommands.list_disabled_owners)
    rename_owner = remote(SyncCommands.rename_owner)
    forget_owner = remote(SyncCommands.forget_owner)
    list_settings = remote(SyncCommands.list_settings)
    set_setting = remote(SyncCommands.set_setting)
    unset_setting = remote(SyncCommands.unset_setting)


_get_session = remote(SyncCommands.get_session)
_get_token = remote(SyncCommands.get_token)
