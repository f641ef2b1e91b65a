"""One claim about batch norm each, with one figure and one table: python -m examples.why NAME."""
