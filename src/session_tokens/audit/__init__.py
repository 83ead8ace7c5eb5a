"""The audit log: writing its chains and reading them back."""
