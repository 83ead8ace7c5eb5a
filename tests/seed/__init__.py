"""Tests of the names of the seed."""
