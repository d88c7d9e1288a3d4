#!/usr/bin/env bash
# The tutorial's own trainer in a whole campaign, and trainers that fail in every way: reasons, no end of the campaign.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
finch=$FINCH_BIN/finch
export FINCH_HOME=$work/home FINCH_PROFILES=$FINCH_SOURCE/profiles FINCH_AGENT=$FINCH_BIN/finch-agent
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
fail() { echo "FAILED: $1" >&2; [ -f "$work/log" ] && tail -n 20 "$work/log" >&2; exit 1; }

mkdir "$work/data"
python3 "$here/tiny_data.py" "$work/data"
cp "$FINCH_SOURCE/examples/own_trainer/train.py" "$work"
sed 's/^\[train\]/[train]\ntrainer = "command"\ncommand = ["python3", "train.py"]\ntimeout_minutes = 5/' "$here/tiny.toml" >"$work/own.toml"
"$finch" run "$work/own.toml" --output "$work/run" >"$work/out" 2>"$work/log" || fail "the campaign with the tutorial's trainer"
python3 - "$work/run" <<'PYTHON' || fail "the front of the tutorial's trainer: $(cat "$work/run/front.json")"
import json, sys
front = json.load(open(sys.argv[1] + "/front.json"))
assert front["models"], front
for model in front["models"]:
    assert [file["precision"] for file in model["files"]] == ["fp32"]
    for file in model["files"]:
        accuracy = file["accuracy"]
        # Four classes: what it learnt shows on images that it never saw, in the runtime of the device.
        assert accuracy["top1"] > 0.4 and accuracy["samples"] == 100, accuracy
        assert abs(accuracy["top1"] - model["validation_top1"]) < 0.3, (accuracy, model)
PYTHON

# Each call fails in another way; every third is good.
cat >"$work/moody.py" <<'PYTHON'
import json, os, pathlib, shutil, sys, time
folder = pathlib.Path(sys.argv[1])
calls = pathlib.Path("calls")
n = int(calls.read_text()) if calls.exists() else 0
calls.write_text(str(n + 1))
shutil.copy(folder / "network.onnx", folder / "model.onnx")
(folder / "metrics.json").write_text(json.dumps({"top1": 0.5, "samples": 10}))
if n % 3 == 1:
    [lambda: sys.exit("no more memory"), lambda: os.kill(os.getpid(), 9), lambda: os.remove(folder / "model.onnx")][n // 3 % 3]()
if n % 3 == 2:
    (folder / "metrics.json").write_text(json.dumps({"top1": float("nan"), "samples": 10}))
PYTHON
sed 's/"train.py"/"moody.py"/; s/^seed.*//; s/^evaluations = 3/evaluations = 4/; s/^count = 2/count = 1/' "$work/own.toml" >"$work/moody.toml"
"$finch" run "$work/moody.toml" --output "$work/moody" >"$work/out" 2>"$work/log" || grep -q "every finalist failed" "$work/log" || fail "a campaign whose trainer fails at times ended"
told=$(sqlite3 "$work/moody/campaign.db" "SELECT json_extract(data, '\$.outcome') FROM events WHERE type = 'told'")
[ "$(grep -c '^evaluated' <<<"$told")" = 4 ] || fail "not 4 evaluations: $told"
grep -q "failed: the user's trainer: exit status 1; its last line: no more memory" <<<"$told" || fail "the crash has no reason: $told"
grep -q "failed: the user's trainer: metrics.json: expected" <<<"$told" || fail "the NaN has no reason: $told"
echo "own_trainer: good"
