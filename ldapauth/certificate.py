"""X.509 certificates of users: PEM and DER, and whether one is valid today; imports nothing of ours."""

import datetime as dt
import ssl

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
    from pyasn1_modules import rfc5280  # noqa: PLC0415 - large, and few ever ask

    try:
        certificate, _ = decoder.decode(der, asn1Spec=rfc5280.Certificate())
        validity = certificate["tbsCertificate"]["validity"]
        begin, end = (validity[name].getComponent().asDateTime for name in ("notBefore", "notAfter"))
        return bool(begin <= dt.datetime.now(dt.UTC) <= end)
    except (PyAsn1Error, AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        return False
