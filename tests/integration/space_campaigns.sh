#!/usr/bin/env bash
# The example campaign of each space on a data set that takes seconds; a space of one's own reuses results by what it
# says, not by its file's name.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
finch=$FINCH_BIN/finch
export FINCH_HOME=$work/home FINCH_PROFILES=$FINCH_SOURCE/profiles
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED: $1" >&2; [ -f "$work/log" ] && tail -n 20 "$work/log" >&2; exit 1; }
run() { "$finch" run "$work/$1.toml" --output "$work/$2" >"$work/out" 2>"$work/log" || fail "$2"; }

mkdir "$work/data"
python3 "$here/tiny_data.py" "$work/data"
cp -r "$FINCH_SOURCE/examples/spaces" "$work"
for name in shufflenet nasbench201 own_space; do
  sed -E "s|^path = .*|path = \"data\"|; s|^validation_samples = .*|validation_samples = 100|; s|^evaluations = .*|evaluations = 3|
    s|^epochs = .*|epochs = 1|; s|^batch_size = .*|batch_size = 32|" "$FINCH_SOURCE/examples/$name.toml" >"$work/$name.toml"
  run $name $name
  python3 - "$work/$name" "$name" <<'PYTHON' || fail "front.json of $name"
import json, sys
front = json.load(open(sys.argv[1] + "/front.json"))
assert front["models"], front
for model in front["models"]:
    assert model["space"] == {"own_space": "pocket"}.get(sys.argv[2], sys.argv[2]), model["space"]
    assert model["macs"] > 0 and [file["precision"] for file in model["files"]] == ["fp32", "int8"]
PYTHON
done

# The same space in other words: everything is known. Another space in the same file: nothing is.
sed -i '1i # a comment changes nothing' "$work/spaces/pocket.toml"
run own_space commented
grep -q "(reused)" "$work/log" || fail "the same space was searched anew"
sed -i 's/^channels = \[48, 64\]/channels = [40, 56]/' "$work/spaces/pocket.toml"
run own_space changed
! grep -q "candidate.*(reused)" "$work/log" || fail "another space's results were reused"
echo "space_campaigns: good"
