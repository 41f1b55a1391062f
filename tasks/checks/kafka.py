"""Kafka: its brokers, its topics, a message, and how far a group of consumers is behind."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tasks.checks import Check
from tasks.domain.asking import SILENCE, blame
from tasks.domain.condition import all_of, held
from tasks.domain.errors import UserError
from tasks.domain.kind import Duration, Strict
from tasks.domain.outcome import Reading, failed, judge_limit, passed, unknown
from tasks.domain.services import KafkaSession, Topic
from tasks.domain.target import Target

_AT_ONCE = 8


class _Topic(Strict):
    """What a topic must be; each of its partitions must have a leader."""

    model_config = ConfigDict(title="Topic")

    partitions: Annotated[int, Field(ge=1)] = 1
    """The least number of its partitions."""
    replicas: Annotated[int, Field(ge=1)] = 1
    """The least number of replicas that each partition must have."""
    in_sync: Annotated[int, Field(ge=1)] = 1
    """The least number of replicas of each partition that must be in sync."""

    def judge(self, name: str, found: Topic) -> list[Reading]:
        """Return whether the topic is as it must be."""
        return [
            held(f"{name} has {seen} {what} ≥ {least}", seen >= least)
            for seen, least, what in (
                (found.partitions, self.partitions, "partitions"),
                (found.replicas, self.replicas, "replicas"),
                (found.in_sync, self.in_sync, "in sync"),
            )
        ] + [failed(f"{name} has {found.leaderless} partitions without leader") for _ in range(found.leaderless > 0)]


class _Lag(Strict):
    """How far a group of consumers may be behind."""

    model_config = ConfigDict(title="Lag")

    group: Annotated[str, Field(min_length=1, examples=["billing"])]
    """The group of consumers; golive reads what it committed and does not join it."""
    topics: Annotated[tuple[str, ...], Field(min_length=1, examples=[["orders"]])]
    """The topics that it reads."""
    at_most: Annotated[int, Field(ge=0)]
    """The most messages that it may still have before it, over all partitions."""

    def judge(self, behind: Mapping[str, int | None]) -> Reading:
        """Return whether the group keeps up; a partition without a commit is unknown, if the others are in time."""
        lacking = [topic for topic in self.topics if not any(place.startswith(f"{topic}/") for place in behind)]
        if lacking:
            return unknown(f"there is no topic {', '.join(lacking)}")
        never = sorted(place for place, lag in behind.items() if lag is None)
        total = sum(lag for lag in behind.values() if lag is not None)
        what = f"lag of {self.group}"
        if never and total <= self.at_most:
            return unknown(f"{what}: nothing is committed for {', '.join(never[:5])}")
        return judge_limit(total, self.at_most, "messages", what)


class Kafka(Check):
    """Looks whether each broker of Kafka answers and topics are there; sends a message; reads a group's lag."""

    kind: Literal["kafka"] = "kafka"
    """Which kind of check this is."""
    brokers: Annotated[str, Field(min_length=1, examples=["${env:KAFKA_BROKERS}", "10.0.0.4:9092,10.0.0.5:9092"])]
    """The brokers to begin with, as ``host:port,…``; each of them must answer."""
    options: dict[str, str] = Field(
        default_factory=dict,
        examples=[{"security.protocol": "SASL_SSL", "sasl.username": "me", "sasl.password": "${env:KAFKA_PASSWORD}"}],
    )
    """Options of librdkafka, as for TLS and SASL; secrets by reference."""
    at_least: Annotated[int, Field(ge=1)] = 1
    """The least number of brokers of the cluster."""
    topics: dict[str, _Topic] = Field(default_factory=dict, examples=[{"orders": {"partitions": 6, "replicas": 3}}])
    """Topics that must be there, and what each must be."""
    round_trip: str | None = None
    """A topic to which a message is sent and read back; its key is ``golive:…``. Its consumers see that message too."""
    lag: _Lag | None = None
    """A group of consumers, and how far it may be behind."""
    each: Annotated[Duration, Field(gt=0)] = 5.0
    """After how long one question is given up."""
    control: str | None = None
    """A URL elsewhere; if it answers while a broker does not, that is to blame. Needless on one machine."""

    def acts(self, phase: str) -> str:  # noqa: ARG002 - the same in every phase
        """Return to which topic it sends a message, if to any."""
        return f"sends a message to the topic {self.round_trip}" if self.round_trip else ""

    def look(self, target: Target) -> Reading:
        """Return whether brokers, topics, message and lag are as they must be; the package lacking is unknown."""
        entries = [entry.strip() for entry in target.fill(self.brokers).split(",") if entry.strip()]
        if not entries:
            raise UserError("there is no broker", where="brokers", expected="host:port,…")
        options = {name: target.fill(value) for name, value in self.options.items()}
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="golive-kafka") as pool:
            readings = list(pool.map(lambda entry: self._asked(target, entry, options), entries))
        detail: dict[str, object] = {}
        try:
            with target.world.kafka.session(",".join(entries), options, timeout=self.each) as session:
                readings += self._cluster(session, detail)
        except SILENCE as silence:
            readings.append(blame(target, f"//{entries[0]}", silence, self.control))
        return all_of(readings, detail=detail)

    def _asked(self, target: Target, entry: str, options: Mapping[str, str]) -> Reading:
        try:
            with target.world.kafka.session(entry, options, timeout=self.each) as session:
                return held(f"{entry} answers", session.brokers())
        except SILENCE as silence:
            found = blame(target, f"//{entry}", silence, self.control)
            return Reading(found.outcome, f"{entry}: {found.seen}")

    def _cluster(self, session: KafkaSession, detail: dict[str, object]) -> Sequence[Reading]:
        known = session.brokers()
        detail["brokers"] = list(known)
        readings = [held(f"{len(known)} brokers ≥ {self.at_least}", len(known) >= self.at_least)]
        topics = session.topics() if self.topics or self.round_trip else {}
        for name, wanted in self.topics.items():
            readings += wanted.judge(name, topics[name]) if name in topics else [failed(f"there is no topic {name}")]
        if self.round_trip is not None:
            if self.round_trip not in topics:  # sending to it could make it
                return [*readings, failed(f"there is no topic {self.round_trip}")]
            took = session.round_trip(self.round_trip, f"golive:{secrets.token_hex(8)}", "a message of golive's own")
            readings.append(passed(f"a message came back from {self.round_trip} in {took * 1000:.0f} ms"))
        if self.lag is not None:
            behind = session.lag(self.lag.group, self.lag.topics)
            detail["lag"] = dict(behind)
            readings.append(self.lag.judge(behind))
        return readings
