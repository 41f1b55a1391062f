"""A small Django project, with the migrations that a test gives its one application."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SETTINGS = """
import os
from urllib.parse import unquote, urlsplit

url = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": url.hostname, "PORT": url.port, "USER": url.username, "PASSWORD": unquote(url.password or ""),
        "NAME": url.path[1:], "OPTIONS": {"client_encoding": "UTF8"},
    }
}
INSTALLED_APPS = ["shop"]
SECRET_KEY = "of a test"
USE_TZ = True
print("settings of the shop")
"""
MANAGE = """
import os, sys

os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""
MIGRATION = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [{after}]
    operations = [{operations}]
"""


def project(directory: Path, **steps: str) -> dict[str, Any]:
    """Write a project whose migrations have these operations, one after the other, and return the migrator's fields."""
    own = {"manage.py": MANAGE, "project/__init__.py": "", "project/settings.py": SETTINGS}
    own |= {"shop/__init__.py": "", "shop/models.py": "", "shop/migrations/__init__.py": ""}
    write(directory, own)
    names = list(steps)
    for before, name in zip([None, *names], names, strict=False):
        step(directory, name, steps[name], after=f"('shop', '{before}')" if before else "")
    return {"kind": "django"}


def step(directory: Path, name: str, operations: str, *, after: str = "", app: str = "shop") -> None:
    """Write one migration; ``after`` are those that it builds on, in Python."""
    write(directory, {f"{app}/migrations/{name}.py": MIGRATION.format(after=after, operations=operations)})


def write(directory: Path, texts: Mapping[str, str]) -> None:
    """Write files below a directory."""
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
