"""The keys with which programs enter the service: their roles, limits and last use."""
