"""The users' credentials, encrypted by Fernet: nothing but the key in the environment makes them readable."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.fernet import Fernet
from database import db_manager

OWNER = "service"
"""Whose the keys are that the environment held before there were credentials in the database."""


def fernet() -> Fernet:
    """Return the cipher; raises `ValueError` if FERNET_KEY is no key."""
    return Fernet(os.environ["FERNET_KEY"])


def store(user_id: str, provider: str, values: Mapping[str, str]) -> None:
    """Store a user's credentials of a provider, in place of those there are."""
    cipher = fernet()
    with db_manager.session(user_id) as cursor:
        for name, value in values.items():
            cursor.execute(
                "INSERT INTO provider_credentials (user_id, provider, type, encrypted_value) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (user_id, provider, type) DO UPDATE SET encrypted_value = excluded.encrypted_value",
                (user_id, provider, name, cipher.encrypt(value.encode()).decode()),
            )


def read(user_id: str, provider: str) -> dict[str, str]:
    """Return a user's credentials of a provider in the clear, for the provider alone."""
    with db_manager.session(user_id) as cursor:
        cursor.execute("SELECT type, encrypted_value FROM provider_credentials WHERE provider = %s", (provider,))
        return {row["type"]: fernet().decrypt(row["encrypted_value"].encode()).decode() for row in cursor.fetchall()}


def remove(user_id: str, provider: str) -> int:
    """Remove a user's credentials of a provider and return how many there were."""
    with db_manager.session(user_id) as cursor:
        cursor.execute("DELETE FROM provider_credentials WHERE provider = %s AND user_id = %s", (provider, user_id))
        return int(cursor.rowcount)


def from_environment() -> dict[str, str]:
    """Return the keys that the environment holds, by provider, as version 1 has them."""
    names = {name.removesuffix("_API_KEY").lower(): value for name, value in os.environ.items() if value}
    return {name: names[name] for name in ("openai", "groq") if f"{name.upper()}_API_KEY" in os.environ}


def take_over() -> None:
    """Store the keys of the environment, unless they are there."""
    for provider, key in from_environment().items():
        if read(OWNER, provider) != {"api_key": key}:
            store(OWNER, provider, {"api_key": key})
