"""Experiments, one a file, each a script with --help."""
