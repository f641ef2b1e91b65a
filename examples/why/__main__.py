"""Command line of ``examples.why``: run an experiment on a claim, print its table and finding, save figure and CSV.

An experiment is a module: its docstring's first line is the claim, ``PAPER`` the figure that it is compared with,
``DEFAULT`` and ``FULL`` are its settings, ``SECONDS`` those that ``FULL`` takes, and there are four functions: ``run``,
``finding``, ``table`` and ``draw``. The figures in ``examples/figures`` were made with ``--full``.
"""

from __future__ import annotations

import sys
import textwrap
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

from matplotlib.figure import Figure

from examples.experiment import (
    add_options,
    choose_backend,
    make_parser,
    positive,
    reasons,
    write_csv,
)
from examples.why.common import Row, values
from minigrad.command import command

NAMES = (
    "explosion",
    "momentum",
    "small_batches",
    "init",
    "learning_rates",
    "smoothness",
    "shift",
    "dropout",
    "regularization",
    "siblings",
)


def claim(module: ModuleType) -> str:
    """The first line of the module's docstring."""
    return (module.__doc__ or "").partition("\n")[0]


def listing() -> str:
    """What --help says: each name with its claim."""
    lines = [f"  {name:<16}{claim(import_module(f'examples.why.{name}'))}" for name in NAMES]
    text = "One claim about batch norm, one figure, one table. Each takes less than a minute on two cores.\n\n"
    return text + "\n".join(lines)


def sentence(module: ModuleType, rows: list[Row]) -> str:
    """Whether the claim comes out of the numbers, the numbers that say so, and whether each seed alone does."""
    holds, numbers = module.finding(rows)
    text = f"{'comes out' if holds else 'does not come out at this scale'}: {numbers}"
    seeds = values([r for r in rows if "seed" in r], "seed")
    if len(seeds) == 1:
        return f"{text} One seed."
    alone = [module.finding([r for r in rows if r.get("seed", s) == s])[0] for s in seeds]
    return f"{text} Means and ranges of {len(seeds)} seeds; the same verdict in {alone.count(holds)} of them alone."


def write(module: ModuleType, rows: list[Row], name: Path) -> None:
    """The figure, with the finding and the source as its caption, and the numbers."""
    head = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(name.with_suffix(".csv"), head, ([row.get(k, "") for k in head] for row in rows))
    figure, found = Figure(figsize=(9, 5), layout="constrained"), sentence(module, rows)
    module.draw(figure, rows)
    figure.suptitle("\n".join(textwrap.wrap(claim(module).rstrip("."), 110)), fontsize=11)
    caption = textwrap.wrap(f"{found[0].upper()}{found[1:]} {module.PAPER}", 138)
    figure.supxlabel("\n".join(caption), fontsize=8.5, x=0.02, ha="left")
    figure.savefig(name.with_suffix(".png"), dpi=96, pil_kwargs={"optimize": True})


@command
def main(argv: list[str] | None = None) -> None:
    parser = make_parser("why", listing())
    parser.add_argument("name", choices=NAMES, nargs="?", help="without it: this help")
    add_options(parser, seed=0, seeds=None, backend=None, out=Path("out"))
    parser.add_argument("--steps", type=positive, help="training steps of each network")
    parser.add_argument(
        "--full", action="store_true", help="several seeds; says first how long it takes"
    )
    args = parser.parse_args(argv)
    if args.name is None:
        parser.print_help()
        return
    choose_backend(args.backend)
    module = import_module(f"examples.why.{args.name}")
    settings = module.FULL if args.full else module.DEFAULT
    given = {k: v for k in ("steps", "seeds") if (v := getattr(args, k)) is not None}
    settings = replace(settings, seed=args.seed, **given)
    if args.full:
        ratio = settings.seeds * settings.steps / (module.FULL.seeds * module.FULL.steps)
        print(f"about {module.SECONDS * ratio / 60:.1f} minutes", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with reasons():
        rows = module.run(settings)
    name = args.out / f"why_{args.name}"
    write(module, rows, name)
    print(f"{claim(module)}\n\n{module.table(rows)}\n")
    print("\n".join(textwrap.wrap(f"{sentence(module, rows)} {module.PAPER}", 120)))
    print(f"\nfigure: {name}.png   numbers: {name}.csv")


if __name__ == "__main__":
    sys.exit(main())
