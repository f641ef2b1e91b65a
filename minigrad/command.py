"""How command lines end when something from outside ends them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Main = TypeVar("Main", bound=Callable[..., Any])


def command(main: Main) -> Main:
    """A decorator of ``main``: Ctrl-C and a full disk end it with one line and an exit code, not with a traceback.

    Exits with 130 after Ctrl-C, and with 1 for any other OSError: a file that can't be read or written, no network.
    """

    @wraps(main)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            result = main(*args, **kwargs)
            sys.stdout.flush()
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        except OSError as error:
            _abandon_full_stdout()
            named = error.filename is not None and error.strerror
            sys.exit(
                f"{error.filename}: {error.strerror}" if named else error.strerror or str(error)
            )
        return result

    return run  # type: ignore[return-value]


def _abandon_full_stdout() -> None:
    """Where standard output takes no more, have nothing of it written when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
