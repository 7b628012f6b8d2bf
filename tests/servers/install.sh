#!/bin/sh
# Installs the Debian packages that are missing of those named, for the tests that need real servers:
#
#   tests/servers/install.sh slapd ldap-utils ejabberd
#
# When it may not install them, it prints the command that does, and fails.
set -eu

POLICY=/usr/sbin/policy-rc.d

missing() {
    for package; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=none
        [ "$status" = installed ] || printf ' %s' "$package"
    done
}

# The tests start servers of their own: Debian's are not to start as services. A policy that is there already is the
# machine's own decision, and stays as it is.
forbid_services() {
    [ ! -e "$POLICY" ] && [ ! -L "$POLICY" ] || return 0
    # Set first: an interruption must not leave the policy behind.
    trap 'rm -f "$POLICY"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

install_packages() {
    forbid_services
    export DEBIAN_FRONTEND=noninteractive
    # Another apt-get may be at work, as on a machine that has just started.
    apt-get -o DPkg::Lock::Timeout=300 update
    apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
}

[ $# -gt 0 ] || {
    echo "usage: $0 PACKAGE..." >&2
    exit 2
}
packages=$(missing "$@")
[ -n "$packages" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Not installed:$packages. As root, on Debian or Ubuntu, run:" >&2
    echo "apt-get update && apt-get install -y --no-install-recommends$packages" >&2
    exit 1
fi
# Package names have no spaces: each word is one.
# shellcheck disable=SC2086
install_packages $packages
