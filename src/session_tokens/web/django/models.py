"""What the admin site shows of sessions; they are kept in the store, so that there is no table and no migration."""

from __future__ import annotations

from django.db import models


class BrowserSession(models.Model):
    """A living session: its public id and its owner. Its permissions say who may see and end sessions."""

    id = models.CharField(primary_key=True, max_length=40)
    owner = models.CharField(max_length=255)

    class Meta:
        """It has no table, and of the permissions those that mean something."""

        managed = False
        app_label = "session_tokens"
        verbose_name = "session"
        default_permissions = ("view", "delete")

    def __str__(self) -> str:
        return f"{self.id} of {self.owner}"
