"""Return the questions of docs/explanation/performance.md by measuring session-tokens beside its peers.

Run `python -m benchmarks` for all of them, or name some: `python -m benchmarks idle_million_sessions`.
Each question is one file; both sides run in processes of their own and take turns, A B A B, in the same run, because
absolute times on shared machines differ by half from one minute to the next and ratios of neighbours do not.
"""

QUESTIONS = (
    "memory_token_tables",
    "memory_native",
    "idle_million_sessions",
    "memory_footprint",
    "sqlite_verify",
    "sqlite_write",
    "growth",
    "log_in",
    "empty_lists",
    "http_introspection",
    "valkey_server",
    "near_cache",
    "partitions",
    "postgres_server",
    "audit_log",
    "durable_events",
    "flask_requests",
    "django_requests",
    "asgi_visitors",
    "socket_close",
)
"""The modules of this package that answer one question each, in the order in which they are run and shown."""

ON_REQUEST = ("baseline", "http_workers")
"""Those that are only asked by name: what they measure has to be named too."""

BASELINE_PARTS = ("tables", "memory", "sqlite", "http", "valkey", "postgres")
"""What `baseline` measures, one after another."""
