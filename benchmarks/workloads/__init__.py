"""The workloads by name, one file each."""

from ..harness import Workload
from .cnn import CNN
from .mlp import MLP
from .tape import TAPE

WORKLOADS: dict[str, Workload] = {workload.name: workload for workload in (MLP, CNN, TAPE)}
