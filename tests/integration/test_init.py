from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from deployments.cli import app
from tasks.domain.errors import Refused, UserError
from tasks.spec.loading import load
from tests.parts import git, require_part
from tests.repositories import a_repository

FASTAPI = {
    "pyproject.toml": """
        [project]
        name = "orders"
        description = "Takes orders: by post & \\"phone\\"."
        dependencies = ["fastapi", "uvicorn", "sqlalchemy[asyncio]", "psycopg[binary]>=3", "alembic"]
        [build-system]
        requires = ["hatchling"]
    """,
    "alembic.ini": "[alembic]\nscript_location = %(here)s/db\n",
    "db/env.py": 'import os\nurl = os.environ["ORDERS_DATABASE_URL"]\n',
    "orders/__init__.py": "",
    "orders/main.py": """
        from fastapi import FastAPI

        app = FastAPI(title="orders")

        @app.get("/healthz")
        def well(): return {}
    """,
    "tests/test_main.py": "from fastapi import FastAPI\nwrong = FastAPI()\n",
    ".env.example": "ORDERS_DATABASE_URL=postgresql://dev:dev@localhost/orders\nPORT=8000\nSTRIPE_KEY=sk_test\n",
    "Dockerfile": "FROM python:3.12\nEXPOSE 8080\n",
}
FLASK = {
    "requirements.txt": "flask\nwaitress\npsycopg2-binary\nredis\n",
    "Procfile": "web: gunicorn --bind 0.0.0.0:$PORT 'shop:create_app()'\nworker: python -m shop.worker\nrelease: x\n",
    "shop/__init__.py": """
        import os
        from flask import Flask

        def create_app():
            app = Flask(__name__)
            app.config["DSN"] = os.environ.get("DATABASE_URI")
            app.add_url_rule("/status", view_func=lambda: "ok")
            return app
    """,
    "migrations/001_item.up.sql": "CREATE TABLE item ();",
    "migrations/001_item.down.sql": "DROP TABLE item;",
    "node_modules/x/migrations/000_other.sql": "SELECT 1;",
}
COMPOSE = {
    "docker-compose.yml": """
        services:
          api:
            build: .
            container_name: desk
            ports: ["8000:8000"]
            environment: {DATABASE_URL: "${DATABASE_URL}", KEY: "${SIGNING_KEY}", LOG: "${LEVEL:-info}"}
            healthcheck: {test: [CMD, curl, -f, http://localhost:8000/health]}
          worker: {build: ., command: python -m worker}
          db: {image: "postgres:16"}
          cache: {image: redis:7}
    """,
    "Dockerfile": "FROM python:3.12\nEXPOSE 8000\n",
    "manage.py": 'import os, django\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "desk.settings")\n',
    "desk/migrations/0001_initial.py": "",
    "desk/urls.py": 'from django.urls import path\nurlpatterns = [path("health/", None)]\n',
    "desk/settings.py": 'DATABASES = {"default": {"HOST": os.environ["DB_HOST"], "NAME": os.environ["DB_NAME"]}}\n',
}
NOTHING = {"README.md": "# nothing\n", "docker-compose.yml": "services: [not, a, mapping\n", "bad.py": "\x00"}
IN_PARTS = {
    "setup.py": "",
    "desk/config.py": """
        from pydantic_settings import BaseSettings

        class Settings(BaseSettings):
            POSTGRES_HOST: str = "localhost"
            POSTGRES_DB: str | None = None
            POSTGRES_PASSWORD: str
            LEVEL: str = "info"

        class Keys(Settings):
            model_config = SettingsConfigDict(env_prefix="desk_")
            jwt_secret: str = Field(min_length=8)
            sentry: str | None = None
            lifetime: int = Field(default=60)
    """,
    "desk/api.py": "from fastapi import APIRouter\nr = APIRouter(prefix='/v1')\n@r.get('/alive/')\ndef alive(): ...\n",
    "desk/main.py": "import fastapi\n\n\ndef create_app(settings=None):\n    return fastapi.FastAPI()\n",
}
NESTED = {
    "pyproject.toml": """
        [project]
        name = "metrics"
        dependencies = ["fastapi", "psycopg", "sqlalchemy"]
        [build-system]
        requires = ["hatchling"]
    """,
    "metrics/config.py": """
        from pydantic import BaseModel
        from pydantic_settings import BaseSettings

        class Connection(BaseModel):
            uri: str
            pool: int = 20

        class Cache(BaseModel):
            password: str

        class Settings(BaseSettings):
            model_config = {"env_nested_delimiter": "__"}
            writer_db: Connection = Connection(uri="postgresql+psycopg://dev@localhost/metrics")
            reader_db: Connection = writer_db
            cache: Cache
    """,
    "metrics/alembic.ini": "[alembic]\nscript_location = alembic\n",
    "metrics/alembic/script.py.mako": "",
    "metrics/alembic/env.py": 'import os\nurl = os.getenv("DATABASE_URI", "postgresql:///")\n',
    "metrics/api/main.py": """
        from fastapi import FastAPI
        from sqlalchemy.ext.asyncio import AsyncSession

        def create_app(lifespan): return FastAPI(lifespan=lifespan)

        app = create_app(lifespan=None)
    """,
}
UNITS = {
    "deploy/desk-api.service": "[Service]\nExecStart=/opt/desk/.venv/bin/uvicorn desk.api:app --port 9000\n",
    "deploy/desk-worker.service": "[Service]\nExecStart=/opt/desk/.venv/bin/python -m desk.worker\n",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GOLIVE_SYSTEMS", str(tmp_path / "systems"))


def golive(*words: str, code: int = 0) -> Any:
    seen = CliRunner().invoke(app, list(words))
    assert seen.exit_code == code, seen.output + repr(seen.exception)
    return seen


def begun(tmp_path: Path, name: str, files: Mapping[str, str], *words: str) -> tuple[dict[str, Any], str, Any]:
    """Begin a release file for a repository, hold it valid, and return it as values and text, with what was said."""
    said = golive("init", str(a_repository(tmp_path / name, files)), *words)
    path = tmp_path / "systems" / name / "release.yaml"
    golive("validate", name)
    assert load(path).system == name
    text = path.read_text()
    return YAML(typ="safe").load(text), text, said


def test_fastapi_with_alembic_and_a_settled_environment(tmp_path: Path) -> None:
    file, text, said = begun(tmp_path, "orders", FASTAPI)
    web = file["platform"]["processes"]["web"]
    assert file["description"] == 'Takes orders: by post & "phone".'
    assert web["command"][:4] == ["{release_dir}/.venv/bin/python", "-m", "uvicorn", "orders.main:app"]
    assert web["environment"] == {"PORT": "{port}", "ORDERS_DATABASE_URL": "{dsn+psycopg}"}
    assert "STRIPE_KEY: ${env:ORDERS_STRIPE_KEY}" in text
    assert (file["base_url"], file["router"]["listen"]) == ("http://127.0.0.1:8080", 8080)
    assert file["rollout"]["ready"]["path"] == "/healthz"
    migration = file["migration"]
    assert (migration["kind"], migration["dsn_variable"]) == ("alembic", "ORDERS_DATABASE_URL")
    assert migration["dsn_scheme"] == "postgresql+psycopg"
    assert file["source"]["build"][1]["command"] == [".venv/bin/pip", "install", "."]
    assert "the route /healthz (orders/main.py:5)" in said.stderr
    assert "FILL IN: the roles that sign" in said.stdout


def test_flask_with_a_procfile_and_sql_files_both_ways(tmp_path: Path) -> None:
    file, text, _said = begun(tmp_path, "shop", FLASK)
    processes = file["platform"]["processes"]
    assert processes["web"]["command"] == [
        "{release_dir}/.venv/bin/gunicorn", "--bind", "0.0.0.0:{port}", "shop:create_app()"
    ]  # fmt: skip
    assert (processes["worker"]["role"], set(processes)) == ("background", {"web", "worker"})
    assert processes["web"]["environment"]["DATABASE_URI"] == "{dsn}"
    assert file["migration"]["files"] == ["migrations/*.up.sql"]
    assert file["migration"]["down"] == ["migrations/*.down.sql"]
    assert "FILL IN: what production has already must not be applied again" in text
    assert file["checks"]["compatibility"][0]["url"] == "{base_url}/status"


def test_compose_says_what_its_file_lacks_for_two_versions_side_by_side(tmp_path: Path) -> None:
    file, text, _said = begun(tmp_path, "desk", COMPOSE)
    platform = file["platform"]
    assert platform["services"] == {"api": "web", "worker": "background"}
    assert platform["file"] == "{release_dir}/docker-compose.yml"
    assert platform["environment"]["SIGNING_KEY"] == "${env:DESK_SIGNING_KEY}"
    assert "LEVEL" not in platform["environment"]
    assert 'api must publish "127.0.0.1:${PORT}:8000"' in text
    assert "api must have no container_name" in text
    assert "db, cache belong to no version" in text
    assert file["migration"]["kind"] == "django"
    assert platform["environment"]["DATABASE_URL"] == "{dsn}"
    assert platform["environment"]["DB_HOST"] == "{db_host}"
    assert file["rollout"]["ready"]["path"] == "/health/"


def test_settings_of_the_code_are_handed_over_in_parts_and_those_without_a_value_are_named(tmp_path: Path) -> None:
    file, text, _said = begun(tmp_path, "desk", IN_PARTS)
    environment = file["platform"]["processes"]["web"]["environment"]
    assert environment == {
        "PORT": "{port}", "POSTGRES_HOST": "{db_host}", "POSTGRES_DB": "{db_name}",
        "POSTGRES_PASSWORD": "{db_password}", "DESK_JWT_SECRET": "${env:DESK_JWT_SECRET}",
    }  # fmt: skip
    assert "# DESK_SENTRY: ${env:DESK_SENTRY}" in text
    assert "LEVEL" not in text
    assert "LIFETIME" not in text
    assert "FILL IN: the prefix, if this route is mounted under one; seen were /v1" in text
    assert "--factory" in file["platform"]["processes"]["web"]["command"]


def test_groups_of_settings_and_an_application_that_a_function_makes_are_seen(tmp_path: Path) -> None:
    file, text, _said = begun(tmp_path, "metrics", NESTED)
    web = file["platform"]["processes"]["web"]
    assert "metrics.api.main:app" in web["command"]
    assert "--factory" not in web["command"]
    assert web["environment"] == {
        "PORT": "{port}", "WRITER_DB__URI": "{dsn+psycopg}", "READER_DB__URI": "{dsn+psycopg}",
        "CACHE__PASSWORD": "${env:METRICS_CACHE__PASSWORD}",
    }  # fmt: skip
    assert "POOL" not in text
    assert file["source"]["build"][2]["command"] == [".venv/bin/pip", "install", "uvicorn", "alembic", "greenlet"]
    assert (file["migration"]["dsn_variable"], file["migration"]["directory"]) == ("DATABASE_URI", "metrics")


@pytest.mark.parametrize(
    ("route", "mounting", "path"),
    [
        # Flat: a module's router, included by its name in the application's own file.
        (
            {"app/health.py": ""},
            {"app/main.py": "from app.health import r\napp = FastAPI()\napp.include_router(r)"},
            "",
        ),
        (
            {"src/app/api/health.py": ""},
            {
                "src/app/api/__init__.py": "from .health import r as health_router",
                "src/app/main.py": "from app.api import health_router\n"
                "def create_app(app=None):\n    app.include_router(health_router, prefix='/api')",
            },
            "/api",
        ),
        # Through a router of routers, and a prefix that is a setting.
        (
            {"app/api/routes/utils.py": "prefix='/utils'"},
            {
                "app/api/main.py": "from app.api.routes import items, utils\nboth = APIRouter()\n"
                "both.include_router(utils.r)",
                "app/main.py": "from app.api.main import both\nfrom app.config import settings\napp = FastAPI()\n"
                "app.include_router(both, prefix=f'{settings.API}/x')",
                "app/config.py": "class S(BaseSettings):\n    API: str = '/api/v1'\n",
            },
            "/api/v1/x/utils",
        ),
        # An application within the application.
        (
            {"app/health.py": ""},
            {
                "app/main.py": "from app import health\napp = FastAPI()\ninner = FastAPI()\n"
                "inner.include_router(health.r)\napp.mount('/inner', inner)"
            },
            "/inner",
        ),
    ],
)
def test_a_route_is_followed_through_the_routers_that_it_is_mounted_in(
    tmp_path: Path, route: dict[str, str], mounting: dict[str, str], path: str
) -> None:
    text = "from fastapi import APIRouter\nr = APIRouter({})\n@r.get('/alive')\ndef alive(): ...\n"
    files = {name: text.format(given) for name, given in route.items()}
    file, written, said = begun(tmp_path, "desk", files | mounting | {"app/__init__.py": ""})
    assert file["rollout"]["ready"]["path"] == f"{path}/alive"
    assert "FILL IN: the prefix" not in written
    assert f"the route {path}/alive" in said.stderr


@pytest.mark.parametrize(
    "mounting",
    [
        "from app.health import r\napp.include_router(r, prefix=prefix_of('health'))\n",
        "from app.health import r\nr.include_router(r, prefix='/round')\n",
        "def broken(:\n",
    ],
)
def test_a_prefix_that_the_code_does_not_tell_is_left_to_be_filled_in(tmp_path: Path, mounting: str) -> None:
    health = "from fastapi import APIRouter\nr = APIRouter(prefix='/v1')\n@r.get('/alive')\ndef alive(): ...\n"
    file, text, _said = begun(tmp_path, "desk", {"app/health.py": health, "app/main.py": mounting})
    assert file["rollout"]["ready"]["path"] == "/alive"
    assert "FILL IN: the prefix, if this route is mounted under one; seen were /v1" in text


def test_what_a_rehearsal_must_not_reach_is_named(tmp_path: Path) -> None:
    files = FASTAPI | {".env.example": "ORDERS_DATABASE_URL=postgresql://a@b/c\nCELERY_BROKER_URL=redis://x\nKEY=x\n"}
    _, text, _ = begun(tmp_path, "orders", files)
    assert "# rehearsal:\n#   environment:\n#     CELERY_BROKER_URL: another value\n" in text
    _, text, _ = begun(tmp_path, "other", FASTAPI)
    assert "# rehearsal:" not in text


@pytest.mark.parametrize("directory", ["v1", "1.4.0rc1", "orders-1.4.0"])
def test_versions_beside_each_other_are_the_source_and_the_project_gives_the_name(
    tmp_path: Path, directory: str
) -> None:
    golive("init", str(a_repository(tmp_path / "versions" / directory, FASTAPI)))
    file = YAML(typ="safe").load((tmp_path / "systems" / "orders" / "release.yaml").read_text())
    assert (file["source"]["kind"], file["source"]["path"]) == ("directory", str(tmp_path / "versions"))


def test_a_version_without_a_project_is_called_as_what_holds_the_versions_and_gets_what_its_script_needs(
    tmp_path: Path,
) -> None:
    script = "import os\nname, mode = os.environ['DB_HOST'], os.environ.get('MODE')\nkey = os.environ['SIGNING_KEY']\n"
    files = {"Procfile": "web: python start.py\n", "start.py": script + "os.environ['TZ'] = 'UTC'\n"}
    golive("init", str(a_repository(tmp_path / "Desk" / "versions" / "v1", files)))
    file = YAML(typ="safe").load((tmp_path / "systems" / "desk" / "release.yaml").read_text())
    environment = file["platform"]["processes"]["web"]["environment"]
    assert environment == {"PORT": "{port}", "DB_HOST": "{db_host}", "SIGNING_KEY": "${env:DESK_SIGNING_KEY}"}


def test_units_of_systemd_stay_units(tmp_path: Path) -> None:
    file, text, _said = begun(tmp_path, "desk", UNITS)
    units = file["platform"]["units"]
    assert units["desk_api"]["command"][-2:] == ["--port", "{port}"]
    assert units["desk_worker"]["role"] == "background"
    assert "FILL IN: the command is started by the absolute paths of the unit" in text


def test_a_repository_that_shows_nothing_is_said_to_show_nothing(tmp_path: Path) -> None:
    file, text, said = begun(tmp_path, "nothing", NOTHING)
    assert "nothing that golive knows" in said.stderr
    assert file["migration"] == {"kind": "none"}
    for words in ("the command that starts the service", "none was seen", "neither Alembic nor Django nor SQL files"):
        assert f"{words}" in text
    assert text.count("FILL IN") >= 8


def test_a_part_of_a_git_repository_is_released_from_its_origin(tmp_path: Path) -> None:
    require_part("git")
    top = tmp_path / "mono"
    a_repository(top / "services" / "orders", FASTAPI)
    git(top, "init", "-q")
    git(top, "remote", "add", "origin", "https://git.example.org/mono.git")
    golive("init", str(top / "services" / "orders"))
    file = YAML(typ="safe").load((tmp_path / "systems" / "orders" / "release.yaml").read_text())
    source = {key: file["source"][key] for key in ("kind", "repository", "subdirectory")}
    assert source == {
        "kind": "git", "repository": "https://git.example.org/mono.git", "subdirectory": "services/orders"
    }  # fmt: skip
    git(top, "remote", "set-url", "origin", "https://ana:hidden-word@git.example.org/mono.git")
    golive("init", str(top / "services" / "orders"), "--name", "again")
    text = (tmp_path / "systems" / "again" / "release.yaml").read_text()
    assert "hidden-word" not in text
    assert "${env:AGAIN_REPOSITORY}" in text


def test_a_database_that_is_named_shows_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: Any, database: str
) -> None:
    session.execute('CREATE TABLE "Order" (id integer); ')
    monkeypatch.setenv("ORDERS_DSN", database)
    file, _text, said = begun(tmp_path, "orders", FASTAPI, "--dsn", "${env:ORDERS_DSN}")
    assert file["checks"]["compatibility"][1]["table"] == '"public"."Order"'
    assert "1 tables" in said.stderr
    refused = golive("init", str(tmp_path / "orders"), "--dsn", "postgresql://a:hidden@h/b", code=UserError.exit_code)
    assert "hidden" not in refused.output


def test_nothing_is_overwritten_and_a_checklist_is_made_only_if_wanted(tmp_path: Path) -> None:
    begun(tmp_path, "orders", FASTAPI)
    path = tmp_path / "systems" / "orders" / "release.yaml"
    assert not path.with_name("checklist.csv").exists()
    path.write_text("mine")
    golive("init", str(tmp_path / "orders"), code=Refused.exit_code)
    assert path.read_text() == "mine"
    document = tmp_path / "GO.md"
    document.write_text("# Before\n\n- [ ] All tests pass\n- [ ] The DBA has signed\n")
    golive("init", str(tmp_path / "orders"), "--name", "more", "--checklist", str(document))
    assert "All tests pass" in (tmp_path / "systems" / "more" / "checklist.csv").read_text()
    golive("validate", "more")


@pytest.mark.parametrize("words", [["./gone"], ["./a-file"], [".", "--name", "No Name"]])
def test_what_is_no_directory_or_no_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(a_repository(tmp_path / "here", NOTHING))
    (tmp_path / "here" / "a-file").write_text("")
    assert "error: " in golive("init", *words, code=UserError.exit_code).stderr
    assert not (tmp_path / "systems").exists() or not list((tmp_path / "systems").iterdir())
