"""A small site: a cart, logging in and out, and views that fail."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import alogin, get_user_model, login, logout, update_session_auth_hash
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

from session_tokens.web.django import recent_login_required, require_token
from session_tokens.web.django.opened import opened


def _user(request: HttpRequest) -> Any:
    return get_user_model().objects.get(username=request.GET["name"])


def show(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {"user": request.user.get_username(), "data": {k: v for k, v in request.session.items() if k[0] != "_"}}
    )


def untouched(_: HttpRequest) -> HttpResponse:
    return HttpResponse("nothing")


def put(request: HttpRequest) -> HttpResponse:
    for field, value in request.GET.items():
        request.session[field] = value
    return HttpResponse("put")


def append(request: HttpRequest) -> HttpResponse:
    request.session.setdefault("cart", [])
    request.session["cart"].append(request.GET["item"])
    return HttpResponse("appended")


def log_in(request: Any) -> HttpResponse:
    login(request, _user(request))
    if "acr" in request.GET:
        request.session.proved_by(acr=request.GET["acr"])
    return HttpResponse("in", status=int(request.GET.get("status", 200)))


async def log_in_async(request: HttpRequest) -> HttpResponse:
    await alogin(request, await get_user_model().objects.aget(username=request.GET["name"]))
    return HttpResponse("in")


async def show_async(request: Any) -> HttpResponse:
    user = await request.auser()
    cart = await request.session.aget("cart")
    return JsonResponse({"user": user.get_username(), "cart": cart})


def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("out")


def change_password(request: HttpRequest) -> HttpResponse:
    request.user.set_password(request.GET["new"])
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse("changed")


def delete_account(request: HttpRequest) -> HttpResponse:
    return recent_login_required(float(request.GET.get("minutes", 10)))(untouched)(request)


async def delete_account_async(request: HttpRequest) -> HttpResponse:
    async def delete(_: HttpRequest) -> HttpResponse:
        return HttpResponse("deleted")

    return await recent_login_required(float(request.GET.get("minutes", 10)))(delete)(request)


def prove(request: Any) -> HttpResponse:
    """Take a second factor in."""
    request.session.proved_by(acr=request.GET["acr"], amr=["otp"])
    return HttpResponse("proved")


@recent_login_required(minutes=10, acr="urn:example:strong")
def transfer_money(request: HttpRequest) -> HttpResponse:
    return HttpResponse("transferred")


def reopen(request: Any) -> HttpResponse:
    """Go on with another object of the session's class, made from its key, as allauth does."""
    for _ in range(2):
        request.session.save()
        request.session = request.session.__class__(request.session.session_key)
        request.session.modified = True
    if "name" in request.GET:
        login(request, _user(request))
    return HttpResponse("reopened")


async def reopen_async(request: Any) -> HttpResponse:
    await request.session.asave()
    request.session = request.session.__class__(request.session.session_key)
    request.session.modified = True
    await request.session.aset("b", 2)
    return HttpResponse("reopened")


def end_in(request: HttpRequest) -> HttpResponse:
    request.session.set_expiry(int(request.GET["seconds"]))
    return HttpResponse("set")


def put_late(request: HttpRequest) -> HttpResponse:
    """Change the session while somebody else ends it."""
    request.session["a"] = request.GET["a"]
    opened.blocking().destroy_sessions(str(request.user.pk))
    return HttpResponse("put")


@require_token
def report(request: Any) -> HttpResponse:
    return JsonResponse({"owner": request.token.owner, "value": request.token.value})


@require_token
async def report_async(request: Any) -> HttpResponse:
    return JsonResponse({"owner": request.token.owner, "value": request.token.value})


urlpatterns = [
    path("report", report), path("report-async", report_async),
    path("put-late", put_late), path("prove", prove), path("transfer-money", transfer_money),
    path("delete-account", delete_account), path("delete-account-async", delete_account_async),
    path("account/devices/", include("session_tokens.web.django.urls")),
    path("show", show), path("untouched", untouched), path("put", put), path("append", append),
    path("reopen", reopen), path("reopen-async", reopen_async), path("end-in", end_in),
    path("log-in", log_in), path("log-in-async", log_in_async), path("show-async", show_async),
    path("log-out", log_out), path("change-password", change_password),
]  # fmt: skip
