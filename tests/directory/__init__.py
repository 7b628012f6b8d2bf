"""Tests of `ldapauth.directory`, module by module."""
