"""`python -m syndiff` is `syndiff`."""

import signal


def main() -> None:
    """The command line. Ctrl-C before it is there, or once it has ended, just ends the process, without a traceback."""
    _quiet()
    from syndiff.cli import main as command_line

    try:
        command_line()
    except KeyboardInterrupt:  # between the command line's own handling and its end
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    finally:
        _quiet()


def _quiet() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
