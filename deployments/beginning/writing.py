"""Writes the release file that a repository's facts lead to; what they do not tell is marked to be filled in."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from deployments.beginning.database import is_url, server_in
from deployments.beginning.django import DjangoSeen
from deployments.beginning.draft import FILL_IN, Draft, flow_list, quoted_text
from deployments.beginning.facts import Facts
from deployments.beginning.migration import write_migration
from deployments.beginning.repository import ComposeFile, Repository
from deployments.beginning.service import Program
from tasks.spec.naming_secrets import holds_password

_OUTSIDE = re.compile(r"REDIS|CELERY|BROKER|AMQP|RABBIT|KAFKA|QUEUE|CACHE|SMTP|MAIL|WEBHOOK")
_BACKGROUND = re.compile(r"worker|beat|scheduler|consumer|celery|cron|queue")
_SECRET = re.compile(r"SECRET|PASS|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)


def text_of(name: str, facts: Facts) -> str:
    """Return the text of the release file."""
    draft = Draft(name)
    draft.note(f"How {name} goes live, begun by golive init from {facts.repository.root}.")
    draft.note(
        f"`{FILL_IN}` marks what the code does not tell. `golive schema` gives the whole form of this file; "
        f"`golive validate {name}` checks it, `golive plan {name} VERSION` tells what it would lead to."
    )
    _head(draft, facts)
    _source(draft, facts)
    if facts.compose is not None and facts.in_containers:
        _compose(draft, facts, facts.compose)
    else:
        _processes(draft, facts)
    _rollout(draft, facts)
    write_migration(draft, facts)
    _rehearsal(draft, facts)
    _people(draft)
    _checks(draft, facts)
    _watch(draft)
    return "\n".join(draft.lines) + "\n"


def _head(draft: Draft, facts: Facts) -> None:
    draft.add(f"system: {draft.name}")
    about = facts.description.strip()
    if not about:
        draft.fill("what it is, in a sentence")
    draft.add(f"description: {quoted_text(about)}")
    seen = facts.listens
    draft.fill(
        "where its clients reach it"
        + (f"; port {facts.port} was seen in {seen.where}" if seen else f"; port {facts.port} is only a usual one")
    )
    draft.add(f"base_url: http://127.0.0.1:{facts.port}", "")
    if (server := server_in(facts.repository)) is not None:
        draft.note(f"Seen: {server.value} in {server.where}; take production's own, not one for development.")
    draft.note("A role that may read every table and change the schema; export the variable where golive runs.")
    draft.add("database:", f"  dsn: ${{env:{draft.prefix}_DSN}}", "")


def _source(draft: Draft, facts: Facts) -> None:
    repository = facts.repository
    if repository.top is not None:
        origin = repository.origin
        url = origin.value if origin else str(repository.top)
        if holds_password(url) or any(character.isspace() for character in url):
            draft.fill("the repository's URL; the one in .git/config holds a password, which this file must not")
            url = draft.reference("REPOSITORY")
        elif origin is None:
            draft.note("This repository has no origin, so its own directory is named.")
        draft.note("A version is a tag, a branch or a commit.")
        draft.add("source:", "  kind: git", f"  repository: {quoted_text(url)}")
        below = repository.root.resolve().relative_to(repository.top.resolve())
        if below != Path():
            draft.add(f"  subdirectory: {below}")
    else:
        _directory(draft, repository)
    if facts.tools.build and not facts.in_containers:
        for note in facts.tools.about_build:
            draft.note(note, 2)
        draft.add("  build:")
        draft.add(*(f"    - command: {flow_list(command)}" for command in facts.tools.build))
        if facts.django is not None and facts.django.static is not None:
            _static(draft, facts, facts.django)
    draft.add("")


def _static(draft: Draft, facts: Facts, project: DjangoSeen) -> None:
    """Write how static files are collected, for which Django loads its settings; no database is asked for that."""
    variables = facts.variables
    urls = [variables.url.value, *variables.likewise] if variables.url else []
    given = {**facts.tools.environment, **dict.fromkeys(urls, "postgresql://nobody@127.0.0.1:1/none")}
    given |= {name: "1" if "PORT" in name else "none" for name in variables.parts}
    draft.note(f"Static files: {project.static.where if project.static else ''} says where they go.", 4)
    at = ["{release_dir}/.venv/bin/python", "manage.py", "collectstatic", "--noinput"]
    draft.add(f"    - command: {flow_list(at)}")
    if project.directory != Path():
        draft.add(f"      directory: {project.directory}")
    lines = [f"        {name}: {quoted_text(value)}" for name, value in given.items()]
    lines += [f"        {one.value}: {draft.reference(one.value)}" for one in variables.needed]
    if lines:
        draft.add("      environment:", *lines)


def _directory(draft: Draft, repository: Repository) -> None:
    """Write where the versions lie: beside each other, where this one's directory is named like a version."""
    root = repository.root.resolve()
    if repository.is_a_version:
        draft.note(f"Each version is a directory here, by its name; {root.name} is what was looked at.")
        path = root.parent
    else:
        draft.fill("the directory that holds one directory for each version; or, for Git: {kind: git, repository: …}")
        path = Path("/srv", draft.name, "versions")
    draft.add("source:", "  kind: directory", f"  path: {quoted_text(str(path))}")


def _environment(draft: Draft, facts: Facts, depth: int) -> None:
    variables, indent = facts.variables, " " * depth
    if variables.url is not None:
        draft.note(f"Seen in {variables.url.where}.", depth)
        draft.add(
            *(f'{indent}{name}: "{facts.dsn_for_program}"' for name in (variables.url.value, *variables.likewise))
        )
    elif variables.parts:
        draft.note(f"Seen in {variables.parts_seen}: the database in parts.", depth)
        draft.add(*(f'{indent}{name}: "{value}"' for name, value in variables.parts.items()))
    else:
        draft.fill("the variable by which the program learns of its database; none was seen", depth)
        draft.add(f'{indent}DATABASE_URL: "{facts.dsn_for_program}"')
    hosts = facts.django.hosts if facts.django else None
    if hosts is not None and hosts.variable:
        between = hosts.between
        draft.fill(f"the names by which clients reach it, read in {hosts.seen.where}; golive asks 127.0.0.1", depth)
        draft.add(f"{indent}{hosts.variable}: {quoted_text(between.join(('127.0.0.1', 'localhost')))}")
        variables = replace(
            variables,
            needed=tuple(one for one in variables.needed if one.value != hosts.variable),
            others=tuple(one for one in variables.others if one.value != hosts.variable),
        )
    if variables.needed:
        seen = ", ".join(dict.fromkeys(one.where.rpartition(":")[0] for one in variables.needed))
        draft.note(f"Without these it does not start, says {seen}: export a value of each where golive runs.", depth)
        draft.add(*(f"{indent}{one.value}: {draft.reference(one.value)}" for one in variables.needed))
    if variables.others:
        seen = ", ".join(dict.fromkeys(one.where.rpartition(":")[0] for one in variables.others))
        draft.fill(f"which of these it needs, seen in {seen}", depth)
        draft.add(*(f"{indent}# {one.value}: {draft.reference(one.value)}" for one in variables.others))


def _processes(draft: Draft, facts: Facts) -> None:
    units = bool(facts.programs) and all(one.where.partition(":")[0].endswith(".service") for one in facts.programs)
    draft.add("platform:", f"  kind: {'systemd' if units else 'supervisor'}", f"  {'units' if units else 'processes'}:")
    programs = facts.programs
    if not programs:
        draft.fill("the command that starts the service on {port}; nothing of the kind was seen", 4)
        programs = [Program("web", ("{python}", "-m", "http.server", "{port}"), "")]
    for program in programs:
        _process(draft, facts, program)
    draft.add("")


def _process(draft: Draft, facts: Facts, program: Program) -> None:
    words = facts.tools.words(program.words)
    draft.add(f"    {program.name}:")
    if program.where:
        draft.note(f"Seen in {program.where}.", 6)
    if program.guessed and not facts.tools.brings(program.guessed.partition(",")[0]):
        draft.fill(f"the command is started by {program.guessed}", 6)
    if not (program.background or facts.reads_port or any("{port}" in word for word in words)):
        draft.fill("it must listen on {port}, or on the variable PORT below: golive gives each version a port", 6)
    draft.add(f"      command: {flow_list(words)}")
    if program.directory != ".":
        draft.add(f'      directory: "{{release_dir}}/{program.directory}"')
    if program.background:
        draft.add("      role: background")
    draft.add("      environment:")
    if not program.background:
        draft.add('        PORT: "{port}"')
    for name, value in {**facts.tools.environment, **dict(program.given)}.items():
        if name not in {"PORT", *facts.variables.given}:
            hidden = "://" in value or _SECRET.search(name)
            draft.add(f"        {name}: {draft.reference(name) if hidden else quoted_text(value)}")
    _environment(draft, facts, 8)


def _compose(draft: Draft, facts: Facts, compose: ComposeFile) -> None:
    services = {name: "background" if _BACKGROUND.search(name) else "web" for name in compose.own}
    draft.note(f"Seen in {compose.path}: {', '.join(services)} of its own.")
    if compose.shared:
        draft.note(f"{', '.join(compose.shared)} belong to no version: run them in a Compose project of their own.")
    for name, one in compose.own.items():
        ports = [str(port) for port in one.get("ports", [])]
        if ports and not any("PORT" in port for port in ports):
            inside = ports[0].split("/")[0].split(":")[-1]
            draft.fill(f'in {compose.path}, {name} must publish "127.0.0.1:${{PORT}}:{inside}", not {ports[0]!r}')
        if one.get("container_name"):
            draft.fill(f"in {compose.path}, {name} must have no container_name: two versions stand side by side")
    draft.add("platform:", "  kind: compose", f'  file: "{{release_dir}}/{compose.path}"')
    draft.add(f"  services: {{{', '.join(f'{name}: {role}' for name, role in services.items())}}}")
    if any(one.get("build") for one in compose.own.values()):
        draft.add("  build: true")
    draft.add("  environment:", '    PORT: "{port}"')
    draft.fill("from inside a container the DSN must lead to the database; 127.0.0.1 is the container's own", 4)
    _environment(draft, facts, 4)
    given = {"PORT", *(facts.variables.parts), *([facts.variables.url.value] if facts.variables.url else [])}
    for name in (one for one in compose.unset if one not in given):
        value = quoted_text(facts.dsn_for_program) if is_url(name) else draft.reference(name)
        draft.add(f"    {name}: {value}")
    draft.add("")


def _rollout(draft: Draft, facts: Facts) -> None:
    draft.note("golive's own router takes the requests; nginx, haproxy or a caddy of yours do as well.")
    draft.add(f"router: {{kind: embedded, listen: {facts.port}}}", "")
    draft.add("rollout:", "  kind: blue_green")
    draft.add(f"  ports: [{facts.port + 101}, {facts.port + 102}]")
    _about_health(draft, facts, 2)
    _about_requests(draft, facts)
    draft.add(f"  ready: {{path: {quoted_text(_path(facts))}, within: 2 min{_headers(facts)}}}")
    draft.add("")


def _about_requests(draft: Draft, facts: Facts) -> None:
    """Write what a Django project does with requests that do not come as its clients' do."""
    hosts, https = (facts.django.hosts, facts.django.to_https) if facts.django else (None, None)
    if hosts is not None and not (hosts.variable or hosts.allows_loopback):
        draft.fill(f"{hosts.seen.where} must allow 127.0.0.1, by which golive asks; or give it a header Host below", 2)
    if https is not None:
        draft.note(f"{https.where} sends on what came without HTTPS, so golive asks as a proxy with HTTPS does.", 2)


def _headers(facts: Facts) -> str:
    return ", headers: {X-Forwarded-Proto: https}" if facts.django is not None and facts.django.to_https else ""


def _path(facts: Facts) -> str:
    route = facts.mounted or facts.health or (facts.django.admin if facts.django else None)
    if route is not None:
        return route.value
    is_fastapi = (
        not facts.on_node
        and facts.repository.needs("fastapi")
        and "openapi_url=None" not in "".join(facts.repository.text(path) for path in facts.repository.python[:200])
    )
    return "/openapi.json" if is_fastapi else "/"


def _about_health(draft: Draft, facts: Facts, depth: int) -> None:
    health, mounted = facts.health, facts.mounted
    if health is None:
        draft.fill("the route by which it says that it is well; none was seen", depth)
        return
    if mounted is not None:
        last = f", mounted in {mounted.where}" if mounted.where != health.where else ""
        draft.note(f"Seen in {health.where}{last}.", depth)
        return
    draft.note(f"Seen in {health.where}.", depth)
    if facts.prefixes:
        seen = ", ".join(dict.fromkeys(one.value for one in facts.prefixes[:5]))
        draft.fill(f"the prefix, if this route is mounted under one; seen were {seen}", depth)


def _rehearsal(draft: Draft, facts: Facts) -> None:
    """Write how a rehearsal keeps away from what is production's own besides the database."""
    known = (*facts.variables.needed, *facts.variables.others)
    if outside := [one.value for one in known if _OUTSIDE.search(one.value)]:
        draft.fill(
            "where the versions that a rehearsal starts find these, so that nothing of it reaches production's own"
        )
        draft.add("# rehearsal:", "#   environment:", *(f"#     {name}: another value" for name in outside), "")


def _people(draft: Draft) -> None:
    draft.fill("the roles that sign before production is touched, as in go: [technical_lead, dba]; and when it may be")
    draft.add("sign_off: {go: []}", 'window: {days: [mon, tue, wed, thu, fri, sat, sun], between: "00:00-24:00"}', "")


def _checks(draft: Draft, facts: Facts) -> None:
    url = quoted_text(f"{{base_url}}{_path(facts)}")
    draft.add("checks:")
    draft.note("What every version must pass: old and new, on the rehearsed copy, and whichever serves in the end.", 2)
    draft.add("  compatibility:")
    _about_health(draft, facts, 4)
    draft.add(f"    - {{kind: http, name: it is well, url: {url}, status: 200{_headers(facts)}}}")
    draft.fill("what else shows that it works: a page that reads the database, a scenario, its own tests", 4)
    for one in (facts.tables or ())[:5]:
        draft.add(
            f"    - {{kind: table, name: {quoted_text(f'{one.name} is there')}, table: {quoted_text(one.quoted)}}}"
        )
    if facts.tables is not None:
        draft.note(f"{len(facts.tables)} tables were seen in the database, the largest first.", 4)
    draft.add(
        "  health:",
        f"    - {{kind: http, name: it answers, url: {url}, status: 200{_headers(facts)}}}",
        "",
    )


def _watch(draft: Draft) -> None:
    draft.add("watch:", "  every: 1h", "  for: 24h", "  probe: {every: 30s, check: it answers}")
    draft.add("  traffic: {kind: router}", "", "rollback:", "  when:")
    draft.add("    - {kind: down, for: 10 min}", "    - {kind: errors, above: 20%, for: 15 min}", "  automatic: true")
