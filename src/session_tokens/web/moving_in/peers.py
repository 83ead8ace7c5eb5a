"""Where users can move in from: what is given as ``migrate_from=``."""

from .aiohttp import AiohttpCookie, AiohttpRedis
from .beaker import BeakerFiles, BeakerRedis
from .express import ExpressPostgres, ExpressRedis
from .redis import FlaskSessionRedis, StarsessionsRedis
from .signed import FlaskCookie, StarletteCookie

__all__ = [
    "AiohttpCookie", "AiohttpRedis", "BeakerFiles", "BeakerRedis", "ExpressPostgres", "ExpressRedis", "FlaskCookie",
    "FlaskSessionRedis", "StarletteCookie", "StarsessionsRedis",
]  # fmt: skip
