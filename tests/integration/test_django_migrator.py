"""The migrator of Django, with a small real project against a real PostgreSQL."""

from __future__ import annotations

import psycopg
import pytest

from tasks.domain.errors import CommandFailed, LockNotGranted, Refused
from tasks.domain.fingerprint import fingerprint, rows_of
from tasks.domain.target import Target
from tasks.domain.way_back import differences
from tasks.migrators.django import Django
from tasks.rehearsing import State
from tests import djangos

LIMITS = {"wait": "100ms", "tries": 2, "duration": "60s"}
ITEM = "migrations.CreateModel('Item', [('id', models.BigAutoField(primary_key=True)), ('name', models.TextField())])"
COLOUR = "migrations.AddField('item', 'colour', models.TextField(null=True))"


@pytest.fixture
def target(world, database, tmp_path):
    return Target(world=world, system="shop", version="2.0", dsn=database, release_dir=tmp_path)


@pytest.fixture
def migrator(tmp_path):
    """Makes the migrator of a project whose migrations have these operations."""

    def make(steps, **changes):
        return Django.model_validate(djangos.project(tmp_path, **steps) | {"limits": LIMITS} | changes)

    return make


def test_only_what_is_named_is_taken_back_whatever_has_come_to_build_on_it(target, migrator, tmp_path):
    made = migrator({"0001_item": ITEM, "0002_colour": COLOUR})
    djangos.write(tmp_path, {"desk/__init__.py": "", "desk/migrations/__init__.py": ""})
    djangos.step(tmp_path, "0001_desk", "", app="desk", after="('shop', '0001_item')")
    settings = tmp_path / "project" / "settings.py"
    settings.write_text(settings.read_text().replace('["shop"]', '["shop", "desk"]'))
    up = made.upgrade(target)
    assert set(up.applied) == {"shop.0001_item", "shop.0002_colour", "desk.0001_desk"}
    assert up.notes == ()
    with pytest.raises(Refused, match=r"desk\.0001_desk builds on shop\.0001_item and would be lost too"):
        made.downgrade(target, ["shop.0001_item", "shop.0002_colour"])
    assert made.downgrade(target, ["shop.0002_colour"]).applied == ("shop.0002_colour",)
    assert made.pending(target) == ["shop.0002_colour"]


def test_code_in_python_has_no_sql_and_no_way_down_unless_it_gives_one(target, migrator, tmp_path):
    made = migrator({"0001_item": ITEM, "0002_fill": "migrations.RunPython(lambda apps, editor: None)"})
    names = made.pending(target)
    item, fill = made.sql_of(target, names)
    assert 'CREATE TABLE "shop_item"' in item.text
    assert "CREATE TABLE" not in fill.text
    assert not made.can_downgrade(target)
    inside = "migrations.SeparateDatabaseAndState([migrations.RunSQL('SELECT 1')])"
    djangos.step(tmp_path, "0002_fill", inside, after="('shop', '0001_item')")
    assert not made.can_downgrade(target)
    djangos.step(tmp_path, "0003_other", "", after="('shop', '0001_item')")
    with pytest.raises(Refused, match="shop has 2 last migrations: 0002_fill, 0003_other"):
        made.pending(target)


def test_a_lock_that_is_not_granted_is_tried_for_again_and_then_told(target, migrator, database):
    made = migrator({"0001_item": ITEM})
    made.upgrade(target)
    later = migrator({"0001_item": ITEM, "0002_colour": COLOUR})
    with psycopg.connect(database) as reader:
        reader.execute("SELECT * FROM shop_item")
        with pytest.raises(LockNotGranted):
            later.upgrade(target)


def test_what_is_no_answer_is_never_taken_for_nothing_pending(target, migrator, tmp_path):
    made = migrator({"0001_item": ITEM})
    with pytest.raises(CommandFailed, match="Django ended well without an answer; it printed 'well'"):
        made.model_copy(update={"command": ("{python}", "-c", "print('well')")}).pending(target)
    (tmp_path / "project" / "settings.py").write_text("raise SystemExit('no settings')")
    with pytest.raises(CommandFailed, match="no settings"):
        made.pending(target)


def test_what_migrate_adds_for_new_models_may_stay_when_they_are_taken_back(target, migrator, tmp_path, session):
    made = migrator({"0001_item": ITEM})
    settings = tmp_path / "project" / "settings.py"
    more = '["shop", "django.contrib.contenttypes", "django.contrib.auth"]'
    settings.write_text(settings.read_text().replace('["shop"]', more))
    made.upgrade(target)
    before = state_of(session, made)
    djangos.step(tmp_path, "0002_desk", ITEM.replace("Item", "Desk"), after="('shop', '0001_item')")
    made.downgrade(target, made.upgrade(target).applied)
    now = state_of(session, made)
    changed = differences(before.tables, now.tables)
    assert changed == ["public.auth_permission", "public.django_content_type"]
    assert all(now.has_only_more_in(name, before) for name in changed)
    # A row that is gone is another matter, and so is any other table.
    session.execute("DELETE FROM public.auth_permission WHERE codename = 'add_item'")
    assert not state_of(session, made).has_only_more_in("public.auth_permission", before)
    assert not now.has_only_more_in("public.django_migrations", before)


def state_of(session, migrator):
    return State("", session.server_version, fingerprint(session), [], rows_of(session, migrator.leaves_rows_in()))
