"""Converts exceptions to one line and an exit code: 2 for bad input, 3 for a fault of ours, 130 for Ctrl-C."""
import sys

from .load import InputError


def run_as_command(main) -> int:
    for stream in (sys.stdout, sys.stderr):  # what it cannot say (half a character, another script) is "?"
        stream.reconfigure(errors="replace")
    try:
        return main(sys.argv[1:])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or type(error).__name__}", file=sys.stderr)
        return 2
    except Exception as error:  # the only handler that converts our own faults to an exit code
        print(f"internal error: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 3
