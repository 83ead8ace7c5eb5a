"""The console at ``/console``: what operators see and end, rendered on the server."""
