"""Mail over SMTP, encrypted, with one message for each call and no retries of its own."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import suppress
from email.message import EmailMessage

from tasks.domain.errors import (
    AccessDenied,
    ConnectionLost,
    GoliveError,
    OutsideError,
    ServerTrouble,
    TimedOut,
    Unreachable,
)
from tasks.domain.ports import Mail, MailServer


class Smtp:
    """Hands mails to one server; ``within`` is how many seconds one may take at most."""

    def __init__(self, server: MailServer, within: float) -> None:
        self._server, self._within = server, within

    def send(self, mail: Mail) -> None:
        """Hand a mail over to all its receivers."""
        where = f"mail server {self._server.host}:{self._server.port}"
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = mail.sender, ", ".join(mail.to), mail.subject
        message["Message-ID"] = mail.id
        message["Auto-Submitted"] = "auto-generated"
        if mail.answers:
            message["In-Reply-To"] = message["References"] = mail.answers
        message.set_content(mail.text)
        try:
            client = self._connected()
        except (smtplib.SMTPException, OSError) as error:
            raise _as_ours(error, where, sent=False) from None  # its text may hold what was sent
        try:
            refused = client.send_message(message)
        except (smtplib.SMTPException, OSError) as error:
            raise _as_ours(error, where, sent=True) from None
        finally:
            with suppress(smtplib.SMTPException, OSError):
                client.quit()
        if refused:
            raise OutsideError(f"{len(refused)} of {len(mail.to)} receivers were refused", where=where)

    def _connected(self) -> smtplib.SMTP:
        given, seconds = self._server, max(1.0, min(self._server.timeout, self._within))
        trusted = ssl.create_default_context(cafile=given.trust or None)
        if given.security == "tls":
            client: smtplib.SMTP = smtplib.SMTP_SSL(given.host, given.port, timeout=seconds, context=trusted)
        else:
            client = smtplib.SMTP(given.host, given.port, timeout=seconds)
        try:
            if given.security == "starttls":
                client.starttls(context=trusted)
            if given.user:
                client.login(given.user, given.password)
        except BaseException:
            client.close()
            raise
        return client


def _as_ours(error: Exception, where: str, *, sent: bool) -> GoliveError:
    """Return the error for what went wrong, told apart by the server's code and never by its text."""
    if isinstance(error, smtplib.SMTPException):
        return _refusal(error, where)
    if isinstance(error, ssl.SSLCertVerificationError):
        return OutsideError(f"its certificate is not trusted: {error.verify_message}", where=where, do="set trust")
    if isinstance(error, TimeoutError):
        return TimedOut("no answer in time", where=where)
    if sent:
        return ConnectionLost(f"the connection broke: {type(error).__name__}", where=where)
    return Unreachable(f"nothing answers: {type(error).__name__}", where=where)


def _refusal(error: smtplib.SMTPException, where: str) -> GoliveError:
    """Return the error for what the server said; what it says by 4xx can pass."""
    code = 0
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code = max(code for code, _said in error.recipients.values())
    elif isinstance(error, smtplib.SMTPResponseException):
        code = error.smtp_code
    elif isinstance(error, smtplib.SMTPServerDisconnected):
        return ConnectionLost("the connection broke", where=where)
    if isinstance(error, smtplib.SMTPAuthenticationError) and code >= 500:
        return AccessDenied(f"the login was refused: {code}", where=where, do="check user and password")
    if 0 < code < 500:
        return ServerTrouble(f"the server said {code}", where=where)
    seen = f"the server said {code}" if code else f"the server cannot do this: {type(error).__name__}"
    return OutsideError(seen, where=where, do="check security, port, sender and receivers")
