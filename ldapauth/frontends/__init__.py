"""The doors: each turns bytes into a call of the provider, and the outcome into bytes. None knows LDAP."""
