# Generated from _async/settings.py by tools/generate_sync.py; change that file and run it again.
"""The general settings that live with the store, for threads."""

from __future__ import annotations

from ..rules.settings import change_general
from ..settings import DEFAULTS, FROM_DB, UNSET, Duration, Settings, duration_ms
from ..stored_settings import STORED, GeneralSetting, Value, kept_text, stored_name_of
from .core import SyncCore


class SyncSettingCommands(SyncCore):
    """What holds for every process on the store that is not told otherwise."""

    def list_settings(self) -> list[GeneralSetting]:
        """Return the general settings that live with the store: what holds here, why, and what is stored.

        Raises:
            StoreUnavailable: the store cannot be asked.
        """
        self.refresh_settings()
        return [self._setting_of(name) for name in STORED]

    def set_setting(
        self, name: str, value: Duration | str | None, *, idempotency_key: str | None = None
    ) -> GeneralSetting:
        """Keep a general setting with the store; return it as it holds now.

        Each process sees it within 30 seconds, unless it was given something else in ``Settings`` or its environment.
        It holds for what is opened or issued later: a lowered cap ends nobody before the next opening.

        Args:
            name: of a field of ``Settings``, such as ``max_sessions``.
            value: as that field takes it; ``None`` is never, or no cap.

        Raises:
            TypeError: a value of the wrong type.
            InvalidInput: no setting that lives with the store is named so, or the value can never be right.
        """
        kept_as = stored_name_of(name)
        return self._keep(name, kept_as, kept_text(name, value), idempotency_key)

    def unset_setting(self, name: str, *, idempotency_key: str | None = None) -> GeneralSetting:
        """Take a general setting away from the store, so that the default holds; return it. Twice changes nothing.

        Raises:
            InvalidInput: no setting that lives with the store is named so.
        """
        return self._keep(name, stored_name_of(name), None, idempotency_key)

    def set_general_session_timeout(self, max_age: Duration | None) -> None:
        """Keep the general ``max_age`` of sessions with the store, as ``set_setting`` does."""
        self.set_setting("max_age", max_age)

    def _keep(self, name: str, kept_as: str, text: str | None, idempotency_key: str | None) -> GeneralSetting:
        if name == "events":
            self._insist_it_keeps_events()
            self.refresh_settings()
        with self._readings.changing(name):
            if name == "events" and text == "durable" and self._stored.events is not UNSET:
                self.store.listeners.keep(True)  # before the change, which tells those who follow of the gap
            self._do("set_setting", idempotency_key, (name, text), change_general, name, kept_as, text)
        self.refresh_settings()
        return self._setting_of(name)

    def _setting_of(self, name: str) -> GeneralSetting:
        stored = getattr(self._stored, name)
        is_stored = stored is not UNSET
        if getattr(self._argued, name) not in (UNSET, FROM_DB) and name != "events":
            source = "argument"
        elif getattr(self._environed, name) is not UNSET and getattr(self._argued, name) is not FROM_DB:
            source = "environment"
        else:
            source = "stored" if is_stored else "default"
        return GeneralSetting(
            name,
            _shown(name, self.settings),
            source,
            is_stored,
            _seconds(name, stored) if is_stored else None,
            _shown(name, DEFAULTS),
        )


def _shown(name: str, settings: Settings) -> Value:
    """Return a setting as it holds, also where it follows another one."""
    value = getattr(settings, name)
    if value is UNSET:
        return "off" if name == "events" else _shown("max_age", settings)  # a detached session ends as others do
    return _seconds(name, value)


def _seconds(name: str, value: Value | Duration) -> Value:
    """Return a value for a surface: a ``timedelta`` as seconds."""
    if value is None or isinstance(value, int | float | str):
        return value
    milliseconds = duration_ms(name, value) or 0
    return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000
