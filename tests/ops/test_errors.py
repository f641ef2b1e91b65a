"""What functions and operators refuse, and what the message says: one row each."""

from __future__ import annotations

import builtins
import operator

import numpy as np
import pytest
from helpers import leaf, refuses

import minigrad as mg
from minigrad import nn
from minigrad.data import augment

pytestmark = pytest.mark.usefixtures("backend")

#: an expression, the type of its error and words of the message; an indented line continues the one before. Names are
#: those of minigrad and of the functions below
TABLE = """
zeros(2, 3) + zeros(2) -> ValueError: add: shapes (2, 3) and (2,) do not broadcast
zeros(2, 3) - zeros(2) -> ValueError: subtract: shapes (2, 3) and (2,) do not broadcast
zeros(2, 3) * zeros(2) -> ValueError: multiply: shapes (2, 3) and (2,) do not broadcast
zeros(2, 3) / zeros(2) -> ValueError: divide: shapes (2, 3) and (2,) do not broadcast
zeros(2, 3) ** zeros(2) -> ValueError: power: shapes (2, 3) and (2,) do not broadcast
zeros(2, 3) < zeros(2) -> ValueError: comparison: shapes (2, 3) and (2,) do not broadcast
maximum(zeros(2), zeros(3)) -> ValueError: maximum: shapes (2,) and (3,) do not broadcast
where(True, zeros(2), zeros(3)) -> ValueError: where: shapes (2,) and (3,) do not broadcast
where([True] * 3, zeros(2), zeros(2)) -> ValueError: where: shapes (3,), (2,) and (2,) do not broadcast
where(zeros(2), zeros(2), 0) -> TypeError: where: expected a boolean condition, got dtype float32
where(True, 1, 0) -> TypeError: where: expected a minigrad Tensor, got bool
zeros(2) + '2' -> TypeError: add: expected a minigrad Tensor, got str
zeros(2) * None -> TypeError: multiply: expected a minigrad Tensor, got None
zeros(2) + 1j -> TypeError: add: expected a minigrad Tensor, got complex
zeros(2) - {} -> TypeError: subtract: expected a minigrad Tensor, got dict
zeros(2) / '1' -> TypeError: divide: expected a minigrad Tensor, got str
zeros(2) ** None -> TypeError: power: expected a minigrad Tensor, got None
zeros(2) < '1' -> TypeError: comparison: expected a minigrad Tensor, got str
'1' + zeros(2) -> TypeError: add: expected a minigrad Tensor, got str
zeros(2) // 2 -> TypeError: //: no operator of a Tensor; use x.numpy()
zeros(2) % 2 -> TypeError: %: no operator of a Tensor
ones(2).clip() -> ValueError: clip: expected a lower bound
ones(2).clip(2, 1) -> ValueError: clip: expected low <= high, got low=2 and high=1

sigmoid(zeros(2, dtype='int64')) -> TypeError: sigmoid: expected a floating dtype, got int64; cast
relu(zeros(2, dtype='int64')) -> TypeError: relu: expected a floating dtype, got int64; cast
softmax(zeros(2, dtype='int64')) -> TypeError: softmax: expected a floating dtype, got int64; cast
log_softmax(zeros(2, dtype='int64')) -> TypeError: log_softmax: expected a floating dtype, got int64; cast
sigmoid([0.0]) -> TypeError: sigmoid, argument x: expected a minigrad Tensor, got list
relu(None) -> TypeError: relu, argument x: expected a minigrad Tensor, got None
softmax([0.0]) -> TypeError: softmax, argument x: expected a minigrad Tensor, got list
log_softmax(None) -> TypeError: log_softmax, argument x: expected a minigrad Tensor, got None
softmax(zeros(2, 3), 2) -> ValueError: softmax: axis 2 is out of range for 2 dimensions
log_softmax(zeros(2, 3), 2) -> ValueError: log_softmax: axis 2 is out of range for 2 dimensions
softmax(zeros(())) -> ValueError: softmax: axis -1 is out of range for 0 dimensions
log_softmax(zeros(2, 3), (0, 1)) -> TypeError: log_softmax: expected axis
exp(3.0) -> TypeError: expected a minigrad Tensor, got float
mean([1.0]) -> TypeError: expected a minigrad Tensor, got list
reshape(None, 3) -> TypeError: expected a minigrad Tensor, got None
pad(np.ones(3), 1) -> TypeError: expected a minigrad Tensor, got numpy.ndarray
maximum([1.0], ones(3)) -> TypeError: expected a minigrad Tensor, got list

sum(zeros(2, 3), 2) -> ValueError: sum: axis 2 is out of range for 2 dimensions
mean(zeros(2, 3), -3) -> ValueError: mean: axis -3 is out of range for 2 dimensions
var(zeros(2, 3), 2) -> ValueError: var: axis 2 is out of range for 2 dimensions
max(zeros(2, 3), axis=-3) -> ValueError: max: axis -3 is out of range for 2 dimensions
min(zeros(2, 3), axis=2) -> ValueError: min: axis 2 is out of range for 2 dimensions
argmax(zeros(2, 3), -3) -> ValueError: argmax: axis -3 is out of range for 2 dimensions
zeros(2, 3).sum((0, -2)) -> ValueError: sum: an axis is given twice in (0, -2)
zeros(2, 3).mean(1.0) -> TypeError: mean: expected axis as an int or a tuple of ints, got 1.0
zeros(2, 3).max(axis=(0, 1.0)) -> TypeError: max: expected axis as an int or a tuple of ints, got (0, 1.0)
zeros(2, 3).var(0, ddof=2) -> ValueError: var: expected more than ddof=2 values, got shape (2, 3)

zeros(2, 3).reshape(4) -> ValueError: reshape: shape (2, 3) (6 elements) does not fit (4,)
zeros(2, 3).reshape(4, -1) -> ValueError: reshape: shape (2, 3) (6 elements) does not fit (4, -1)
zeros(2, 3).reshape(-1, -1) -> ValueError: does not fit (-1, -1)
zeros(2, 3).reshape(-2, -3) -> ValueError: does not fit (-2, -3)
zeros((2, -1)) -> ValueError: zeros: expected sizes of at least 0, got (2, -1)
ones((2, -1)) -> ValueError: ones: expected sizes of at least 0, got (2, -1)
full((2, -1), 1) -> ValueError: full: expected sizes of at least 0, got (2, -1)
broadcast_to(zeros(3), (-1, 3)) -> ValueError: broadcast_to: shape (3,) does not broadcast to (-1, 3)
broadcast_to(zeros(3), (2,)) -> ValueError: broadcast_to: shape (3,) does not broadcast to (2,)
broadcast_to(zeros(1, 3), (3,)) -> ValueError: broadcast_to: shape (1, 3) does not broadcast to (3,)
zeros(2, 3).transpose(0) -> ValueError: transpose: axes (0,) are not a permutation of 2 dimensions
zeros(2, 3).transpose(1, -1) -> ValueError: transpose: axes (1, -1)
zeros(2, 3).transpose(0, 2) -> ValueError: transpose: axes (0, 2)
concatenate([]) -> ValueError: concatenate: expected at least one Tensor, got none
concatenate(zeros(2, 3)) -> TypeError: concatenate: expected a list or tuple of Tensors, got minigrad.Tensor
concatenate([zeros(1), 1.0]) -> TypeError: concatenate, tensor 1: expected a minigrad Tensor, got float
concatenate([zeros(2, 3), zeros(2, 4)]) -> ValueError: concatenate: shapes (2, 3) and (2, 4) differ off axis 0
concatenate([zeros(2, 3), zeros(3)]) -> ValueError: concatenate: shapes (2, 3) and (3,) differ off axis 0
concatenate([zeros(2), zeros(2, dtype='float64')]) -> TypeError: concatenate: dtypes float32 and float64 differ; use
  .astype
concatenate([zeros(2)], axis=1) -> ValueError: concatenate: axis 1 is out of range for shape (2,)
concatenate([zeros(), zeros()]) -> ValueError: concatenate: axis 0 is out of range for shape ()
concatenate([zeros(2)], axis=0.5) -> TypeError: concatenate: expected axis as an int, got 0.5
stack(()) -> ValueError: stack: expected at least one Tensor, got none
stack([zeros(2), zeros(3)]) -> ValueError: stack: shapes (2,) and (3,) differ
stack([zeros(2)], axis=-3) -> ValueError: stack: axis -3 is out of range for shape (2,)
pad(zeros(2, 3, 1), [(1, 1), (2, 2)]) -> ValueError: pad: expected an int, a (before, after) pair or 3 such pairs, none
  negative, got [(1, 1), (2, 2)]
pad(zeros(2), 1, mode='replicate') -> ValueError: pad: expected mode constant, reflect, edge or wrap, got 'replicate';
  this is 'edge'
pad(zeros(2), 1, mode='circular') -> ValueError: this is 'wrap'
pad(zeros(2), 1, 'edge') -> TypeError: pad: expected value as a number, got 'edge'
pad(zeros(0, 2), 1, mode='edge') -> ValueError: pad: shape (0, 2) has nothing along axis 0 for 'edge'
pad(zeros(2), [(0, -1)]) -> ValueError: got [(0, -1)]
pad(zeros(2), [(0, 1, 2)]) -> ValueError: got [(0, 1, 2)]

zeros(2, 3).squeeze(0) -> ValueError: squeeze: expected axis 0 of size 1, got shape (2, 3)
zeros(2, 3).unsqueeze(3) -> ValueError: unsqueeze: axis 3 is out of range for shape (2, 3)
zeros(2, 3).swapaxes(0, 2) -> ValueError: swapaxes: axis 2 is out of range
zeros(2, 3).flatten(1, 0) -> ValueError: flatten: expected start_axis <= end_axis, got 1, 0
zeros(2, 3).tile(2, -1) -> ValueError: tile: expected sizes of at least 0, got (2, -1)
zeros(2, 3).split([1, 2]) -> ValueError: split: sizes (1, 2) do not add up to the 2 of axis 0
zeros(2, 3).split(0) -> ValueError: split: expected sizes >= 1, got 0
split(zeros(2, 3), sections=2, axis=1) -> ValueError: split: 3 elements along axis 1 are not 2 equal parts
zeros(2, 3).std(0, ddof=2) -> ValueError: std: expected more than ddof=2 values, got shape (2, 3)
zeros(2, 3).cumsum((0, 1)) -> TypeError: cumsum: expected axis as an int or a tuple of ints, got ((0, 1),)
einsum('ij,jk', zeros(2, 3), zeros(2, 3)) -> ValueError: einsum 'ij,jk': label 'j' has the sizes 3 and 2
einsum('ii->i', zeros(2, 2)) -> ValueError: einsum 'ii->i': a label twice in one operand or in the output
einsum('...i->i', zeros(2, 2)) -> ValueError: expected letters, commas and '->'; '...' is not supported
einsum('ij->k', zeros(2, 3)) -> ValueError: expected each label of the output in an operand, got 'k'
einsum('ij,j', zeros(2, 3)) -> ValueError: expected a letter for each axis of the shapes (2, 3)
einsum(zeros(2, 3), 'ij') -> TypeError: einsum, operand 0: expected a minigrad Tensor, got str
einsum(zeros(2), zeros(2)) -> TypeError: einsum: expected an equation such as 'ik,kj->ij' first
eye(-1) -> ValueError: eye: expected sizes of at least 0, got (-1, -1)
rand(2, dtype='int64') -> TypeError: rand: expected a floating dtype, got int64
zeros_like([0.0]) -> TypeError: zeros_like: expected a minigrad Tensor, got list
one_hot(tensor([0, 3], dtype='int64'), 3) -> ValueError: one_hot: expected labels 0 ... 2, got 0 ... 3
one_hot(zeros(2), 3) -> TypeError: one_hot: expected integer labels, got float32; cast with labels.astype('int64')

zeros(2, 3)[2] -> IndexError: indexing a Tensor of shape (2, 3): index 2
zeros(2, 3)[0, [0, -4]] -> IndexError: shape (2, 3): index -4
zeros(2, 3)[2**63] -> IndexError: shape (2, 3):
zeros(2, 3)[0, 0, 0] -> IndexError: shape (2, 3): too many indices
zeros(2, 3)[..., ...] -> IndexError: shape (2, 3): an index can only
zeros(2, 3)[1.0] -> IndexError: got float of dtype float32
zeros(2, 3)[[0.0, 1.0]] -> IndexError: got list of dtype float64
zeros(2, 3)[[True, False, False]] -> IndexError: a mask of shape (3,) does not fit axis 0
zeros(2, 3)[..., [True, False]] -> IndexError: a mask of shape (2,) does not fit axis 1
zeros(2, 3)[0, [True, False]] -> IndexError: a mask of shape (2,) does not fit axis 1
zeros(2, 3)[np.ones((2, 3, 1), bool).tolist()] -> IndexError: a mask of shape (2, 3, 1) does not fit axis 0
zeros(2, 3)['first'] -> TypeError: got str

itruediv(tensor([1, 2], dtype='int64'), 2) -> TypeError: /=: float32 values don't fit into a tensor of dtype int64;
  use .astype
iadd(tensor([1, 2], dtype='int32'), ones(2)) -> TypeError: +=: float32 values don't fit into a tensor of dtype int32
ones(2, dtype=bool).copy_(ones(2, dtype='int64')) -> TypeError: copy_: int64 values don't fit into a tensor of dtype
  bool
imul(ones(3), ones(2, 3)) -> ValueError: *=: the result has shape (2, 3), expected (3,)
ones(3).copy_(ones(2, 3)) -> ValueError: shape (2, 3) does not broadcast to (3,)
iadd(ones(3).broadcast_to(2, 3), 1) -> ValueError: +=: this tensor's memory can't be written to
setattr(ones(1).broadcast_to(3), 'data', zeros(3).data) -> ValueError: data: this tensor shares memory that must not be
  written to
iadd(read_only(), 1) -> ValueError: copy it with minigrad.tensor
read_only().copy_(1) -> ValueError: copy it with minigrad.tensor
leaf([1.0]).copy_(2) -> RuntimeError: copy_: a leaf that requires a gradient can be changed in place only under
(leaf([1.0]) * 2).copy_(2) -> RuntimeError: copy_: this tensor was computed by a recorded op
ones(1).copy_(leaf([1.0])) -> RuntimeError: copy_: the source requires a gradient
setitem(leaf([1.0]), 0, 2) -> RuntimeError: x[key] = value: a leaf that requires a gradient
setitem(ones(2), ones(2) > 0, 2) -> TypeError: x[key] = value: expected a key of ints, slices, None and ..., got an
  array
  or mask; use x =

zeros(2, 3) @ zeros(2, 3) -> ValueError: matmul: inner dimensions differ in shapes (2, 3) and (2, 3)
zeros(3) @ zeros(2) -> ValueError: matmul: inner dimensions differ in shapes (3,) and (2,)
zeros(3) @ zeros(2, 3) -> ValueError: matmul: inner dimensions differ in shapes (3,) and (2, 3)
zeros(2, 3) @ zeros(2) -> ValueError: matmul: inner dimensions differ in shapes (2, 3) and (2,)
zeros() @ zeros(3) -> ValueError: matmul: expected at least one axis, got shapes () and (3,)
zeros(3) @ zeros() -> ValueError: matmul: expected at least one axis, got shapes (3,) and ()
zeros(4, 2, 3) @ zeros(5, 3, 2) -> ValueError: matmul: leading axes of shapes (4, 2, 3) and (5, 3, 2) do not broadcast
ones(2, 3) @ 2 -> ValueError: matmul: expected at least one axis
ones(2, 3) @ ones(3, 2, dtype='float64') -> TypeError: matmul: dtypes float32 and float64 differ; cast one with .astype
ones(2, 3) @ 'w' -> TypeError: matmul: expected a minigrad Tensor, got
line(x=(5, 2)) -> ValueError: linear: expected x of shape (..., 3) for weight (2, 3), got (5, 2)
line(x=()) -> ValueError: linear: expected x of shape (..., 3)
line(weight=(3,)) -> ValueError: linear: expected weight of shape (out, in), got (3,)
line(weight=(1, 2, 3)) -> ValueError: got (1, 2, 3)
line(bias=(3,)) -> ValueError: linear: expected bias of shape (2,), got (3,)
line(bias=(1, 2)) -> ValueError: linear: expected bias of shape (2,), got (1, 2)
line(dtypes='f d f') -> TypeError: linear: expected weight of dtype float32 for x of float32, got float64
line(dtypes='e e f') -> TypeError: linear: expected bias of dtype float16 for x of float16, got float32
linear([[1.0]], ones(1, 1)) -> TypeError: linear, argument x: expected a minigrad Tensor, got list; wrap it with
  minigrad.tensor
linear(ones(1, 1), None) -> TypeError: linear, argument weight: expected a minigrad Tensor, got None
linear(None, ones(1, 1)) -> TypeError: linear, argument x: expected a minigrad Tensor, got None

entropy(labels=[3, 3]) -> ValueError: softmax_cross_entropy: expected labels 0 ... 2, got 3
entropy(labels=[-1, 0]) -> ValueError: softmax_cross_entropy: expected labels 0 ... 2, got -1
entropy(labels=[0]) -> ValueError: expected labels of shape (2,), a class for each row of the logits (2, 3), got (1,)
entropy(labels=[[1, 0, 0], [0, 1, 0]]) -> ValueError: expected labels of shape (2,), a class for each row of the logits
  (2, 3), got (2, 3)
entropy(labels=[0.0, 1.0]) -> TypeError: softmax_cross_entropy: expected integer labels, got float64
entropy(labels=[True, False]) -> TypeError: softmax_cross_entropy: expected integer labels, got bool
entropy((2,)) -> ValueError: softmax_cross_entropy: expected logits of shape (n, classes), got (2,)
entropy((0, 3), labels=[]) -> ValueError: softmax_cross_entropy: expected logits of shape (n, classes), got (0, 3)
entropy((2, 0)) -> ValueError: softmax_cross_entropy: expected logits of shape (n, classes), got (2, 0)
entropy(reduction='average') -> ValueError: expected reduction 'mean', 'sum' or 'none', got 'average'
entropy((2, 3), dtype='int64') -> TypeError: softmax_cross_entropy: expected a floating dtype, got int64
softmax_cross_entropy([[0.0]], [0]) -> TypeError: softmax_cross_entropy, argument x: expected a minigrad Tensor, got
  list
entropy(weight=[1.0, 2.0]) -> ValueError: softmax_cross_entropy: expected weight of shape (3,), got (2,)
entropy(labels=[0, -100]) -> ValueError: ignore_index=-100 leaves those out
entropy(label_smoothing=2) -> ValueError: softmax_cross_entropy: expected label_smoothing in [0, 1], got 2
entropy(ignore_index=0.5) -> TypeError: softmax_cross_entropy, ignore_index: expected integers
softmax_cross_entropy(zeros(2, 3), ones(2, 3), ignore_index=0) -> ValueError: ignore_index is for integer labels
softmax_cross_entropy(zeros(2, 3, 4), ones(8, dtype='l')) -> ValueError: reshape them with labels.reshape(2, 4)
binary_cross_entropy_with_logits(zeros(2, 1), zeros(2)) -> ValueError: shapes (2, 1) of the logits and (2,) of the
  targets differ; use targets.reshape(2, 1)
binary_cross_entropy_with_logits(zeros(2), zeros(2), pos_weight=[1.0] * 3) -> ValueError: pos_weight (3,) does not
  broadcast to the logits (2,)
mse_loss(zeros(2, 1), zeros(2)) -> ValueError: mse_loss: shapes (2, 1) and (2,) differ
mse_loss(zeros(2), 0.0) -> ValueError: mse_loss: shapes (2,) and () differ
mse_loss(zeros(2), zeros(2), None) -> ValueError: mse_loss: expected reduction 'mean', 'sum' or 'none', got None
mse_loss(zeros(2, dtype='int64'), zeros(2)) -> TypeError: mse_loss: expected a floating dtype, got int64
mse_loss(zeros(0), zeros(0)) -> ValueError: mean: expected at least one value

train((1, 3)) -> ValueError: batch_norm: expected at least 2 values per channel, got 1 from shape (1, 3) with axis=1:
  their variance says nothing. For inference call model.eval() first
train((0, 3)) -> ValueError: got 0 from shape (0, 3)
train((2, 3, 0)) -> ValueError: got 0 from shape (2, 3, 0)
train((3,)) -> ValueError: batch_norm: expected x of at least 2 axes, got shape (3,)
train(axis=2) -> ValueError: batch_norm: axis 2 is out of range for 2 dimensions
train(axis=(1, -1)) -> ValueError: batch_norm: an axis is given twice in
train(axis=(0, 1)) -> ValueError: batch_norm: axis=(0, 1) leaves no axis of (4, 3) to keep, or none to average
train(axis=()) -> ValueError: batch_norm: axis=() leaves no axis
train(eps=0) -> ValueError: batch_norm: expected eps > 0, got 0
train(eps=np.nan) -> ValueError: batch_norm: expected eps > 0, got nan
train(gamma=(4,)) -> ValueError: batch_norm: expected gamma of shape (3,) for x (4, 3) with axis=1, got (4,)
train(beta=(1, 3)) -> ValueError: batch_norm: expected beta of shape (3,) for x (4, 3) with axis=1, got (1, 3)
train(dtypes='l f f') -> TypeError: batch_norm: expected a floating dtype, got int64; cast x with x.astype
train(dtypes='d f d') -> TypeError: batch_norm: expected gamma of dtype float64 for x of float64, got float32; cast it
  with .astype
train(dtypes='e f e') -> TypeError: batch_norm: expected beta of dtype float32 for x of float16, got float16
train(ddof=4) -> ValueError: batch_norm: expected 0 <= ddof < 4, the values per channel, got 4
batch_norm([[1.0], [2.0]], None, None) -> TypeError: batch_norm, argument x: expected a minigrad Tensor, got list;
  wrap it
  with minigrad.tensor
batch_norm(None, None, None) -> TypeError: batch_norm, argument x: expected a minigrad Tensor, got None
batch_norm(ones(4, 3), 1.0, None) -> TypeError: batch_norm, argument gamma: expected a minigrad Tensor, got float
frozen(mean=None) -> TypeError: frozen_batch_norm, argument mean: expected a minigrad Tensor, got None
frozen(var=[1.0] * 3) -> TypeError: frozen_batch_norm, argument var: expected a minigrad Tensor, got list
frozen(var=ones(4)) -> ValueError: frozen_batch_norm: expected var of shape (3,) for x (4, 3)
frozen(eps=-1) -> ValueError: frozen_batch_norm: expected eps > 0, got -1
frozen(axis=0) -> ValueError: frozen_batch_norm: expected gamma of shape (4,) for x (4, 3) with axis=0, got (3,)
layer_norm(ones(2, 3), ndim=3) -> ValueError: layer_norm: expected 1 to 2 feature axes of x (2, 3), got ndim=3
layer_norm(ones(2, 1)) -> ValueError: layer_norm: expected at least 2 values that are normalized together, got 1
layer_norm(ones(2, 3), ones(2)) -> ValueError: layer_norm: expected gamma of shape (3,), got (2,)
layer_norm(ones(2, 3), None, ones(3, dtype='d')) -> TypeError: layer_norm: x is float32 and beta float64: cast x
group_norm(ones(2, 3), 2) -> ValueError: group_norm: expected groups that divide the channels of x (2, 3), got 2
group_norm(ones(2, 4, dtype='l'), 2) -> TypeError: group_norm: expected a floating dtype
instance_norm(ones(2, 3)) -> ValueError: instance_norm: expected x of shape (n, channels, ...), got (2, 3)

conv(x=(4, 6, 5)) -> ValueError: conv2d: expected x of shape (n, channels, height, width), got (4, 6, 5)
conv(w=(6, 4)) -> ValueError: expected weight of shape (out, channels / groups, kernel height, kernel width), got (6,
  4)
conv(w=(6, 3, 3, 3)) -> ValueError: conv2d: expected x of 3 channels for weight (6, 3, 3, 3) and groups=1, got x (2,
  4, 6, 5)
conv(groups=2) -> ValueError: expected x of 8 channels
conv(groups=4) -> ValueError: expected groups to divide the 6 of weight's
conv(groups=0) -> ValueError: got 0
conv(groups=2**62) -> ValueError: expected groups to divide
conv(bias=ones(4)) -> ValueError: conv2d: expected bias of shape (6,), got (4,)
conv(dilation=(1, 3), padding=((0, 0), (1, 0))) -> ValueError: conv2d: the window does not fit into the width: it
  spans 7
  (kernel 3, dilation 3), the input has 5 + 1 of padding
conv(stride=0) -> ValueError: expected stride as an int >= 1 or a pair of them, got 0
conv(stride=(1, 2, 3)) -> ValueError: got (1, 2, 3)
conv(dilation=1.5) -> ValueError: expected dilation as an int >= 1
conv(padding=-1) -> ValueError: expected padding as an int >= 0
conv(padding='full') -> ValueError: expected padding 'same', 'valid', an int or pairs of ints, got 'full'
conv2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3, dtype='d')) -> TypeError: conv2d: x is float32 and weight float64: cast x
  with
  x.astype('float64')
conv2d(ones(1, 1, 3, 3, dtype='l'), ones(1, 1, 3, 3)) -> TypeError: conv2d: expected a floating dtype, got int64
conv2d(ones(1, 1, 3, 3), None) -> ValueError: got None
conv('conv1d') -> ValueError: conv1d: expected x of three axes, got shape (2, 4, 6, 5)
conv('conv_transpose2d') -> ValueError: expected weight of shape (4, out / groups, kernel height, kernel width) for x
  (2, 4, 6, 5)
conv('conv_transpose2d', w=(4, 2, 3, 3), stride=2, output_padding=(2, 0)) -> ValueError: expected output_padding below
  the
  stride or the dilation, got 2 with stride 2 and dilation 1 along the height
conv('conv_transpose2d', w=(4, 2, 3, 3), padding=(5, 0)) -> ValueError: conv_transpose2d: padding (5, 5) leaves
  nothing of
  the height of x (2, 4, 6, 5)
max_pool2d(ones(1, 1, 128, 256), (128, 256)) -> ValueError: max_pool2d: expected windows of at most 32767 values, got
  32768; pool rows, then columns
max_pool2d(ones(3, 3), 2) -> ValueError: max_pool2d: expected x of shape (n, channels, height, width), got (3, 3)
avg_pool2d(ones(1, 1, 3, 5), 4) -> ValueError: avg_pool2d: the window does not fit into the height: it spans 4
max_pool2d(ones(1, 1, 0, 5), 2, padding=1) -> ValueError: max_pool2d: expected a height of 1 to 2147483647, padding
  included, got 0 + 2
max_pool2d(ones(1, 1, 5, 5), 3, padding=2) -> ValueError: expected padding of at most half of the window, got (2, 2)
  for
  (3, 3)
max_pool2d(ones(1, 1, 5, 5), 0) -> ValueError: expected kernel_size as an int >= 1 or a pair of them, got 0
max_pool2d(ones(1, 1, 5, 5, dtype='l'), 2) -> TypeError: max_pool2d: expected a floating dtype
global_avg_pool2d(ones(2, 3)) -> ValueError: global_avg_pool2d: expected x of shape (n, channels, height, width), got
  (2, 3)

dropout(ones(2), -0.1) -> ValueError: dropout: expected 0 <= p < 1, got -0.1
dropout(ones(2), 1) -> ValueError: dropout: expected 0 <= p < 1, got 1
dropout(ones(2), 1.5) -> ValueError: dropout: expected 0 <= p < 1, got 1.5
dropout(ones(2), np.nan) -> ValueError: dropout: expected 0 <= p < 1, got nan
dropout(ones(2, dtype='int64')) -> TypeError: dropout: expected a floating dtype, got int64
dropout([1.0]) -> TypeError: dropout, argument x: expected a minigrad Tensor, got list
dropout(ones(2), rng=0) -> TypeError: rng: expected a numpy.random.Generator or None, got int
dropout(ones(2), rng=np.random.RandomState(0)) -> TypeError: rng: expected a numpy.random.Generator or None, got
  RandomState

tiny(padding=2**30) -> ValueError: conv2d: expected a height of 1 to 2147483647
tiny(padding=2**19) -> ValueError: conv2d, padding included: expected fewer than 2**40
conv2d(ones(1, 1, 2**10, 2**10), ones(2**20, 1, 1, 1)) -> ValueError: conv2d: expected fewer than 2**40
tiny('conv_transpose2d', stride=2**31 - 1) -> ValueError: conv_transpose2d: expected a height
tiny('conv_transpose2d', dilation=2**20) -> ValueError: conv_transpose2d, padding included
tiny('conv_transpose2d', output_padding=2**62) -> ValueError: output_padding of at most
max_pool2d(ones(1, 1, 4, 4), 2**40) -> ValueError: max_pool2d: expected kernel_size of at most
nn.MaxPool2d(2, 2**62)(ones(1, 1, 4, 4)) -> ValueError: MaxPool2d: expected stride of at most
avg_pool2d(ones(1, 1, 4, 4), 2, 2, 2**63) -> ValueError: avg_pool2d: expected padding of at most
avg_pool2d(ones(1, 1, 4, 4), 2**20, 1, 2**19) -> ValueError: avg_pool2d, padding included
pad(ones(2), 2**40) -> ValueError: pad: expected fewer
full(2**62, 1) -> ValueError: full: expected fewer
zeros(2**40) -> ValueError: got shape (1099511627776,)
ones((2**21, 2**21)) -> ValueError: got shape (2097152, 2097152)
ones(1).broadcast_to((2**62,)) -> ValueError: broadcast_to: expected fewer
zeros(0, 2**40) -> ValueError: zeros: expected fewer
pad(zeros(0, 2), ((0, 0), (2**63, 0))) -> ValueError: pad: expected fewer than 2**40 elements, got shape (0,
augment.shift(np.zeros((1, 4, 4)), 2**63, None) -> ValueError: shift: expected fewer
arange(2**62) -> ValueError: arange: expected fewer
arange(0, 1, 0) -> ValueError: expected finite numbers and step != 0, got 0, 1, 0
arange(0, np.inf) -> ValueError: expected finite numbers and step != 0, got 0, inf
arange(0, 1, 2**-60) -> ValueError: got shape (1152921504606846976,)
nn.Linear(2**21, 2**21) -> ValueError: uniform: expected fewer
nn.Linear(2**62, 1) -> ValueError: Linear, in_features: expected fewer
nn.Conv2d(1, 1, 2**40) -> ValueError: Conv2d: expected kernel_size of at most
nn.Conv1d(1, 1, 2**40) -> ValueError: Conv1d, kernel_size: expected fewer
nn.BatchNorm(2**62) -> ValueError: BatchNorm, num_features: expected fewer
layers.make_template('n', lambda x: layers.dense(x, 2**62))(ones(2, 3)) -> ValueError: dense 'n/dense', units:
  expected fewer
"""
ROWS = [row for row in TABLE.replace("\n  ", " ").splitlines() if row]


def tensors(shapes, dtypes):
    return [mg.ones(s, dtype=d) for s, d in zip(shapes, dtypes.split(), strict=True)]


def train(shape=(4, 3), gamma=(3,), beta=(3,), dtypes="f f f", **options):
    return mg.batch_norm(*tensors((shape, gamma, beta), dtypes), **options)


def frozen(**changes):
    arguments = {name: mg.ones(3) for name in ("gamma", "beta", "mean", "var")} | changes
    return mg.frozen_batch_norm(mg.ones((4, 3)), **arguments)


def line(x=(5, 3), weight=(2, 3), bias=(2,), dtypes="f f f"):
    return mg.linear(*tensors((x, weight, bias), dtypes))


def entropy(shape=(2, 3), labels=(0, 1), dtype="f", **options):
    return mg.softmax_cross_entropy(mg.zeros(shape, dtype=dtype), list(labels), **options)


def conv(name="conv2d", x=(2, 4, 6, 5), w=(6, 4, 3, 3), **settings):
    return getattr(mg, name)(mg.ones(x), mg.ones(w), **settings)


def tiny(name="conv2d", **settings):
    """Of one image of 4 x 4 and a window of 2 x 2, or of one row of each."""
    axes = 3 if name == "conv1d" else 4
    return conv(name, (1, 1, 4, 4)[:axes], (1, 1, 2, 2)[:axes], **settings)


def read_only():
    array = np.ones(3)
    array.flags.writeable = False
    return mg.Tensor(array)


NAMES = {name: getattr(mg, name) for name in mg.__all__} | vars(operator)
NAMES |= {"np": np, "nn": nn, "augment": augment, "leaf": leaf, "read_only": read_only}
NAMES |= {f.__name__: f for f in (train, frozen, line, entropy, conv, tiny)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.partition(" -> ")[0])
def test_refused(row):
    expression, _, message = row.partition(" -> ")
    kind, _, words = message.partition(": ")
    with refuses(getattr(builtins, kind), words.strip()):
        eval(expression, NAMES)


WINDOWS = {
    "padding": lambda n: {"padding": n},
    "stride": lambda n: {"stride": n},
    "both": lambda n: {"padding": n, "stride": n},
    "dilation": lambda n: {"dilation": n},
    "dilation in padding": lambda n: {"dilation": n, "padding": n},
}


@pytest.mark.parametrize("n", [2**31, 2**40, 2**62, 2**63, 2**64])
@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("settings", WINDOWS)
def test_sizes_that_no_machine_has_the_memory_for(name, settings, n):
    with refuses(ValueError, f"{name}: expected ") as caught:
        tiny(name, **WINDOWS[settings](n))
    assert str(n) in str(caught.value)
