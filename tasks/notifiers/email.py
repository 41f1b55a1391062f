"""Messages by e-mail: a thread for each release; what only edits the root is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from tasks.domain.kind import Duration, SecretReference
from tasks.domain.plain_text import one_line, plain, utc
from tasks.domain.ports import Mail, MailServer
from tasks.notifiers import Message, Notifier, Outlets

_ADDRESS = r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$"
Address = Annotated[str, Field(pattern=_ADDRESS, max_length=254, examples=["ops@example.org"])]
_SIGNS = {"alert": "ALERT: ", "request": "to sign: ", "reminder": "to sign: "}


class Email(Notifier):
    """Sends each message to some addresses, encrypted, with an ID by which a second copy is known as such."""

    shows_edits: ClassVar[bool] = False

    kind: Literal["email"] = "email"
    """Which kind this is."""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]+$", examples=["smtp.example.org"])]
    """The mail server."""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    """Its port: usually 587 with ``starttls``, 465 with ``tls``."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted; ``none`` only to this machine."""
    trust: str = ""
    """The file of certificates that are trusted; the system's own if empty."""
    user: str = ""
    """The name to log in with; nobody logs in if it is empty."""
    password: SecretReference | None = None
    """The password, as a secret reference."""
    sender: Address
    """The address that mails come from."""
    to: Annotated[tuple[Address, ...], Field(min_length=1)]
    """Who gets them."""
    timeout: Duration = 20.0
    """After how long the server is given up."""

    @model_validator(mode="after")
    def _safe(self) -> Email:
        if self.security == "none" and self.host not in {"127.0.0.1", "localhost", "::1"}:
            raise ValueError(f"security: none would send mails in clear to {self.host}; expected starttls or tls")
        if bool(self.user) != (self.password is not None):
            raise ValueError("user goes with password, and password with user")
        return self

    @property
    def address(self) -> str:
        """The name under which the ledger keeps what was delivered."""
        return f"{self.kind}:{','.join(self.to)}"

    def deliver(self, message: Message, outlets: Outlets) -> Mapping[str, str]:
        """Send the message, beneath the release's first one."""
        if message.kind.endswith("_edit") or message.files:
            return {}  # the reports have the plots
        text = plain(message.text) or "–"
        number = f"<{hashlib.sha256(f'{self.address}/{message.key}'.encode()).hexdigest()[:32]}@golive.invalid>"
        password = outlets.secrets.resolve(self.password) if self.password is not None else ""
        server = MailServer(self.host, self.port, self.security, self.trust, self.user, password, self.timeout)
        body = f"{text}\n\nrelease {message.release_id}, {utc(message.at)}\n"
        subject = one_line(f"{_SIGNS.get(message.kind, '')}{text}", 150)
        outlets.mail(server).send(Mail(number, self.sender, self.to, subject, body, message.root_ref.get("id", "")))
        return {"id": number}
