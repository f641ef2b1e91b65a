"""A page on which batch norm is taken apart with the mouse: ``python -m examples.bn_lab``."""
