#!/usr/bin/env bash
# A campaign that searches with a supernet, killed while the supernet is trained: goes on there, and reuses it afterwards.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
finch=$FINCH_BIN/finch
export FINCH_HOME=$work/home FINCH_PROFILES=$FINCH_SOURCE/profiles
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

fail() { echo "FAILED: $1" >&2; [ -f "$work/log" ] && tail -n 20 "$work/log" >&2; exit 1; }
events() { sqlite3 "$work/$1/campaign.db" "SELECT count(*) FROM events WHERE type = '$2'"; }

mkdir "$work/data"
python3 "$here/tiny_data.py" "$work/data"
sed 's/^\[train\]/[train]\nmode = "supernet"\nsupernet_epochs = 8/' "$here/tiny.toml" >"$work/tiny.toml"

"$finch" plan "$work/tiny.toml" >"$work/out" 2>"$work/log" || fail "finch plan"
grep -q "^supernet " "$work/out" || fail "the plan has no supernet: $(cat "$work/out")"

"$finch" run "$work/tiny.toml" --output "$work/run" >"$work/out" 2>"$work/log" &
running=$!
until compgen -G "$work/home/workers/*/checkpoints/*" >/dev/null; do
  kill -0 $running 2>/dev/null || fail "finch ended before its supernet was trained"
  read -r -t 0.05 <> <(:) || true
done
kill -9 $running
wait $running 2>/dev/null || true
[ "$(events run supernet)" = 0 ] || fail "the supernet was trained too quickly to be killed"
"$finch" resume "$work/run" >"$work/out" 2>"$work/log" || fail "the resumed campaign"
[ "$(events run supernet)" = 1 ] || fail "no supernet in the log"
[ "$(events run trained)" = 3 ] || fail "not every candidate was evaluated"
compgen -G "$work/home/workers/*/checkpoints/*" >/dev/null && fail "a checkpoint was left behind"
python3 - "$work/run" <<'PYTHON' || fail "front.json"
import json, sys
front = json.load(open(sys.argv[1] + "/front.json"))
assert front["models"] and all(file["accuracy"]["samples"] == 100 for model in front["models"] for file in model["files"])
PYTHON
grep -q "shared weights" "$work/run/report.html" || fail "the report does not say where the accuracies come from"

# Other candidates, the same supernet.
sed -i 's/^evaluations = 3/evaluations = 4/' "$work/tiny.toml"
"$finch" run "$work/tiny.toml" --output "$work/again" >"$work/out" 2>"$work/log" || fail "the second campaign"
grep -q "supernet (reused)" "$work/log" || fail "the supernet was trained again"

# Another campaign begins with those weights and takes its finalist through compression, killed on the way.
sed 's|^\[train\]|[init]\nfrom = "run"\n[train]|; s/^supernet_epochs = 8/supernet_epochs = 1/; s/^evaluations = 4/evaluations = 2/
  s/^count = 2/count = 1\nsteps = ["prune=0.3", "quantize"]\nmax_accuracy_drop = 0.5\ngain = "size"/' "$work/tiny.toml" >"$work/next.toml"
"$finch" run "$work/next.toml" --output "$work/next" >"$work/out" 2>"$work/log" &
running=$!
until [ -f "$work/next/campaign.db" ] && [ "$(events next finalist_step)" -gt 3 ]; do
  kill -0 $running 2>/dev/null || fail "finch ended before it compressed a finalist"
  read -r -t 0.05 <> <(:) || true
done
kill -9 $running
wait $running 2>/dev/null || true
[ "$(events next finished)" = 0 ] || fail "the third campaign was too quick to be killed"
"$finch" resume "$work/next" >"$work/out" 2>"$work/log" || fail "the resumed third campaign"
python3 - "$work" <<'PYTHON' || fail "the compressed finalist"
import json, sqlite3, sys
front = json.load(open(sys.argv[1] + "/next/front.json"))
model, = front["models"]
notes = " ".join(model["notes"])
assert "prune=0.3 was kept" in notes and "quantize was kept" in notes, notes
assert [file["precision"] for file in model["files"]] == ["fp32", "int8"]
assert any("where the weights began" in note for note in front["notes"]), front["notes"]
events = sqlite3.connect(sys.argv[1] + "/next/campaign.db").execute("SELECT data FROM events WHERE type = 'finalist_step'")
steps = [json.loads(data) for data, in events]
decided = [step["step"]["index"] for step in steps if step["type"] == "decided"]
assert decided == [0, 1, 2], decided
original, pruned = (step["step"]["result"]["macs"] for step in steps if step["type"] == "model" and step["step"]["index"] < 2)
assert int(pruned) <= 0.7 * int(original) and model["macs"] == int(pruned), (original, pruned, model["macs"])
PYTHON
echo "supernet_campaign: good"
