"""How command lines end when something from outside ends them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Main = TypeVar("Main", bound=Callable[..., Any])


def command(main: Main) -> Main:
    """Decorate ``main``: Ctrl-C (exit status 130) and any OSError (1), as of a full disk, end it with one line."""

    @wraps(main)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            result = main(*args, **kwargs)
            sys.stdout.flush()
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        except OSError as error:
            try:
                sys.stdout.flush()
            except OSError:  # it takes no more: have nothing written when the interpreter ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            why = error.strerror or str(error)
            sys.exit(f"{error.filename}: {why}" if error.filename and error.strerror else why)
        return result

    return run  # type: ignore[return-value]
