"""The session engine of Django, on a site of its own."""
