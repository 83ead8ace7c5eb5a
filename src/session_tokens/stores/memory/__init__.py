"""The store that keeps its records in this process."""
