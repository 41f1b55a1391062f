"""A Ctrl-C while flows run: it is answered once, at the next step, whatever becomes of a cancellation."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress

import pytest

from deployments.starting import run
from tasks.acting import act
from tasks.adapters.interrupts import kept_interrupts, stop_if_interrupted, was_interrupted
from tasks.ledger.releases import Claim

CLAIM = Claim("shop-1", 1, "nobody")


def _ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


async def _deaf() -> None:
    """Do what Prefect's engine does at times: wait for something, and drop a cancellation that comes meanwhile."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0.01)


def test_no_step_begins_after_an_interrupt_although_a_cancellation_would_have_been_dropped():
    begun = []

    async def flow() -> None:
        _ctrl_c()
        await _deaf()
        act(lambda claim: begun.append(claim))(CLAIM)

    with pytest.raises(KeyboardInterrupt, match="by a person"):
        run(flow())
    assert begun == []


def test_what_follows_from_an_interrupt_is_not_interrupted_once_more():
    rolled_back = []

    async def flow() -> None:
        _ctrl_c()
        try:
            stop_if_interrupted()
        except KeyboardInterrupt:
            stop_if_interrupted()
            rolled_back.append("v1 serves")
            raise

    with pytest.raises(KeyboardInterrupt):
        run(flow())
    assert rolled_back == ["v1 serves"]


def test_an_interrupt_that_comes_after_the_last_step_comes_out_too():
    async def flow() -> str:
        _ctrl_c()
        await _deaf()
        return "is live"

    with pytest.raises(KeyboardInterrupt, match="when all was done"):
        run(flow())


def test_the_second_interrupt_breaks_off_at_once():
    went_on = []

    async def flow() -> None:
        _ctrl_c()
        _ctrl_c()
        went_on.append("step")

    with pytest.raises(KeyboardInterrupt, match="twice"):
        run(flow())
    assert went_on == []


def test_work_beside_the_main_thread_ends_what_it_does_and_sees_the_interrupt():
    seen = []

    def guard() -> None:
        stop_if_interrupted()
        seen.append((threading.current_thread() is threading.main_thread(), was_interrupted()))

    async def flow() -> None:
        _ctrl_c()
        await asyncio.to_thread(guard)

    with pytest.raises(KeyboardInterrupt):
        run(flow())
    assert seen == [(False, True)]
    assert not was_interrupted()


def test_the_handler_that_was_there_before_is_there_again():
    before = signal.getsignal(signal.SIGINT)
    with kept_interrupts():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    stop_if_interrupted()
