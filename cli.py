"""`python cli.py generic` is `ldapauth generic`."""

from ldapauth.cli import main

if __name__ == "__main__":
    main(prog_name="cli.py")
