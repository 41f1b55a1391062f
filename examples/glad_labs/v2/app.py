"""Version 2: validated changes of status, and an audit trail of all of them."""

from __future__ import annotations

import audit_routes
import task_routes
from service import create_app

# The fixed paths under a task come first, so that no wider pattern takes them.
app = create_app("v2", audit_routes.router, task_routes.router)
