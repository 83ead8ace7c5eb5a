"""Signatures are those of standardwebhooks, as its own library judges them."""

from __future__ import annotations

import json

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from session_tokens import AsyncSessionTokens, InvalidInput, Settings
from session_tokens.clock import SteadyClock
from session_tokens.crypto.minting import PlainKeyring
from session_tokens.events import Event, event_id
from session_tokens.webhooks.hooks import add_webhook, list_webhooks, rotate_webhook
from session_tokens.webhooks.sending import body_of
from session_tokens.webhooks.signing import secret_of, signed_headers

DURABLE = Settings(events="durable")
EVENT = Event("session_ended", 1_700_000_000_123, "ses_1", "Zoë", "logout", None, event_id((7, 0)))


async def test_the_schemes_own_library_takes_what_is_signed_and_nothing_else() -> None:
    async with await AsyncSessionTokens.open("memory://", settings=DURABLE) as tokens:
        hook, secret = await add_webhook(tokens, "https://app.example/hooks")
        keyring, now_s, body = tokens.store.keyring, SteadyClock().now() // 1000, body_of(EVENT)
        headers = signed_headers(keyring, hook, EVENT.id, now_s, body)

        message = Webhook(secret).verify(body, headers)
        assert message == json.loads(body)
        assert message["type"] == "session_ended"
        assert message["timestamp"] == "2023-11-14T22:13:20.123Z"
        assert message["data"] == EVENT.to_dict()
        assert headers["webhook-id"] == EVENT.id
        for changed in (
            (body.replace(b"logout", b"login_"), headers),
            (body, {**headers, "webhook-id": event_id((8, 0))}),
            (body, {**headers, "webhook-timestamp": str(now_s + 1)}),
            (body, signed_headers(keyring, hook, EVENT.id, now_s - 3_600, body)),
        ):
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(*changed)
        other, _ = await add_webhook(tokens, "https://app.example/hooks")
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, signed_headers(keyring, other, EVENT.id, now_s, body))


async def test_while_a_key_is_rotated_both_sign() -> None:
    async with await AsyncSessionTokens.open("memory://", settings=DURABLE) as tokens:
        hook, old = await add_webhook(tokens, "https://app.example/hooks")
        hook, new = await rotate_webhook(tokens, hook.id, overlap=3_600)
        keyring, now_s, body = tokens.store.keyring, SteadyClock().now() // 1000, body_of(EVENT)
        both = signed_headers(keyring, hook, EVENT.id, now_s, body)
        assert old != new
        for secret in (old, new):
            Webhook(secret).verify(body, both)
        later = signed_headers(keyring, hook._replace(old_until=now_s * 1000), EVENT.id, now_s, body)
        Webhook(new).verify(body, later)
        with pytest.raises(WebhookVerificationError):
            Webhook(old).verify(body, later)


async def test_no_key_is_in_the_store_and_none_is_made_without_the_data_key() -> None:
    async with await AsyncSessionTokens.open("memory://", settings=DURABLE) as tokens:
        hook, secret = await add_webhook(tokens, "https://app.example/hooks", kinds=["session_ended"])
        assert secret not in repr(await list_webhooks(tokens))
        assert secret == secret_of(tokens.store.keyring, hook)
        with pytest.raises(InvalidInput, match="data key"):
            secret_of(PlainKeyring(), hook._replace(key_id="another"))
