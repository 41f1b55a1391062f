"""What the environment says, as .env.example lists it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """Everything that one process of the service needs to know."""

    database_url: str = field(repr=False)
    kafka_brokers: str
    jwt_secret: str = field(repr=False)
    cors_origins: tuple[str, ...]
    pool_size: int
    max_overflow: int
    workers: int
    reload: bool
    log_level: str
    log_format: str
    host: str
    port: int

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the environment; raises `KeyError` for what must be set and is not."""
        env = os.environ
        return cls(
            database_url=env["DATABASE_URL"],
            kafka_brokers=env["KAFKA_BROKERS"],
            jwt_secret=env["JWT_SECRET"],
            cors_origins=tuple(one for one in env.get("CORS_ORIGINS", "").split(",") if one),
            pool_size=int(env.get("DATABASE_POOL_SIZE", "5")),
            max_overflow=int(env.get("DATABASE_MAX_OVERFLOW", "5")),
            workers=int(env.get("API_WORKERS", "1")),
            reload=env.get("API_RELOAD", "false") == "true",
            log_level=env.get("LOG_LEVEL", "INFO"),
            log_format=env.get("LOG_FORMAT", "text"),
            host=env.get("HOST", "127.0.0.1"),
            port=int(env.get("PORT", "8000")),
        )
