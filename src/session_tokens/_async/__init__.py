"""The API for asyncio; ``_sync`` is generated from these files by ``tools/generate_sync.py``."""
