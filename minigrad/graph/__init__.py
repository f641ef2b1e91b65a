"""Graphs: computations captured as lists of ops, to be read, compared, changed and replayed."""

from .anomaly import detect_anomaly
from .calls import Call, Value
from .capturing import capture
from .comparing import Difference, GraphDiff, graph_diff
from .graph import Graph
from .guards import CaptureError
from .jitting import Jit, jit
from .modes import graphs
from .summarizing import Summary, summary

__all__ = [
    "Call",
    "CaptureError",
    "Difference",
    "Graph",
    "GraphDiff",
    "Jit",
    "Summary",
    "Value",
    "capture",
    "detect_anomaly",
    "graph_diff",
    "graphs",
    "jit",
    "summary",
]
