"""Telling others of events over HTTP, signed."""
