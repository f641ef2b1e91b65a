"""The workloads by name, one file each."""

from ..harness import Workload
from .bn import BN
from .cnn import CNN
from .mlp import MLP
from .scaling import SCALING
from .tape import TAPE

WORKLOADS: dict[str, Workload] = {
    workload.name: workload for workload in (MLP, *BN, CNN, TAPE, *SCALING)
}
