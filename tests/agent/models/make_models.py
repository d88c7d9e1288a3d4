#!/usr/bin/env python3
"""Writes the small ONNX files beside it, which the agent's tests run. Needs the PyPI packages onnx and numpy."""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

folder = pathlib.Path(__file__).parent


def save(name, nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="finch", ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / f"{name}.onnx")


def tensor(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


# The class is the brightest of the four pixels.
identity = numpy_helper.from_array(np.eye(4, dtype=np.float32), "identity")
brightest = [
    helper.make_node("Flatten", ["image"], ["flat"]),
    helper.make_node("Gemm", ["flat", "identity"], ["logits"]),
]
save("brightest", brightest, [tensor("image", ["N", 1, 2, 2])], [tensor("logits", ["N", 4])], [identity])
save("brightest_batch3", brightest, [tensor("image", [3, 1, 2, 2])], [tensor("logits", [3, 4])], [identity])

# x * 1: gives denormal numbers back, unless they count as zero.
one = numpy_helper.from_array(np.array([1.0], dtype=np.float32), "one")
save("times_one", [helper.make_node("Mul", ["x", "one"], ["y"])], [tensor("x", [1, 4])], [tensor("y", [1, 4])], [one])

# The logarithm of x - 2 is not a number for x in [0, 1).
two = numpy_helper.from_array(np.array([2.0], dtype=np.float32), "two")
save(
    "not_finite",
    [helper.make_node("Sub", ["x", "two"], ["below"]), helper.make_node("Log", ["below"], ["y"])],
    [tensor("x", [1, 4])],
    [tensor("y", [1, 4])],
    [two],
)

save("free_size", [helper.make_node("Relu", ["x"], ["y"])], [tensor("x", ["N", 1, "H", 2])], [tensor("y", ["N", 1, "H", 2])])
