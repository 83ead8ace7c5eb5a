"""The admin site's page of living sessions: whose they are, since when and from where; search by user, end them.

Who may "view sessions" sees it, who may "delete sessions" ends them. It shows public ids, and never data or secrets.
Visitors who have not logged in are shown where they are asked for: of most sites there are far more of them than users.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, ValidationError
from django.http import HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse

from ...crypto.secret_form import SESSION_ID, is_id
from ...errors import InvalidInput, StoreError
from ...records import Page, Session
from ...rules.reserved import is_anonymous
from .devices import owner_of
from .models import BrowserSession
from .opened import opened

PER_PAGE = 100


@admin.register(BrowserSession)
class BrowserSessionAdmin(admin.ModelAdmin):
    """The page of sessions."""

    def get_urls(self) -> list[Any]:
        """Return the address of the one page that there is."""
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="session_tokens_browsersession_changelist")]

    def has_add_permission(self, request: Any) -> bool:
        """Nobody opens sessions here."""
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """Nobody changes sessions here."""
        return False

    def changelist_view(self, request: Any, extra_context: Any = None) -> HttpResponse:
        """Show a page of sessions, or end those that were chosen."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = request.GET.get("q", "").strip()
        try:
            if request.method == "POST":
                return self._end(request, asked)
            page = _found(asked, request.GET.get("after") or None, visitors="visitors" in request.GET)
        except StoreError:
            messages.error(request, "The store of the sessions cannot be asked just now; try again in a moment.")
            return self._shown(request, asked, Page([], None), 503)
        except InvalidInput as error:
            messages.error(request, str(error))
            page = Page([], None)
        return self._shown(request, asked, page, 200)

    def _shown(self, request: Any, asked: str, page: Page[Session], status: int) -> HttpResponse:
        names = _names(session.owner for session in page.items)
        context = {
            **self.admin_site.each_context(request),
            "title": "Sessions",
            "opts": self.opts,
            "media": self.media,
            "asked": asked,
            "visitors": "visitors" in request.GET,
            "rows": [
                (session, *names.get(session.owner, (_shown_owner(session.owner), None))) for session in page.items
            ],
            "after": page.after,
            "unreadable": len(page.unreadable),
            "owner": _owner_named(asked) if asked else None,
            "current": getattr(request.session, "id", None),
            "may_end": self.has_delete_permission(request),
        }
        return TemplateResponse(request, "admin/session_tokens/sessions.html", context, status=status)

    def _end(self, request: Any, asked: str) -> HttpResponse:
        """End what was chosen, and write it down in the site's log of actions."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        tokens, ended = opened.blocking(), []
        if "all" in request.POST:
            owner = request.POST["all"]
            count = tokens.destroy_sessions(owner, reason="revoked")
            ended = [BrowserSession(id="all", owner=owner)] if count else []
        else:
            for id in request.POST.getlist("id"):
                session = tokens.get_session(id)
                if session is not None and tokens.destroy_session(id, reason="revoked"):
                    ended.append(BrowserSession(id=id, owner=session.owner))
            count = len(ended)
        if ended:
            self.log_deletions(request, ended)
        messages.success(request, f"{count} ended.")
        return HttpResponseRedirect(request.get_full_path())


def _shown_owner(owner: str) -> str:
    return "a visitor" if is_anonymous(owner) else owner


def _found(asked: str, after: str | None, *, visitors: bool) -> Page[Session]:
    """Return a page of all sessions, or of what was asked for: the id of a session, the name or key of a user."""
    tokens = opened.blocking()
    if is_id(SESSION_ID, asked):
        session = tokens.get_session(asked)
        return Page([] if session is None else [session], None)
    owner = _owner_named(asked) if asked else None
    return tokens.list_sessions(owner, anonymous=visitors, after=after, limit=PER_PAGE)


def _owner_named(asked: str) -> str:
    """Return the owner of the user of a name; what is no user's name is taken for the owner itself."""
    try:
        return owner_of(get_user_model()._default_manager.get_by_natural_key(asked))
    except (ObjectDoesNotExist, ValueError):
        return asked


def _names(owners: Iterable[str]) -> dict[str, tuple[str, str | None]]:
    """Return for each owner who is a user their name, and the address of their page, where the site has one."""
    users = get_user_model()
    keys = {}
    for owner in owners:
        try:
            keys[owner] = users._meta.pk.to_python(owner)
        except ValidationError:
            continue
    found = users._default_manager.in_bulk(list(set(keys.values())))
    named: dict[str, tuple[str, str | None]] = {}
    for owner, key in keys.items():
        if key in found:
            try:
                page = reverse(f"admin:{users._meta.app_label}_{users._meta.model_name}_change", args=[key])
            except NoReverseMatch:
                page = None
            named[owner] = (found[key].get_username(), page)
    return named
