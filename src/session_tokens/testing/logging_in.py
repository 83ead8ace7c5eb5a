"""How a test client is logged in: a way for each framework, none of which is imported that the test did not import."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from http.cookies import Morsel
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .. import Session, SessionTokens

WEB = "session_tokens.web."


class Login(NamedTuple):
    """Whom to log in, and how.

    Attributes:
        tokens: the API that the application has for the length of the test.
        afterwards: what puts back what was there before.
        owner, data, remember, acr: as for the fixture.
    """

    tokens: SessionTokens
    afterwards: ExitStack
    owner: Any
    data: dict[str, Any]
    remember: bool
    acr: str | None

    def named_as(self, field: Any) -> Login:
        """Return it for an application that keeps in a field (``OwnerField``) who is logged in, or in none."""
        if field is None:
            return self
        return self._replace(owner=field.owner_of(self.owner), data={field.key: self.owner, **self.data})

    def opened(self) -> tuple[Session, str]:
        """Log the owner in; return the session and its secret."""
        issued = self.tokens.log_in(self.owner, data=self.data, remember=self.remember, acr=self.acr)
        return issued.session, issued.secret


Way = Callable[[Any, Login], "Session"]


def way_of(client: Any) -> Way:
    """Return how a client of its kind is logged in.

    Raises:
        TypeError: it is of no kind that is known.
    """
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(client).__mro__}
    for names, way in WAYS:
        if kinds & names:
            return way
    raise TypeError(
        f"{type(client).__name__} is no client that is known here; give the test client of Flask, Quart, Starlette, "
        "Litestar, aiohttp, Werkzeug or Django, or an httpx client with an ASGITransport or a WSGITransport"
    )


def _in_flask(client: Any, login: Login) -> Session:
    interface = client.application.session_interface
    if not hasattr(interface, "tokens_of"):
        raise TypeError(
            "the application has no sessions of ours: set app.session_interface = SessionTokensInterface(…)"
        )
    _use(interface, login, login.tokens)
    with client.session_transaction() as session:
        if interface.owner_key is None:
            session.log_in(login.owner)
        else:
            session[interface.owner_key] = login.owner
        session.proved_by(acr=login.acr)
        if login.remember:
            session.remember(None)
        if hasattr(client.application, "login_manager"):
            with client.application.test_request_context(environ_base=client.environ_base):
                flask_login = import_module(WEB + "flask_login")
                session.update(flask_login.fields_of_log_in(client.application))
        session.update(login.data)
    made: Session = session.record
    return made


def _in_quart(client: Any, login: Login) -> Session:
    session, name, secret = _logged_in_to_quart(client.app, login)
    path = client.app.session_interface.get_cookie_path(client.app)
    client.set_cookie("localhost", name, secret, path=path)  # the host that Quart's client asks
    return session


def _logged_in_to_quart(app: Any, login: Login, *, is_https: bool = False) -> tuple[Session, str, str]:
    """Log in to an application of Quart; return the session, and the name and the value of its cookie."""
    interface = app.session_interface
    if not hasattr(interface, "store_of"):
        raise TypeError(
            "the application has no sessions of ours: set app.session_interface = QuartSessionTokensInterface(…)"
        )
    _use_async(interface.store_of(app), login)
    encode = import_module(WEB + "flask.session").encode
    data = login.data if interface.owner_key is None else {interface.owner_key: login.owner, **login.data}
    owner = interface.owner_named(login.owner)
    login = login._replace(owner=owner, data={field: encode(value) for field, value in data.items()})
    session, secret = login.opened()
    return session, interface.name_of_cookie(app, is_secure=is_https or interface.get_cookie_secure(app)), secret


def _in_httpx(client: Any, login: Login) -> Session:
    # httpx has no public way from a client to the application that it calls
    app: Any = getattr(client, "app", None) or getattr(client._transport, "app", None)
    is_https = client.base_url.scheme == "https"
    if type(app).__module__.partition(".")[0] == "quart":
        session, name, secret = _logged_in_to_quart(app, login, is_https=is_https)
        interface = app.session_interface
        domain = interface.get_cookie_domain(app)
        header = f"{name}={secret}; path={interface.get_cookie_path(app)}" + (f"; domain={domain}" if domain else "")
    else:
        keeping = _keeping_of(app, login)
        session, secret = login.named_as(keeping.owner_field).opened()
        header = keeping.cookie.set(secret, is_https=is_https)
    # As from a response, so that those of the application take its place.
    header = _as_kept(header, client.base_url.host)
    package = import_module(type(client.base_url).__module__.partition(".")[0])
    asked = package.Request("GET", client.base_url)
    client.cookies.extract_cookies(package.Response(200, headers={"set-cookie": header}, request=asked))
    return session


def _as_kept(header: str, host: str) -> str:
    """Return the header of a response without what makes a client for a host drop it: https, or another domain."""
    name, *attributes = header.split("; ")
    kept = [each for each in attributes if each.lower() != "secure" and not _is_of_another(each, host)]
    return "; ".join([name, *kept])


def _is_of_another(attribute: str, host: str) -> bool:
    key, _, domain = attribute.lower().partition("=")
    return key == "domain" and not f".{host}".endswith("." + domain.lstrip("."))


def _path_of(header: str) -> str:
    """Return the path of a cookie that a response sets."""
    return next(each[len("path=") :] for each in header.split("; ") if each.lower().startswith("path="))


def _keeping_of(app: Any, login: Login) -> Any:
    """Let an application of ASGI or WSGI have the store of the test; return how it keeps sessions in browsers."""
    if type(app).__module__.partition(".")[0] == "litestar":
        config = import_module(WEB + "litestar").config_of(app)
        if config is None:
            raise TypeError("the application has no sessions of ours: middleware=[SessionTokensConfig(…).middleware]")
        _use_async(config.shared, login)
        return config.keeping
    layer = import_module(WEB + "asgi").middleware_of(app)
    if layer is not None:
        _use_async(layer.store, login)
        return layer.keeping
    outer = import_module(WEB + "wsgi").middleware_of(app)
    if outer is None:
        raise TypeError(
            "the application has no sessions of ours: app.add_middleware(SessionMiddleware, store=…), or "
            "app = SessionMiddleware(app, store=…)"
        )
    _use(outer.store, login, login.tokens)
    return outer.keeping


def _in_werkzeug(client: Any, login: Login) -> Session:
    keeping = _keeping_of(client.application, login)
    session, secret = login.named_as(keeping.owner_field).opened()
    path = _path_of(keeping.cookie.set(secret, is_https=False))
    client.set_cookie(keeping.cookie.name(is_https=False), secret, path=path)
    return session


def _in_aiohttp(client: Any, login: Login) -> Session:
    storage = import_module(WEB + "aiohttp").storage_of(client.app)
    if storage is None:
        raise TypeError("the application has no sessions of ours: aiohttp_session.setup(app, SessionTokensStorage(…))")
    _use_async(storage.store, login)
    session, secret = login.named_as(storage.keeping.owner_field).opened()
    is_https = client.server.scheme == "https"
    name = storage.keeping.cookie.name(is_https=is_https)
    given: Morsel[str] = Morsel()
    given.set(name, secret, secret)
    given["path"] = _path_of(storage.keeping.cookie.set(secret, is_https=is_https))
    client.session.cookie_jar.update_cookies({name: given}, client.make_url("/"))
    return session


def _in_django(client: Any, login: Login) -> Session:
    opened = import_module(WEB + "django.opened")
    if not import_module("django.conf").settings.SESSION_ENGINE.startswith(WEB + "django"):
        raise TypeError('the project has no sessions of ours: set SESSION_ENGINE = "session_tokens.web.django"')
    user = login.owner
    if isinstance(user, str):
        user = import_module("django.contrib.auth").get_user_model().objects.get_by_natural_key(user)
    ours = opened.opened.use(login.tokens)
    login.afterwards.callback(opened.opened.close)
    client.force_login(user)
    session = client.session
    session.update(login.data)
    if login.acr is not None:
        session.proved_by(acr=login.acr)
    if login.remember:
        session.set_expiry(ours.settings.remember_max_age)
    session.save()
    made: Session | None = ours.verify_session(session.session_key, touch=False)
    assert made is not None
    return made


def _use(store: Any, login: Login, tokens: Any) -> None:
    """Let an application keep its sessions with an API until the test is over."""
    before = store.use(tokens)
    if before is not tokens:
        login.afterwards.callback(store.use, before)


def _use_async(store: Any, login: Login) -> None:
    """Let an application of asyncio keep its sessions in the store of the test until it is over."""
    used = store.use(None)
    if used is not None and used.store is login.tokens.store:
        store.use(used)
        return
    store.use(used)
    _use(store, login, import_module("session_tokens").AsyncSessionTokens(login.tokens.store, login.tokens.settings))


WAYS: tuple[tuple[set[str], Way], ...] = (
    ({"flask.FlaskClient"}, _in_flask),
    ({"quart.QuartClient"}, _in_quart),
    ({"aiohttp.TestClient"}, _in_aiohttp),
    ({"werkzeug.Client"}, _in_werkzeug),
    (
        {"starlette.TestClient", "litestar.TestClient"}
        | {f"{package}.{kind}" for package in ("httpx", "httpx2") for kind in ("Client", "AsyncClient")},
        _in_httpx,
    ),
    ({"django.Client", "django.AsyncClient"}, _in_django),
)
"""What classes of clients are called, with the first part of their modules, and how each is logged in."""
