"""Secrets are found by name, and never shown."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.adapters.secrets import MASK, SecretStore, mask_passwords, mask_values
from tasks.domain.errors import SecretMissing


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("fr0m-file\n")
    path.chmod(0o600)
    return path


def test_each_kind_of_reference_is_replaced(secret_file):
    store = SecretStore({"PW": "fr0m-env"}, {"pw": "fr0m-block"}.get)
    assert (
        store.resolve(f"a ${{env:PW}} b ${{file:{secret_file}}} c ${{block:pw}} d")
        == "a fr0m-env b fr0m-file c fr0m-block d"
    )


@pytest.mark.parametrize("text", ["", "plain", "$HOME ${HOME} ${vault:x} {port} $${", "${env}"])
def test_text_without_a_reference_stays(text):
    assert SecretStore({}).resolve(text) == text


def test_a_reference_inside_a_value_is_not_followed():
    assert SecretStore({"A": "${env:B}", "B": "other"}).resolve("${env:A}") == "${env:B}"


@pytest.mark.parametrize("environ", [{}, {"PW": ""}])
def test_a_missing_or_empty_variable_names_the_reference_and_what_to_do(environ):
    with pytest.raises(SecretMissing, match=r"\$\{env:PW\}.*→ set PW"):
        SecretStore(environ).resolve("x ${env:PW}")


def test_a_missing_block_is_named():
    with pytest.raises(SecretMissing, match=r"\$\{block:pw\}.*no such Prefect Secret block"):
        SecretStore({}, lambda _name: None).resolve("${block:pw}")


def test_without_prefect_a_block_cannot_be_read():
    with pytest.raises(SecretMissing, match="cannot be read here"):
        SecretStore({}).resolve("${block:pw}")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o622])
def test_a_file_that_others_may_read_or_write_is_refused(secret_file, mode):
    secret_file.chmod(mode)
    with pytest.raises(SecretMissing, match=rf"mode {mode:04o}.*chmod 600"):
        SecretStore({}).resolve(f"${{file:{secret_file}}}")


def test_a_file_that_is_missing_empty_no_file_or_no_text_is_refused(tmp_path, secret_file):
    fifo = tmp_path / "directory"
    fifo.mkdir(mode=0o700)
    for content, words in ((b"\n", "is empty"), (b"\xff\xfe", "not UTF-8"), (b"x" * 70_000, "64 KiB")):
        secret_file.write_bytes(content)
        with pytest.raises(SecretMissing, match=words):
            SecretStore({}).resolve(f"${{file:{secret_file}}}")
    for path in (tmp_path / "absent", fifo):
        with pytest.raises(SecretMissing, match=str(path)):
            SecretStore({}).resolve(f"${{file:{path}}}")


def test_a_named_pipe_does_not_hold_golive(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(SecretMissing, match="not a regular file"):
        SecretStore({}).resolve(f"${{file:{tmp_path}/pipe}}")


def test_only_the_last_line_end_of_a_file_is_dropped(secret_file):
    secret_file.write_bytes(b" two words \r\n")
    assert SecretStore({}).resolve(f"${{file:{secret_file}}}") == " two words "


def test_what_was_resolved_is_masked_in_every_form():
    store = SecretStore({"PW": "p@ss/w0rd"})
    assert store.mask("p@ss/w0rd") == "p@ss/w0rd"
    store.resolve("${env:PW}")
    assert store.mask("say p@ss/w0rd or p%40ss%2Fw0rd") == f"say {MASK} or {MASK}"


@pytest.mark.parametrize(
    ("dsn", "password"),
    [
        ("postgresql://app:hunter2@db:5432/shop", "hunter2"),
        ("postgresql://app:p%40ss%3Aword@db/shop", "p@ss:word"),
        ("host=db user=app password=hunter2 dbname=shop", "hunter2"),
        (r"host=db password = 'it\'s long' dbname=shop", "it's long"),
    ],
)
def test_the_password_inside_a_resolved_dsn_is_masked_on_its_own(dsn, password):
    store = SecretStore({"DSN": dsn})
    store.resolve("${env:DSN}")
    assert store.mask(f"FATAL: {password} is wrong") == f"FATAL: {MASK} is wrong"
    assert store.mask(f"<{dsn}>") == f"<{MASK}>"


def test_the_longest_secret_goes_first():
    store = SecretStore({"A": "secret", "B": "secret-and-more"})
    store.resolve("${env:A} ${env:B}")
    assert store.mask("secret-and-more") == MASK


def test_each_line_of_a_key_is_masked():
    store = SecretStore({"KEY": "-----BEGIN-----\nabcdef\nghijkl\n-----END-----"})
    store.resolve("${env:KEY}")
    assert store.mask("bad line: ghijkl") == f"bad line: {MASK}"


def test_a_very_short_value_does_not_blot_out_ordinary_words():
    store = SecretStore({"PIN": "a"})
    store.resolve("${env:PIN}")
    assert store.mask("a banana") == "a banana"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://app:pw@db/x", f"postgresql://app:{MASK}@db/x"),
        ("postgresql://app:p@ss@db/x", f"postgresql://app:{MASK}@db/x"),
        ("redis://:pw@cache:6379/0", f"redis://:{MASK}@cache:6379/0"),
        ("https://app@host/x and http://host:80/a@b", "https://app@host/x and http://host:80/a@b"),
        ("host=db password=pw user=x", f"host=db password={MASK} user=x"),
        ("PGPASSWORD=pw psql", f"PGPASSWORD={MASK} psql"),
        ("password = 'a b' x", f"password = {MASK} x"),
        ("?user=x&password=pw&y=1", f"?user=x&password={MASK}&y=1"),
        ('{"password": "a\\"b", "x": 1}', f'{{"password": "{MASK}", "x": 1}}'),
        ('password authentication failed for user "app"', 'password authentication failed for user "app"'),
    ],
)
def test_passwords_are_masked_that_were_never_resolved(text, expected):
    assert mask_passwords(text) == expected
    assert mask_passwords(expected) == expected


def test_values_too_short_to_be_secrets_are_left():
    assert mask_values("abc abcd", ["abc", "", "abcd"]) == f"abc {MASK}"


def test_several_threads_may_resolve_and_mask():
    store = SecretStore({f"S{n}": f"secret-{n}!" for n in range(200)})

    def work(n: int) -> str:
        store.resolve(f"${{env:S{n}}}")
        return store.mask(f"secret-{n}!")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(200))) == {MASK}


def test_the_store_does_not_show_what_it_holds():
    store = SecretStore({"PW": "hunter2"})
    store.resolve("${env:PW}")
    assert "hunter2" not in repr(store)
