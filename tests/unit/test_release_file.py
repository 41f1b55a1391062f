"""The release file: what is wrong in it is named with path and line, what was expected and the likely right key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from deployments.reference import release_file_schema
from tasks.domain.errors import ReleaseFileError, UnknownSystem
from tasks.domain.target import Within
from tasks.spec import loading
from tasks.spec.database import Database
from tasks.spec.naming_secrets import holds_password
from tasks.spec.release_file import PHASES

ROOT = Path(__file__).parents[2]
GLAD_LABS = ROOT / "deployments/systems/glad-labs/release.yaml"
TEXT = GLAD_LABS.read_text(encoding="utf-8")
SMALL = """\
system: shop
base_url: http://127.0.0.1:8080
database: {dsn: "${env:SHOP_DSN}"}
source: {kind: directory, path: /srv/versions}
platform:
  kind: supervisor
  processes:
    web: {command: [./serve, "{port}"]}
router: {kind: embedded, listen: 8080}
rollout: {kind: recreate, port: 8101}
migration: {kind: none}
checks:
  health:
    - {kind: http, name: it answers, url: "{base_url}/"}
  compatibility: [{kind: sql, name: it can be read, query: SELECT 1, equals: 1}]
"""


def fault(text: str) -> str:
    with pytest.raises(ReleaseFileError) as caught:
        loading.parse(text, "shop/release.yaml")
    assert caught.value.exit_code == 2
    return str(caught.value)


def changed(old: str, new: str) -> str:
    assert SMALL.count(old) == 1, f"{old!r} must stand in the file once"
    return SMALL.replace(old, new)


def test_the_release_file_of_glad_labs_loads():
    file = loading.load(GLAD_LABS)
    assert file.system == GLAD_LABS.parent.name
    assert {check.kind for _phase, check in file.checks.every()} >= {"http", "sql", "scenario", "load", "baseline"}
    assert file.check("API answers").timeout == 5.0
    assert [phase for phase in PHASES if not file.checks.of(phase)] == ["rehearsal"]
    with pytest.raises(KeyError):
        file.check("no such check")


TRICKY = """
switches: [on, yes, NO, off, true, ~, null]
numbers: [010, 0o17, 0x1f, 0b11, 1e3, 12e03, +1, -0, 1.0, .5, 10., 1_000, .inf]
times: {a: "1:30"}
early: 02:00
texts: ["it\\u00e9", 'it''s', 2024-01-02, "12"]
block: |
  two
  lines
folded: >-
  folded
  text
base: &base {z: 1}
again: *base
"""


@pytest.mark.parametrize(
    "text",
    [TRICKY, SMALL, *(path.read_text(encoding="utf-8") for path in (ROOT / "deployments/systems").glob("*/*.yaml"))],
    ids=lambda text: text.splitlines()[1][:30],
)
def test_a_file_on_record_is_read_as_it_was_when_it_came_there(text: str) -> None:
    """Read by another parser: the same values, of the same types."""
    if "<<" not in text:
        assert repr(loading._quickly(text)) == repr(loading._plain(YAML().load(text)))
    if "system:" in text:
        assert repr(loading.recorded(text)) == repr(loading.parse(text))


def test_a_file_on_record_that_is_not_read_any_more_is_refused_with_path_and_line() -> None:
    for text in (changed("kind: none", "kind: nonesuch"), SMALL + "system: twice\n", "- no mapping\n", "a: [\n"):
        with pytest.raises(ReleaseFileError) as caught:
            loading.recorded(text, "shop/release.yaml")
        assert str(caught.value) == fault(text)


def test_a_file_with_little_in_it_loads_with_safe_defaults():
    file = loading.parse(SMALL)
    assert (file.backup.keep, file.watch.for_, file.rollback.automatic) == (14, 86400.0, True)
    assert file.database.dsn == "${env:SHOP_DSN}"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("system: shop", "systm: shop", 1, "systm: unknown key; did you mean system?"),
        ('dsn: "${env', 'dns: "${env', 3, "database.dns: unknown key; did you mean dsn?"),
        ('url: "{', 'ulr: "{', 14, "checks.health.0.ulr: unknown key; did you mean url?"),
        ("port: 8101", "prot: 8101", 10, "rollout.prot: unknown key; did you mean port?"),
        ("listen:", "lissten:", 9, "router.lissten: unknown key; did you mean listen?"),
        ("command:", "comand:", 8, "platform.processes.web.comand: unknown key; did you mean command?"),
        ("kind: none}", "kind: none, xyzzy: 1}", 11, "migration.xyzzy: unknown key; expected one of kind"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_likely_right_one(old, new, line, said):
    assert f"shop/release.yaml:{line}: {said}" in fault(changed(old, new))


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("kind: http,", "kind: htpp,", 14, "checks.health.0: no kind 'htpp'; did you mean http?"),
        ("kind: supervisor", "kind: launchd", 5, "platform: no kind 'launchd'; expected one of"),
        ("kind: supervisor", "kind: supervisr", 5, "platform: no kind 'supervisr'; did you mean supervisor?"),
        ("kind: recreate,", "kind: recreat,", 10, "rollout: no kind 'recreat'; did you mean recreate?"),
        ("kind: directory, ", "", 4, "source: kind is missing; expected this key"),
    ],
)
def test_an_unknown_kind_is_named_with_the_likely_right_one(old, new, line, said):
    assert f"shop/release.yaml:{line}: {said}" in fault(changed(old, new))


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('url: "{base_url}/"', 'url: "/", within: 200', 14, "checks.health.0.within: 200 is not a duration"),
        ('url: "{base_url}/"', 'url: "/", within: 200 parsecs', 14, "'200 parsecs' is not a duration"),
        ('url: "{base_url}/"', 'url: "/", within: yes', 14, "checks.health.0.within: 'yes' is not a duration"),
        ('url: "{base_url}/"', 'url: "/", timeout: true', 14, "checks.health.0.timeout: True is not a duration"),
        ("migration:", "backup: {headroom: 5 apples}\nmigration:", 11, "'5 apples' is not a size"),
        ("migration:", "backup: {timeout: 0.5}\nmigration:", 11, "backup.timeout: 0.5 is not a duration"),
        ("migration:", "watch: {every: 1.5e3}\nmigration:", 11, "watch.every: 1500.0 is not a duration"),
        ("migration:", "rollback: {when: [{kind: errors, above: 0.2}]}\nmigration:", 11, "0.2 is not a percentage"),
        ("migration:", "backup: {keep: many}\nmigration:", 11, "backup.keep: 'many'"),
        ("migration:", "backup: {keep: 0}\nmigration:", 11, "backup.keep: 0: Input should be greater"),
        ("port: 8101", "port: x", 10, "rollout.port: 'x'"),
        ("base_url: http:", "base_url: ftp:", 2, "base_url: 'ftp://127.0.0.1:8080'"),
        ("system: shop", "system: Shop 1", 1, "system: 'Shop 1'"),
        ("checks:\n  health:\n    - {", "checks:\n  health:\n    {", 13, "checks.health"),
        ("system: shop", "system: shop\nsign_off: {expires: 1}", 2, "sign_off.expires: 1 is not a duration"),
    ],
)
def test_a_value_of_the_wrong_form_is_shown_with_what_was_expected(old, new, line, said):
    text = fault(changed(old, new))
    assert f"shop/release.yaml:{line}: " in text
    assert said in text


def test_a_missing_key_is_named_where_it_belongs():
    assert "shop/release.yaml:3: database.dsn: missing; expected this key" in fault(
        changed('database: {dsn: "${env:SHOP_DSN}"}', "database: {}")
    )
    assert "release.yaml:1: base_url: missing" in fault(changed("base_url: http://127.0.0.1:8080\n", ""))


def test_several_faults_are_all_listed_each_with_its_line():
    text = changed("system: shop", "system: 5").replace("kind: http,", "kind: htpp,").replace("listen:", "lissten:")
    said = fault(text)
    for expected in ("release.yaml:1: system", "release.yaml:9: router.lissten", "release.yaml:9: router.listen"):
        assert expected in said
    assert "release.yaml:14: checks.health.0: no kind 'htpp'" in said


def test_two_checks_of_one_name_are_refused_in_whatever_phases_they_are():
    text = SMALL + '  watch:\n    - {kind: http, name: it answers, url: "/"}\n'
    assert "shop/release.yaml:17: checks.watch.0.name: two checks are named 'it answers'" in fault(text)


def test_a_probe_must_name_a_check_of_health_or_watch():
    said = fault(SMALL + "watch:\n  every: 1h\n  probe:\n    check: it anwsers\n")
    assert "shop/release.yaml:19: watch.probe.check" in said
    assert "'it anwsers'" in said
    assert "it answers" in said
    text = SMALL.replace("  health:", "  preflight:") + "watch: {probe: {check: it answers}}\n"
    assert "there is none" in fault(text)


@pytest.mark.parametrize("kind", ["down", "errors", "slower"])
def test_a_trigger_over_probes_needs_a_probe(kind):
    said = fault(SMALL + f"rollback:\n  when:\n    - {{kind: {kind}}}\n")
    assert "shop/release.yaml:17: rollback.when: rollback.when needs watch.probe" in said


COMPATIBILITY = "  compatibility: [{kind: sql, name: it can be read, query: SELECT 1, equals: 1}]\n"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (SMALL.partition("checks:")[0], "1: checks"),
        (changed(COMPATIBILITY, ""), "12: checks.compatibility"),
        (changed(COMPATIBILITY, "  compatibility: []\n"), "15: checks.compatibility"),
        (changed("equals: 1}]", "equals: 1, advisory: true}]"), "15: checks.compatibility"),
    ],
    ids=["no checks", "none of compatibility", "an empty list", "only an advisory one"],
)
def test_a_file_in_which_no_check_decides_is_refused_with_its_line(text, place):
    assert f"shop/release.yaml:{place}: no check here decides; expected at least one that is not" in fault(text)


def test_what_every_version_must_pass_is_enough_for_health_too():
    assert not loading.parse(
        changed('  health:\n    - {kind: http, name: it answers, url: "{base_url}/"}\n', "")
    ).checks.health


def test_a_trigger_that_needs_no_probe_does_without():
    assert loading.parse(SMALL + "rollback: {when: [{kind: corruption}]}\n").rollback.when[0].kind == "corruption"


@pytest.mark.parametrize(
    ("router", "pause", "words"),
    [
        (
            "{kind: nginx, upstream: shop, status_port: 8099}",
            "5s",
            "nginx cannot hold requests back; expected embedded",
        ),
        ("{kind: haproxy, backend: shop, status_port: 8099}", "5s", "haproxy cannot hold"),
        ("{kind: caddy, id: shop}", "5s", "caddy cannot hold"),
        ("{kind: command, set: [a], get: [b]}", "5s", "command cannot hold"),
        ("null", "5s", "there is no router; expected embedded, or no pause"),
        ("{kind: embedded, listen: 8080}", "31s", "at most 30 s; give it more"),
    ],
)
def test_a_pause_is_refused_where_the_router_cannot_hold_requests_back(router, pause, words):
    text = changed("router: {kind: embedded, listen: 8080}", f"router: {router}")
    for old, part in (("{kind: none}", "migration"), ("{kind: recreate, port: 8101}", "rollout")):
        said = fault(text.replace(old, f"{old[:-1]}, pause: {pause}}}"))
        assert words in said
        assert f"{part}.pause" in said


def test_a_command_runs_in_a_container_only_where_the_platform_has_such():
    health = '{kind: http, name: it answers, url: "{base_url}/"}'
    on_compose = 'kind: compose\n  services: {web: "web"}\n'
    on_processes = 'kind: supervisor\n  processes:\n    web: {command: [./serve, "{port}"]}\n'
    for more in ("", ", one_off: true"):
        text = changed(health, f"{{kind: command, name: inside, argv: [look], service: api{more}}}")
        said = fault(text)
        assert "has no containers to run a command in; expected one that has, such as compose" in said
        assert "checks.health.0" in said
        text = text.replace(on_processes, on_compose)
        if more:
            assert loading.parse(text).check("inside").inside == Within("api", one_off=True)
        else:
            assert "there is no service 'api' in platform.services; expected one of web" in fault(text)
    said = fault(changed("{kind: none}", "{kind: alembic, service: api}"))
    assert "has no containers" in said
    assert "migration.service" in said


def test_a_canary_names_checks_that_there_are_and_asks_for_traffic_where_the_router_counts_it():
    canary = "{kind: canary, ports: [8101, 8102], checks: [it answer]}"
    said = fault(changed("{kind: recreate, port: 8101}", canary))
    assert "there is no check 'it answer'; expected it answers" in said
    assert "rollout.checks.0" in said
    canary = "{kind: canary, ports: [8101, 8102], traffic: 50}"
    nginx = "router: {kind: nginx, upstream: shop, status_port: 8099}"
    text = changed("{kind: recreate, port: 8101}", canary).replace("router: {kind: embedded, listen: 8080}", nginx)
    assert "rollout.traffic: the router nginx does not count requests; expected embedded or haproxy" in fault(text)


def test_only_variables_that_the_platform_has_may_be_others_in_the_rehearsal():
    web = 'web: {command: [./serve, "{port}"]'
    text = changed(web, f"{web}, environment: {{REDIS_URL: redis://a}}")
    loading.parse(f"{text}rehearsal: {{environment: {{REDIS_URL: redis://b}}}}\n", "shop/release.yaml")
    said = fault(f"{text}rehearsal: {{environment: {{REDIS_URI: redis://b}}}}\n")
    assert "rehearsal.environment.REDIS_URI: REDIS_URI is no variable of the platform; expected REDIS_URL" in said


def test_requests_of_clients_are_counted_by_a_router_that_can_along_with_probes_and_often_enough():
    watch = "watch: {probe: {check: it answers}, traffic: {kind: router, every: 4 min}}\n"
    loading.parse(SMALL + watch, "shop/release.yaml")
    back = "rollback: {when: [{kind: errors, above: 20%, for: 15 min}]}\n"
    assert "watch.traffic.every: every 4 min is too rare for errors over 15 min; expected at most 3 min" in fault(
        SMALL + watch + back
    )
    nginx = "router: {kind: nginx, upstream: shop, status_port: 8099}"
    said = fault(changed("router: {kind: embedded, listen: 8080}", nginx) + watch)
    assert "watch.traffic.kind: the router nginx does not count requests; expected embedded or haproxy" in said
    assert "along with watch.probe, which is missing" in fault(SMALL + "watch: {traffic: {kind: router}}\n")
    asked = "traffic: {kind: prometheus, url: 'http://p', requests: up, failed: up}"
    said = fault(f"{SMALL}watch: {{probe: {{check: it answers}}, {asked}}}\n")
    assert "watch.traffic.requests" in said
    assert "{window}" in said.replace("\\", "")


def test_a_rollout_that_needs_a_router_says_so():
    text = changed("router: {kind: embedded, listen: 8080}\n", "").replace(
        "rollout: {kind: recreate, port: 8101}", "rollout: {kind: blue_green, ports: [8101, 8102]}"
    )
    assert "rollout blue_green needs a router" in fault(text)


def test_a_migration_for_which_what_serves_is_stopped_needs_a_rollout_that_stops_it():
    stopping = SMALL.replace("migration: {kind: none", "migration: {stop: true, kind: none")
    assert stopping != SMALL
    assert loading.parse(stopping).migration.stop
    text = stopping.replace("rollout: {kind: recreate, port: 8101}", "rollout: {kind: rolling, ports: [8101, 8102]}")
    said = fault(text)
    assert "migration.stop: rollout rolling keeps what serves up; expected recreate, or no stop" in said


def test_a_version_is_started_for_its_migration_on_golives_own_machine_alone():
    starting = SMALL.replace("migration: {kind: none", "migration: {kind: at_start")
    assert loading.parse(starting).migration.kind == "at_start"
    said = fault(f"{starting}hosts: [{{name: app1, at: ssh://app1}}]\n")
    assert (
        "migration.kind: a migration at_start runs on golive's own machine; expected no hosts, or another kind" in said
    )


@pytest.mark.parametrize(
    ("place", "dsn"), [("server", ""), ("embedded", ', dsn: "${env:X}"'), ("same_server", ', dsn: "${env:X}"')]
)
def test_a_scratch_dsn_goes_with_a_scratch_server(place, dsn):
    text = changed('"${env:SHOP_DSN}"}', f'"${{env:SHOP_DSN}}", scratch: {{place: {place}{dsn}}}}}')
    assert "shop/release.yaml:3: database.scratch: dsn goes with place: server" in fault(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "release.yaml:1: holds no mapping"),
        ("# nothing\n", "release.yaml:1: holds no mapping"),
        ("- a\n- b\n", "release.yaml:1: holds no mapping"),
        ("just words", "release.yaml:1: holds no mapping"),
        ("null", "release.yaml:1: holds no mapping"),
        ("{}", "release.yaml:1: system: missing"),
        ("system: a\nsystem: b\n", 'release.yaml:2: not YAML: found duplicate key "system"'),
        ("database:\n\tdsn: x\n", "release.yaml:2: not YAML"),
        ("a: {b: 1\n", "not YAML"),
        ("a: b\n---\nc: d\n", "release.yaml:2: not YAML"),
        ("a: b\nc: \x07\n", "release.yaml:2: not YAML: unprintable character #x0007"),
        ("\x00\x01\x02", "release.yaml:1: not YAML: unprintable character #x0000"),
        ("a: " + "[" * 600, "not YAML: nested too deeply"),
        ("a: *nothing", "release.yaml:1: not YAML"),
        ("a: &x [*x]", "release.yaml:1: a: unknown key"),
        ("? [a, b]\n: c\n1: 2\n", "unknown key"),
        ("system: !!python/object/apply:os.system [id]", "release.yaml:1: system"),
    ],
)
def test_a_text_that_is_no_release_file_is_refused_with_its_line(text, said):
    assert said in fault(text)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"system: a\nb: \xe9\n", bytes(range(256)) * 8])
def test_a_file_that_is_not_text_is_refused_with_its_line(content, tmp_path):
    path = tmp_path / "release.yaml"
    path.write_bytes(content)
    with pytest.raises(ReleaseFileError, match=r"release\.yaml:\d+: is not UTF-8 text"):
        loading.load(path)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(ReleaseFileError, match="No such file"):
        loading.load(tmp_path / "release.yaml")
    with pytest.raises(ReleaseFileError, match="Is a directory"):
        loading.load(tmp_path)


WRITTEN_OUT = [
    "postgresql://shop:geheim42@db/shop",
    "postgres://shop:geheim42@db:5432/shop?sslmode=require",
    "postgresql+psycopg://shop:geheim42@db/shop",
    "postgresql://shop:%67eheim42@a,b/shop",
    "postgresql://db/shop?user=shop&password=geheim42",
    "postgresql://db/shop?sslpassword=geheim42",
    "host=db dbname=shop password=geheim42",
    "host=db password = 'geheim42 and more' dbname=shop",
    "PASSWORD=geheim42 host=db",
    "postgresql://shop:geheim42${env:REST}@db/shop",
    "host=db password=geheim42${env:REST}",
]
NAMED = [
    "${env:SHOP_DSN}",
    "${file:/run/secrets/dsn}",
    "${block:shop-dsn}",
    "postgresql://shop:${env:PW}@db/shop",
    "postgresql://${env:USER}:${file:/run/pw}@db:5432/shop?sslmode=require",
    "postgresql://db/shop?password=${env:PW}&user=shop",
    "host=db password=${env:PW} dbname=shop",
    "host=db password='${env:PW}' dbname=shop",
    "postgresql://shop@db/shop",
    "postgresql:///shop",
    "postgresql://127.0.0.1:5432/shop",
    "postgresql://db:5432/shop?options=-c%20geqo%3Doff",
    "host=db dbname=shop passfile=/home/golive/.pgpass",
    "service=shop",
    "postgresql://shop:@db/shop",
]


@pytest.mark.parametrize("dsn", WRITTEN_OUT)
@pytest.mark.parametrize(
    "where",
    ["dsn: {}", 'dsn: "${{env:X}}", application_dsn: {}', 'dsn: "${{env:X}}", scratch: {{place: server, dsn: {}}}'],
)
def test_a_password_that_is_written_out_is_refused_and_not_repeated(dsn, where):
    said = fault(changed('dsn: "${env:SHOP_DSN}"', where.format(json.dumps(dsn))))
    assert "shop/release.yaml:3: database." in said
    assert "a password is written out here; expected a reference to it, as in ${env:NAME}" in said
    assert "eheim42" not in said


@pytest.mark.parametrize("dsn", NAMED)
def test_a_dsn_that_names_its_password_or_has_none_is_fine(dsn):
    assert Database.model_validate({"dsn": dsn}).dsn == dsn


def test_a_password_elsewhere_in_the_file_is_refused_too():
    environment = 'command: [./serve, "{port}"], environment: {BROKER: "amqp://shop:geheim42@mq/"}'
    said = fault(changed('command: [./serve, "{port}"]', environment))
    assert "shop/release.yaml:8: platform.processes.web.environment.BROKER: a password is written out" in said
    assert "geheim42" not in said
    said = fault(changed('url: "{base_url}/"', 'url: "http://u:geheim42@127.0.0.1/"'))
    assert "shop/release.yaml:14: checks.health.0.url: a password is written out" in said
    migration = '{kind: none}\nnotify: [{kind: console}]\nrunbook: "https://u:${env:PW}@wiki/"'
    assert loading.parse(changed("{kind: none}", migration))


@pytest.mark.parametrize("text", ["http://127.0.0.1:80/a@b", "{base_url}/x:y@z", "a:b@c", "git@host:shop.git", ""])
def test_what_only_looks_a_little_like_a_password_is_not_one(text):
    assert not holds_password(text)


def test_a_duplicate_key_does_not_show_its_values():
    said = fault('database:\n  dsn: "host=db password=geheim42"\n  dsn: "geheim43"\n')
    assert "release.yaml:3: not YAML: found duplicate key" in said
    assert "geheim" not in said


def test_a_wrong_value_with_a_password_is_not_shown_with_it():
    assert "geheim42" not in fault(changed("base_url: http://127.0.0.1:8080", "base_url: ftp://u:geheim42@h/"))


def test_an_unknown_system_is_told_the_nearest_name(tmp_path):
    for name in ("glad-labs", "ordinaut"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "release.yaml").write_text(SMALL)
    (tmp_path / "without").mkdir()
    assert loading.systems_in(tmp_path) == ["glad-labs", "ordinaut"]
    assert loading.find_release_file(tmp_path, "ordinaut") == tmp_path / "ordinaut/release.yaml"
    with pytest.raises(UnknownSystem, match="did you mean glad-labs") as caught:
        loading.find_release_file(tmp_path, "gladlabs")
    assert caught.value.exit_code == 2
    with pytest.raises(UnknownSystem, match="expected one of glad-labs, ordinaut"):
        loading.find_release_file(tmp_path, "zzz")
    with pytest.raises(UnknownSystem, match="golive init"):
        loading.find_release_file(tmp_path / "none", "zzz")


@pytest.mark.parametrize("system", ["../glad-labs", "", ".", "/etc", "glad-labs/", "glad-labs\0"])
def test_a_system_that_is_a_path_leads_nowhere(system, tmp_path):
    (tmp_path / "systems" / "glad-labs").mkdir(parents=True)
    (tmp_path / "systems" / "glad-labs" / "release.yaml").write_text(SMALL)
    with pytest.raises(UnknownSystem):
        loading.find_release_file(tmp_path / "systems", system)


def as_data(text: str) -> Any:
    return YAML(typ="safe").load(text)


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(release_file_schema())


def test_the_published_schema_is_what_the_types_give():
    published = json.loads((ROOT / "docs/release.schema.json").read_text(encoding="utf-8"))
    assert release_file_schema() == published, "write it anew: golive schema > docs/release.schema.json"


@pytest.mark.parametrize("text", [TEXT, SMALL], ids=["glad-labs", "small"])
def test_a_sound_file_validates_against_the_schema(text):
    jsonschema.Draft202012Validator.check_schema(release_file_schema())
    assert [error.message for error in validator().iter_errors(as_data(text))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("system: shop", "systm: shop"),
        ("system: shop", "system: Shop 1"),
        ("kind: http,", "kind: htpp,"),
        ('url: "{base_url}/"', 'url: "/", within: 200'),
        ('dsn: "${env:SHOP_DSN}"', "dsn: 5"),
        ("port: 8101", "port: x"),
        ("listen:", "lissten:"),
    ],
)
def test_what_the_types_refuse_the_schema_refuses_too(old, new):
    fault(changed(old, new))
    assert list(validator().iter_errors(as_data(changed(old, new))))


@pytest.mark.parametrize(
    ("backup", "kind"),
    [
        ("", "dump"),
        ("backup: {keep: 3}", "dump"),
        ("backup: {kind: dump, jobs: 4}", "dump"),
        ("backup: {kind: physical, rate: 5MB}", "physical"),
    ],
)
def test_a_backup_is_a_dump_unless_it_says_otherwise_in_the_types_and_in_the_schema(backup, kind):
    text = changed("migration:", f"{backup}\nmigration:")
    assert loading.parse(text).backup.kind == kind
    assert [error.message for error in validator().iter_errors(as_data(text))] == []


def test_a_field_of_another_kind_of_backup_is_refused():
    text = changed("migration:", "backup: {rate: 5MB}\nmigration:")
    assert "backup.rate: unknown key" in fault(text)
    assert list(validator().iter_errors(as_data(text)))


def test_every_key_of_the_schema_is_described():
    whole = release_file_schema()

    def undescribed(name: str, node: dict[str, Any]) -> list[str]:
        own = node.get("properties", {})
        # A key that says just what its type says is described there.
        of_type = {f"#/$defs/{key}" for key, value in whole["$defs"].items() if value.get("description")}
        return [
            f"{name}.{key}"
            for key, value in own.items()
            if not value.get("description") and value.get("$ref") not in of_type
        ]

    lacking = undescribed("ReleaseFile", whole)
    for name, node in whole["$defs"].items():
        lacking += undescribed(name, node)
    assert lacking == []


def test_the_router_is_on_one_of_the_hosts_or_on_golives_own_machine():
    hosts = "hosts: [{name: app1, at: ssh://app1}]\n"
    assert loading.parse(f"{SMALL}{hosts}router_on: golive\n").router_on == "golive"
    assert "cannot be on 'app2'; expected one of app1, golive" in fault(f"{SMALL}{hosts}router_on: app2\n")
    assert "expected hosts to choose from" in fault(f"{SMALL}router_on: golive\n")


def test_hosts_are_taken_apart():
    text = "hosts:\n  - {name: app1, at: 'ssh://deploy@app1.example.org:2222'}\n  - {name: app2, at: ssh://10.0.0.6}\n"
    one, two = loading.parse(SMALL + text).hosts
    assert (one.user, one.hostname, one.port) == ("deploy", "app1.example.org", 2222)
    assert (two.user, two.hostname, two.port, two.root) == ("", "10.0.0.6", None, "")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{name: app1, at: ssh://h}", "two hosts are named 'app1'"),
        ("{name: App2, at: ssh://h}", "hosts.1.name: 'App2'"),
        ("{name: app2, at: 'ssh://h:70000'}", "is no machine"),
        ("{name: app2, at: 'ssh://-oProxyCommand=x'}", "is no machine"),
        ("{name: app2, at: 'ssh://-l@h'}", "is no machine"),
        ("{name: app2, at: 'ssh://me:hidden@h'}", "is no machine"),
        ("{name: app2, at: ssh://h, adress: 10.0.0.6}", "did you mean address"),
    ],
)
def test_what_is_no_host_is_named_with_its_line(wrong, said):
    text = fault(f"{SMALL}hosts:\n  - {{name: app1, at: ssh://app1}}\n  - {wrong}\n")
    assert said in text
    assert f"shop/release.yaml:{SMALL.count(chr(10)) + 3}: hosts.1" in text
    assert "hidden" not in text
