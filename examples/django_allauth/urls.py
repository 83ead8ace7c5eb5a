"""Addresses of the site."""

from __future__ import annotations

import views
from django.urls import include, path

urlpatterns = [
    path("", views.home, name="home"),
    path("accounts/", include("allauth.urls")),
    path("account/devices/", include("session_tokens.web.django.urls")),
    path("account/name/", views.change_name, name="change_name"),
]
