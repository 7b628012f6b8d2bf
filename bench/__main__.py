"""`python -m bench`: measures everything there is, in rounds, and prints the medians and the ratios."""

import contextlib
import fnmatch
from collections.abc import Sequence

import click

from bench import ejabberd, helpers, http, lua, start
from bench import storm as storms
from bench.neighbours import Neighbours
from bench.peer import Peer, Sample, Unavailable, draw
from bench.report import Run, report
from bench.world import World

_FAMILIES = (helpers, lua, ejabberd, http, start)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=11, show_default=True, help="How often each peer has its turn.")
@click.option("--logins", default=300, show_default=True, help="Logins in each turn.")
@click.option(
    "--only", metavar="NAME", multiple=True, help="A peer, or a pattern such as 'ejabberd*'; may be repeated."
)
@click.option("--storm", is_flag=True, help="Have everybody log in at once, after a restart, and nothing else.")
@click.option("--markdown", is_flag=True, help="Print the tables as docs/performance.md has them.")
def main(rounds: int, logins: int, only: Sequence[str], *, storm: bool, markdown: bool) -> None:
    """Measures logins a second and the CPU they cost, of this program and of its peers."""
    if storm:
        click.echo(storms.storm(), nl=False)
        return
    with World() as world, contextlib.ExitStack() as running:
        peers = [peer for family in _FAMILIES for peer in family.peers(world)]
        known = ", ".join(peer.key for peer in peers)
        peers = [peer for peer in peers if not only or any(fnmatch.fnmatch(peer.key, name) for name in only)]
        if not peers:
            raise click.UsageError(f"there is no such peer; there are {known}")
        unavailable: dict[str, str] = {}
        for peer in peers:
            running.callback(peer.stop)
            try:
                peer.start()
            except Unavailable as error:
                unavailable[peer.key] = str(error)
        neighbours = Neighbours()
        measured = [_round(peers, unavailable, number, rounds, logins) for number in range(1, rounds + 1)]
        others = neighbours.share()
    click.echo(report(peers, Run(measured, logins, others), unavailable, markdown=markdown), nl=False)


def _round(
    peers: Sequence[Peer], unavailable: dict[str, str], number: int, rounds: int, logins: int
) -> dict[str, Sample]:
    """One turn of each peer."""
    click.echo(f"\rround {number} of {rounds}", nl=number == rounds, err=True)
    return {peer.key: peer.measure(draw(logins)) for peer in peers if peer.key not in unavailable}


if __name__ == "__main__":
    main()
