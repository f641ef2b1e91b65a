"""TensorFlow 1's ``tf.layers``, for those who come from there: functions that make their own variables.

Names, defaults and numbers are those of TensorFlow 1.15 (tensorflow/python/layers, core.py and normalization.py). Two
things differ because nothing here is built before it runs. There are no update ops to forget: the moving averages have
moved when ``batch_normalization(..., training=True)`` returns. And a network's function runs at every step, where it
would make new variables each time: ``make_template`` makes them once.

>>> import minigrad as mg
>>> from minigrad import layers
>>> def network(x, training):
...     x = layers.dense(x, 5, use_bias=False)
...     return mg.sigmoid(layers.batch_normalization(x, training=training))
>>> net = layers.make_template("net", network)
>>> y = net(mg.arange(6).reshape(3, 2), training=True)
>>> list(net.trainable_variables())
['net/dense/kernel', 'net/batch_normalization/gamma', 'net/batch_normalization/beta']
>>> optimizer = mg.optim.SGD(net.parameters(), lr=0.1)
"""

from .functions import batch_normalization, dense, moments
from .scopes import (
    Variable,
    l2_regularizer,
    regularization_loss,
    reset,
    trainable_variables,
    variable_scope,
    variables,
)
from .template import Template, make_template

__all__ = [
    "Template",
    "Variable",
    "batch_normalization",
    "dense",
    "l2_regularizer",
    "make_template",
    "moments",
    "regularization_loss",
    "reset",
    "trainable_variables",
    "variable_scope",
    "variables",
]
