VirtualHost "example.com"
    authentication = "http"
    http_auth_url = "https://ldapauth.example.com:8443"
    http_auth_credentials = "xmpp:secret"
