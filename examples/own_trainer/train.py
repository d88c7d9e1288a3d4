"""A trainer of one's own for Finch, in plain Python: it keeps the random network that it is given as a feature
extractor and learns the last layer anew, by softmax regression. Put your own training between the two marks.

Finch calls it as `python3 train.py FOLDER`. FOLDER holds job.json and network.onnx; when the program ends well, it must
hold model.onnx and metrics.json too."""
import gzip
import json
import math
import os
import pathlib
import random
import struct
import subprocess
import sys

folder = pathlib.Path(sys.argv[1])
job = json.loads((folder / "job.json").read_text())
generator = random.Random(job["seed"])
channels, height, width = job["image"]
classes = len(job["classes"])


# ------------------------------------------------------------------------------- data: IDX files, as Fashion-MNIST has
def read_idx(stem):
    for name, opener in ((stem, open), (stem + ".gz", gzip.open)):
        path = pathlib.Path(job["data"]) / name
        if path.exists():
            with opener(path, "rb") as file:
                data = file.read()
            dimensions = data[3]
            return struct.unpack(f">{dimensions}I", data[4:4 + 4 * dimensions]), data[4 + 4 * dimensions:]
    sys.exit(f"{job['data']}: there is no {stem}")


(count, *_), pixels = read_idx("train-images-idx3-ubyte")
labels = read_idx("train-labels-idx1-ubyte")[1]
chosen = generator.sample(range(count), min(count, 1500))
size = channels * height * width
images = [pixels[i * size:(i + 1) * size] for i in chosen]
labels = [labels[i] for i in chosen]
held_out = len(images) // 4  # to judge by; the test images are Finch's business


# ------------------------------------------------------------------------- ONNX: a weight's bytes inside the protobuf
def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def fields(data, at, end):
    """(number, begin, end) of every length-delimited field of a protobuf message."""
    while at < end:
        tag, at = varint(data, at)
        if tag & 7 == 2:
            length, at = varint(data, at)
            yield tag >> 3, at, at + length
            at += length
        else:
            at = varint(data, at)[1] if tag & 7 == 0 else at + (4 if tag & 7 == 5 else 8)


def weights(model):
    """Where in the file the floats of each initializer lie, by its name (ModelProto.graph.initializer)."""
    found = {}
    for number, begin, end in fields(model, 0, len(model)):
        if number != 7:
            continue
        for number, begin, end in fields(model, begin, end):
            if number == 5:
                parts = {n: (b, e) for n, b, e in fields(model, begin, end)}
                found[model[slice(*parts[8])].decode()] = parts[9]
    return found


def last_layer(model):
    """The places of weight [inputs, classes] and bias [classes] of the last Gemm."""
    last = None
    for number, begin, end in fields(model, 0, len(model)):
        if number == 7:
            for number, begin, end in fields(model, begin, end):
                if number == 1:
                    node = [(n, model[b:e]) for n, b, e in fields(model, begin, end)]
                    if (4, b"Gemm") in node:
                        last = [text.decode() for n, text in node if n == 1]
    if last is None:
        sys.exit("network.onnx has no Gemm to learn")
    places = weights(model)
    return places[last[1]], places[last[2]]


def infer(model):
    """Logits of all images: finch-agent runs the file as it will be run on the device."""
    (folder / "images.f32").write_bytes(b"".join(struct.pack(f"<{size}f", *(p / 255 for p in image)) for image in images))
    subprocess.run([os.environ.get("FINCH_AGENT", "finch-agent"), "infer", model, "--input", folder / "images.f32",
                    "--output", folder / "logits.f32", "--shape", f"{len(images)},{channels},{height},{width}"],
                   check=True, stdout=subprocess.DEVNULL)
    values = struct.unpack(f"<{len(images) * classes}f", (folder / "logits.f32").read_bytes())
    return [values[i * classes:(i + 1) * classes] for i in range(len(images))]


# ------------------------------------------------------------------------------------------------- training: begins here
# The last layer is W f + b of features f. Softmax regression on its outputs finds A and c; A (W f + b) + c is again
# such a layer, of weights A W and bias A b + c.
features = infer(folder / "network.onnx")
mean = [sum(f[k] for f in features) / len(features) for k in range(classes)]
scale = [math.sqrt(sum((f[k] - mean[k]) ** 2 for f in features) / len(features)) or 1.0 for k in range(classes)]
inputs = [[(f[k] - mean[k]) / scale[k] for k in range(classes)] for f in features]
matrix = [[0.0] * classes for _ in range(classes)]
offset = [0.0] * classes


def outputs(x):
    return [sum(a * b for a, b in zip(row, x)) + c for row, c in zip(matrix, offset)]


for epoch in range(max(1, round(20 * job["budget"]["epochs"]))):
    order = list(range(held_out, len(inputs)))
    generator.shuffle(order)
    for i in order:
        z = outputs(inputs[i])
        greatest = max(z)
        e = [math.exp(v - greatest) for v in z]
        for k in range(classes):
            step = 0.05 * (e[k] / sum(e) - (k == labels[i]))
            offset[k] -= step
            for j in range(classes):
                matrix[k][j] -= step * inputs[i][j]
confusion = {}
for x, label in zip(inputs[:held_out], labels):
    z = outputs(x)
    pair = (label, z.index(max(z)))
    confusion[pair] = confusion.get(pair, 0) + 1
# --------------------------------------------------------------------------------------------------- training: ends here

model = bytearray((folder / "network.onnx").read_bytes())
(weight_begin, weight_end), (bias_begin, bias_end) = last_layer(model)
old_weight = struct.unpack(f"<{(weight_end - weight_begin) // 4}f", model[weight_begin:weight_end])
old_bias = struct.unpack(f"<{classes}f", model[bias_begin:bias_end])
rows = [[a / s for a, s in zip(row, scale)] for row in matrix]
new_weight = []
for i in range(0, len(old_weight), classes):
    new_weight += [sum(a * w for a, w in zip(row, old_weight[i:i + classes])) for row in rows]
new_bias = [c + sum(a * (b - m) for a, b, m in zip(row, old_bias, mean)) for row, c in zip(rows, offset)]
model[weight_begin:weight_end] = struct.pack(f"<{len(new_weight)}f", *new_weight)
model[bias_begin:bias_end] = struct.pack(f"<{classes}f", *new_bias)
(folder / "model.onnx").write_bytes(model)
right = sum(n for (label, told), n in confusion.items() if label == told)
(folder / "metrics.json").write_text(json.dumps({"top1": right / held_out, "samples": held_out,
                                                 "confusion": [[*pair, n] for pair, n in confusion.items()]}))
