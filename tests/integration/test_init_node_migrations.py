"""What a release file that is begun for a Node service says of its migrations, with what their tools print."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.repositories import SERVER, a_package, begun

TOOLS = {
    "knex": {
        "knexfile.js": "module.exports = { connection: process.env.DATABASE_URL,\n"
        "  migrations: { directory: path.join(__dirname, 'db', 'steps') } };\n"
    },
    "node-pg-migrate": {"migrations/1_a.js": ""},
    "sequelize-cli": {
        ".sequelizerc": "module.exports = { config: path.resolve('config', 'config.json') };\n",
        "config/config.json": '{"production": {"use_env_variable": "DATABASE_URL"}}\n',
        "db/migrations/1-a.js": "",
    },
    "typeorm": {
        "src/source.ts": "export default new DataSource({ url: process.env.DATABASE_URL });\n",
        "src/steps/1-a.ts": "export class A1 implements MigrationInterface {}\n",
    },
    "db-migrate": {"migrations/1-a.js": ""},
    "prisma": {"prisma/schema.prisma": "", "prisma/migrations/1_a/migration.sql": ""},
}


@dataclass(frozen=True)
class Prints:
    """What a tool prints while something is pending, and while nothing is, and the names that are to be had of it."""

    some: str
    none: str
    names: Sequence[str]


SAID = {
    "knex": Prints(
        "Using environment: production\nFound 1 Completed Migration file/files.\n1_a.js\n"
        "Found 2 Pending Migration file/files.\n2_b.js\n3_c.js\n\n",
        "Using environment: production\nFound 1 Completed Migration file/files.\n1_a.js\n"
        "No Pending Migration files Found.\n",
        ["2_b.js", "3_c.js"],
    ),
    "node-pg-migrate": Prints(
        "dry run\n> Migrating files:\n> - 2_b\n> - 3_c\n### MIGRATION 2_b (UP) ###\nALTER TABLE a;\n\n",
        "dry run\nNo migrations to run!\nMigrations complete!\n",
        ["2_b", "3_c"],
    ),
    "sequelize-cli": Prints(
        'Sequelize CLI\n\nUsing environment "production".\nup 1-a.js\ndown 2-b.js\n',
        "Sequelize CLI\nup 1-a.js\nup 2-b.js\n",
        ["2-b.js"],
    ),
    "typeorm": Prints("[X] 1 A1\n[ ] B2\n[ ] C3\n", "[X] 1 A1\n", ["B2", "C3"]),
    "db-migrate": Prints(
        "[INFO] Migrations to run: [\n  '2-b',\n  '3-c'\n]\n[INFO] Done\n",
        "[INFO] Migrations to run: []\n[INFO] Done\n",
        ["2-b", "3-c"],
    ),
    "prisma": Prints(
        "2 migrations found in prisma/migrations\nFollowing migration have not yet been applied:\n2_b\n\n"
        "To apply migrations in production run prisma migrate deploy.\n",
        "2 migrations found in prisma/migrations\n\nDatabase schema is up to date!\n",
        ["2_b"],
    ),
}
"""All as the tools themselves print it, but for prisma's."""


def asked(root: Path, words: Sequence[str], tool: str, said: str, code: int = 0) -> tuple[int, list[str]]:
    """Run a command with a tool that prints something; return how it ended, and the names that it printed."""
    program = root / "node_modules" / ".bin" / tool
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{said}END\nexit {code}\n")
    program.chmod(0o755)
    ended = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False, timeout=60)
    return ended.returncode, ended.stdout.split()


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_is_asked_for_what_is_pending_and_silence_or_failure_is_never_taken_for_nothing(
    tmp_path: Path, tool: str
) -> None:
    package = a_package("express", tool, scripts={"start": "node a.js"})
    file, text = begun(tmp_path, {"package.json": package, "package-lock.json": "", "a.js": SERVER, **TOOLS[tool]})
    migration = file["migration"]
    assert migration["kind"] == "command"
    assert migration["commands"]["upgrade"][0] == f"{{release_dir}}/node_modules/.bin/{tool}"
    assert "--omit=dev" not in file["source"]["build"][0]["command"], "the tool is among those for development"
    assert ("could not try" in text) == (tool == "prisma")

    def pending(said: str, code: int = 0) -> tuple[int, list[str]]:
        return asked(tmp_path / "desk", migration["commands"]["pending"], tool, said, code)

    prints = SAID[tool]
    assert pending(prints.some, code=int(tool == "prisma")) == (0, prints.names)
    assert pending(prints.none) == (0, [])
    assert pending("something else\n")[0] != 0
    assert pending("", code=1)[0] != 0


def test_a_long_list_that_its_tool_cuts_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    package = a_package("db-migrate", scripts={"start": "node a.js"})
    file, _text = begun(tmp_path, {"package.json": package, "migrations/1-a.js": ""})
    said = "[INFO] Migrations to run: [\n  '2-b',\n  ... 1 more item\n]\n"
    assert asked(tmp_path / "desk", file["migration"]["commands"]["pending"], "db-migrate", said)[0] != 0


def test_places_of_migrations_are_those_of_the_configuration(tmp_path: Path) -> None:
    found = {}
    for tool in ("knex", "sequelize-cli", "typeorm", "prisma"):
        package = a_package(tool, scripts={"start": "node a.js"})
        file, text = begun(tmp_path / tool, {"package.json": package, **TOOLS[tool]})
        found[tool] = file["migration"]["files"]
        assert "takes the database from the environment" not in text
    assert found == {
        "knex": ["knexfile.js", "db/steps/*"], "sequelize-cli": ["db/migrations/*"], "typeorm": ["src/steps/*"],
        "prisma": ["prisma/migrations/*/migration.sql"],
    }  # fmt: skip


def test_a_script_that_migrates_is_taken_and_its_question_left_to_a_person(tmp_path: Path) -> None:
    package = a_package("unleash-server", scripts={"start": "node server.js", "migrate": "node migrate.js"})
    files = {"package.json": package, "package-lock.json": "{}", "server.js": SERVER, "migrate.js": "", "sql/1.sql": ""}
    file, text = begun(tmp_path, files)
    assert file["migration"]["commands"]["upgrade"] == ["node", "migrate.js"]
    assert file["migration"]["files"] == ["migrate.js", "sql/*.sql", "package-lock.json"]
    assert "FILL IN: the command `pending`, which fails as it stands" in text
    assert subprocess.run(file["migration"]["commands"]["pending"], check=False, capture_output=True).returncode != 0
