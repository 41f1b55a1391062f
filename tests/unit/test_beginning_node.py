from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.repositories import SERVER, a_package, begun


def started(tmp_path: Path, scripts: Mapping[str, str], **more: str) -> tuple[dict[str, Any], str]:
    development = "typescript @nestjs/cli nodemon tsx"
    package = a_package("express", development, scripts=scripts, main="server.js")
    file, text = begun(tmp_path, {"package.json": package, "server.js": SERVER, **more})
    return file["platform"]["processes"], text


def test_a_service_that_says_everything_leaves_only_what_a_person_decides(tmp_path: Path) -> None:
    package = a_package(
        "express pg", description="Tells who sits where.", engines={"node": ">=20"}, scripts={"start": "node server.js"}
    )
    server = """
        const app = express();
        app.get('/healthz', (request, response) => response.sendStatus(200));
        const pool = new Pool({ connectionString: process.env.DATABASE_URL });
        app.listen(process.env.PORT ?? 4000);
    """
    migrations = {"migrations/001_desk.up.sql": "CREATE TABLE desk ();", "migrations/001_desk.down.sql": "SELECT 1;"}
    file, text = begun(
        tmp_path, {"package.json": package, "package-lock.json": "{}", "server.js": server, **migrations}
    )
    web = file["platform"]["processes"]["web"]
    assert file["description"] == "Tells who sits where."
    assert web["command"] == ["node", "server.js"]
    assert web["environment"] == {"PORT": "{port}", "NODE_ENV": "production", "DATABASE_URL": "{dsn}"}
    assert file["source"]["build"] == [{"command": ["npm", "ci", "--omit=dev", "--no-audit", "--no-fund"]}]
    assert "It wants Node >=20" in text
    assert (file["base_url"], file["rollout"]["ready"]["path"]) == ("http://127.0.0.1:4000", "/healthz")
    assert (file["migration"]["kind"], file["migration"]["files"]) == ("sql", ["migrations/*.up.sql"])
    left = [line.partition("FILL IN: ")[2].split()[:3] for line in text.splitlines() if "# FILL IN:" in line]
    assert [" ".join(words) for words in left] == [
        "where its clients", "the directory that", "what production has", "the roles that", "what else shows"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("node --enable-source-maps dist/main.js", ["node", "--enable-source-maps", "dist/main.js"], ""),
        ("cross-env NODE_ENV=staging tsx src/main.ts", ["{release_dir}/node_modules/.bin/tsx", "src/main.ts"], ""),
        ("next start -p 3000", ["{release_dir}/node_modules/.bin/next", "start", "-p", "{port}"], ""),
        ("next start", ["{release_dir}/node_modules/.bin/next", "start", "-p", "{port}"], ""),
        ("nest start", ["{release_dir}/node_modules/.bin/nest", "start"], ""),
        ("npx serve-it --port=$PORT", ["{release_dir}/node_modules/.bin/serve-it", "--port={port}"], ""),
        ("npm run go", ["node", "there.js"], "only after `mkdir -p logs`"),
        ("prisma migrate deploy && node server.js", ["node", "server.js"], "only after `prisma migrate deploy`"),
        ("npm run go -- --at $PORT", ["node", "there.js", "--at", "{port}"], "only after `mkdir -p logs`"),
        ("yarn workspace api start", ["yarn", "workspace", "api", "start"], "npm, which does not always"),
        ("nodemon server.js", ["node", "server.js"], "nodemon, which is for development"),
        ("node server.js | pino", ["npm", "run", "start"], "npm, which does not always hand a signal on"),
    ],
)
def test_a_script_is_started_by_its_own_words(tmp_path: Path, script: str, words: list[str], said: str) -> None:
    processes, text = started(tmp_path, {"start": script, "go": "mkdir -p logs && node there.js"})
    assert processes["web"]["command"] == words
    assert processes["web"]["environment"]["NODE_ENV"] == ("staging" if "staging" in script else "production")
    assert ("the command is started by" in text) == bool(said)
    assert said in text


def test_what_a_script_sets_is_set_and_a_secret_in_it_is_only_named(tmp_path: Path) -> None:
    script = "TZ=UTC DATABASE_URL=postgres://a:hidden-word@h/b API_KEY=hidden-word PORT=80 node server.js"
    script = f"PGPASSWORD=hidden-word psql --dbname=x postgres://a:hidden-word@h/b && {script}"
    processes, text = started(tmp_path, {"start": script})
    assert processes["web"]["command"] == ["node", "server.js"]
    assert processes["web"]["environment"] == {
        "PORT": "{port}", "NODE_ENV": "production", "TZ": "UTC", "API_KEY": "${env:DESK_API_KEY}",
        "DATABASE_URL": "{dsn}",
    }  # fmt: skip
    assert "only after `psql`, which is left out here" in text
    assert "hidden-word" not in text


def test_scripts_for_development_are_no_programs_and_workers_are_in_the_background(tmp_path: Path) -> None:
    scripts = {"start": "vite", "dev": "node server.js", "worker": "node worker.js", "test:worker": "node a.js"}
    processes, _text = started(tmp_path, scripts)
    assert {name: one["command"] for name, one in processes.items()} == {
        "web": ["node", "server.js"], "worker": ["node", "worker.js"]
    }  # fmt: skip
    assert processes["worker"]["role"] == "background"


def test_the_script_for_production_comes_first_and_a_procfile_before_all_scripts(tmp_path: Path) -> None:
    scripts = {"start": "nest start", "start:prod": "node dist/main", "queue": "node dist/queue"}
    processes, _text = started(tmp_path, scripts)
    assert [one["command"] for one in processes.values()] == [["node", "dist/main"], ["node", "dist/queue"]]
    processes, _text = started(tmp_path, scripts, Procfile="web: npm run start:prod\nmail: npx bull --at $PORT\n")
    assert {name: one["command"] for name, one in processes.items()} == {
        "web": ["node", "dist/main"], "mail": ["{release_dir}/node_modules/.bin/bull", "--at", "{port}"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("package", "files", "commands"),
    [
        ({}, [], ["npm install --omit=dev --no-audit --no-fund"]),
        ({"scripts": {"build": "tsc"}}, ["package-lock.json"], ["npm ci --no-audit --no-fund", "npm run build"]),
        ({"scripts": {"start": "tsx a.ts"}}, ["package-lock.json"], ["npm ci --no-audit --no-fund"]),
        ({}, ["pnpm-lock.yaml"], ["pnpm install --frozen-lockfile --prod"]),
        ({"scripts": {"build": "x"}}, ["pnpm-lock.yaml"], ["pnpm install --frozen-lockfile", "pnpm run build"]),
        ({}, ["yarn.lock"], ["yarn install --frozen-lockfile --production"]),
        ({"packageManager": "yarn@4.1.0"}, ["yarn.lock"], ["yarn install --immutable"]),
    ],
)
def test_packages_are_installed_as_their_lock_says_and_those_for_development_only_where_needed(
    tmp_path: Path, package: dict[str, Any], files: list[str], commands: list[str]
) -> None:
    given = {"package.json": a_package("express", "tsx", **package), **dict.fromkeys(files, "")}
    file, _text = begun(tmp_path, given)
    assert [" ".join(one["command"]) for one in file["source"]["build"]] == commands


PYTHON = {"requirements.txt": "fastapi\nuvicorn\n", "api/main.py": "from fastapi import FastAPI\napp = FastAPI()\n"}


def test_a_service_in_python_stays_one_whatever_its_frontend_brings(tmp_path: Path) -> None:
    frontend = {
        "package.json": a_package("express prisma", scripts={"start": "node server.js", "build": "vite build"}),
        "server.js": SERVER,
        "prisma/schema.prisma": 'url = env("FRONTEND_URL")',
    }
    file, text = begun(tmp_path, PYTHON | frontend)
    assert "uvicorn" in file["platform"]["processes"]["web"]["command"]
    assert file["source"]["build"][0]["command"][0] == "python3"
    assert "npm" not in text
    assert file["migration"] == {"kind": "none"}


def test_a_tool_in_python_beside_a_service_for_node_does_not_run_it(tmp_path: Path) -> None:
    tool = {"tools/stub.py": "from flask import Flask\napp = Flask(__name__)\n@app.route('/ping')\ndef ping(): ...\n"}
    node = {"package.json": a_package("express", scripts={"start": "node server.js"}), "server.js": SERVER}
    file, _text = begun(tmp_path, tool | node)
    assert file["platform"]["processes"]["web"]["command"] == ["node", "server.js"]
    assert file["rollout"]["ready"]["path"] == "/"
    file, _text = begun(tmp_path / "more", PYTHON | node | {"Procfile": "web: npm start\n"})
    assert file["platform"]["processes"]["web"]["command"] == ["node", "server.js"]
    file, _text = begun(tmp_path / "other", node | {"Procfile": "web: gunicorn -b :$PORT desk.wsgi\n"})
    assert file["platform"]["processes"]["web"]["command"] == ["gunicorn", "-b", ":{port}", "desk.wsgi"]


@pytest.mark.parametrize(
    ("code", "port", "reads"),
    [
        ("app.listen(process.env.PORT || 3001)", 3001, True),
        ("const port = Number(process.env.PORT ?? '3002')", 3002, True),
        ("const port = parseInt(process.env['PORT'], 10) || 3003", 3003, True),
        ("const { DATABASE_URL, PORT = 3004 } = process.env", 3004, True),
        ("process.env; z.object({\n  PORT: z.coerce.number().default(3005),\n})", 3005, True),
        ("app.listen(process.env.PORT)", 3000, True),
        ("app.listen(8080)", 3000, False),
    ],
)
def test_the_port_is_the_one_of_the_code(tmp_path: Path, code: str, port: int, reads: bool) -> None:
    package = a_package("express", scripts={"start": "node a.js"})
    file, text = begun(tmp_path, {"package.json": package, "a.js": code + "\n"})
    assert file["base_url"] == f"http://127.0.0.1:{port}"
    assert ("it must listen on {port}" not in text) == reads


def test_variables_are_read_in_all_the_ways_in_which_code_for_node_reads_them(tmp_path: Path) -> None:
    code = {
        "package.json": a_package("zod", scripts={"start": "node src/a.js"}),
        "src/a.js": """
            const { APP_DB_URL, REGION = 'eu', SENTRY_DSN: sentry } = process.env;
            const key = process.env["SIGNING_KEY"];
            const level = process.env.LEVEL || 'info';
            if (process.env.TRACE === 'yes') trace();
            mode = process.env.NODE_ENV;
        """,
        "src/config.ts": """
            export const config = z.object({
              STRIPE_KEY: z.string().min(8),
              TIMEOUT: z.coerce.number().default(60),
            }).parse(process.env);
        """,
        "src/nest.ts": "this.configService.getOrThrow<string>('MAIL_HOST'); configService.get('FLAVOUR', 'mild');\n",
        "src/a.test.ts": "process.env.ONLY_A_TEST\n",
        "node_modules/x/index.js": "process.env.OF_ANOTHER\n",
        ".next/server/x.js": "process.env.BUILT\n",
    }
    file, text = begun(tmp_path, code)
    assert file["platform"]["processes"]["web"]["environment"] == {
        "PORT": "{port}", "APP_DB_URL": "{dsn}",
        "STRIPE_KEY": "${env:DESK_STRIPE_KEY}", "MAIL_HOST": "${env:DESK_MAIL_HOST}",
    }  # fmt: skip
    assert "# SIGNING_KEY: ${env:DESK_SIGNING_KEY}" in text
    for name in ("REGION", "LEVEL", "TRACE", "TIMEOUT", "FLAVOUR", "NODE_ENV", "ONLY_A_TEST", "OF_ANOTHER", "BUILT"):
        assert name not in text


def test_a_database_in_parts_and_one_of_prisma_are_seen(tmp_path: Path) -> None:
    parts = "of(process.env.DB_HOST ?? 'localhost', process.env.DB_USER, process.env.DB_NAME)\n"
    package = a_package("knex", scripts={"start": "node a.js"})
    knex = {"knexfile.js": "module.exports = { connection: env };\n", "migrations/1_a.js": ""}
    file, _text = begun(tmp_path, {"package.json": package, "a.js": parts, **knex})
    told = {"DB_HOST": "{db_host}", "DB_USER": "{db_user}", "DB_NAME": "{db_name}"}
    assert file["platform"]["processes"]["web"]["environment"] == {"PORT": "{port}", **told}
    assert file["migration"]["environment"] == {"NODE_ENV": "production", **told}
    schema = 'datasource db {\n  url = env("APP_POSTGRES_URL")\n  shadowDatabaseUrl = env("SHADOW_DATABASE_URL")\n}\n'
    file, _text = begun(tmp_path / "more", {"package.json": package, "prisma/schema.prisma": schema})
    assert file["platform"]["processes"]["web"]["environment"]["APP_POSTGRES_URL"] == "{dsn}"


@pytest.mark.parametrize(
    ("files", "path", "unsure"),
    [
        ({"a.js": "const app = express()\napp.get('/health', well)\n"}, "/health", False),
        ({"a.ts": "const app = new Hono<Env>()\napp.get('/api/health', well)\n"}, "/api/health", False),
        ({"a.ts": "const router = new Router();\nrouter.get('/_health', well);\n"}, "/_health", False),
        ({"a.js": "fastify.route({ method: 'GET', url: '/status', handler })\n"}, "/status", False),
        (
            {
                "src/app.ts": "import h from './routes/health';\nconst app = express();\napp.use('/api', h);\n",
                "src/routes/health.ts": "const r = Router();\nr.get('/healthz', well);\nexport default r;\n",
            },
            "/api/healthz",
            False,
        ),
        (
            {
                "app.js": "const app = express();\napp.use('/v1', require('./lib'));\n",
                "lib/index.js": "r.use('/deep', require('./health'));\n",
                "lib/health.js": "r.get('/ping', well);\n",
            },
            "/ping",
            True,
        ),
        ({"a.ts": "@Controller('health')\nexport class H {\n  @Get()\n  well() {}\n}\n"}, "/health", False),
        (
            {
                "a.ts": "@Controller({ path: 'state' })\nclass S {\n  @Get('ready')\n  well() {}\n}\n",
                "main.ts": "app.setGlobalPrefix('api');\n",
            },
            "/api/state/ready",
            False,
        ),
        (
            {
                "a.ts": "@Controller()\nclass S {\n  @Get('alive')\n  well() {}\n}\n",
                "main.ts": "app.setGlobalPrefix('api', { exclude: ['alive'] });\n",
            },
            "/alive",
            True,
        ),
        ({"src/app/(inner)/api/health/route.ts": ""}, "/api/health", False),
        ({"pages/api/healthz.ts": ""}, "/api/healthz", False),
        ({"a.js": "axios.get('/health')\n", "a.test.js": "app.get('/ping', x)\n"}, "/", True),
    ],
)
def test_the_route_that_says_it_is_well(tmp_path: Path, files: dict[str, str], path: str, unsure: bool) -> None:
    file, text = begun(tmp_path, {"package.json": a_package("express", scripts={"start": "node a.js"}), **files})
    assert file["rollout"]["ready"]["path"] == path
    assert ("FILL IN: the prefix" in text or "FILL IN: the route" in text) == unsure


def test_containers_of_a_service_for_node_are_given_what_its_code_reads(tmp_path: Path) -> None:
    compose = 'services:\n  api: {build: ., ports: ["${PORT}:3000"]}\n  db: {image: "postgres:16"}\n'
    file, text = begun(
        tmp_path,
        {
            "package.json": a_package("knex"),
            "server.js": SERVER,
            "compose.yaml": compose,
            "knexfile.js": "module.exports = { connection: process.env.DATABASE_URL }",
        },
    )
    assert file["platform"]["environment"]["DATABASE_URL"] == "{dsn}"
    assert "build" not in file["source"]
    assert "node_modules must be there" in text


@pytest.mark.parametrize("package", ["", "[]", "{", '{"scripts": [], "engines": 3, "dependencies": null, "main": 7}'])
def test_a_package_that_says_nothing_is_borne(tmp_path: Path, package: str) -> None:
    file, text = begun(tmp_path, {"package.json": package, "README.md": "#"})
    assert file["migration"] == {"kind": "none"}
    assert "FILL IN: the command that starts the service" in text
