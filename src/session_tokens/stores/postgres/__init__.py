"""The store that keeps its records in PostgreSQL."""
