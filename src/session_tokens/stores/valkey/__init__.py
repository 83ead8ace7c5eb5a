"""The store that keeps its records in Valkey or Redis."""
