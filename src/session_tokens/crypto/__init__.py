"""Secrets, ids, peppers and key files: everything that a security reviewer reads, in one place."""
