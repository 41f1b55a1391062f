"""Tokens hold, and those that were tampered with, or have expired, do not."""

# ruff: noqa: PT009 - unittest, because a version's tests must run where nothing but the service is installed
from __future__ import annotations

import unittest

from service import tokens

SECRET = "s" * 32


class Tokens(unittest.TestCase):
    def test_a_token_tells_whose_it_is(self) -> None:
        self.assertEqual(tokens.subject_of(SECRET, tokens.issue(SECRET, "ann")), "ann")

    def test_a_token_of_another_secret_does_not_hold(self) -> None:
        self.assertIsNone(tokens.subject_of(SECRET, tokens.issue("other", "ann")))

    def test_a_token_expires(self) -> None:
        old = tokens.issue(SECRET, "ann", lasts=10, now=1000)
        self.assertEqual(tokens.subject_of(SECRET, old, now=1009), "ann")
        self.assertIsNone(tokens.subject_of(SECRET, old, now=1010))

    def test_what_is_no_token_does_not_hold(self) -> None:
        for text in ("", ".", "a.b.c", "ä"):
            self.assertIsNone(tokens.subject_of(SECRET, text))
