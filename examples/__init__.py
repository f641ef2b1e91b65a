"""Programs, each with --help: python -m examples.deep_sigmoid_mlp. What they share is in three files that are none."""
