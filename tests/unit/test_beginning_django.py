"""What `golive init` reads from Django projects: settings, server, workers, static files, routes, migrations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repositories import begun

MANAGE = 'import os\nfrom django.core.management import x\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\n'
SERVED = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\n'

SMALL = {
    "manage.py": MANAGE.format("shop.settings"),
    "requirements.txt": "django\ndj-database-url\npsycopg\n",
    "shop/__init__.py": "",
    "shop/settings.py": """
        import os
        import dj_database_url

        SECRET_KEY = os.environ["SECRET_KEY"]
        ALLOWED_HOSTS = os.environ.get("HOSTS", "").split(" ")
        CACHE = os.getenv("REDIS_URL", "redis://localhost:6379/0")
        LEVEL = os.getenv("LEVEL", "info")
        DATABASES = {"default": dj_database_url.config(conn_max_age=60)}
        STATIC_ROOT = "static"

        def later():
            return os.environ["ONLY_SOMETIMES"]
    """,
    "shop/urls.py": """
        from django.contrib import admin
        from django.urls import path
        urlpatterns = [path("office/", admin.site.urls)]
    """,
    "shop/wsgi.py": SERVED.format("shop.settings"),
}
LARGE = {
    "manage.py": MANAGE.format("config.settings.local"),
    "pyproject.toml": '[project]\nname = "desk"\n',
    "requirements/base.txt": "django\ndjango-environ\ncelery\ndjango-celery-beat\n",
    "requirements/production.txt": "-r base.txt\ngunicorn\npsycopg[c]\n",
    "config/__init__.py": "",
    "config/settings/__init__.py": "",
    "config/settings/base.py": """
        import environ

        env = environ.Env(DEBUG=(bool, False))
        DEBUG = env("DEBUG")
        DATABASES = {"default": env.db("DATABASE_URL")}
        ROOT_URLCONF = "config.urls"
        STATIC_ROOT = "staticfiles"
        ALLOWED_HOSTS = []
    """,
    "config/settings/local.py": 'from .base import *\nSECRET_KEY = "local"\nALLOWED_HOSTS = ["*"]\n',
    "config/settings/production.py": """
        from .base import *
        from .base import env

        SECRET_KEY = env("DJANGO_SECRET_KEY")
        ALLOWED_HOSTS = ["desk.example.org"]
        SECURE_SSL_REDIRECT = env.bool("DJANGO_SECURE_SSL_REDIRECT", default=True)
        SENTRY = env("SENTRY_DSN", default=None)
    """,
    "config/celery.py": """
        from celery import Celery

        app = Celery("desk")
    """,
    "config/urls.py": 'from django.urls import *\nurlpatterns = [path("api/v1/", include("desk.api.urls"))]\n',
    "config/wsgi.py": SERVED.format("config.settings.production"),
    "desk/api/__init__.py": "",
    "desk/api/urls.py": 'from . import views\nurlpatterns = [path("ready/", views.ready)]\n',
    "desk/tests/urls.py": 'urlpatterns = [path("health", None)]\n',
}


def test_a_project_with_its_settings_from_the_environment_is_begun_whole(tmp_path: Path) -> None:
    file, text = begun(tmp_path, SMALL)
    web = file["platform"]["processes"]["web"]
    assert web["command"][2:] == ["gunicorn", "--bind", "127.0.0.1:{port}", "shop.wsgi:application"]
    assert web["environment"] == {
        "PORT": "{port}", "DATABASE_URL": "{dsn}", "HOSTS": "127.0.0.1 localhost",
        "SECRET_KEY": "${env:DESK_SECRET_KEY}",
    }  # fmt: skip
    assert "FILL IN: the names by which clients reach it, read in shop/settings.py:5" in text
    # A default that leads to the developer's own machine is none for production.
    assert "# REDIS_URL: ${env:DESK_REDIS_URL}" in text
    assert "LEVEL" not in text
    assert "# ONLY_SOMETIMES: ${env:DESK_ONLY_SOMETIMES}" in text
    commands = [one["command"] for one in file["source"]["build"]]
    assert commands[2] == [".venv/bin/pip", "install", "gunicorn"]
    assert commands[3] == ["{release_dir}/.venv/bin/python", "manage.py", "collectstatic", "--noinput"]
    assert file["source"]["build"][3]["environment"] == {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "SECRET_KEY": "${env:DESK_SECRET_KEY}"
    }  # fmt: skip
    assert file["migration"] == {
        "kind": "django", "command": ["{release_dir}/.venv/bin/python", "manage.py"],
        "environment": {"SECRET_KEY": "${env:DESK_SECRET_KEY}"}, "limits": {"duration": "2 min", "lock": "5s"},
    }  # fmt: skip
    assert file["rollout"]["ready"] == {"path": "/office/login/", "within": "2 min"}


def test_production_has_settings_of_its_own_and_workers_beside_what_serves(tmp_path: Path) -> None:
    file, text = begun(tmp_path, LARGE)
    processes, own = file["platform"]["processes"], {"DJANGO_SETTINGS_MODULE": "config.settings.production"}
    assert processes["web"]["command"][-1] == "config.wsgi:application"
    given = {"DATABASE_URL": "{dsn}", **own, "DJANGO_SECRET_KEY": "${env:DESK_DJANGO_SECRET_KEY}"}
    assert processes["web"]["environment"] == {"PORT": "{port}", **given}
    assert processes["worker"]["command"][1:] == ["-m", "celery", "-A", "config", "worker", "--loglevel", "info"]
    assert {name: one.get("role") for name, one in processes.items()} == {
        "web": None, "worker": "background", "beat": "background"
    }  # fmt: skip
    assert "django_celery_beat.schedulers:DatabaseScheduler" in processes["beat"]["command"]
    assert file["source"]["build"][1]["command"] == [".venv/bin/pip", "install", "-r", "requirements/production.txt"]
    assert len(file["source"]["build"]) == 3, "nothing that its requirements name is installed once more"
    assert file["migration"]["environment"] == {**own, "DJANGO_SECRET_KEY": "${env:DESK_DJANGO_SECRET_KEY}"}
    assert "DEBUG" not in text, "it has a default where the environment is declared"
    assert "# SENTRY_DSN: ${env:DESK_SENTRY_DSN}" in text
    # Its clients come under its own name and by HTTPS, and so must golive.
    assert "FILL IN: config/settings/production.py:5 must allow 127.0.0.1" in text
    ready = {"path": "/api/v1/ready/", "within": "2 min", "headers": {"X-Forwarded-Proto": "https"}}
    assert file["rollout"]["ready"] == ready
    assert file["checks"]["compatibility"][0]["headers"] == {"X-Forwarded-Proto": "https"}


@pytest.mark.parametrize(
    ("needs", "files", "command"),
    [
        ("daphne", ["asgi.py", "wsgi.py"], ["daphne", "-b", "127.0.0.1", "-p", "{port}", "shop.asgi:application"]),
        ("uvicorn", ["asgi.py"], ["uvicorn", "shop.asgi:application", "--host", "127.0.0.1", "--port", "{port}"]),
        (
            "gunicorn\nuvicorn\nchannels",
            ["asgi.py", "wsgi.py"],
            ["gunicorn", "--bind", "127.0.0.1:{port}", "-k", "uvicorn.workers.UvicornWorker", "shop.asgi:application"],
        ),
        ("gunicorn", ["wsgi.py"], ["gunicorn", "--bind", "127.0.0.1:{port}", "shop.wsgi:application"]),
    ],
)
def test_the_server_that_its_requirements_name_serves_it(
    tmp_path: Path, needs: str, files: list[str], command: list[str]
) -> None:
    names = ["manage.py", "shop/__init__.py", "shop/settings.py", *(f"shop/{name}" for name in files)]
    texts = {name: SMALL.get(name, SMALL["shop/wsgi.py"]) for name in names}
    file, _text = begun(tmp_path, texts | {"requirements.txt": needs + "\n"})
    assert file["platform"]["processes"]["web"]["command"][2:] == command


def test_a_project_below_the_repository_runs_in_its_own_directory(tmp_path: Path) -> None:
    texts = {f"src/{name}" if "/" in name or name == "manage.py" else name: text for name, text in SMALL.items()}
    texts["requirements.txt"] = "django\ngunicorn\ndjango-q2\n"
    texts["src/shop/urls.py"] = """
        from django.urls import include, re_path
        base_patterns = [re_path(r"^well/", include("health_check.urls"))]
    """
    file, _text = begun(tmp_path, texts)
    processes = file["platform"]["processes"]
    assert processes["web"]["directory"] == "{release_dir}/src"
    assert processes["web"]["command"][-1] == "shop.wsgi:application"
    assert processes["qcluster"]["command"][1:] == ["manage.py", "qcluster"]
    assert file["migration"]["directory"] == "src"
    assert file["source"]["build"][2]["directory"] == "src"
    assert file["rollout"]["ready"]["path"] == "/well/"


def test_settings_that_cannot_be_read_leave_the_rest_as_it_was_seen(tmp_path: Path) -> None:
    texts = {"manage.py": "import django\n", "shop/settings.py": "DATABASES = {\n", "shop/wsgi.py": "x\n"}
    file, text = begun(tmp_path, texts)
    assert "FILL IN: the command is started by the name of the package, PROJECT" in text
    assert file["migration"]["kind"] == "django"
