"""The two graphs of a network with batch norm: training and eval.

Prints both as tables and how they differ, and draws them: as SVG where Graphviz and the Python package graphviz are
installed, as DOT text for any other tool where not. Takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import minigrad as mg
from examples.experiment import at_least_two, make_parser
from minigrad.command import command
from models.mlp import MLP


@command
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("two_graphs", __doc__)
    parser.add_argument("--batch-size", type=at_least_two, default=60, help="default: 60")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the drawings")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    train_graph, eval_graph = mg.graphs(MLP(), mg.ones((args.batch_size, 784)))
    print(train_graph, eval_graph, mg.graph_diff(train_graph, eval_graph), sep="\n\n")
    for name, graph in (("mlp_train", train_graph), ("mlp_eval", eval_graph)):
        path = args.out / f"{name}.svg"
        try:
            path.write_text(graph.svg(), "utf-8")
        except (ImportError, RuntimeError) as error:
            print(error)
            path = path.with_suffix(".dot")
            path.write_text(graph.dot(), "utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
