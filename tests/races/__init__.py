"""Races: many tasks and processes on few tokens and owners, judged by a history checker."""
