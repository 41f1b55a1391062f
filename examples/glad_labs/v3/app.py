"""Version 3: as version 2, but it fails 30 % of the API's requests once it has been in use for a while."""

from __future__ import annotations

import os

import audit_routes
import task_routes
from service import create_app

app = create_app(
    "v3",
    audit_routes.router,
    task_routes.router,
    fail_share=0.3,
    fail_after=float(os.environ.get("GLAD_V3_HEALTHY_FOR", "20")),
)
