"""A page on which batch norm is taken apart with the mouse, computed by minigrad.

One channel whose points and gradients are dragged, the three paths of its gradient, train against eval, a box that
checks your own derivation, and a layer in training. Prints an address on this machine for the browser and answers it
until Ctrl-C; --export writes the part that needs no server to one file. Takes about two seconds to start.
"""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path

from examples.bn_lab.channel import channel
from examples.bn_lab.server import Server, page
from examples.experiment import make_parser, natural
from minigrad.checkpoint import write_whole
from minigrad.command import command


@command
def main(argv: list[str] | None = None) -> None:
    parser = make_parser("bn_lab", __doc__)
    add = parser.add_argument
    add("--port", type=natural, default=0, help="of 127.0.0.1 (default: one that is free)")
    add("--open", action="store_true", help="open the page in the browser")
    add("--export", type=Path, metavar="FILE.html", help="write the page without a server, and end")
    args = parser.parse_args(argv)
    if args.export:
        write_whole(args.export, page(exported=True).encode())
        print(f"page: {args.export}")
        return
    if args.port > 65535:
        parser.error(f"--port: expected at most 65535, got {args.port}")
    sys.setswitchinterval(5e-4)  # a drag doesn't wait for a check that computes
    server = Server(args.port)
    channel([0, 1], [1, 0], 1, 0, 1e-3, 1)  # loads the compiled kernels
    print(f"{server.address}\nCtrl-C ends it.", flush=True)
    if args.open:
        webbrowser.open(server.address)
    try:
        server.serve_forever()
    finally:
        server.lab.training.stop()
        server.server_close()


if __name__ == "__main__":
    sys.exit(main())
