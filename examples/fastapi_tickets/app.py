"""A shop whose tickets are resold between its users: FastAPI, with sessions and tickets in one store.

Run it with ``make example NAME=fastapi_tickets`` and open it in two browsers, as alice and as bob: buy a ticket, show
its code, offer it, buy it with the other, and see that the first code opens no door any more.
It needs ``pip install "session-tokens[fastapi]" uvicorn jinja2 python-multipart segno``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import scrypt
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Any

import segno
import uvicorn
from box_office import BOX_OFFICE, BoxOffice, Sorry
from fastapi import Depends, FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates

from session_tokens import AsyncSessionTokens
from session_tokens.web.asgi import AsyncWebSession, SessionMiddleware
from session_tokens.web.fastapi import current_session, login, logout, require_recent, require_session

HERE = Path(__file__).parent
Text = Annotated[str, Form()]
Browser = Annotated[AsyncWebSession, Depends(current_session)]  # a visitor's session too
User = Annotated[AsyncWebSession, Depends(require_session)]  # 401 for visitors
RecentUser = Annotated[AsyncWebSession, Depends(require_recent(minutes=10))]  # 401 if they logged in long ago

SALT = os.urandom(16)
PASSWORDS = {name: scrypt(name.encode(), salt=SALT, n=1 << 14, r=8, p=1) for name in ("alice", "bob")}
"""Who may log in, and with what; a real shop asks its database."""


def knows_password(name: str, password: str) -> bool:
    """Whether that is the user's password."""
    given = scrypt(password.encode(), salt=SALT, n=1 << 14, r=8, p=1)
    return compare_digest(given, PASSWORDS.get(name, b""))


def told(request: Request) -> dict[str, Any]:
    """Return what every page shows: who is logged in, and what there is to say."""
    session: AsyncWebSession = request.state.session
    return {"user": session.owner, "messages": session.flashes()}


pages = Jinja2Templates(directory=[HERE / "templates", HERE.parent / "shared"], context_processors=[told])
pages.env.filters["moment"] = lambda at: f"{at:%d %B, %H:%M} UTC" if isinstance(at, datetime) else "never"
pages.env.filters["user"] = lambda owner: owner.removeprefix("tickets:") if owner else BOX_OFFICE


def page(name: str, request: Request, **shown: Any) -> Response:
    """Return a page; none of them may be looked at again after the log-out by going back."""
    return pages.TemplateResponse(request, name, shown, headers={"Cache-Control": "no-store"})


def to(path: str) -> Response:
    """Lead on to a page."""
    return RedirectResponse(path, 303)


def create_app(store: str) -> FastAPI:
    """Make the shop; sessions and tickets are kept in ``store``."""

    @asynccontextmanager
    async def opening(_: FastAPI) -> AsyncIterator[None]:
        async with await AsyncSessionTokens.open(store, sweep=False) as tokens:
            await BoxOffice(tokens).open()
        yield

    app = FastAPI(lifespan=opening, dependencies=[Depends(remember_session)])
    app.add_middleware(SessionMiddleware, store=store)

    @app.exception_handler(401)
    async def visitor(request: Request, refusal: Exception) -> Response:
        session = current_session(request)
        session.flash(str(getattr(refusal, "detail", "log in first")).capitalize() + ".")
        return to("/log-in")

    @app.exception_handler(Sorry)
    async def sorry(request: Request, why: Exception) -> Response:
        current_session(request).flash(str(why), "problem")
        return to({"market": "/", "gate": "/gate"}.get(request.url.path.split("/")[1], "/tickets"))

    with_account(app)
    with_tickets(app)
    return app


async def remember_session(request: Request, session: Browser) -> None:
    """Keep the session where pages find it."""
    request.state.session = session


def with_account(app: FastAPI) -> None:
    """Add logging in and out, and the devices."""

    @app.get("/log-in")
    async def ask(request: Request) -> Response:
        return page("log_in.html", request)

    @app.post("/log-in")
    async def log_in(
        request: Request, session: Browser, name: Text, password: Text, remember: Annotated[bool, Form()] = False
    ) -> Response:
        if not knows_password(name, password):
            session.flash("That name and that password do not belong together.", "problem")
            return to("/log-in")
        await login(request, owner=name, remember=remember)
        return to("/tickets")

    @app.post("/log-out")
    async def log_out(request: Request) -> Response:
        await logout(request)
        return RedirectResponse("/", 303, headers={"Clear-Site-Data": '"cache"'})  # also what is kept for going back

    @app.get("/devices")
    async def devices(request: Request, session: User) -> Response:
        return page("devices.html", request, devices=(await session.list_devices()).items, here=session.id)

    @app.post("/devices/{id}/end")
    async def end(id: str, session: RecentUser) -> Response:
        if not await session.end_other(id):
            raise HTTPException(404)
        session.flash("That device is logged out.")
        return to("/devices")

    @app.post("/devices/end-others")
    async def end_others(session: RecentUser) -> Response:
        session.flash(f"Other devices that are logged out now: {await session.end_others()}.")
        return to("/devices")


def with_tickets(app: FastAPI) -> None:
    """Add the market, the user's tickets, and the door."""

    @app.get("/")
    async def market(request: Request, session: Browser) -> Response:
        return page("market.html", request, offers=await BoxOffice(session.tokens).offers())

    @app.post("/market/{id}/buy")
    async def buy(id: str, session: User, price: Text) -> Response:
        ticket = await BoxOffice(session.tokens).buy(id, price, str(session.owner))
        what = f"{ticket.value['concert']}, seat {ticket.value['seat']}"
        session.flash(f"{what}, is yours for {price} {ticket.currency}.")
        return to("/tickets")

    @app.get("/tickets")
    async def tickets(request: Request, session: User) -> Response:
        return page("tickets.html", request, tickets=await BoxOffice(session.tokens).tickets_of(str(session.owner)))

    @app.post("/tickets/{id}/code")
    async def code(request: Request, id: str, session: User) -> Response:
        code = await BoxOffice(session.tokens).code_of(id, str(session.owner))
        return page("code.html", request, code=code, drawn=segno.make_qr(code).svg_inline(scale=5))

    @app.post("/tickets/{id}/offer")
    async def offer(id: str, session: RecentUser, price: Text) -> Response:
        ticket = await BoxOffice(session.tokens).offer(id, price, str(session.owner))
        session.flash(f"Offered for {ticket.price} {ticket.currency}. Until it is sold, your code opens the door.")
        return to("/tickets")

    @app.post("/tickets/{id}/withdraw")
    async def withdraw(id: str, session: User) -> Response:
        await BoxOffice(session.tokens).withdraw(id, str(session.owner))
        return to("/tickets")

    @app.get("/gate")
    async def gate(request: Request) -> Response:
        return page("gate.html", request)

    @app.post("/gate")
    async def admit(session: Browser, code: Text) -> Response:
        ticket = await BoxOffice(session.tokens).admit(code.strip())
        session.flash(f"Come in: {ticket.value['concert']}, seat {ticket.value['seat']}.")
        return to("/gate")


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    uvicorn.run(create_app(os.environ.get("SESSION_TOKENS_STORE", "sqlite:///tickets.db")), port=port)
