"""Tokens hold, and those that were tampered with, or have expired, do not."""

import unittest

from service import tokens

SECRET = "s" * 32


class Tokens(unittest.TestCase):
    def test_a_token_tells_whose_it_is(self) -> None:
        assert tokens.subject_of(SECRET, tokens.issue(SECRET, "ann")) == "ann"

    def test_a_token_of_another_secret_does_not_hold(self) -> None:
        assert tokens.subject_of(SECRET, tokens.issue("other", "ann")) is None

    def test_a_token_expires(self) -> None:
        old = tokens.issue(SECRET, "ann", lasts=10, now=1000)
        assert tokens.subject_of(SECRET, old, now=1009) == "ann"
        assert tokens.subject_of(SECRET, old, now=1010) is None

    def test_what_is_no_token_does_not_hold(self) -> None:
        for text in ("", ".", "a.b.c", "ä"):
            assert tokens.subject_of(SECRET, text) is None
