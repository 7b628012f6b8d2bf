"""Tests of the doors, each by itself."""
