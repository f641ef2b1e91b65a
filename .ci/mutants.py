"""Planted mistakes: each changes one place of the package, and the tests named beside it have to fail.

    python .ci/mutants.py [--only N...] [--jobs J] [--list] [--unchanged]

Each mistake is applied alone, in a copy of the checkout, where its tests run without compiled kernels. Prints whether
it was caught; the exit status is 1 if one survived without a reason given in the table, or an old text is not found
exactly once in its file: whoever changes that code changes the table.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter, time

ROOT = Path(__file__).resolve().parent.parent
#: seconds after which tests count as failed
LIMIT = 180

#: "@ file below minigrad | tests below tests | reason why it survives, if it does", the old text after "-" and the new
#: after "+". A text of several lines is indented as in the file, but for its first line.
TABLE = r"""
@ tape.py | test_autograd.py -k "change"
- if t is not None and t._version is not None and t._version[0] > self.order:
+ if False:
@ tape.py | test_autograd.py -k "second_backward"
-         self.parents = FREED
+         pass
@ tape.py | test_autograd.py -k "planted_gradient"
- if gx._data.shape != shape:
+ if False:
@ tape.py | ops/test_every_op.py -k "sigmoid or tanh or exp"
-         return tuple([y.as_value((self, i)) for i, y in pairs])
+         return tuple([y for i, y in pairs])
@ tape.py | test_autograd.py -k "cycles"
- tuple([outputs[i].detach() for i in op.saves_outputs])
+ tuple([outputs[i] for i in op.saves_outputs])
@ graph/guards.py | graph/test_stale.py graph/test_jit.py
-             and all(map(is_, chain(*self._live, *map(_tensors, self._optimizers)), objects))
+             and True
@ graph/guards.py | graph/test_stale.py graph/test_jit.py
-             and [*map(len, self._live)] == sizes
+             and True
@ nn/module.py | graph/test_jit.py
-         revised[0] = now()
+         pass
@ graph/tracing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-         self._require_same_settings(*self._settings)
+         pass
@ tensor.py | graph/test_stale.py graph/test_jit.py graph/test_capture.py -k "not thousand"
-             tracer.host_read(leaf, ".grad")
+             pass
@ autograd.py | graph/test_stale.py graph/test_jit.py graph/test_capture.py -k "not thousand"
-                 tracer.host_read(leaf, "backward()")
+                 pass
@ tape.py | graph/test_stale.py graph/test_jit.py graph/test_capture.py -k "not thousand"
-             tracer.before(HOST_WRITE, (self, value))
+             pass
@ tape.py | graph/test_stale.py bn/test_variants.py
-         tracer.host_read(question, answer)
+         pass
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
- if not self.create_graph:
-             self.own.add(ref)
+ self.own.add(ref)
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
- self.cotangents[ref] = apply(ADD, old, gx)
+ self.cotangents[ref] = gx
@ autograd.py | ops/test_halves.py
-             self.dtypes[ref] = gx.dtype
-             old, gx = old.widened(), gx.widened()
+             pass
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
- return sorted(nodes, key=_order, reverse=True)
+ return sorted(nodes, key=_order)
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
- for node in reversed(nodes):
+ for node in nodes:
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
- [apply(ALIAS, x) if x is not None and x._ref else x for x in node.inputs]
+ list(node.inputs)
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
-     cotangents[y._ref] = g if old is None else old.widened() + g.widened()
+     cotangents[y._ref] = g
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
-         kept = wanted or ()
+         kept = ()
@ autograd.py | test_autograd.py -k "second_backward or frees"
-             node.free()
+             pass
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
- if id(array) in taken or not by_type[type(array)].owned(array):
+ if not by_type[type(array)].owned(array):
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
- if id(array) in taken or not by_type[type(array)].owned(array):
+ if id(array) in taken:
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
-                 g = apply(ADD, leaf.grad, g)
+                 g = apply(COPY, g)
@ autograd.py | test_autograd.py -k "not 100_000 and not memory_comes and not another_shape and not training_step"
-     if g.shape != y.shape or g.dtype != y.dtype:
+     if g.dtype != y.dtype:
@ autograd.py | test_autograd.py -k "nobody_asked"
- needs = [ref if ref and ref[0] in leads else None for ref in node.parents]
+ needs = list(node.parents)
@ tensor.py | test_autograd.py test_tensor.py -k "change or detach or unused or intermediate or version"
-         self._shared_version()[0] = now()
+         self._version = [now()]
@ tensor.py | test_autograd.py optim/test_optimizers.py ops/test_in_place.py -k "change or before_the_step or versions"
-         for t in inputs[: op.writes]:
-             if t._version is None:
-                 t._version = [time]
-             t._version[0] = time
+         pass
@ tensor.py | test_autograd.py ops/test_in_place.py -k "change or versions"
-         made._version = inputs[0]._shared_version() if op.aliases else None
+         made._version = None
@ tensor.py | graph/test_stale.py graph/test_jit.py
-             self._ref = (Leaf(), 0) if value else None
-             revised[0] = now()
+             self._ref = (Leaf(), 0) if value else None
@ tensor.py | test_autograd.py test_tensor.py -k "change or detach or unused or intermediate or version"
-         same._data, same._ref, same._version = self._data, None, self._version
+         same._data, same._ref, same._version = self._data, None, None
@ tensor.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-             tracer.before(HOST_WRITE, (self,))
+             pass
@ tensor.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-         self._look(".numpy()")
+         pass
@ tensor.py | ops/test_arithmetic.py test_tensor.py -k "widen or promotion or operators"
- if not floating(dtype) and isinstance(value, (float, np.floating)):
+ if isinstance(value, (float, np.floating)):
@ contexts.py | test_contexts.py
-         block.ended = True
+         pass
@ ops/arithmetic.py | ops/test_every_op.py -k "sub"
-         return gy, -gy if needs[1] else None
+         return gy, gy if needs[1] else None
@ ops/arithmetic.py | ops/test_every_op.py -k "truediv"
-         return ga, -ga * (a / b) if needs[1] else None
+         return ga, -ga / b if needs[1] else None
@ ops/arithmetic.py | ops/test_arithmetic.py
-             flat = (a == 0) * (b == 0)
+             flat = (a == 1) * (b == 0)
@ ops/arithmetic.py | ops/test_every_op.py -k "pow"
-         return gy * (self.exponent * x ** (self.exponent - 1))
+         return gy * (self.exponent * x**self.exponent)
@ ops/arithmetic.py | ops/test_edges.py
-         most = 1 - 0.5 * (a == b).astype(gy.dtype)
+         most = 1 - 0.0 * (a == b).astype(gy.dtype)
@ ops/arithmetic.py | ops/test_every_op.py -k "minimum"
-     ufunc, loses = "minimum", staticmethod(operator.gt)
+     ufunc, loses = "minimum", staticmethod(operator.lt)
@ ops/arithmetic.py | ops/test_every_op.py -k "where"
- return None, apply(self, condition, gy, zero), apply(self, condition, zero, gy)
+ return None, apply(self, condition, gy, zero), apply(self, condition, gy, zero)
@ ops/arithmetic.py | ops/test_every_op.py -k "add or mul"
-     return [t if t._ref is None else broadcast_to(t, shape) for t in tensors]
+     return list(tensors)
@ ops/arithmetic.py | ops/test_halves.py
-             a, b = (t.astype(np.float32) for t in (a, b))
+             a, b = a, b
@ ops/arithmetic.py | ops/test_arithmetic.py test_tensor.py -k "widen or promotion or operators"
-         return a if floating(a) else b
+         return np.promote_types(a, b)
@ ops/elementwise.py | ops/test_every_op.py -k "tanh"
- of_y=lambda gy, y: gy * (1 - y * y)
+ of_y=lambda gy, y: gy * (1 - y)
@ ops/elementwise.py | ops/test_every_op.py -k "sqrt"
- of_y=lambda gy, y: gy / (2 * y)
+ of_y=lambda gy, y: gy / y
@ ops/elementwise.py | ops/test_edges.py
-             gy = gy * (x >= self.low).astype(gy.dtype)
+             gy = gy * (x > self.low).astype(gy.dtype)
@ ops/elementwise.py | ops/test_every_op.py -k "abs"
-         return gy * apply(SIGN, x)
+         return gy * x
@ ops/reduction.py | ops/test_every_op.py -k "sum"
-             wide = tuple(1 if i in self.axes else n for i, n in enumerate(self.shape))
+             wide = tuple(1 if i + 1 in self.axes else n for i, n in enumerate(self.shape))
@ ops/reduction.py | ops/test_edges.py
- return (self.expand(g) * (chosen / chosen.sum(self.axes, keepdims=True))).astype(gy.dtype)
+ return (self.expand(g) * chosen).astype(gy.dtype)
@ ops/reduction.py | ops/test_every_op.py -k "var"
- return sum(deviation * deviation, axes, keepdims) / (count - ddof)
+ return sum(deviation * deviation, axes, keepdims) / count
@ ops/reduction.py | ops/test_edges.py
-     positive = sorted(a % ndim for a in axes)
+     positive = sorted(abs(a) for a in axes)
@ ops/reduction.py | ops/test_edges.py ops/test_halves.py
- return (sum(x.widened(), axes, keepdims)
+ return (sum(x, axes, keepdims)
@ ops/shape.py | ops/test_every_op.py -k "transpose"
-         inverse = tuple(sorted(range(len(self.order)), key=self.order.__getitem__))
+         inverse = self.order
@ ops/shape.py | ops/test_every_op.py -k "broadcast"
- for i, n in enumerate(self.old) if n != self.new[i + lead])
+ for i, n in enumerate(self.old) if n != self.new[i])
@ ops/shape.py | ops/test_every_op.py -k "concatenate"
-             start += size
+             start += 1
@ ops/shape.py | ops/test_every_op.py -k "pad"
- slice(before, n - after)
+ slice(after, n - before)
@ ops/indexing.py | ops/test_every_op.py -k "getitem"
-             k.xp.add.at(y, fill(self.key, arrays), values)
+             y[fill(self.key, arrays)] = values
@ ops/indexing.py | ops/test_in_place.py -k "views"
-         return ARRAY not in self.key
+         return False
@ ops/indexing.py | ops/test_errors.py -k "mask or True"
-     if mask.shape != x.shape[start : start + mask.ndim]:
+     if False:
@ ops/linear.py | ops/test_every_op.py -k "matmul"
- ga = product(b, gy, tb, True) if ta else product(gy, b, False, not tb)
+ ga = product(b, gy, tb, True) if ta else product(gy, b, False, tb)
@ ops/linear.py | ops/test_every_op.py -k "matmul"
-         a = a.broadcast_to((*lead, *a.shape[-2:]))
+         pass
@ ops/linear.py | ops/test_every_op.py -k "linear"
-         gbias = gy.sum(axis=0) if needs[2] else None
+         gbias = gy.sum(axis=0) / len(gy) if needs[2] else None
@ ops/conv.py | ops/test_every_op.py -k "conv2d or conv1d"
-         return gx, gweight, gy.sum((0, 2, 3)) if needs[2] else None
+         return gx, gweight, gy.mean((0, 2, 3)) if needs[2] else None
@ ops/conv.py | ops/test_every_op.py -k "conv2d"
-         ggy = apply(Conv2d(self.window, self.size), x, gweight, None) if needs[1] else None
+         ggy = None
@ ops/conv.py | ops/test_conv.py
- - sum(edges[i]) + reach + extra[i] + 1)
+ - 2 * edges[i][0] + reach + extra[i] + 1)
@ ops/conv.py | ops/test_every_op.py -k "conv2d and same"
-             (total // 2, total - total // 2)
+             (total - total // 2, total // 2)
@ ops/pool.py | ops/test_every_op.py -k "pool"
-     return (total / (window.size[0] * window.size[1])).astype(x.dtype)
+     return (total / window.size[0]).astype(x.dtype)
@ ops/pool.py | ops/test_pool.py
-             if (first < 0).any():
+             if False:
@ ops/activation.py | ops/test_every_op.py -k "sigmoid"
-         return gy * y * (1 - y)
+         return gy * y * (1 + y)
@ ops/activation.py | ops/test_edges.py
-         return gy * (1 - (x <= 0).astype(gy.dtype))
+         return gy * (x > 0).astype(gy.dtype)
@ ops/activation.py | ops/test_every_op.py -k "softmax"
-         return y * (gy - (gy * y).sum(self.axis, keepdims=True))
+         return y * (gy - gy.sum(self.axis, keepdims=True))
@ ops/normalization.py | ops/test_every_op.py -k "group_norm or instance_norm"
-     wide = (*shape, *[1] * (x.ndim - features.stop))
+     wide = shape
@ ops/normalization.py | ops/test_edges.py ops/test_halves.py
- shape, y = x.shape[features], x.widened()
+ shape, y = x.shape[features], x
@ ops/cross_entropy.py | ops/test_every_op.py -k "cross_entropy"
-         gy = gy if self.weight is None else gy * self.weight
+         pass
@ ops/cross_entropy.py | ops/test_edges.py ops/test_every_op.py -k "cross_entropy"
-             through = p * (gp - (gp * p).sum(axis=1, keepdims=True))
+             through = p * gp
@ ops/losses.py | ops/test_errors.py -k "mse"
-     if prediction.shape != target.shape:
+     if False:
@ ops/random.py | ops/test_edges.py
-         return int(generator(self.rng).integers(2**63))
+         return int(generator(None).integers(2**63))
@ ops/indexing.py | ops/test_in_place.py | NumPy copies overlapping arrays by itself, CuPy does not
-         a[...] = b.copy() if k.xp.may_share_memory(a, b) else b
+         a[...] = b
@ ops/indexing.py | ops/test_in_place.py
-     if x.requires_grad and recording.get():
+     if False:
@ ops/batch_norm.py | ops/test_batch_norm.py ops/test_every_op.py -k "batch_norm"
-         gx = scale * (gy - gbeta / m - xhat * ggamma / (m - self.ddof))
+         gx = scale * (gy - gbeta / m - xhat * ggamma / m)
@ ops/batch_norm.py | ops/test_batch_norm.py
-             through = ginv_std * inv_std**3 * -0.5
+             through = ginv_std * inv_std**2 * -0.5
@ ops/batch_norm.py | ops/test_every_op.py -k "unbiased"
-             slope = self.wide(gvar, x) * (2 / (m - self.ddof))
+             slope = self.wide(gvar, x) * (2 / m)
@ ops/batch_norm.py | ops/test_batch_norm.py
-         return d - d.mean(self.reduced(x), keepdims=True)
+         return d
@ ops/batch_norm.py | ops/test_errors.py -k "train"
-     if values < 2:
+     if values < 1:
@ ops/batch_norm.py | ops/test_batch_norm.py nn/test_batch_norm.py
-     return np.promote_types(dtype, np.float32)
+     return dtype
@ bn/moments.py | bn/test_moments.py
-     m2 = first.m2 + first.count * (first.mean - mean) ** 2
+     m2 = first.m2
@ bn/moments.py | bn/test_moments.py ops/test_every_op.py -k "weighted or moments"
-             terms.append(self.wide(gm2, x) * 2 * d)
+             terms.append(self.wide(gm2, x) * d)
@ bn/moments.py | bn/test_moments.py
-     found, centered, offset = _weighted(w, where(there, x, 0.0), PerChannel(kept))
+     found, centered, offset = _weighted(w, x, PerChannel(kept))
@ nn/batch_norm.py | nn/test_batch_norm.py
- if self.training and self.moving:
-                 self.move_statistics(mean, var, x._data
+ if self.moving:
+                 self.move_statistics(mean, var, x._data
@ bn/hooks.py | bn/test_moments.py bn/test_variants.py
- return found.mean, found.var(layer.ddof_norm), m
+ return found.mean, found.var(), m
@ bn/hooks.py | nn/test_batch_norm.py bn/test_corners.py
- mean, var = mean + 0, var + 0
+ pass
@ nn/batch_norm.py | bn/test_corners.py nn/test_batch_norm.py
- other._reset(self.running_mean.dtype, self.running_mean.backend)
+ pass
@ nn/batch_norm.py | nn/test_batch_norm.py bn/test_corners.py
-             self.moving = on and self.statistics != "population"
+             self.moving = on
@ bn/hooks.py | nn/test_batch_norm.py bn/test_corners.py
- return where(there, _forward(layer, where(there, x, 0.0), weight, by_batch), 0.0)
+ return _forward(layer, where(there, x, 0.0), weight, by_batch)
@ nn/batch_norm.py | nn/test_batch_norm.py
- correction = (m - self.ddof_norm) / (m - self.ddof_running)  # Algorithm 2, line 10
+ correction = 1.0
@ bn/hooks.py | nn/test_batch_norm.py bn/test_corners.py
-     if layer.moving:
+     if True:
@ nn/batch_norm.py | nn/test_batch_norm.py bn/test_corners.py
- correction, self.on_nonfinite == "raise")
+ correction, True)
@ bn/hooks.py | nn/test_batch_norm.py bn/test_corners.py
- if held is not None and layer not in held:
+ if held is not None:
@ bn/hooks.py | nn/test_batch_norm.py bn/test_corners.py bn/test_population.py
-         current().collect(layer, *batch)
+         update(layer, *batch)
@ bn/variants.py | bn/test_variants.py
- .clip(1 / r_max, r_max)
+ .clip(0.0, r_max)
@ bn/variants.py | bn/test_variants.py
-             d = ((mean - self.running_mean) / running).clip(-d_max, d_max)
+             d = (mean - self.running_mean).clip(-d_max, d_max)
@ bn/variants.py | bn/test_variants.py
- shift = d if self.gamma is None else self.gamma * d
+ shift = d
@ bn/variants.py | bn/test_variants.py -k "virtual"
- statistics = [s for s in statistics if accepts(self, *s)]
+ pass
@ bn/variants.py | bn/test_variants.py
- trained = [i for i in range(last + 1) if
+ trained = [i for i in range(last) if
@ bn/micro_batches.py | bn/test_micro_batches.py
-         self.shares = [size / sum(sizes) for size in sizes]
+         self.shares = [1 / len(sizes) for size in sizes]
@ bn/micro_batches.py | bn/test_micro_batches.py
- return leaves.get(index, call.whole)
+ return leaves.get(index + 1, call.whole)
@ bn/micro_batches.py | bn/test_micro_batches.py
-             totals = [t if g is None else t + g for t, g in zip(totals, grads, strict=True)]
+             totals = [t if g is None else g for t, g in zip(totals, grads, strict=True)]
@ bn/micro_batches.py | bn/test_micro_batches.py
- g.bit_generator.state = type(g.bit_generator)(own_seeds[k]).state
+ pass
@ bn/population.py | bn/test_population.py
- part.count * part.var(ddof=1) for part
+ part.count * part.var() for part
@ bn/population.py | bn/test_population.py
-             module.training = training
+             pass
@ nn/module.py | nn/test_module.py
-     if id(value) in seen:
-         return
-     seen.add(id(value))
+     pass
@ nn/module.py | nn/test_module.py
-     for name, array in arrays.items():
-         own[name].load(array)
-     return
+     return
@ nn/layers.py | nn/test_layers.py
-         return dropout(x, self.p, self.rng) if self.training else x
+         return dropout(x, self.p, self.rng)
@ nn/recurrent.py | nn/test_recurrent.py
- c = sigmoid(f) * c + sigmoid(i) * tanh(g)
+ c = sigmoid(i) * c + sigmoid(f) * tanh(g)
@ optim/optimizers.py | optim/test_optimizers.py -k "without_a_gradient"
-         moved = tuple([i for i, g in enumerate(grads) if g is not None])
+         moved = tuple(range(len([g for g in grads if g is not None])))
@ optim/optimizers.py | test_moving.py -k "optimizer"
-                 group._follow()
+                 pass
@ graph/tracing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
- if (v := self._values.get(id(source._data))) is None or v.kind != "constant":
+ if (v := self._values.get(id(source._data))) is not None and v.kind != "constant":
@ graph/tracing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-         if isinstance(node, Node) and node.order < self._start:
+         if False:
@ graph/tracing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-         if isinstance(op, NonZero) and v.kind != "constant":
+         if False:
@ graph/tracing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-         elif memory.kind != "result":
+         elif False:
@ graph/tracing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-             if leaf_of(t) in self._read_first or leaf_of(t) in gradients:
+             if False:
@ graph/tracing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-             t._data[...] = array
+             pass
@ graph/tracing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-             t._shared_version()[0] = time
+             pass
@ graph/tracing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-             rng.bit_generator.state = state
+             pass
@ graph/tracing.py | ops/test_in_place.py -k "captures"
-             self._bases[made[0]] = self._bases.get(arguments[0], arguments[0])
+             pass
@ graph/capturing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-     require_same(graph, again)
-     graph.examples
+     graph.examples
@ graph/guards.py | graph/test_stale.py
-             if (leaf.grad is not None) != had:
+             if False:
@ graph/guards.py | graph/test_stale.py graph/test_jit.py
-         if not (
-             revised[0] == revision
+         if False and not (
+             revised[0] == revision
@ graph/guards.py | graph/test_stale.py
-         if not self.questions:
+         if True:
@ graph/guards.py | graph/test_stale.py
-             if leaf_of(t) is not leaf:
+             if False:
@ graph/guards.py | test_moving.py
-             if (now_at := where(t._data)) != was:
+             if (now_at := where(t._data)) != was and False:
@ graph/guards.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-         if was and not on and self.differentiates:
+         if False:
@ graph/guards.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-         if on and not was:
+         if False:
@ graph/guards.py | graph/test_stale.py graph/test_outside.py
-     return repr(a) == repr(b) if isinstance(a, (float, np.floating)) else bool(a == b)
+     return bool(a == b)
@ graph/guards.py | graph/test_outside.py
-         if len(after) != len(before) or not (
-             all(map(is_, after, before)) or all(map(same, after, before))
-         ):
+         if len(after) != len(before):
@ graph/outside.py | graph/test_outside.py
-     if name != "__class__":
+     if False:
@ graph/outside.py | graph/test_outside.py
- for name in ("__code__", "__defaults__", "__kwdefaults__"):
+ for name in ("__code__", "__kwdefaults__"):
@ graph/outside.py | graph/test_outside.py
- _PARTS = "__self__", "__func__", "func", "args", "keywords", "fget", "groups", "optimizer"
+ _PARTS = "__self__", "__func__", "func", "args", "keywords", "groups", "optimizer"
@ graph/outside.py | graph/test_outside.py
-         for value in tuple(self._owners) if new else ():
+         for value in ():
@ graph/jitting.py | graph/test_jit.py graph/test_stale.py
-                 require_same(graph, again)
+                 pass
@ graph/jitting.py | graph/test_jit.py
-             while len(self._kept) >= MOST:
+             while len(self._kept) > MOST:
@ graph/structure.py | graph/test_stale.py graph/test_jit.py
-             and (self.requires_grad or t._ref is None)
+             and True
@ graph/structure.py | graph/test_jit.py graph/test_capture.py
-             array.shape == self.shape
-             and array.dtype == self.dtype
+             array.shape == self.shape
@ graph/structure.py | graph/test_jit.py graph/test_capture.py
-         return isinstance(other, _Static) and same(self.value, other.value)
+         return isinstance(other, _Static)
@ graph/passes.py | graph/test_passes.py
-         draws = isinstance(call.op, DropoutMask)
+         draws = False
@ graph/passes.py | graph/test_passes.py
- call.op.writes or isinstance(call.op, DropoutMask) or changed
+ call.op.writes or isinstance(call.op, DropoutMask)
@ graph/passes.py | graph/test_passes.py -k "snapshot"
-     known = {v: _constant(Tensor(v.tensor._data.copy()), v.name) for v in graph.state()}
+     known = {v: _constant(Tensor(v.tensor._data), v.name) for v in graph.state()}
@ graph/passes.py | graph/test_passes.py
-             memory.update(base.get(v, v) for v in used)
+             pass
@ graph/passes.py | graph/test_passes.py
-     shift = (0 if beta is None else beta) - mean * scale
+     shift = (0 if beta is None else beta) - mean
@ graph/passes.py | graph/test_passes.py
-         if maker is None or users[value] > 1 or value in left or len(axes) != 1:
+         if maker is None or value in left or len(axes) != 1:
@ graph/passes.py | graph/test_passes.py
- value in left or len(axes) != 1
+ len(axes) != 1
@ graph/calls.py | graph/test_stale.py graph/test_capture.py graph/test_memory.py -k "not thousand and not any_setting"
-                     v.tensor._bump()
+                     pass
@ graph/graph.py | graph/test_passes.py graph/test_capture.py -k "constant"
- known |= {v: Tensor(known[v]._data.copy()) for v in self._constant}
+ pass
@ graph/graph.py | graph/test_capture.py -k "share"
-         if self._sharing:
+         if False:
@ graph/graph.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-             token = recording.set(ambient and call.recorded)
+             token = recording.set(ambient)
@ graph/comparing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-         if not same(ours[name], theirs[name]):
+         if False:
@ graph/comparing.py | graph/test_stale.py graph/test_capture.py -k "not thousand and not any_setting"
-         identity = _numbers(value).tobytes()
+         identity = value.kind
"""


@dataclass
class Mutant:
    number: int
    file: str
    tests: str
    reason: str
    old: str
    new: str

    def __str__(self) -> str:
        line = next(line for line in self.new.splitlines() or [""])
        return f"{self.number:3} {self.file}: {line.strip() or 'removed: ' + self.old.splitlines()[0].strip()}"

    def applied(self, text: str) -> str:
        """The file's text with the mistake.

        Raises
        ------
        SystemExit
            If the old text isn't there exactly once.
        """
        found = text.count(self.old)
        if found != 1:
            raise SystemExit(
                f"mutant {self.number}: minigrad/{self.file} has {found} times, not once:\n{self.old}\n"
                "Plant the mistake anew where that code is now, or drop it with a reason."
            )
        return text.replace(self.old, self.new)


def parsed(table: str) -> list[Mutant]:
    """The table's rows, numbered from 1."""
    mutants = []
    for block in table.strip().removeprefix("@ ").split("\n@ "):
        head, *lines = block.splitlines()
        file, tests, *reason = (part.strip() for part in head.split(" | "))
        old, new = (
            "\n".join(line[2:] for line in lines if line[0] == sign).strip(" ") for sign in "-+"
        )
        mutants.append(Mutant(len(mutants) + 1, file, tests, "".join(reason), old, new))
    return mutants


def arguments(tests: str) -> list[str]:
    """Arguments of pytest; names of files and folders are below ``tests``."""
    words = shlex.split(tests)
    return [f"tests/{w}" if ".py" in w else w for w in words]


def run(folder: Path, mutant: Mutant, ticks: count[int]) -> str:
    """How the tests end: "caught", "survived" or, which counts as caught, "too long"."""
    path = folder / "minigrad" / mutant.file
    before = path.read_bytes()
    path.write_text(mutant.applied(before.decode("utf-8")), "utf-8")
    os.utime(
        path, times=(next(ticks),) * 2
    )  # or Python would take its cache of a text of this size and second
    settings = {"MINIGRAD_KERNELS": "numpy", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *arguments(mutant.tests)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options],
            cwd=folder,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        return "too long"
    finally:
        path.write_bytes(before)
        os.utime(path, times=(next(ticks),) * 2)
    if done.returncode not in (0, 1, 2):
        raise SystemExit(f"mutant {mutant.number}: pytest {options}\n{done.stdout}{done.stderr}")
    return "caught" if done.returncode else "survived"


def run_all(mutants: list[Mutant], jobs: int) -> Iterator[tuple[Mutant, str, float]]:
    """Each mutant, how its tests end, and after how many seconds; each job has a copy of the checkout."""
    ticks, folders = count(int(time())), SimpleQueue[Path]()

    def ended(mutant: Mutant) -> tuple[Mutant, str, float]:
        start, folder = perf_counter(), folders.get()
        try:
            return mutant, run(folder, mutant, ticks), perf_counter() - start
        finally:
            folders.put(folder)

    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(jobs) as pool:
        skipped = shutil.ignore_patterns(".git", ".*_cache", ".hypothesis", ".venv")
        for i in range(jobs):
            folders.put(shutil.copytree(ROOT, Path(place, str(i)), ignore=skipped))
        yield from pool.map(ended, mutants)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", type=int, nargs="+", help="numbers of mutants")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at a time")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument(
        "--unchanged", action="store_true", help="run all tests of the table on the code as it is"
    )
    options = parser.parse_args()
    mutants = parsed(TABLE)
    for mutant in mutants:  # all of them: a stale row is an error whichever are run
        mutant.applied((ROOT / "minigrad" / mutant.file).read_text("utf-8"))
    if options.only:
        mutants = [mutant for mutant in mutants if mutant.number in options.only]
    if options.list:
        print(*mutants, sep="\n")
        return 0
    if options.unchanged:  # once for each selection of tests
        chosen = {mutant.tests: mutant for mutant in mutants}.values()
        mutants = [replace(mutant, new=mutant.old, reason="unchanged") for mutant in chosen]
    wrong = []
    for mutant, end, seconds in run_all(mutants, options.jobs):
        reason = f" ({mutant.reason})" if mutant.reason else ""
        print(f"{end:8} {seconds:5.1f} s {mutant}{reason}", flush=True)
        if end != "survived" if options.unchanged else end == "survived" and not mutant.reason:
            wrong.append(mutant.number)
    what = "failing unchanged" if options.unchanged else "survivors without a reason"
    print(f"{len(mutants)} mutants, {what}: {wrong or 'none'}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
