"""Pages of the site: one that counts, for visitors too, and one that wants a recent log-in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from session_tokens.web.django import end_others, recent_login_required


class Name(forms.Form):
    """How the user is called."""

    first_name = forms.CharField(max_length=40, label="Name")
    log_out = forms.BooleanField(required=False, label="Log me out everywhere else")


@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Count; what a visitor counted goes with them when they log in."""
    if request.method == "POST":
        request.session["visits"] = request.session.get("visits", 0) + 1
        return redirect("home")
    return render(request, "home.html", {"visits": request.session.get("visits", 0)})


@never_cache
@recent_login_required(minutes=settings.RECENT_LOGIN_MINUTES)
def change_name(request: Any) -> HttpResponse:
    """Change what a thief of an open browser should not; who logged in long ago logs in again."""
    form = Name(request.POST or None, initial={"first_name": request.user.first_name})
    if form.is_valid():
        request.user.first_name = form.cleaned_data["first_name"]
        request.user.save(update_fields=["first_name"])
        ended = end_others(request) if form.cleaned_data["log_out"] else 0
        messages.success(request, f"Saved. Other devices that are logged out now: {ended}." if ended else "Saved.")
        return redirect("change_name")
    return render(request, "change_name.html", {"form": form, "minutes": settings.RECENT_LOGIN_MINUTES})
