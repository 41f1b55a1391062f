"""What stands in a unit is quoted by systemd's rules, or refused if they have no way to say it."""

from __future__ import annotations

import pytest

from tasks.domain.errors import UserError
from tasks.platforms._unit_text import command_line, environment_file, literal


def test_arguments_are_quoted_and_nothing_in_them_is_replaced():
    words = ["a b", "100%", "$HOME", 'say "x"', "back\\slash", "it's", ";", ""]
    line = r'"/bin/x" "a b" "100%%" "$$HOME" "say \"x\"" "back\\slash" "it'
    assert command_line("/bin/x", words) == line + "'s" + r'" ";" ""'


@pytest.mark.parametrize("word", ["two\nlines", "tab\tbed", "nul\0"])
def test_an_argument_with_a_control_character_is_refused(word):
    with pytest.raises(UserError, match="cannot be an argument under systemd"):
        command_line("/bin/x", [word])


@pytest.mark.parametrize("program", ["x", "bin/x", "/opt/$x", "-/bin/x", "@/bin/x"])
def test_a_program_that_systemd_would_take_for_something_else_is_refused(program):
    with pytest.raises(UserError, match="cannot be run by systemd"):
        command_line(program, [])


def test_a_variable_that_systemd_would_drop_is_refused_without_its_value():
    with pytest.raises(UserError, match="environment KEY: systemd would drop it") as caught:
        environment_file({"KEY": "secret\x1bword"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["/a\n/b", " /a", "/a ", "/a\\"])
def test_a_value_that_does_not_fit_into_one_line_is_refused(text):
    with pytest.raises(UserError, match="cannot stand in a unit"):
        literal(text, "a directory")
