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
echo "supernet_campaign: good"
