"""A login with ldap3's own search and bind, on two kept connections."""

import ssl

import ldap3
from ldap3.utils.conv import escape_filter_chars

from bench.programs import frame


def main() -> None:
    """Answers the line protocol."""
    arguments = frame.arguments()
    searching = _connect(arguments, user=arguments.service_dn, password=arguments.service_password)
    verifying = _connect(arguments)

    def check(user: bytes, password: bytes) -> bool:
        query = f"(uid={escape_filter_chars(user.decode())})"
        if not searching.search(arguments.base_dn, query, attributes=["uid"], size_limit=2, time_limit=4):
            return False
        return bool(verifying.rebind(user=searching.response[0]["dn"], password=password.decode()))

    frame.serve(check)


def _connect(arguments: frame.Arguments, **account: str) -> ldap3.Connection:
    host, port = arguments.address
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=arguments.ca_file) if arguments.tls else None
    server = ldap3.Server(host, port, use_ssl=arguments.tls, tls=tls, get_info=ldap3.NONE)
    connection = ldap3.Connection(server, auto_referrals=False, **account)
    connection.bind()
    return connection


if __name__ == "__main__":
    main()
