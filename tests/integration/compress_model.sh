#!/usr/bin/env bash
# finch compress with real processes: a trained model keeps what pays and loses what hurts, also after kill -9.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
finch=$FINCH_BIN/finch
export FINCH_HOME=$work/home FINCH_PROFILES=$FINCH_SOURCE/profiles
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

fail() { echo "FAILED: $1" >&2; [ -f "$work/log" ] && tail -n 20 "$work/log" >&2; exit 1; }
events() { sqlite3 "$work/$1/compression.db" "SELECT count(*) FROM events WHERE type = '$2'"; }

mkdir "$work/data"
python3 "$here/tiny_data.py" "$work/data"
sed 's/^evaluations = 3/evaluations = 1/; s/^count = 2/count = 1/; s/^finalist_epochs = 2/finalist_epochs = 6/' \
  "$here/tiny.toml" >"$work/tiny.toml"
"$finch" run "$work/tiny.toml" --output "$work/run" >"$work/out" 2>"$work/log" || fail "the campaign"
model=$(python3 -c "import json, sys; print(json.load(open(sys.argv[1]))['models'][0]['id'])" "$work/run/front.json")

# Removing nine tenths without training breaks the accuracy; it is undone, and the run ends where it began or better.
compress=("$finch" compress --data "$work/data" --tier quick --threads 1 --max-accuracy-drop 0.05 --json)
"${compress[@]}" --model "$work/run:$model" --steps prune=0.9,distill=1,cluster=5 --epochs 0 --output "$work/first" \
  >"$work/first.json" 2>"$work/log" &
running=$!
until [ -f "$work/first/compression.db" ] && [ "$(events first begun)" = 1 ]; do
  kill -0 $running 2>/dev/null || fail "finch ended before its first step"
  read -r -t 0.05 <> <(:) || true
done
kill -9 $running
wait $running 2>/dev/null || true
[ "$(events first finished)" = 0 ] || fail "the run was too quick to be killed"
"$finch" resume "$work/first" --json >"$work/first.json" 2>"$work/log" || fail "the resumed compression"
python3 - "$work/first.json" "$work/first" <<'PYTHON' || fail "compression.json"
import hashlib, json, sys
run = json.load(open(sys.argv[1]))
original, prune, distill, cluster = run["steps"]
assert run["status"] == "finished" and original["kept"]
assert original["accuracy"]["validation"] > 0.8, original
assert original["accuracy"]["samples"] == 100, original  # those that the campaign has set aside
assert not prune["kept"] and "below the original's" in prune["reason"], prune
assert prune["macs"] < 0.2 * original["macs"], prune
assert distill["base"] == 0 and distill["reason"], distill
assert cluster["kept"] and cluster["file"]["compressed_bytes"] < 0.8 * original["file"]["compressed_bytes"], cluster
for step in run["steps"]:
    m = step["measurement"]
    assert m["latency_ms"]["ci_low"] <= m["latency_ms"]["median"] <= m["latency_ms"]["ci_high"]
    assert m["verdict"] in ("VALID", "DEGRADED", "INVALID")
    file = open(sys.argv[2] + "/" + step["file"]["path"], "rb").read()
    assert hashlib.sha256(file).hexdigest() == step["file"]["sha256"]
assert run["steps"][run["result"]]["accuracy"]["test_samples"] == 100
PYTHON
[ "$(events first decided)" = 4 ] || fail "not every step was decided once"
grep -q "below the original" "$work/first/report.html" || fail "the report has no reasons"

# A file of the user's own: the exported model under another name. What cannot be read is named.
cp "$work/run/models/$model-fp32.onnx" "$work/own.onnx"
"${compress[@]}" --model "$work/own.onnx" --shape image=2,1,16,16 --steps quantize --qat-epochs 0.5 --output "$work/second" >"$work/second.json" 2>"$work/log" ||
  fail "an ONNX file"
python3 - "$work/second.json" <<'PYTHON' || fail "the second compression.json"
import json, sys
original, quantize = json.load(open(sys.argv[1]))["steps"]
assert quantize["file"]["precision"] == "int8" and quantize["reason"], quantize
assert quantize["file"]["size_bytes"] < original["file"]["size_bytes"]
assert original["measurement"]["deploy"]["batch"] == 2, original["measurement"]
assert original["accuracy"]["samples"] == 50, original  # a twelfth of 600
PYTHON
"${compress[@]}" --model "$work/run/models/$model-int8.onnx" --steps prune --output "$work/third" >/dev/null \
  2>"$work/log" && fail "a quantized file was read"
grep -q "before it was quantized" "$work/log" || fail "the refusal does not say why"
"${compress[@]}" --model "$work/own.onnx" --shape picture=1,1,16,16 --steps prune --output "$work/fourth" >/dev/null \
  2>"$work/log" && fail "an input was found that there is not"
grep -q "its input is 'image'" "$work/log" || fail "the refusal does not name the input"
"$finch" compress --model "$work/own.onnx" --data "$work/data" --steps prun >/dev/null 2>"$work/log" && fail "a wrong step"
grep -q "did you mean 'prune'" "$work/log" || fail "a wrong step is not explained"
echo "compress_model: good"
