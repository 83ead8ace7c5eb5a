"""Our middleware for WSGI: what applications find in their environment, and what is sent."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import bottle
import falcon
import falcon.testing
import httpx
import pytest
from werkzeug.test import Client, EnvironBuilder, TestResponse

from session_tokens import InvalidInput, SessionTokens
from session_tokens.clock import ManualClock
from session_tokens.web.wsgi import SessionMiddleware, WsgiSession, session_factory, session_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Python and setuptools have much to say to Pyramid, and to what it stands on
    from pyramid.config import Configurator

View = Callable[[WsgiSession], Any]


class Browser(Client):
    """Reads each answer to its end, as servers do."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        return super().open(*args, **{**kwargs, "buffered": True})

    def get(self, *args: Any, **kwargs: Any) -> Any:
        return super().get(*args, **kwargs)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000_000)


@pytest.fixture
def tokens(clock: ManualClock) -> Iterator[SessionTokens]:
    with SessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        yield tokens


def made(tokens: SessionTokens, views: dict[str, View], **options: Any) -> Browser:
    """Return a browser of an application that begins its answer after its view, as servers want it to be done."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        answer = views[environ["PATH_INFO"]](session_of(environ))
        status, text = answer if isinstance(answer, tuple) else ("200 OK", answer)
        body = json.dumps(text).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return Browser(validator(SessionMiddleware(validator(app), tokens, **options)))


def put(session: WsgiSession) -> str:
    session.setdefault("cart", []).append("pen")
    return "put"


def shown(session: WsgiSession) -> Any:
    return {"owner": session.owner, "fields": dict(session)}


def log_in(session: WsgiSession) -> str:
    session.login("ann")
    return "in"


def log_out(session: WsgiSession) -> str:
    session.logout()
    return "out"


VIEWS: dict[str, View] = {
    "/put": put, "/show": shown, "/log-in": log_in, "/log-out": log_out, "/untouched": lambda _: "nothing",
}  # fmt: skip


def test_a_visit_from_the_first_field_to_the_log_out(tokens: SessionTokens) -> None:
    client = made(tokens, VIEWS)

    first = client.get("/put")
    assert ("no-store", "Cookie") == (first.headers["Cache-Control"], first.headers["Vary"])
    assert first.headers["Set-Cookie"].startswith("session=sts_")
    client.get("/put")
    client.get("/log-in")
    assert {"owner": "ann", "fields": {"cart": ["pen", "pen"]}} == client.get("/show").json
    assert 1 == len(tokens.list_sessions("ann").items)
    gone = client.get("/log-out")
    assert "Max-Age=0" in gone.headers["Set-Cookie"]
    assert {"owner": None, "fields": {}} == client.get("/show").json


def test_what_looks_at_no_session_says_nothing_of_one(tokens: SessionTokens) -> None:
    answer = made(tokens, VIEWS).get("/untouched")

    assert {"Content-Type", "Content-Length"} == set(answer.headers.keys())


def test_the_cookie_is_for_this_host_alone_on_https(tokens: SessionTokens) -> None:
    answer = made(tokens, VIEWS).get("/put", base_url="https://shop.example")

    assert answer.headers["Set-Cookie"].startswith("__Host-session=sts_") and "; secure" in answer.headers["Set-Cookie"]


def test_a_page_of_another_origin_is_refused(tokens: SessionTokens) -> None:
    client = made(tokens, VIEWS)
    foreign = {"Origin": "https://evil.example"}

    assert 403 == client.post("/log-in", headers=foreign).status_code
    client.post("/put")
    assert 403 == client.post("/show", headers=foreign).status_code
    assert 200 == client.get("/show", headers=foreign).status_code
    assert (
        200
        == made(tokens, VIEWS, trusted_origins=["https://evil.example"]).post("/log-in", headers=foreign).status_code
    )


def test_who_is_disabled_is_not_logged_in_and_the_view_says_nothing(tokens: SessionTokens) -> None:
    client = made(tokens, VIEWS)
    client.get("/put")
    tokens.disable_owner("ann")

    answer = client.get("/log-in")
    assert (403, b"the log-in is refused: owner_disabled") == (answer.status_code, answer.data)
    assert {"owner": None, "fields": {"cart": ["pen"]}} == client.get("/show").json


def test_an_answer_of_500_saves_nothing_and_logs_nobody_in(tokens: SessionTokens) -> None:
    client = made(tokens, {**VIEWS, "/fail": lambda session: ("500 No", log_in(session) and put(session))})
    client.get("/put")
    client.get("/fail")

    assert {"owner": None, "fields": {"cart": ["pen"]}} == client.get("/show").json


def test_a_view_that_fails_logs_out_all_the_same(tokens: SessionTokens) -> None:
    def failing(session: WsgiSession) -> None:
        session.logout()
        raise RuntimeError("as the test wants it")

    client = made(tokens, {**VIEWS, "/fail": failing})
    client.get("/log-in")
    with pytest.raises(RuntimeError):
        client.get("/fail")

    assert [] == tokens.list_sessions("ann").items


def test_the_client_and_the_devices_of_a_user(tokens: SessionTokens) -> None:
    views = {
        **VIEWS,
        "/devices": lambda session: [each.id == session.id for each in session.list_devices().items],
        "/end-other": lambda session: [session.end_other(each.id) for each in session.list_devices().items],
        "/end-others": lambda session: session.end_others(),
    }
    phone, laptop = (made(tokens, views, trusted_proxies=["127.0.0.0/8"]) for _ in range(2))
    phone.get("/log-in", headers={"User-Agent": "phone", "X-Forwarded-For": "192.0.2.7"})
    for end in ("/end-other", "/end-others"):
        laptop.get("/log-in")
        assert sorted([True, False]) == sorted(phone.get("/devices").json)
        assert phone.get(end).json in ([False, True], [True, False], 1)
        assert {"owner": None, "fields": {}} == laptop.get("/show").json
    (session,) = tokens.list_sessions("ann").items
    assert ("phone", "192.0.2.7") == (session.user_agent, session.address)


def test_an_answer_that_begins_late_is_settled_before_its_first_bytes(tokens: SessionTokens) -> None:
    closed: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        try:
            session_of(environ)["a"] = environ["PATH_INFO"]
            if environ["PATH_INFO"] == "/log-in":
                session_of(environ).login("ann")
            start_response("200 OK", [])
            yield b"first"
            yield b"second"
        finally:
            closed.append(environ["PATH_INFO"])

    tokens.disable_owner("ann")
    client = Browser(SessionMiddleware(app, tokens))

    answer = client.get("/a")
    assert (b"firstsecond", ["/a"]) == (answer.data, closed)
    assert "session=sts_" in answer.headers["Set-Cookie"]
    refused = client.get("/log-in")
    assert (403, b"the log-in is refused: owner_disabled") == (refused.status_code, refused.data)
    assert ["/a", "/log-in"] == closed


def test_an_application_may_begin_before_it_changes_its_session_and_write_bytes_itself(tokens: SessionTokens) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        session_of(environ)["a"] = 1
        write(b"first")
        return [b"second"]

    answer = Client(SessionMiddleware(app, tokens)).get("/")

    assert b"firstsecond" == answer.data
    assert "session=sts_" in answer.headers["Set-Cookie"]


def test_an_error_in_the_middle_of_an_answer_is_told_with_the_cookie(tokens: SessionTokens) -> None:
    said: list[Any] = []

    def begin(*given: Any) -> Callable[[bytes], object]:
        said.append(given)
        return said.append

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        session_of(environ)["a"] = 1
        start_response("200 OK", [])
        yield b""
        start_response("500 No", [("Content-Type", "text/plain")], (RuntimeError, RuntimeError("no"), None))
        yield b"no"

    body = SessionMiddleware(app, tokens)(
        {"REQUEST_METHOD": "GET", "wsgi.url_scheme": "http", "REMOTE_ADDR": "127.0.0.1"},
        begin,
    )

    assert [b"", b"no"] == list(body)
    assert ["200 OK", "500 No"] == [each[0] for each in said]
    assert [True, True] == ["Set-Cookie".lower() in {name.lower() for name, _ in each[1]} for each in said]


def test_a_store_that_is_away_is_a_503_and_the_cookie_stays(tmp_path: Any) -> None:
    client = Browser(SessionMiddleware(lambda *_: [], "postgresql://127.0.0.1:1/none?timeout=1", pepper=b"p" * 32))
    client.set_cookie("session", "sts_" + "0" * 51)
    with SessionTokens.open("memory://") as elsewhere:
        client.set_cookie("session", elsewhere.open_session("eve").secret)

    answer = client.get("/")
    assert (503, "1") == (answer.status_code, answer.headers["Retry-After"])
    assert "Set-Cookie" not in answer.headers


def test_what_applications_call_that_had_beakers_sessions(tokens: SessionTokens) -> None:
    app = bottle.Bottle()

    @app.get("/")
    def page() -> dict[str, Any]:
        session = bottle.request.environ["beaker.session"]
        session["views"] = session.get("views", 0) + 1
        session.save()
        assert session.has_key("views") and session.is_new == (session.last_accessed is None)
        return {"views": session["views"], "id": session.id, "created": session.created, "used": session.last_accessed}

    @app.get("/invalidate")
    def invalidate() -> str:
        session = bottle.request.environ["beaker.session"]
        session.invalidate()
        session["fresh"] = True
        return "done"

    @app.get("/delete")
    def delete() -> str:
        bottle.request.environ["beaker.session"].delete()
        return "done"

    client = Browser(SessionMiddleware(app, tokens, environ_key="beaker.session"))

    assert {"views": 1, "id": None, "created": 0, "used": None} == client.get("/").json
    second = client.get("/").json
    assert 2 == second["views"] and second["id"].startswith("ses_")
    assert second["created"] == second["used"] == 1_800_000_000
    client.get("/invalidate")
    assert tokens.get_session(second["id"]) is None
    third = client.get("/").json
    assert 1 == third["views"] and third["id"] not in (None, second["id"])
    assert "Max-Age=0" in client.get("/delete").headers["Set-Cookie"]


def test_falcon(tokens: SessionTokens) -> None:
    class Cart:
        def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
            response.media = {"cart": session_of(request.env).get("cart", [])}

        def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
            session_of(request.env).setdefault("cart", []).append("pen")

    app = falcon.App()
    app.add_route("/cart", Cart())
    transport = httpx.WSGITransport(SessionMiddleware(app, tokens))
    with httpx.Client(transport=transport, base_url="http://shop.example") as client:
        client.post("/cart")
        assert {"cart": ["pen"]} == client.get("/cart").json()


def test_pyramid(tokens: SessionTokens) -> None:
    def page(request: Any) -> dict[str, Any]:
        session = request.session
        session.flash("saved", "notes")
        session.flash("saved", queue="notes", allow_duplicate=False)
        session.flash("other")
        session["views"] = session.get("views", 0) + 1
        session.changed()
        return {"new": session.new, "views": session["views"], "token": request.session.get_csrf_token()}

    def told(request: Any) -> dict[str, Any]:
        session = request.session
        return {
            "peeked": session.peek_flash("notes"), "notes": session.pop_flash("notes"),
            "again": session.pop_flash("notes"),
            "other": session.peek_flash(), "token": session.get_csrf_token(), "renewed": session.new_csrf_token(),
        }  # fmt: skip

    with Configurator() as config:
        config.set_session_factory(session_factory("beaker.session"))
        for name, view in (("page", page), ("told", told)):
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name, renderer="json")
        client = Browser(SessionMiddleware(config.make_wsgi_app(), tokens, environ_key="beaker.session"))

    first = client.get("/page").json
    assert (True, 1) == (first["new"], first["views"])
    answer = client.get("/told").json
    assert {"peeked": ["saved"], "notes": ["saved"], "again": [], "other": ["other"]} == {
        name: answer[name] for name in ("peeked", "notes", "again", "other")
    }
    assert first["token"] == answer["token"] != answer["renewed"]
    second = client.get("/page").json
    assert (False, 2, answer["renewed"]) == (second["new"], second["views"], second["token"])


def attempts(environ: Any, router: Any) -> Any:
    """Make a request three times with one environment, as pyramid_retry does after conflicts of a database."""
    answer = None
    for environ["retry.attempt"] in range(3):
        context = router.request_context(environ)
        answer = router.invoke_request(context.begin())
        context.end()
    return answer


@pytest.mark.parametrize("at_first", ["logout", "clear"])
def test_an_attempt_that_is_made_again_in_pyramid_finds_the_session_as_it_was(
    tokens: SessionTokens, clock: ManualClock, at_first: str
) -> None:
    def view(request: Any) -> dict[str, Any]:
        session = request.session
        found, owner = dict(session), session.owner
        session["pens"] = session.get("pens", 0) + 1
        session.flash("one more")
        if request.environ["retry.attempt"] == 0:
            getattr(session, at_first)()
        if request.environ["retry.attempt"] == 1:
            session.login("bea")
        return {"found": found, "owner": owner, "said": session.peek_flash()}

    with Configurator() as config:
        config.set_session_factory(session_factory())
        config.set_execution_policy(attempts)
        config.add_route("page", "/page")
        config.add_view(view, route_name="page", renderer="json")
        pages = SessionMiddleware(config.make_wsgi_app(), tokens, rotate_every=600)
    client = Browser(pages)

    assert client.get("/page").json == {"found": {}, "owner": None, "said": ["one more"]}
    clock.advance(600)
    again = client.get("/page")
    assert again.json == {"found": {"pens": 1}, "owner": None, "said": ["one more", "one more"]}
    assert again.headers.getlist("Set-Cookie")
    assert client.get("/page").json["found"] == {"pens": 2}


def test_messages_that_were_only_looked_at_are_not_for_another_user(tokens: SessionTokens) -> None:
    def become(session: WsgiSession) -> Any:
        peeked = [session.peek_flash("notes"), session.pop_flash("none")]
        session.flash("hello", "notes")
        session.login("ben")
        return {"peeked": peeked}

    def say(session: WsgiSession) -> Any:
        session.flash("for ann", "notes")
        return "said"

    client = made(tokens, {**VIEWS, "/say": say, "/become": become, "/notes": lambda it: {"": it.pop_flash("notes")}})
    client.get("/log-in")
    client.get("/say")
    assert {"peeked": [["for ann"], []]} == client.get("/become").json
    assert {"": ["hello"]} == client.get("/notes").json


def test_falcons_application_of_asgi() -> None:
    from session_tokens.web.asgi import SessionMiddleware as OfAsgi

    class Page:
        async def on_post(self, request: Any, response: Any) -> None:
            request.scope["session"]["a"] = 1
            response.text = "done"

    app = falcon.asgi.App()
    app.add_route("/", Page())
    client = falcon.testing.TestClient(OfAsgi(app, store="memory://"))  # type: ignore[arg-type]  # any application of ASGI

    assert "session" in client.simulate_post("/").cookies


@pytest.mark.parametrize(
    "options", [{"session_cookie": "a b"}, {"trusted_origins": ["shop"]}, {"max_age": float("nan")}]
)
def test_arguments_that_can_never_be_right_are_refused(tokens: SessionTokens, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        SessionMiddleware(lambda *_: [], tokens, **options)
    with pytest.raises(TypeError, match="URL of a store"):
        SessionMiddleware(lambda *_: [], 1)  # type: ignore[arg-type]


def test_an_application_without_the_middleware_is_told_so() -> None:
    with pytest.raises(RuntimeError, match="wrap the application"):
        session_of({})


def test_max_age_ends_session_and_cookie_together(tokens: SessionTokens, clock: ManualClock) -> None:
    client = made(tokens, VIEWS, max_age=60)

    assert "Max-Age=60" in client.get("/log-in").headers["Set-Cookie"]
    clock.advance(61)
    assert {"owner": None, "fields": {}} == client.get("/show").json


@pytest.mark.parametrize("is_read", [False, True], ids=["untouched", "read"])
def test_a_session_waits_for_no_garbage_collector(tokens: SessionTokens, is_read: bool) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if is_read:
            session_of(environ).get("cart")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"page"]

    serve, secret = SessionMiddleware(app, tokens), tokens.open_session("ann").secret

    def asked() -> None:
        environ = EnvironBuilder(headers=[("Cookie", f"session={secret}")] if is_read else []).get_environ()
        assert [b"page"] == list(serve(environ, lambda *_: None))  # type: ignore[arg-type]

    def there() -> int:
        return sum(issubclass(type(each), WsgiSession) for each in gc.get_objects())

    asked()
    gc.collect()
    gc.disable()
    try:
        before = there()
        asked()
        assert before == there()
    finally:
        gc.enable()


def test_an_application_that_fails_after_its_first_bytes_is_heard(tokens: SessionTokens) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        session_of(environ)["cart"] = ["pen"]
        start_response("200 OK", [("Content-Type", "text/plain")])(b"written")
        raise ValueError("too late")
        yield b""

    sent: list[bytes] = []

    def start_response(status: str, headers: Any, *error: Any) -> Callable[[bytes], object]:
        return sent.append

    with pytest.raises(ValueError, match="too late"):
        list(SessionMiddleware(app, tokens)(EnvironBuilder().get_environ(), start_response))
    assert [b"written"] == sent
    assert [{"cart": ["pen"]}] == [dict(each.data) for each in tokens.list_sessions(anonymous=True)]
