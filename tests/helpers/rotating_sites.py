"""The small site of ``web_sites`` in every framework, whose browsers get a new cookie now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from django.test.utils import override_settings

from session_tokens import SessionTokens
from session_tokens.web.django.opened import opened
from tests.helpers import django_project as _  # noqa: F401  # it makes the settings
from tests.helpers import django_sites
from tests.helpers.more_sites import aiohttp_site, bottle_site, litestar_site, quart_site, serving_aiohttp
from tests.helpers.web_sites import PEPPER, Gate, Site, flask_site, serving, starlette_site

MADE: dict[str, Callable[..., Any]] = {
    "flask": lambda tokens, gates, **options: flask_site(tokens, gates, options=options),
    "flask-permanent": lambda tokens, gates, **options: flask_site(
        tokens, gates, options=options, SESSION_PERMANENT=True
    ),
    "starlette": starlette_site,
    "quart": quart_site,
    "litestar": litestar_site,
    "aiohttp": aiohttp_site,
    "bottle": bottle_site,
}
NAMES = (*MADE, "django", "django-async")
OF_WSGI = ("flask", "flask-permanent", "bottle", "django")


@contextmanager
def rotating_site(name: str, tokens: SessionTokens, options: Mapping[str, Any], url: str) -> Iterator[Site]:
    """Serve a site.

    Args:
        name: one of ``NAMES``.
        tokens: on the store of its sessions.
        options: ``rotate_every`` and ``rotation_grace``.
        url: of that store, which Django opens again where it is on a server.
    """
    gates: list[Gate] = django_sites.GATES if name.startswith("django") else []
    is_asgi = name not in OF_WSGI
    owner_of: Callable[[str], str] = lambda name: name  # noqa: E731
    with ExitStack() as stack:
        if name.startswith("django"):
            project: dict[str, Any] = {"SESSION_TOKENS_STORE": url, "ALLOWED_HOSTS": ["*"]}
            project["SESSION_TOKENS"] = {**options, "pepper": PEPPER}
            stack.enter_context(override_settings(ROOT_URLCONF="tests.helpers.django_sites", **project))
            if url == "memory://":
                opened.use(tokens)
            stack.callback(opened.close)
            stack.callback(django_sites.forget_users)
            app = django_sites.made(is_asgi=is_asgi, is_ours=True)
            address = stack.enter_context(serving(app, is_asgi=is_asgi)) + ("/async" if is_asgi else "")
            owner_of = django_sites.owner_of
        else:
            app = MADE[name](tokens, gates, **options)
            served = serving_aiohttp(app) if name == "aiohttp" else serving(app, is_asgi=is_asgi)
            address = stack.enter_context(served)
        yield Site(address, tokens, gates, owner_of)
