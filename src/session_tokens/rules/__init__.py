"""The rules: what may happen to owners, sessions and tokens, written once as plain functions over a transaction."""
