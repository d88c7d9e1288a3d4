#!/usr/bin/env python3
"""Writes reference_network.onnx, the fixed network that the agent measures beside every candidate.

The file is committed; it is not made by the build. Changing it makes every earlier ratio to it incomparable.
Usage: reference_network.py OUT.onnx   (needs the PyPI packages onnx and numpy)

A small residual network, about 10 million multiply-accumulates on a 32x32 image: convolutions like those of the
candidates, long enough to be timed (0.3 ms on a server core, 3 ms on a Raspberry Pi 4), small enough to stay cached.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(1859)
nodes, weights = [], []


def weight(name, shape, fan_in):
    values = (rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)
    weights.append(numpy_helper.from_array(values, name))
    return name


def conv(name, source, channels_in, channels_out):
    kernel = weight(name + "_w", (channels_out, channels_in, 3, 3), channels_in * 9)
    nodes.append(helper.make_node("Conv", [source, kernel], [name], name=name, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    return name


def unary(operator, name, source):
    nodes.append(helper.make_node(operator, [source], [name], name=name))
    return name


def add(name, left, right):
    nodes.append(helper.make_node("Add", [left, right], [name], name=name))
    return name


value = unary("Relu", "stem_relu", conv("stem", "image", 3, 16))
for block in range(2):
    inner = unary("Relu", f"block{block}_relu", conv(f"block{block}_a", value, 16, 16))
    value = add(f"block{block}", value, conv(f"block{block}_b", inner, 16, 16))
value = unary("GlobalAveragePool", "pool", unary("Relu", "last_relu", value))
value = unary("Flatten", "flat", value)
nodes.append(helper.make_node("Gemm", [value, weight("head_w", (16, 10), 16)], ["logits"], name="head"))

graph = helper.make_graph(
    nodes,
    "finch_reference",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
    [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
    weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="finch", ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, sys.argv[1])
