#!/usr/bin/env python3
"""Writes reference_network.onnx and .tflite, the fixed network that the agent measures beside every candidate.

The files are committed; they are not made by the build. Changing them makes every earlier ratio to them incomparable.
Usage: reference_network.py OUT.onnx OUT.tflite   (needs the PyPI packages onnx and numpy, and Debian's flatc)

A small residual network, about 10 million multiply-accumulates on a 32x32 image: convolutions like those of the
candidates, long enough to be timed (0.3 ms on a server core, 3 ms on a Raspberry Pi 4), small enough to stay cached.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

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

# The same as a TensorFlow Lite file, through flatc's reading of JSON: images [1, H, W, C], kernels [out, h, w, in].
values = {weight.name: numpy_helper.to_array(weight) for weight in weights}
buffers, tensors, codes, operators = [{}], [], [], []


def tensor(name, shape, data=None):
    if data is not None:
        buffers.append({"data": list(data.tobytes())})
    tensors.append({"name": name, "shape": shape, "buffer": 0 if data is None else len(buffers) - 1})
    return len(tensors) - 1


def operator(code, inputs, output, kind, **options):
    if code not in codes:
        codes.append(code)
    operators.append(
        {"opcode_index": codes.index(code), "inputs": inputs, "outputs": [output],
         "builtin_options_type": kind, "builtin_options": options}
    )
    return output


def lite_conv(name, source, channels, activation="NONE"):
    kernel = values[name + "_w"].transpose(0, 2, 3, 1).copy()
    inputs = [source, tensor(name + "_w", list(kernel.shape), kernel),
              tensor(name + "_b", [channels], np.zeros(channels, np.float32))]
    return operator("CONV_2D", inputs, tensor(name, [1, 32, 32, channels]), "Conv2DOptions", padding="SAME",
                    stride_w=1, stride_h=1, fused_activation_function=activation)


image = tensor("image", [1, 32, 32, 3])
value = lite_conv("stem", image, 16, "RELU")
for block in range(2):
    inner = lite_conv(f"block{block}_b", lite_conv(f"block{block}_a", value, 16, "RELU"), 16)
    value = operator("ADD", [value, inner], tensor(f"block{block}", [1, 32, 32, 16]), "AddOptions",
                     fused_activation_function="RELU" if block == 1 else "NONE")
axes = tensor("axes", [2], np.array([1, 2], np.int32))
tensors[axes]["type"] = "INT32"
value = operator("MEAN", [value, axes], tensor("pool", [1, 16]), "ReducerOptions", keep_dims=False)
head = values["head_w"].transpose(1, 0).copy()
logits = operator(
    "FULLY_CONNECTED",
    [value, tensor("head_w", [10, 16], head), tensor("head_b", [10], np.zeros(10, np.float32))],
    tensor("logits", [1, 10]), "FullyConnectedOptions", fused_activation_function="NONE",
)
document = {
    "version": 3,
    "operator_codes": [{"builtin_code": code, "version": 1} for code in codes],
    "subgraphs": [{"tensors": tensors, "inputs": [image], "outputs": [logits], "operators": operators, "name": "main"}],
    "description": "finch_reference",
    "buffers": buffers,
    "signature_defs": [{"inputs": [{"name": "image", "tensor_index": image}],
                        "outputs": [{"name": "logits", "tensor_index": logits}], "signature_key": "serving_default"}],
}
schema = pathlib.Path(__file__).resolve().parent.parent / "trainer" / "tflite_schema.fbs"
with tempfile.TemporaryDirectory() as folder:
    (pathlib.Path(folder) / "reference.json").write_text(json.dumps(document))
    subprocess.run(["flatc", "--binary", "-o", folder, str(schema), str(pathlib.Path(folder) / "reference.json")], check=True)
    pathlib.Path(sys.argv[2]).write_bytes((pathlib.Path(folder) / "reference.tflite").read_bytes())
