"""The tests; they mirror the package, and `servers` has the real servers that they run against."""
