"""Every example runs by its one command, and does what it shows."""
