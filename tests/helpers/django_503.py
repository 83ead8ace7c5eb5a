"""The addresses of the small Django site, which answers 503 where the store of its sessions is away."""

from __future__ import annotations

from typing import NoReturn

from django.http import HttpRequest
from django.urls import include, path


def fails(request: HttpRequest) -> NoReturn:
    raise ZeroDivisionError


urlpatterns = [path("fails", fails), path("", include("tests.helpers.django_site"))]
handler500 = "session_tokens.web.django.handler500"
