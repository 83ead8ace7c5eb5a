"""Where users can move in from: what is given as ``migrate_from=``."""

from .redis import ExpressRedis, FlaskSessionRedis, StarsessionsRedis
from .signed import FlaskCookie, StarletteCookie

__all__ = ["ExpressRedis", "FlaskCookie", "FlaskSessionRedis", "StarletteCookie", "StarsessionsRedis"]
