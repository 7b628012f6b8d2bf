"""The manual pages: those of the programs, and the one of the configuration, which is made of its reference."""
