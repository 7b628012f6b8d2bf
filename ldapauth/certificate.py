"""X.509 certificates: PEM and DER, whether one is valid today, and what one says; imports nothing of ours."""

import dataclasses
import datetime as dt
import ipaddress
import ssl
from typing import Any

from pyasn1.codec.der import decoder
from pyasn1.error import PyAsn1Error

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def pem(der: bytes) -> str:
    """A certificate in PEM form, ended by a line break."""
    return ssl.DER_cert_to_PEM_cert(der)


def first(text: str) -> bytes | None:
    """The first certificate of a PEM text in DER form; None if there is none."""
    start = text.find(_BEGIN)
    stop = text.find(_END, start)
    if start < 0 or stop < 0:
        return None
    try:
        return ssl.PEM_cert_to_DER_cert(text[start : stop + len(_END)])
    except ValueError:
        return None


def is_valid_now(der: bytes) -> bool:
    """Whether this moment is within a certificate's validity; False for what is no certificate.

    Source: RFC 5280 4.1.2.5.
    """
    try:
        begin, end = _validity(_parsed(der))
    except _UNREADABLE:
        return False
    return begin <= dt.datetime.now(dt.UTC) <= end


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """What a certificate says of itself. All texts are whoever made it's.

    Attributes:
        names: The host names and addresses that it is for: its subjectAltName, and nothing else counts (RFC 6125 B.2).
        subject: Whose it is, as `CN=…, O=…`.
        issuer: Who signed it, likewise.
        begin: When it begins to be valid.
        end: When it ends.
    """

    names: tuple[str, ...]
    subject: str
    issuer: str
    begin: dt.datetime
    end: dt.datetime


def describe(der: bytes) -> Description | None:
    """What a certificate says; None for what is no certificate. Source: RFC 5280 4.1 and 4.2.1.6."""
    try:
        parsed = _parsed(der)
        return Description(_names(parsed), _dn(parsed["subject"]), _dn(parsed["issuer"]), *_validity(parsed))
    except _UNREADABLE:
        return None


_UNREADABLE = (PyAsn1Error, AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""What pyasn1 raises at bytes that are no certificate."""

_SUBJECT_ALT_NAME = "2.5.29.17"

_SHORT = {"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU"}
"""RFC 4519 2; any other attribute is shown by its number."""


def _parsed(der: bytes) -> Any:
    """The part of a certificate that is signed."""
    from pyasn1_modules import rfc5280  # noqa: PLC0415 - large, and few ever ask

    return decoder.decode(der, asn1Spec=rfc5280.Certificate())[0]["tbsCertificate"]


def _validity(parsed: Any) -> tuple[dt.datetime, dt.datetime]:
    begin, end = (parsed["validity"][name].getComponent().asDateTime for name in ("notBefore", "notAfter"))
    if begin.tzinfo is None or end.tzinfo is None:  # 4.1.2.5 wants the Z
        raise ValueError("a time without a zone")
    return begin.astimezone(dt.UTC), end.astimezone(dt.UTC)


def _dn(name: Any) -> str:
    pairs = [pair for rdn in name.getComponent() for pair in rdn]
    texts = [(str(pair["type"]), str(decoder.decode(bytes(pair["value"]))[0])) for pair in pairs]
    return ", ".join(f"{_SHORT.get(oid, oid)}={text}" for oid, text in texts)


def _names(parsed: Any) -> tuple[str, ...]:
    from pyasn1_modules import rfc5280  # noqa: PLC0415 - see _parsed

    names: list[str] = []
    for extension in parsed["extensions"] if parsed["extensions"].isValue else ():
        if str(extension["extnID"]) == _SUBJECT_ALT_NAME:
            for name in decoder.decode(bytes(extension["extnValue"]), asn1Spec=rfc5280.SubjectAltName())[0]:
                if name.getName() == "dNSName":
                    names.append(str(name.getComponent()))
                elif name.getName() == "iPAddress":
                    names.append(str(ipaddress.ip_address(bytes(name.getComponent()))))
    return tuple(names)
