"""Beaker writes its sessions itself, into files and to a real server, and the users of a Bottle application move in."""

from __future__ import annotations

import pickle
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bottle
import httpx
import pytest
import redis
from beaker.middleware import SessionMiddleware as Beaker

from session_tokens import InvalidInput, SessionTokens, StoreUnavailable
from session_tokens.web.moving_in.peers import BeakerFiles, BeakerRedis
from session_tokens.web.wsgi import SessionMiddleware
from tests.helpers.servers.valkey import ValkeyServer

COOKIE = "beaker.session.id"
ID = "a" * 32

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # by Beaker


@pytest.fixture
def st() -> Iterator[SessionTokens]:
    with SessionTokens.open() as st:
        yield st


@pytest.fixture
def server(valkey_server: ValkeyServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_server.url.replace("valkey://", "redis://")) as client:
        yield client


def site() -> bottle.Bottle:
    app = bottle.Bottle()
    app.config["catchall"] = False

    def here() -> Any:
        return bottle.request.environ["beaker.session"]

    @app.get("/log-in/<name>")
    def log_in(name: str) -> str:
        here().update(user=name, cart=[1, {"n": None}])
        here().save()
        return "in"

    @app.get("/show")
    def show() -> dict[str, Any]:
        return {name: here().get(name) for name in ("user", "cart")}

    @app.get("/delete")
    def delete() -> str:
        here().delete()
        return "out"

    return app


def browser(app: Any, cookie: str | None = None) -> httpx.Client:
    cookies = None if cookie is None else {COOKIE: cookie}
    return httpx.Client(transport=httpx.WSGITransport(app), base_url="http://shop.test", cookies=cookies)


def cookie_of(app: Any, first: str, *then: str) -> str:
    """Return the cookie that a browser gets with its first page; it looks at others after that."""
    with browser(app) as client:
        client.get(first).raise_for_status()
        kept = client.cookies[COOKIE]
        for path in then:
            client.get(path).raise_for_status()
        return kept.strip('"')


PLACES = ["files", "redis"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Options = dict[str, Any]
Pair = tuple[Callable[[Options], Any], Callable[..., BeakerFiles | BeakerRedis]]


@pytest.fixture
def both(place: str, tmp_path: Path, server: redis.Redis, valkey_server: ValkeyServer) -> Pair:
    """What makes Beaker's application, and what makes the peer that reads what it wrote."""
    if place == "files":
        tmp_path.joinpath("container_file").mkdir()
        where: Options = {"session.type": "file", "session.data_dir": str(tmp_path)}
        return lambda more: Beaker(site(), {**where, **more}), lambda **given: BeakerFiles(tmp_path, **given)
    url = valkey_server.url.replace("valkey://", "redis://")
    where = {"session.type": "ext:redis", "session.url": url}
    return lambda more: Beaker(site(), {**where, **more}), lambda **given: BeakerRedis(server, **given)


@pytest.mark.parametrize(
    "options",
    [{}, {"session.secret": "for tests"}, {"session.data_serializer": "json", "session.timeout": 600}],
    ids=["pickle", "signed", "json"],
)
def test_a_user_of_beaker_goes_on(st: SessionTokens, both: Pair, options: Options) -> None:
    theirs, peer_with = both
    cookie = cookie_of(theirs(options), "/log-in/ann")
    peer = peer_with(timeout=options.get("session.timeout"), owner="user", secret=options.get("session.secret"))
    before = stored(peer, cookie)
    app = SessionMiddleware(site(), st, environ_key="beaker.session", migrate_from=peer)
    with browser(app, cookie) as client:
        assert {"user": "ann", "cart": [1, {"n": None}]} == client.get("/show").json() == client.get("/show").json()
        (session,) = st.list_sessions()
        assert "ann" == session.owner
        assert {"user", "cart"} == session.data.keys()
        client.get("/delete")
    with browser(app, cookie) as client:
        assert client.get("/show").json()["user"] is None
    assert before == stored(peer, cookie)
    assert cookie[-32:] in peer.ids()


def stored(peer: BeakerFiles | BeakerRedis, cookie: str) -> dict[str, Any] | None:
    return peer._fields(cookie[-32:])


def test_who_deleted_their_session_there_is_nobody(both: Pair) -> None:
    theirs, peer_with = both
    cookie = cookie_of(theirs({}), "/log-in/ann", "/delete", "/show")
    peer = peer_with(timeout=None, owner="user")

    assert peer.read(cookie) is None


def test_a_session_that_beaker_would_refuse_is_refused(both: Pair) -> None:
    theirs, peer_with = both
    cookie = cookie_of(theirs({"session.secret": "for tests"}), "/log-in/ann")
    with_key = peer_with(timeout=60, owner="user", secret=["new", "for tests"])

    assert with_key.read(cookie) is not None
    assert peer_with(timeout=60, owner="user", secret="another").read(cookie) is None
    assert [None] * 4 == [with_key.read(value) for value in (cookie[40:], "x" + cookie[1:], cookie + "0", "")]
    fields = with_key._fields(cookie[-32:])
    assert fields is not None
    assert fields["_accessed_time"] <= time.time()


def written(folder: Path, fields: Any) -> BeakerFiles:
    path = folder / ID[:1] / ID[:2] / f"{ID}.cache"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = fields if isinstance(fields, str) else b64encode(pickle.dumps(fields, 2)).decode()
    path.write_bytes(pickle.dumps({"session": text}))
    return BeakerFiles(folder, timeout=60, owner="user")


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "ann", "_accessed_time": 1.0},
        {"user": "ann"},
        {"user": "ann", "_accessed_time": "now"},
        {"_accessed_time": 4e9, "_creation_time": 1.0, "_path": "/", "_domain": None},
        ["user"],
        "no base64",
        b64encode(pickle.dumps({"user": print, "_accessed_time": 4e9})).decode(),
        b64encode(b"x not compressed").decode(),
    ],
)
def test_a_record_that_is_over_or_none_is_nobodys(tmp_path: Path, fields: Any) -> None:
    assert written(tmp_path, fields).read(ID) is None


def test_no_cookie_leads_out_of_the_folder(tmp_path: Path) -> None:
    peer = written(tmp_path, {"user": "ann", "_accessed_time": 4e9})

    assert peer.read(ID) is not None
    assert [None] * 3 == [peer.read(value) for value in (f"../{ID}", f"/{ID}", ID.upper())]


def test_a_folder_that_is_not_there_is_refused_and_one_that_went_away_is_no_log_out(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="data_dir"):
        BeakerFiles(tmp_path / "mistyped", timeout=None, owner="user")
    there = tmp_path / "there"
    peer = written(there, {"user": "ann", "_accessed_time": 4e9})
    there.rename(tmp_path / "away")

    with pytest.raises(StoreUnavailable):
        peer.read(ID)
