"""`python -m unpaired`, and the command `unpaired`."""

import signal


def main() -> None:
    """Run the command line. Before it is imported and after it has ended, Ctrl-C ends the process at once."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            from unpaired import cli

            signal.signal(signal.SIGINT, signal.default_int_handler)
            cli.main()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    else:
        from unpaired import cli

        cli.main()


if __name__ == "__main__":
    main()
