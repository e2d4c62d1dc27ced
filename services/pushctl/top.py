"""`pushctl top`: the fleet at work, in a terminal."""

import contextlib
import curses
import sys
import time
from typing import Any

import click

from services.pushctl import options
from services.pushctl.faults import UNREACHABLE, Fault
from services.pushctl.rings import Rings
from services.pushctl.summaries import Samples, as_lines
from shared.startup.environment import read_settings

_SILENT = "no router answers: is the fleet running?"
_FOOTER = "q: quit"


@click.command()
@click.option("--once", is_flag=True, help="Print it once, after one interval, and end; so without a terminal, too.")
@click.option(
    "--interval",
    type=options.Seconds(min=0.2, max=60),
    default=1,
    show_default=True,
    metavar="SECONDS",
    help="How often.",
)
@options.sender_options
@options.as_json
def top(once: bool, interval: float, way: options.Way, as_json: bool) -> None:
    """Show workers, pushes, outcomes, latencies and closes as they happen. q quits.

    All routers of this host are asked, or those that --router names.
    """
    endpoints, curve = options.routers_and_keys(read_settings(), way)
    with Rings(endpoints, curve) as rings:
        if once or as_json or not _is_screen():
            _print_once(rings, interval, as_json)
            return
        with contextlib.suppress(KeyboardInterrupt):
            curses.wrapper(_show, rings, interval)


def _is_screen() -> bool:
    """Whether there is a terminal that can put text where it is told to."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        curses.setupterm()
    except curses.error:
        return False
    return bool(curses.tigetstr("cup"))


def _print_once(rings: Rings, interval: float, as_json: bool) -> None:
    samples = Samples()
    samples.add(_figures(rings))
    time.sleep(interval)
    said = samples.add(_figures(rings))
    if as_json:
        options.print_json(said)
    else:
        for line in as_lines(said):
            click.echo(line)


def _figures(rings: Rings) -> list[dict[str, Any]]:
    figures = rings.figures()
    if not figures:
        raise Fault(_SILENT, UNREACHABLE)
    return figures


def _show(screen: "curses.window", rings: Rings, interval: float) -> None:
    """Until q is pressed."""
    with contextlib.suppress(curses.error):
        curses.curs_set(0)
    samples = Samples()
    while True:
        figures = rings.figures()
        height, _ = screen.getmaxyx()
        _draw(screen, as_lines(samples.add(figures), height - 1) if figures else [_SILENT])
        until = time.monotonic() + interval
        while (left := until - time.monotonic()) > 0:
            screen.timeout(int(left * 1000) + 1)
            key = screen.getch()
            if key in (ord("q"), ord("Q")):
                return
            if key == curses.KEY_RESIZE:
                break


def _draw(screen: "curses.window", lines: list[str]) -> None:
    """What does not fit is cut off."""
    screen.erase()
    height, width = screen.getmaxyx()
    for row, line in enumerate(lines[: height - 1]):
        screen.addnstr(row, 0, line, width - 1, curses.A_BOLD if row < 2 else curses.A_NORMAL)
    screen.addnstr(height - 1, 0, _FOOTER, width - 1, curses.A_DIM)
    screen.refresh()
