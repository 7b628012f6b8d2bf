"""Programs that the peers run; each is given its directory in its arguments, see `Target.arguments`."""
