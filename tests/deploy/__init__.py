"""Tests of the files in `deploy/`, each used for what it is for."""
