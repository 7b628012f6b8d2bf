"""A login with python-ldap (libldap), on two kept connections."""

import importlib

from bench.programs import frame

# Not a dependency of the project, and without types.
ldap = importlib.import_module("ldap")
ldap_filter = importlib.import_module("ldap.filter")


def main() -> None:
    """Answers the line protocol. The environment has libldap's settings."""
    arguments = frame.arguments()
    searching, verifying = ldap.initialize(arguments.url), ldap.initialize(arguments.url)
    searching.simple_bind_s(arguments.service_dn, arguments.service_password)

    def check(user: bytes, password: bytes) -> bool:
        query = f"(uid={ldap_filter.escape_filter_chars(user.decode())})"
        found = searching.search_ext_s(arguments.base_dn, ldap.SCOPE_SUBTREE, query, ["uid"], timeout=4, sizelimit=2)
        try:
            verifying.simple_bind_s(found[0][0], password.decode())
        except ldap.INVALID_CREDENTIALS:
            return False
        return True

    frame.serve(check)


if __name__ == "__main__":
    main()
