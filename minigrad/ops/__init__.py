"""The operations, one family per file: the private Op classes, then the public functions.

``methods`` is the table of those that are operators and methods of a Tensor.
"""
