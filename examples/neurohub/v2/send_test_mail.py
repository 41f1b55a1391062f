"""Sends a test message to the release's mailing list by the server in SMTP_SERVER, as host:port."""

import os
import smtplib
import sys
from email.message import EmailMessage

message = EmailMessage()
message["From"] = message["To"] = os.environ["RELEASE_LIST"]
message["Subject"] = "F2X NeuroHub: this list will be told of the deployment"
message.set_content("Nothing is to be done.")
host, port = os.environ["SMTP_SERVER"].rsplit(":", 1)
with smtplib.SMTP(host, int(port), timeout=10) as server:
    refused = server.send_message(message)
sys.stdout.write(f"refused: {sorted(refused)}\n" if refused else "accepted\n")
sys.exit(bool(refused))
