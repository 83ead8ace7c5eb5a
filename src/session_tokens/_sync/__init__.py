"""The blocking API, generated from ``_async`` by ``tools/generate_sync.py``."""
