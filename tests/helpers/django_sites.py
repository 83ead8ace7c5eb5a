"""The small site of ``tests.helpers.web_sites`` in Django: with its own middleware and ours, by WSGI and by ASGI."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import alogin, alogout, get_user_model, login, logout
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test.utils import override_settings
from django.urls import path

from session_tokens.web.django.opened import opened
from tests.helpers.web_sites import Gate, outcome

GATES: list[Gate] = []
"""Where slow requests wait: the views of Django stand in this module."""
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "session_tokens.web.django.SessionMiddleware"


def made(*, is_asgi: bool, is_ours: bool) -> Any:
    """Make the application of the project at hand."""
    middleware = [OURS if is_ours else DJANGOS, AUTHENTICATION]
    with override_settings(MIDDLEWARE=middleware):
        if not is_asgi:
            return WSGIHandler()
        handler: Any = ASGIHandler()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await handler(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            await receive()
            if phase == "shutdown":
                await opened.aclose()  # the connections of the server's loop
            await send({"type": f"lifespan.{phase}.complete"})

    return application


def owner_of(name: str) -> str:
    """Return the owner of the sessions of a user, who is made if they are not there."""
    return str(get_user_model().objects.get_or_create(username=name)[0].pk)


def forget_users() -> None:
    """Delete all users, for the tests that come."""
    get_user_model().objects.all().delete()


def _told(user: Any, fields: Any) -> HttpResponse:
    return JsonResponse(
        {"user": user.get_username() or None, "fields": {key: fields[key] for key in fields if key[0] != "_"}}
    )


def show(request: HttpRequest) -> HttpResponse:
    return _told(request.user, dict(request.session.items()))


async def show_async(request: Any) -> HttpResponse:
    return _told(await request.auser(), dict(await request.session.aitems()))


def untouched(_: HttpRequest) -> HttpResponse:
    return HttpResponse("nothing")


def put(request: HttpRequest) -> HttpResponse:
    request.session.update(request.GET.dict())
    return HttpResponse("put")


async def put_async(request: Any) -> HttpResponse:
    await request.session.aupdate(request.GET.dict())
    return HttpResponse("put")


def log_in(request: HttpRequest) -> HttpResponse:
    request.session["note"] = "of the log-in"
    login(request, get_user_model().objects.get_or_create(username=request.GET["name"])[0])
    return HttpResponse("in", status=outcome(request.GET))


async def log_in_async(request: Any) -> HttpResponse:
    await request.session.aset("note", "of the log-in")
    user, _ = await get_user_model().objects.aget_or_create(username=request.GET["name"])
    await alogin(request, user)
    return HttpResponse("in", status=outcome(request.GET))


def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("out", status=outcome(request.GET))


async def log_out_async(request: Any) -> HttpResponse:
    await alogout(request)
    return HttpResponse("out", status=outcome(request.GET))


def slow_put(request: HttpRequest) -> HttpResponse:
    request.session["late"] = request.GET["late"]
    GATES[0].wait()
    return HttpResponse("put")


async def slow_put_async(request: Any) -> HttpResponse:
    await request.session.aset("late", request.GET["late"])
    await asyncio.to_thread(GATES[0].wait)
    return HttpResponse("put")


def slow_show(request: HttpRequest) -> HttpResponse:
    seen = dict(request.session.items())
    GATES[0].wait()
    return JsonResponse(seen)


async def slow_show_async(request: Any) -> HttpResponse:
    seen = dict(await request.session.aitems())
    await sync_to_async(GATES[0].wait, thread_sensitive=False)()
    return JsonResponse(seen)


VIEWS = {
    "show": (show, show_async), "put": (put, put_async), "log-in": (log_in, log_in_async),
    "log-out": (log_out, log_out_async), "slow-put": (slow_put, slow_put_async),
    "slow-show": (slow_show, slow_show_async),
}  # fmt: skip

urlpatterns = [path("untouched", untouched), path("async/untouched", untouched)]
for _name, (_by_thread, _by_loop) in VIEWS.items():
    urlpatterns += [path(_name, _by_thread), path(f"async/{_name}", _by_loop)]
