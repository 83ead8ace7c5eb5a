"""Addresses of the page with a user's devices.

``path("account/devices/", include("session_tokens.web.django.urls"))``
"""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "session_tokens"
urlpatterns = [
    path("", views.devices, name="devices"),
    path("end-others/", views.end_all_others, name="end_others"),
    path("<str:id>/end/", views.end, name="end"),
]
