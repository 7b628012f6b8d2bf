"""The kinds of directory that companies run, and what is usual in each. Imports nothing of ours.

Owns the defaults that depend on the kind, and how a server is recognised by its root DSE (RFC 4512 5.1). Knows no
settings: `config.py` fills in what the configuration leaves open, and where that says `auto`, `directory/` does so once
the server was asked.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Literal

Named = Literal["active-directory", "389ds", "freeipa", "openldap"]
Name = Literal["active-directory", "389ds", "freeipa", "openldap", "other"]
Way = Literal["modify", "extended", "ad"]
Membership = Literal["memberOf", "chain", "member", "uniqueMember", "memberUid"]


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What is usual in a kind of directory.

    Attributes:
        filter: A filter template: which entry is a user's.
        naming: The attribute that a new account's DN begins with.
        way: How it takes a new password; None where that is to be asked of the server.
        inactive: A filter: which accounts may not be used, however their owners prove who they are. With `{now}` and
            `{filetime}`, see `directory/query.py`.
        membership: How it is asked whether an entry is in a group, see `directory/groups.py`.
        object_classes: Those of a new account.
        attributes: Its attributes, as templates.
        off: The attribute that switches an account off, with its value; a number is a bit to be set in the one that is
            there. None where there is no such attribute.
    """

    filter: str = "(uid={user})"
    naming: str = "uid"
    way: Way | None = None
    inactive: str | None = None
    membership: Membership = "member"
    object_classes: tuple[str, ...] = ("top", "person", "organizationalPerson", "inetOrgPerson")
    attributes: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"uid": "{user}", "cn": "{user}", "sn": "{user}"}
    )
    off: tuple[str, str | int] | None = None


KINDS: dict[Name, Kind] = {
    "active-directory": Kind(
        filter="(&(objectCategory=person)(objectClass=user)(sAMAccountName={user}))",
        naming="CN",
        way="ad",
        # ACCOUNTDISABLE, [MS-ADTS] 2.2.16; accountExpires is 0 or 2^63-1 for never.
        inactive=(
            "(|(userAccountControl:1.2.840.113556.1.4.803:=2)(&(accountExpires>=1)(accountExpires<={filetime})))"
        ),
        membership="chain",
        object_classes=("top", "person", "organizationalPerson", "user"),
        attributes={
            "sAMAccountName": "{user}",
            "userPrincipalName": "{user}@{domain}",
            "userAccountControl": "512",  # NORMAL_ACCOUNT, [MS-ADTS] 2.2.16: without it the account is switched off
        },
        off=("userAccountControl", 2),
    ),
    # RFC 3062 is there too, and worse: of a refusal it says no reason, and what it sets "must be changed".
    "389ds": Kind(
        filter="(&(objectClass=person)(uid={user}))",
        way="modify",
        inactive="(nsAccountLock=true)",
        off=("nsAccountLock", "true"),
    ),
    "freeipa": Kind(
        filter="(&(objectClass=person)(uid={user}))",
        way="extended",
        inactive="(|(nsAccountLock=true)(krbPrincipalExpiration<={now}))",
        membership="memberOf",
        off=("nsAccountLock", "true"),
    ),
    "openldap": Kind(
        way="extended",
        inactive="(|(pwdAccountLockedTime=000001010000Z)(pwdEndTime<={now})(pwdStartTime>={now}))",
        off=("pwdAccountLockedTime", "000001010000Z"),  # slapo-ppolicy(5): for good
    ),
    "other": Kind(),
}

# What is read of a root DSE.
ROOT_DSE = (
    "objectClass",
    "supportedCapabilities",
    "supportedExtension",
    "vendorName",
    "ipaDomainLevel",
    "ipaTopologyPluginVersion",
)

RFC_3062 = "1.3.6.1.4.1.4203.1.11.1"
_ACTIVE_DIRECTORY = "1.2.840.113556.1.4.800"  # [MS-ADTS] 3.1.1.3.4.3.1


def recognised(root_dse: Mapping[str, Collection[bytes]]) -> Name:
    """The kind of a server whose root DSE this is; one that shows none is nothing special."""
    shown = {name.lower(): {value.decode("ascii", "replace") for value in root_dse[name]} for name in root_dse}
    if _ACTIVE_DIRECTORY in shown.get("supportedcapabilities", ()):
        return "active-directory"
    if shown.get("ipadomainlevel") or shown.get("ipatopologypluginversion"):
        return "freeipa"
    if "389 Project" in shown.get("vendorname", ()):
        return "389ds"
    if "OpenLDAProotDSE" in shown.get("objectclass", ()):
        return "openldap"
    return "other"
