"""What a release file may say of where backups are kept, and how encrypted."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.domain.storage import Encryption, Storage

PUBLIC = "age1swx0zkgg8kx6202ffpeclfg3935pwq7s3g2p6hcwwxxmph54sq3qsvjd55"


def test_each_system_has_a_directory_of_its_own_in_the_store():
    assert Storage(url="s3://backups/golive/").of("shop") == "s3://backups/golive/shop"


@pytest.mark.parametrize(
    "options",
    [
        {"key": "AKIA"},
        {"secret": "hunter2"},
        {"client_kwargs": {"aws_secret_access_key": "hunter2"}},
        {"password": "${env:A}hunter2"},
        {"more": [{"token": "hunter2"}]},
    ],
)
def test_a_secret_that_is_written_out_is_refused(options):
    with pytest.raises(ValidationError, match="a secret is written out here"):
        Storage(url="s3://backups", options=options)


def test_secrets_are_named_and_addresses_may_be_written_out():
    plan = Storage(
        url="s3://backups",
        options={"key": "${env:KEY}", "client_kwargs": {"endpoint_url": "https://s3.example"}, "anon": False},
    )
    assert plan.options["anon"] is False


@pytest.mark.parametrize("url", ["backups", "/var/backups", "s3://key:secret@backups", "s3://${env:BUCKET}", "s3:// x"])
def test_a_url_that_would_hold_a_secret_or_is_none_is_refused(url):
    with pytest.raises(ValidationError):
        Storage(url=url)


def test_the_identity_is_named_and_the_recipients_are_public_keys():
    Encryption(recipients=[PUBLIC], identity="${file:/etc/golive/backup.key}")
    with pytest.raises(ValidationError, match="a secret is written out here"):
        Encryption(recipients=[PUBLIC], identity="AGE-SECRET-KEY-1X")
    for wrong in ([], ["AGE-SECRET-KEY-1X"], [PUBLIC[:-1]]):
        with pytest.raises(ValidationError):
            Encryption(recipients=wrong, identity="${env:KEY}")
