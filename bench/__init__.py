"""How fast a login is, beside the ways in which else an XMPP server can ask a directory: `python -m bench`.

Everything is measured in one run, in rounds in which each peer has its turn: machines are shared and noisy, and only
what was measured within seconds of each other can be compared.
"""
