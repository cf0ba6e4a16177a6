"""The headless front end: every arrow from hardware to chat, without a screen.

This module reads the command line, starts the one command that was asked for and turns whatever it raises into an
exit status: 0 done, 1 a stated error, 2 wrong usage, 130 interrupted, 141 when nobody reads our output any more. What
a command does lies in the module of its noun, imported only when chosen, so that `edgewise --help` stays fast.
"""

import sys
from argparse import Namespace
from importlib import import_module

from engine.cli.arguments import build_parser


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        options = build_parser(arguments).parse_args(arguments)
    except SystemExit as wanted:  # argparse has printed the help, the version or what was wrong
        return wanted.code if isinstance(wanted.code, int) else 2
    try:
        status = _run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except KeyboardInterrupt as error:
        failure: BaseException = error
    except Exception as error:
        failure = error
    from engine.cli.failure import report

    return report(failure, options)


def _run(options: Namespace) -> int:
    if options.command is None:
        from tui.app import main as show

        return show()
    run = import_module(f"engine.cli.{options.command}").run
    status: int = run(options)
    return status
