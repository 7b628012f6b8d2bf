"""Checks the passwords of XMPP users in an LDAP directory."""
