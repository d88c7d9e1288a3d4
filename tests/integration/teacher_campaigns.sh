#!/usr/bin/env bash
# Campaigns that learn from what an earlier one left: its ONNX file, run by the agent's runtime; its teacher, on every
# batch; both together.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
finch=$FINCH_BIN/finch
export FINCH_HOME=$work/home FINCH_PROFILES=$FINCH_SOURCE/profiles
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED: $1" >&2; [ -f "$work/log" ] && tail -n 20 "$work/log" >&2; exit 1; }
teacher() { sqlite3 "$work/$1/campaign.db" "SELECT json_extract(data, '\$.result.$2') FROM events WHERE type = 'teacher'"; }
# run NAME TEACHER-LINES TRAIN-LINES
run() {
  sed -e "s|^\[teacher\]|[teacher]\n$2|" -e "s|^\[train\]|[train]\n$3|" "$here/tiny.toml" >"$work/$1.toml"
  "$finch" run "$work/$1.toml" --output "$work/$1" >"$work/out" 2>"$work/log" || fail "the campaign $1"
}

mkdir "$work/data"
python3 "$here/tiny_data.py" "$work/data"
run first "" ""
model=$(find "$work/first/models" -name '*.onnx' ! -name '*int8*' | sort | head -n 1)

run onnx "onnx = \"$model\"" "mixup = 0.2\nrandaugment_operations = 1\nclass_weights = \"balanced\""
grep -q "^.*teacher: " "$work/log" || fail "no teacher in the log"
[ -n "$(teacher onnx softTargets)$(teacher onnx soft_targets)" ] || fail "the ONNX teacher gave no soft targets"
[ -z "$(teacher onnx model)" ] || fail "an ONNX teacher is no model for the trainer"

run from "from = \"$work/first\"" "distillation = \"attention\""
[ "$(teacher from model)" = "$(teacher first model)" ] || fail "not the teacher of the first campaign"

run both "models = [\"$work/first\", \"$model\"]" "cutmix = 0.5"
grep -q "teacher (mean of several)" "$work/log" || fail "the ensemble is not named"
echo "teacher_campaigns: good"
