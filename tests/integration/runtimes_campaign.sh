#!/usr/bin/env bash
# A campaign over OpenVINO and LiteRT, with the real libraries: ONNX and TensorFlow Lite files, each measured and tested
# with the runtime that reads it, the trainer's word on their accuracies, and the fastest named.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
for runtime in openvino litert; do
  "$FINCH_BIN/finch-agent" runtimes | grep -q "^$runtime *[0-9s]" && continue
  echo "runtimes_campaign: skipped, there is no $runtime here: scripts/install-runtime $runtime"
  exit 77
done
work=$(mktemp -d)
finch=$FINCH_BIN/finch
export FINCH_HOME=$work/home FINCH_PROFILES=$FINCH_SOURCE/profiles
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED: $1" >&2; [ -f "$work/log" ] && tail -n 20 "$work/log" >&2; exit 1; }

mkdir "$work/data"
python3 "$here/tiny_data.py" "$work/data"
sed -e 's/^evaluations = 3/evaluations = 1/' -e 's/^count = 2/count = 1\nruntimes = ["litert"]/' \
  -e 's/^\[measure\]/[deploy]\nruntime = "openvino"\n[measure]\nevery_runtime = true/' "$here/tiny.toml" >"$work/tiny.toml"
"$finch" run "$work/tiny.toml" --output "$work/run" >"$work/out" 2>"$work/log" || fail "the campaign"

python3 - "$work/run" <<'PYTHON' || fail "the campaign's files"
import json, os, sqlite3, sys
run = sys.argv[1]
log = sqlite3.connect(f"file:{run}/campaign.db?mode=ro", uri=True)
events = [(kind, json.loads(data)) for kind, data in log.execute("SELECT type, data FROM events ORDER BY sequence")]
screens = [data["latency_ms"] for kind, data in events if kind == "screened"]
assert screens and all(sorted(screen) == ["litert", "openvino"] for screen in screens), screens
[trained] = [data["result"]["files"] for kind, data in events if kind == "finalist_trained"]
said = {file["artifact"]["sha256"]: file["testTop1"] for file in trained if "testTop1" in file}
model, = json.load(open(run + "/front.json"))["models"]
files = {file["path"]: file for file in model["files"]}
assert sorted(os.path.splitext(path)[1] for path in files) == [".onnx", ".onnx", ".tflite", ".tflite"], files
for path, file in files.items():
    assert os.path.getsize(f"{run}/{path}") == file["size_bytes"]
    [measurement] = file["measurements"]
    runtime = "litert" if path.endswith(".tflite") else "openvino"
    assert measurement["deploy"]["runtime"] == runtime and runtime in measurement["runtime"].lower(), measurement
    assert measurement["latency_ms"]["median"] > 0 and measurement["artifact_sha256"] == file["sha256"]
    assert file["accuracy"]["samples"] == 100
    if file["sha256"] in said:
        assert abs(file["accuracy"]["top1"] - said[file["sha256"]]) < 0.035, (path, file["accuracy"], said)
assert len(said) == 3, said  # all but int8 of TensorFlow Lite
PYTHON
grep -q "fastest here: \(openvino\|litert\) with" "$work/run/report.html" || fail "the report does not name the fastest runtime"

"$finch" pick "$work/run" --output "$work/bundle" >"$work/out" 2>>"$work/log" || fail "finch pick"
grep -q "Fastest on local with" "$work/out" || fail "the choice does not name the runtime: $(cat "$work/out")"
echo "runtimes_campaign: good"
