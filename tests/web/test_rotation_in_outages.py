"""A store that goes away after it has replaced a cookie: the browser is given that one with the 503.

Else its own is one of long ago when the store is back, and the user is logged out as a thief.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from session_tokens import SessionTokens, StoreUnavailable
from tests.helpers.rotating_sites import NAMES, rotating_site
from tests.helpers.servers.proxy import Proxy, always, proxy_to
from tests.helpers.waiting import wait_until
from tests.helpers.web_sites import PEPPER, Site, shown

pytestmark = pytest.mark.share(3)

EVERY_S, GRACE_S = 0.4, 0.2


@pytest.fixture(params=NAMES)
def served(request: pytest.FixtureRequest, valkey_url: str) -> Iterator[tuple[Site, Proxy]]:
    """Serve a site; beside it, the proxy to its store."""
    before, _, database = valkey_url.rpartition("/")
    host, _, port = before.rpartition(":")
    options = {"rotate_every": EVERY_S, "rotation_grace": GRACE_S}
    with proxy_to(int(port)) as proxy:
        url = f"{host}:{proxy.port}/{database}"
        with (
            SessionTokens.open(url, pepper=PEPPER) as tokens,
            rotating_site(request.param, tokens, options, url) as site,
        ):
            yield site, proxy


def is_past(site: Site, name: str, seconds: float) -> bool:
    """Whether the secret of the one session of a user is so old."""
    try:
        (session,) = site.tokens.list_sessions(site.owner_of(name)).items
    except StoreUnavailable:
        return False
    return session.clock.now() - session.secret_since > seconds * 1000


@pytest.mark.parametrize(("method", "path"), [("POST", "/slow-put?late=1"), ("GET", "/slow-show")])
def test_an_outage_after_a_cookie_was_replaced_logs_nobody_out(
    served: tuple[Site, Proxy], method: str, path: str
) -> None:
    site, proxy = served
    with site.browser() as browser:
        browser.post("/log-in?name=gus")
        wait_until(lambda: is_past(site, "gus", EVERY_S))
        finish = site.beside(browser, method, path)
        proxy.request_fate, proxy.refusing = always("drop"), True
        late = finish()
        browser.cookies.extract_cookies(late)
        proxy.heal()

        assert late.status_code in ((503,) if method == "POST" else (200, 503))
        assert "set-cookie" in late.headers
        wait_until(lambda: browser.get("/untouched").status_code == 200)
        wait_until(lambda: is_past(site, "gus", GRACE_S))
        wait_until(lambda: browser.get("/show").status_code == 200)
        assert "gus" == shown(browser)[0]
