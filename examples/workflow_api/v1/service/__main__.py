"""Runs the web application: ``python -m service``."""

from __future__ import annotations

import logging

import uvicorn

from service import VERSION
from service.logs import start_log
from service.settings import Settings


def create() -> object:
    """Return the application as the environment wants it, for each of the server's processes."""
    from service.api import create_app

    settings = Settings.from_environment()
    start_log(settings.log_level, settings.log_format)
    return create_app(settings)


if __name__ == "__main__":
    asked = Settings.from_environment()
    start_log(asked.log_level, asked.log_format)
    logging.getLogger("workflow_api").info("version %s starts", VERSION)
    uvicorn.run(
        "service.__main__:create", factory=True, host=asked.host, port=asked.port, workers=asked.workers,
        reload=asked.reload, access_log=False, log_config=None, timeout_graceful_shutdown=5,
    )  # fmt: skip
