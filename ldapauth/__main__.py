"""`python -m ldapauth` is the command `ldapauth`."""

from .cli import main

main(prog_name="ldapauth")
