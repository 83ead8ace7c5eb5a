"""The store that keeps its records in one SQLite file."""
