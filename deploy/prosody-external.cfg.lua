VirtualHost "example.com"
    authentication = "external"
    external_auth_protocol = "generic"
    external_auth_command = "/opt/ldapauth/bin/ldapauth-generic"
    external_auth_timeout = 5
    -- external_auth_blocking stays at its default, true
