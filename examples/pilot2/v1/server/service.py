"""What every version's application has: its environment, health, scheduler, and how it is served."""

from __future__ import annotations

import logging
import os
import signal
import sys
from datetime import UTC, datetime
from typing import Any

import psycopg2
import scheduler
import waitress
from database import db_manager
from flask import Flask, jsonify
from version import VERSION

log = logging.getLogger("pilot2")


def create_app() -> Flask:
    """Return an application with what every version has."""
    app = Flask("pilot2")

    @app.get("/api/health")
    def health() -> Any:
        body = {
            "status": "healthy",
            "timestamp": datetime.now(UTC).isoformat(),
            "version": VERSION,
            "environment": os.environ.get("FLASK_ENV", ""),
            "application": os.environ.get("FLASK_APP", ""),
        }
        try:
            with db_manager.session() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error as error:
            log.warning("health: the database does not answer (%s)", type(error).__name__)
            return jsonify(body | {"status": "unhealthy"}), 503
        return jsonify(body)

    @app.get("/api/scheduler/jobs")
    def jobs() -> Any:
        return jsonify(jobs=scheduler.listed())

    @app.after_request
    def signed(response: Any) -> Any:
        response.headers["x-version"] = VERSION
        return response

    return app


def serve(app: Flask) -> None:
    """Start the scheduler, and answer requests until SIGTERM."""
    missing = [name for name in ("DATABASE_URL", "FLASK_PORT") if not os.environ.get(name)]
    if missing:
        raise SystemExit(f"{' and '.join(missing)} must be set in the environment")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("apscheduler.executors").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    scheduler.start(app)
    log.info("version %s started", VERSION)
    waitress.serve(app, host="127.0.0.1", port=int(os.environ["FLASK_PORT"]), threads=12, _quiet=True)
