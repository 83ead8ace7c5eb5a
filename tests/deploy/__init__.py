"""Tests of the files for deployment."""
