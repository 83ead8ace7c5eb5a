"""Signatures as https://www.standardwebhooks.com has them, and the keys that they are made with.

A webhook's signing key is derived from a data key of the key file, its id and its generation: it is kept nowhere, so
that who reads the store, or a backup of it, can sign nothing.
"""

from __future__ import annotations

import hmac
from base64 import b64encode

from ..crypto.minting import Keyring
from ..errors import InvalidInput
from ..rules.webhooks import Hook

PREFIX = "whsec_"


def secret_of(keyring: Keyring, hook: Hook, generation: int | None = None) -> str:
    """Return the signing key of a webhook as its receiver is given it, of a generation or the present one.

    Raises:
        InvalidInput: the data key that it is derived from was not given to this process.
    """
    return PREFIX + b64encode(_key_of(keyring, hook, generation or hook.generation)).decode("ascii")


def _key_of(keyring: Keyring, hook: Hook, generation: int) -> bytes:
    try:
        data_key = keyring.data_keys[hook.key_id]
    except KeyError:
        raise InvalidInput(
            f"the webhook {hook.id} signs under the data key {hook.key_id}, which this process was not given"
        ) from None
    return hmac.digest(data_key, f"webhook {hook.id} {generation}".encode("ascii"), "sha256")


def signed_headers(keyring: Keyring, hook: Hook, message_id: str, now_s: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a body sent at ``now_s`` (seconds since the epoch).

    While a key was rotated lately, both sign.
    """
    generations = [hook.generation]
    if hook.generation > 1 and now_s * 1000 < hook.old_until:
        generations.append(hook.generation - 1)
    signed = f"{message_id}.{now_s}.".encode("ascii") + body
    signatures = [
        "v1," + b64encode(hmac.digest(_key_of(keyring, hook, generation), signed, "sha256")).decode("ascii")
        for generation in generations
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(signatures),
    }
