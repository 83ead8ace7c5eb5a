"""The bodies and answers of the addresses of webhooks; see ``shapes``."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from .shapes import Body, EventShape, Instant


class WebhookShape(Struct, kw_only=True):
    """An address that is told of events."""

    id: str
    url: str
    kinds: Annotated[list[str] | None, Meta(description="Of events that are told; null: all.")]
    created_at: Instant
    is_on: Annotated[bool, Meta(description="False also after the address answered 410; a replay switches it on.")]


class WebhookList(Struct):
    """All webhooks, oldest first."""

    webhooks: list[WebhookShape]


class OneWebhook(Struct):
    """A webhook."""

    webhook: WebhookShape


class IssuedWebhook(Struct):
    """A webhook and the key that signs what it is told."""

    webhook: WebhookShape
    secret: Annotated[str, Meta(description="whsec_ and base64, as standardwebhooks has it.")]


class AddWebhook(Body):
    """Tell an address of events from now on."""

    url: Annotated[str, Meta(description="https:// and a host.")]
    kinds: Annotated[list[str] | None, Meta(description="Of events; left out or null: all.")] = None


class ChangeWebhook(Body):
    """Change a webhook; what is left out stays."""

    url: Annotated[str, Meta(description="https:// and a host.")] | UnsetType = UNSET
    kinds: Annotated[list[str] | None, Meta(description="Of events; null: all.")] | UnsetType = UNSET
    is_on: Annotated[bool, Meta(description="Whether events are sent; off, they wait in the log.")] | UnsetType = UNSET


class RotateWebhook(Body):
    """Sign with a new key."""

    overlap: Annotated[
        int | float | None | UnsetType,
        Meta(description="Seconds for which both sign, a day; null: the one before ends at once."),
    ] = UNSET


class DeadEvent(EventShape, kw_only=True):
    """An event that was given up; ``at`` tells when."""

    attempts: int
    why: Annotated[str, Meta(description="What was answered last.")]


class DeadEvents(Struct):
    """What a webhook was not told, in the order in which it was given up."""

    events: list[DeadEvent]
    waiting: Annotated[int, Meta(description="How many more are still tried.")]


class ReplayWebhook(Body):
    """Send again what was given up, or everything after an event."""

    after: Annotated[str | None, Meta(description="The id of an event; null: what was given up.")] = None


class Replayed(Struct):
    """How many events had been given up."""

    replayed: int
