"""The command that shows and changes the general settings that live with a store."""

from __future__ import annotations

from argparse import Namespace

from ..stored_settings import GeneralSetting, stored_name_of, value_shown, value_written
from . import exits
from .commands import opened
from .exits import UsageError
from .output import print_json, print_table

COLUMNS = ("name", "value", "source", "stored", "default")


def settings(options: Namespace) -> int:
    """List the general settings, or set or unset one."""
    if (options.name is None) != (options.action == "list") or (options.value is None) != (options.action != "set"):
        raise UsageError("say settings list, settings set NAME VALUE, or settings unset NAME")
    if options.action == "list":
        with opened(options) as tokens:
            return _listed(options, tokens.list_settings())
    stored_name_of(options.name)
    if options.action == "unset":
        with opened(options) as tokens:
            return _told(options, tokens.unset_setting(options.name))
    value = value_written(options.name, options.value)
    with opened(options, make=True) as tokens:
        return _told(options, tokens.set_setting(options.name, value))


def _listed(options: Namespace, listed: list[GeneralSetting]) -> int:
    if options.json:
        print_json({"items": [setting.to_dict() for setting in listed], "next": None})
    else:
        print_table(COLUMNS, [_row(setting) for setting in listed])
    return exits.OK


def _told(options: Namespace, setting: GeneralSetting) -> int:
    if options.json:
        print_json(setting.to_dict())
    elif setting.is_stored:
        print(f"{setting.name} is {value_shown(setting.name, setting.stored)}; other processes see it within 30 s")
    else:
        print(f"{setting.name} is not stored; what holds is {value_shown(setting.name, setting.default)}")
    return exits.OK


def _row(setting: GeneralSetting) -> dict[str, str | None]:
    return {
        "name": setting.name,
        "value": value_shown(setting.name, setting.value),
        "source": setting.source,
        "stored": value_shown(setting.name, setting.stored) if setting.is_stored else None,
        "default": value_shown(setting.name, setting.default),
    }
