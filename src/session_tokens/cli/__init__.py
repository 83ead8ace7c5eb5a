"""The command line ``session-tokens``."""
