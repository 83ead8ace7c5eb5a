"""The HTTP service: in this process on a manual clock, and as a process of its own where bytes and signals matter."""
