"""``python -m api``: serves the API until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
import threading

from engine.store import Store

from api.app import App, server
from api.limits import RedisLimiter
from api.listing import VERSION


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    env = os.environ
    limiter = RedisLimiter(env["REDIS_URL"], int(env["RATE_LIMIT_PER_MINUTE"]))
    store = Store(env["DATABASE_URL"], f"ordinaut api {VERSION}")
    app = App(VERSION, store, limiter, env["JWT_SECRET_KEY"])
    serving = server(app, int(env["PORT"]))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=serving.shutdown).start())
    logging.getLogger("api").info("version %s serves on port %s", VERSION, env["PORT"])
    serving.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
