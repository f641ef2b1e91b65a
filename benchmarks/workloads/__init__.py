"""The workloads by name, one file each."""

from ..harness import Workload
from .bn import BN
from .busy import BUSY
from .captured import CAPTURED
from .cnn import CNN
from .conv import CONV
from .memory import MEMORY
from .mlp import MLP
from .scaling import SCALING
from .tape import TAPE

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (*(MLP, *BN, CNN, CONV, TAPE, *CAPTURED, *MEMORY, *BUSY, *SCALING),)
}
