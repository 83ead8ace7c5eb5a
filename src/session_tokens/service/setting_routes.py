"""The addresses of the general settings that live with the store: what is asked for, what is answered."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ..errors import InvalidInput
from ..stored_settings import GeneralSetting
from . import shapes
from .calls import Call, Operation, Snapshot

SETTINGS = "/v1/settings"
ONE_SETTING = SETTINGS + "/{name}"

SettingValue = Annotated[
    int | float | str | None, Meta(description="Seconds, a number or a word; null: never, or no cap.")
]


class SetSetting(shapes.Body):
    """Keep a general setting with the store."""

    value: SettingValue


class SettingShape(Struct, kw_only=True):
    """A general setting: what holds in this service, why, and what the store keeps."""

    name: str
    value: SettingValue
    source: Annotated[str, Meta(description="Of value: argument, environment, stored or default.")]
    is_stored: bool
    stored: SettingValue
    default: SettingValue


class SettingList(Struct):
    """All general settings."""

    settings: list[SettingShape]


class OneSetting(Struct):
    """A general setting."""

    setting: SettingShape


def _shape(setting: GeneralSetting) -> SettingShape:
    return SettingShape(**setting._asdict())


async def list_settings(call: Call) -> Snapshot:
    """List the general settings that live with the store."""
    return Snapshot(SettingList([_shape(setting) for setting in await call.tokens.list_settings()]))


async def set_setting(call: Call) -> Snapshot:
    """Keep a general setting with the store; every process on it sees that within 30 seconds."""
    try:
        setting = await call.tokens.set_setting(call.subject, call.body.value, idempotency_key=call.idempotency_key)
    except TypeError as error:  # which type is right depends on the setting
        raise InvalidInput(str(error)) from None
    return Snapshot(OneSetting(_shape(setting)))


async def unset_setting(call: Call) -> Snapshot:
    """Take a general setting away from the store, so that the default holds. Twice is the same."""
    setting = await call.tokens.unset_setting(call.subject, idempotency_key=call.idempotency_key)
    return Snapshot(OneSetting(_shape(setting)))


SETTING_OPERATIONS = (
    Operation("GET", SETTINGS, "read_settings", list_settings, SettingList),
    Operation("PUT", ONE_SETTING, "manage_settings", set_setting, OneSetting, body=SetSetting),
    Operation("DELETE", ONE_SETTING, "manage_settings", unset_setting, OneSetting),
)
