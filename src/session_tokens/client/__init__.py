"""The API of ``SessionTokens`` over the HTTP service: ``SessionTokens.connect("https://tokens.example", key="stk_…")``.

Theory of operation. Each command is one line in ``calls.CALLS``: its method and address, and what its answer becomes.
``remote`` makes a method of it with the arguments of the library's own, so that both take the same. What goes over the
wire and how often is one generator without I/O (``exchange``), which the class for asyncio and its twin for threads
carry out. A command that was sent and not answered may have been done: each one has an idempotency key, sent anew with
the same key until the service answers, so that it is done once.
"""

from importlib.util import find_spec

from ..errors import InvalidInput

if find_spec("httpx2") is None:
    raise InvalidInput("asking a service needs the extra: pip install 'session-tokens[client]'")
