#!/usr/bin/env bash
# A bundle of finch pick: both runners print the labels and logits of expected.json, the weights are safetensors.
set -euo pipefail
cd "$1"
python3 - <<'PYTHON'
import json, struct
labels = open("labels.txt").read().splitlines()
expected = json.load(open("expected.json"))
assert len(expected) == 3 and all(len(image["logits"]) == len(labels) for image in expected), expected
card = open("card.md").read()
for word in ("## Accuracy", "## Confusion", "## On devices", "## Data", "## How it was made", "## Licence"):
    assert word in card, word
weights = open("weights.safetensors", "rb").read()
length, = struct.unpack("<Q", weights[:8])
header = json.loads(weights[8:8 + length])
tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
assert header["__metadata__"]["space"] == "mobilenet" and tensors
assert max(entry["data_offsets"][1] for entry in tensors.values()) == len(weights) - 8 - length
for name, entry in tensors.items():
    size = {"F32": 4, "I64": 8}[entry["dtype"]]
    for extent in entry["shape"]:
        size *= extent
    assert entry["data_offsets"][1] - entry["data_offsets"][0] == size, name
PYTHON

compare() { # reads what a runner printed
  python3 -c '
import json, sys
for line, image in zip(sys.stdin.read().splitlines(), json.load(open("expected.json")), strict=True):
    told, *logits = line.split("\t")
    assert told == image["told"], (told, image)
    assert all(abs(float(a) - b) < 1e-4 * max(1, abs(b)) for a, b in zip(logits, image["logits"], strict=True)), (logits, image)
'
}
eval "$(sed -n '1s|^// \(.*\) && .*|\1|p' run.cpp)"
./run image-1.f32 image-2.f32 image-3.f32 2>/dev/null | compare || { echo "run.cpp gives other outputs" >&2; exit 1; }
python3() { PYTHONPATH=$FINCH_SOURCE/build/python command python3 "$@"; }
python3 -c "import numpy, onnxruntime" || { echo "run.py needs Python's onnxruntime; scripts/setup test fetches it" >&2; exit 1; }
python3 run.py image-1.f32 image-2.f32 image-3.f32 | compare || { echo "run.py gives other outputs" >&2; exit 1; }
