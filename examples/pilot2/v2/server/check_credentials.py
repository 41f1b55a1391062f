"""Reads every stored credential by FERNET_KEY, and lists whose they are without their values.

DATABASE_URL is that of a role that row-level security does not apply to. Each key that the environment holds as
OPENAI_API_KEY or GROQ_API_KEY must be among those of the service.
"""

from __future__ import annotations

import sys

import credentials
from cryptography.fernet import InvalidToken
from database import db_manager


def main() -> None:
    """Print one line for each user and provider; what cannot be read, or is missing, ends it with an error."""
    connection, faults = db_manager.get_connection(), []
    missing = set(credentials.from_environment().items())
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT user_id, provider, type, encrypted_value FROM provider_credentials ORDER BY 1, 2, 3")
        rows = cursor.fetchall()
    connection.close()
    for user_id, provider, kind, encrypted in rows:
        told = f"{provider} {kind} of {user_id}"
        try:
            value = credentials.fernet().decrypt(encrypted.encode()).decode()
        except InvalidToken:
            faults.append(f"{told} cannot be decrypted")
            continue
        if user_id == credentials.OWNER:
            missing.discard((provider, value))
        sys.stdout.write(f"✓ {told}\n")
    faults += [f"the key of {provider} in the environment is not in the database" for provider, _ in sorted(missing)]
    if faults:
        raise SystemExit("\n".join(faults))
    sys.stdout.write(f"✓ {len(rows)} credentials can be decrypted\n")


if __name__ == "__main__":
    main()
