"""The outside world as golive's code sees it: protocols that adapters implement and tests replace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.domain.ports._databases import Databases, Row, Session
from tasks.domain.ports._http import Http, HttpAnswer
from tasks.domain.ports._machine import Clock, Command, Finished, Handshake, Host, Network
from tasks.domain.ports._people import Attachment, ChatApi, Dialog, Mail, MailApi, MailServer, Press
from tasks.domain.ports._postgres import PgServers, PgTools, RunningServer
from tasks.domain.ports._storage import Bucket, Cipher, Secrets, Stores
from tasks.domain.services import Kafka, Redis

__all__ = [
    "Attachment",
    "Bucket",
    "ChatApi",
    "Cipher",
    "Clock",
    "Command",
    "Databases",
    "Dialog",
    "Finished",
    "Handshake",
    "Host",
    "Http",
    "HttpAnswer",
    "Mail",
    "MailApi",
    "MailServer",
    "Network",
    "PgServers",
    "PgTools",
    "Press",
    "Row",
    "RunningServer",
    "Secrets",
    "Session",
    "Stores",
    "World",
]


@dataclass(frozen=True)
class World:
    """All that a step or a check may touch outside its own process."""

    clock: Clock
    http: Http
    host: Host
    databases: Databases
    pg_tools: PgTools
    pg_servers: PgServers
    secrets: Secrets
    stores: Stores
    cipher: Cipher
    network: Network
    redis: Redis
    kafka: Kafka
    progress: Callable[[str], None] = lambda _line: None
    """Called with a line for a person who follows the work."""
