from __future__ import annotations

import hashlib
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.adapters.host import LocalHost
from tasks.checks.document import Document
from tasks.checks.env_file import EnvFile
from tasks.checks.file import File
from tasks.checks.secrets_scan import SecretsScan
from tasks.checks.world_writable import WorldWritable
from tasks.domain.errors import AccessDenied
from tasks.domain.outcome import Outcome
from tasks.domain.ports import Command, Finished, World
from tasks.domain.target import Target
from tests.gits import a_repository
from tests.looks import F, P, U, look
from tests.parts import require_part

HOUR = 3600.0


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    return Target(world, "demo", "v2", root=tmp_path, release_dir=tmp_path / "code")


@pytest.fixture
def code(target: Target) -> Path:
    target.release_dir.mkdir()
    return target.release_dir


def put(path: Path, text: str = "x", *, mode: int = 0o644, age: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_files_are_found_by_patterns_however_odd_their_names(target, code):
    for name in ("a.yml", "b c.yml", "-rf.yml", "new\nline.yml", "sub/d.yml", "sub/deep/e.yml", "[x].yml"):
        put(code / "ops" / name)
    assert look(File, target, files=["ops/*.yml"], at_least=5, at_most=5).outcome is P
    assert look(File, target, files=["ops/**/*.yml"], at_least=7, at_most=7).outcome is P
    assert look(File, target, files=["ops/[[]x].yml"]).outcome is P
    assert look(File, target, files=["ops/*.yml"], at_most=4).seen.startswith("5 match ops/*.yml, at most 4: failed")
    assert look(File, target, files=["ops/*.yaml", "ops/a.yml"]).seen == "ops/*.yaml is not there: failed"


def test_a_file_that_must_be_gone_is_named_and_so_is_one_of_the_wrong_kind(target, code):
    put(code / "a.bak")
    assert look(File, target, files=["*.bak"], exists=False).seen == f"{code}/a.bak is there: failed"
    assert look(File, target, files=["*.tmp", "a.bak/x"], exists=False).outcome is P
    assert look(File, target, files=["."], type="directory").outcome is P
    assert look(File, target, files=["."]).seen == f"{code} is no file: failed"
    (code / "dangling").symlink_to("nowhere")
    assert look(File, target, files=["dangling"]).outcome is F
    with pytest.raises(ValidationError, match="what must not be there has no mode"):
        File.model_validate({"name": "it", "files": ["x"], "exists": False, "mode": "0600"})


class OrdinaryHost(LocalHost):
    """This machine as a user sees it who is not root."""

    def run(self, command: Command) -> Finished:
        as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
        return super().run(replace(command, argv=(*as_nobody, *command.argv)))


def test_a_place_that_cannot_be_looked_into_is_not_taken_for_empty(target, code):
    put(code / "closed" / "a")
    (code / "closed").chmod(0)
    ordinary = target.at(world=replace(target.world, host=OrdinaryHost()))
    try:
        with pytest.raises(AccessDenied, match="Permission denied"):
            look(File, ordinary, files=["closed/a"], exists=False)
    finally:
        (code / "closed").chmod(0o700)


def test_rights_age_size_and_sum_are_judged_with_what_was_seen(target, code):
    put(code / "a", "12345", mode=0o640, age=2 * HOUR)
    put(code / "empty", "")
    name = f"{code}/a"
    seen: list[tuple[dict[str, Any], Outcome, str | None]] = [
        ({"mode": "0640", "owner": Path(code).owner(), "executable": False}, P, None),
        ({"at_most_mode": "0600"}, F, f"{name}: mode 0640 within 0600: failed"),
        ({"executable": True}, F, f"{name}: not executable: failed"),
        ({"owner": "nobody-else"}, F, None),
        ({"max_age": "1h"}, F, f"{name}: 2 h old ≤ 1 h: failed"),
        ({"max_age": "3h", "min_age": "1h"}, P, None),
        ({"min_size": "6B"}, F, f"{name}: 5 B ≥ 6 B: failed"),
        ({"sha256": hashlib.sha256(b"12345").hexdigest()}, P, None),
        ({"sha256": "0" * 64}, F, None),
        ({"newer_than": "empty"}, F, None),
    ]
    for fields, outcome, words in seen:
        reading = look(File, target, files=["a"], **fields)
        assert reading.outcome is outcome, (fields, reading)
        assert words in {None, reading.seen}
    assert look(File, target, files=["empty"]).seen == f"{code}/empty: is empty: failed"
    put(code / "later", age=-3 * HOUR)
    assert look(File, target, files=["later"], max_age="1h").outcome is U


def test_only_the_newest_of_many_backups_is_judged(target, code):
    put(code / "backup_1.dump", age=50 * HOUR)
    put(code / "backup_2.dump", age=1 * HOUR)
    assert look(File, target, files=["backup_*.dump"], only_newest=True, max_age="1d").outcome is P
    assert look(File, target, files=["backup_*.dump"], max_age="1d").outcome is F


def test_text_is_searched_in_large_files_too(target, code):
    put(code / "large", "line\n" * 1_200_000 + "needle é\nTODO\n")
    assert look(File, target, files=["large"], pattern="^needle é$").outcome is P
    assert look(File, target, files=["large"], not_pattern="needle").outcome is F
    assert look(File, target, files=["large"], placeholders=False).seen.endswith("TODO in line 1200002: failed")


def test_a_file_must_be_newer_than_the_release_s_commit(target, code):
    a_repository(target.root / "mirror.git", {"a": "a"}, tag="v2")
    put(code / "old", age=HOUR)
    put(code / "new", age=-5)
    assert look(File, target, files=["new"], newer_than="commit").outcome is P
    assert look(File, target, files=["old"], newer_than="commit").outcome is F


GOOD = """# Runbook

**Technical Lead**: Ada, ada@example.org
Last updated: 2025-01-10
Next review: 2099-01-01

## Troubleshooting

See [rollback](#troubleshooting) and [more](more.md).

```bash
curl /api/tasks/1/status
```
"""


def test_a_document_says_what_it_must(target, code):
    put(code / "docs" / "a.md", GOOD)
    put(code / "docs" / "more.md", "more of it")
    full = {
        "sections": ["troubleshooting"], "mentions": ["/api/tasks/.*/status"], "code": {"bash": "curl"}, "links": True,
        "filled": ["Technical Lead"], "dated": "Last updated", "due": "next review",
    }  # fmt: skip
    assert look(Document, target, files=["docs/a.md"], **full).outcome is P
    for field, value, words in (
        ("sections", ["Rollback"], "section Rollback is not there"),
        ("mentions", ["BaseService"], "BaseService is not mentioned"),
        ("code", {"python": "."}, ". in 0 blocks of python"),
        ("filled", ["Security Officer"], "Security Officer is not there"),
        ("max_age", "30d", "Last updated 2025-01-10"),
        ("min_age", "87600h", "expected a day that ended"),
        ("dated", "Written", "no date at Written"),
        ("mentions_not", ["ada@"], "ada@ is mentioned"),
    ):
        reading = look(Document, target, files=["docs/a.md"], **full | {field: value})
        assert reading.outcome is F
        assert words in reading.seen
    assert look(Document, target, files=["docs/a.md"], **full, min_age="24h").outcome is P
    assert look(Document, target, files=["docs/*.md"], mentions=["Technical"], every=False).outcome is P
    assert look(Document, target, files=["docs/*.md"], mentions=["Technical"]).outcome is F


def test_a_document_that_is_not_filled_in_or_promises_what_is_not_there_fails(target, code):
    put(code / "a.md", GOOD.replace("Ada, ada@example.org", "[FILL IN]").replace("2025-01-10", "2199-01-10"))
    put(code / "empty.md", " \n")
    assert look(Document, target, files=["a.md"], filled=["technical lead"], placeholders=True).outcome is F
    assert "[FILL IN] in line 3" in look(Document, target, files=["a.md"]).seen
    assert "in the future" in look(Document, target, files=["a.md"], placeholders=True, dated="Last updated").seen
    assert "more.md leads nowhere" in look(Document, target, files=["a.md"], placeholders=True, links=True).seen
    assert look(Document, target, files=["empty.md"]).seen == f"{code}/empty.md is empty: failed"
    assert look(Document, target, files=["none.md"]).seen == "none.md is not there: failed"


SETTINGS = "DATABASE_URL=postgresql://u:pw-of-the-db@h/d\nexport JWT='a-long-enough-word'\nEMPTY=\n"


def test_a_file_of_settings_is_complete_and_its_own(target, code):
    put(code / ".env", SETTINGS, mode=0o600)
    put(code / ".env.example", "DATABASE_URL=\nJWT=changeme\nEMPTY=\n")
    put(code / "staging.env", "JWT=another-word-here\n")
    put(code / "docs.md", "DATABASE_URL JWT EMPTY")
    good = {
        "file": ".env", "required": ["JWT"], "example": ".env.example", "may_be_empty": ["EMPTY"], "secret": ["JWT"],
        "differs_from": ["staging.env"], "documented_in": "docs.md",
    }  # fmt: skip
    assert look(EnvFile, target, **good).outcome is P
    put(code / "staging.env", "JWT=a-long-enough-word\n")
    put(code / ".env.example", "DATABASE_URL=\nMORE=\n")
    put(code / "docs.md", "DATABASE_URL")
    (code / ".env").chmod(0o644)
    reading = look(EnvFile, target, **good | {"may_be_empty": [], "required": ["NONE"]})
    for words in (
        "NONE not set", "EMPTY empty", "MORE of .env.example not set", "EMPTY, JWT not in .env.example",
        "JWT as in staging.env", "mode 0644 within 0640", "JWT, EMPTY not in docs.md",
    ):  # fmt: skip
        assert f"{words}: failed" in reading.seen
    assert "pw-of-the-db" not in repr(reading)
    assert "long-enough" not in repr(reading)
    put(code / ".env", SETTINGS + "what is this\n", mode=0o600)
    assert "line 4 cannot be understood: failed" in look(EnvFile, target, file=".env", may_be_empty=["EMPTY"]).seen
    assert look(EnvFile, target, file="none").outcome is F


def test_git_must_ignore_a_file_of_settings(target):
    repository = a_repository(target.release_dir, {".gitignore": ".env\n", "tracked.env": "A=b-c\n"})
    put(repository / ".env", "A=b-c\n", mode=0o600)
    put(repository / "other.env", "A=b-c\n", mode=0o600)
    assert look(EnvFile, target, file=".env", ignored=True).outcome is P
    assert look(EnvFile, target, file="other.env", ignored=True).seen == "not ignored by Git: failed"
    (repository / "tracked.env").chmod(0o600)
    assert "tracked by Git: failed" in look(EnvFile, target, file="tracked.env", ignored=True).seen


def test_what_everybody_may_write_to_is_found_and_a_link_is_not(target, code):
    put(code / "a.py")
    put(code / "sub" / "b.py", mode=0o666)
    (code / "link.py").symlink_to(code / "a.py")
    (code / "spool").mkdir()
    (code / "spool").chmod(0o1777)
    reading = look(WorldWritable, target)
    assert (reading.outcome, reading.detail["found"]) == (F, [f"{code}/sub/b.py (0666)"])
    assert look(WorldWritable, target, allow=["{release_dir}/sub/*"]).outcome is P
    assert look(WorldWritable, target, only=["*.yml"]).outcome is U
    put(code / "a.py", mode=0o664)
    assert look(WorldWritable, target, only=["a.py"]).outcome is P
    assert look(WorldWritable, target, only=["a.py"], group_too=True).outcome is F


def test_secrets_in_the_code_are_told_by_file_and_line_and_never_shown(target, code):
    program = require_part("detect-secrets")
    secret = "AKIAIOSFODNN7EXAMPL" + "Q"
    put(code / "conf" / "settings.py", f"# settings\nkey = '{secret}'\npassword = 'Zk3x9-qq81-ab'\n")
    put(code / ".venv" / "x.py", f"key = '{secret}'\n")
    put(code / ".golive-image", f"key = '{secret}'\n")
    reading = look(SecretsScan, target, timeout="60s")
    found = {(one["file"], one["line"], one["type"]) for one in reading.detail["findings"]}
    assert reading.outcome is F
    assert {("conf/settings.py", 2, "AWS Access Key"), ("conf/settings.py", 3, "Secret Keyword")} <= found
    assert not any(file.startswith((".venv", ".golive")) for file, _, _ in found)
    assert secret not in repr(reading)
    assert "qq81" not in repr(reading)
    said = subprocess.run([program, "scan", "-n", "--all-files", "conf"], cwd=code, capture_output=True, check=True)
    put(code / ".secrets.baseline", said.stdout.decode())
    assert look(SecretsScan, target, baseline=".secrets.baseline", timeout="60s").outcome is P
    assert look(SecretsScan, target, exclude=["conf/*", ".venv/*", ".secrets.baseline"], timeout="60s").outcome is P
