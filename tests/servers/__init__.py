"""Real servers for the tests: each starts privately on loopback and leaves nothing behind."""
