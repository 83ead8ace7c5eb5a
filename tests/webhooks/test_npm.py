"""Signatures are those of standardwebhooks, as its library for JavaScript judges them too."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, Settings
from session_tokens.clock import SteadyClock
from session_tokens.events import Event, event_id
from session_tokens.webhooks.hooks import add_webhook, rotate_webhook
from session_tokens.webhooks.sending import body_of
from session_tokens.webhooks.signing import signed_headers

PACKAGE = Path(__file__).parent / "npm"
EVENT = Event("session_ended", 1_700_000_000_123, "ses_1", "Zoë", "logout", None, event_id((7, 0)))


def judged(folder: Path, messages: list[dict[str, Any]]) -> list[Any]:
    """Return what the library verified of each message, ``None`` for those that it refuses.

    It is fetched by npm into a folder of this test, in the version and with the digests that are pinned, which name no
    registry.
    """
    made = folder / "npm"
    shutil.copytree(PACKAGE, made)
    (made / "pinned.json").rename(made / "package-lock.json")
    fetching = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    fetched = subprocess.run(fetching, cwd=made, capture_output=True, text=True)
    assert fetched.returncode == 0, f"npm could not fetch what pinned.json names: {fetched.stderr}"
    asked = json.dumps(messages)
    answered = subprocess.run(["node", "verify.js"], cwd=made, input=asked, capture_output=True, text=True, check=True)
    answers: list[Any] = json.loads(answered.stdout)
    return answers


@pytest.mark.process
@pytest.mark.needs_node
async def test_the_library_for_javascript_takes_what_is_signed_and_nothing_else(tmp_path: Path) -> None:
    opening = AsyncSessionTokens.open("memory://", settings=Settings(events="durable"))
    async with await opening as tokens:
        hook, first = await add_webhook(tokens, "https://app.example/hooks")
        now_s, body = SteadyClock().now() // 1000, body_of(EVENT)

        def signed(at_s: int = now_s) -> dict[str, str]:
            return signed_headers(tokens.store.keyring, hook, EVENT.id, at_s, body)

        plain = signed()
        hook, second = await rotate_webhook(tokens, hook.id)
        text, both = body.decode(), signed()
        messages = [
            {"secret": first, "body": text, "headers": plain},
            {"secret": first, "body": text, "headers": both},
            {"secret": second, "body": text, "headers": both},
            {"secret": second, "body": text, "headers": plain},
            {"secret": first, "body": text.replace("logout", "login_"), "headers": plain},
            {"secret": first, "body": text, "headers": {**plain, "webhook-id": event_id((8, 0))}},
            {"secret": first, "body": text, "headers": signed(now_s - 3_600)},
        ]

    assert judged(tmp_path, messages) == [json.loads(body)] * 3 + [None] * 4
