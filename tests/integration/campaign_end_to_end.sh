#!/usr/bin/env bash
# A whole campaign with real processes: runs, is killed and resumed, reuses what is known, and refuses bad input.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
finch=$FINCH_BIN/finch
export FINCH_HOME=$work/home FINCH_PROFILES=$FINCH_SOURCE/profiles
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

fail() { echo "FAILED: $1" >&2; [ -f "$work/log" ] && tail -n 20 "$work/log" >&2; exit 1; }
expect_failure() { # EXIT-CODE WORDS COMMAND…: one clear line that holds the words
  local code=$1 words=$2 got=0; shift 2
  "$@" >"$work/out" 2>"$work/err" || got=$?
  [ "$got" = "$code" ] || fail "exit code $got instead of $code: $*: $(cat "$work/err")"
  grep -qF -- "$words" "$work/err" || fail "'$words' is not in: $(cat "$work/err")"
}

mkdir "$work/data"
python3 "$here/tiny_data.py" "$work/data"
cp "$here/tiny.toml" "$work"

# Bad input: one clear line and the right exit code, before anything is started.
expect_failure 2 "did you mean 'devices'" "$finch" devces
expect_failure 2 "cannot read" "$finch" run "$work/nowhere.toml"
sed 's/\[budget\]/[budget]\nevaluatoins = 3/' "$work/tiny.toml" >"$work/bad.toml"
expect_failure 2 "did you mean 'budget.evaluations'" "$finch" run "$work/bad.toml"
sed 's|^path = .*|path = "/nowhere"|' "$work/tiny.toml" >"$work/bad.toml"
expect_failure 2 "there is no /nowhere" "$finch" run "$work/bad.toml"
expect_failure 2 "no campaign here" "$finch" resume "$work"

# A campaign that asks for energy is refused: there is no sensor.
sed 's/population = 4/population = 4\nobjectives = ["accuracy", "energy"]/' "$work/tiny.toml" >"$work/energy.toml"
expect_failure 2 "cannot measure it" "$finch" run "$work/energy.toml" --output "$work/energy"

# A corrupt data set.
mkdir "$work/broken"
cp "$work"/data/* "$work/broken/"
truncate -s 2000 "$work/broken/train-images-idx3-ubyte.gz"
sed "s|^path = .*|path = \"$work/broken\"|" "$work/tiny.toml" >"$work/broken.toml"
expect_failure 2 "train-images-idx3-ubyte.gz" "$finch" run "$work/broken.toml" --output "$work/broken-run"

# Killed at three moments, resumed each time; a second finch on the same folder is refused meanwhile.
"$finch" run "$work/tiny.toml" --output "$work/run" >"$work/out" 2>"$work/log" &
running=$!
for evaluated in 0 1 2; do
  until [ "$(sqlite3 "$work/run/campaign.db" "SELECT count(*) FROM events WHERE type = 'told'" 2>/dev/null || echo -1)" -ge "$evaluated" ]; do
    kill -0 $running 2>/dev/null || fail "finch ended too early"
    read -r -t 0.1 <> <(:) || true
  done
  [ "$evaluated" != 0 ] || expect_failure 1 "another finch works on this run folder" "$finch" resume "$work/run"
  kill -9 $running
  wait $running 2>/dev/null || true
  "$finch" resume "$work/run" >"$work/out" 2>"$work/log" &
  running=$!
  read -r -t 1 <> <(:) || true
done
wait $running || fail "the resumed campaign did not finish"
twice=$(sqlite3 "$work/run/campaign.db" "SELECT count(*) FROM (SELECT type, json_extract(data, '\$.id') AS id, json_extract(data, '\$.precision') AS p, count(*) AS n
  FROM events WHERE type NOT IN ('note', 'device') GROUP BY type, id, p HAVING n > 1)")
[ "$twice" = 0 ] || fail "$twice events are in the log twice"
python3 - "$work/run" <<'PYTHON' || fail "front.json is not as documented"
import hashlib, json, sys
run = sys.argv[1]
front = json.load(open(run + "/front.json"))
assert front["format"] == 1 and front["models"], front
for model in front["models"]:
    assert [file["precision"] for file in model["files"]] == ["fp32", "int8"]
    for file in model["files"]:
        data = open(run + "/" + file["path"], "rb").read()
        assert hashlib.sha256(data).hexdigest() == file["sha256"] and len(data) == file["size_bytes"]
        assert file["accuracy"]["samples"] == 100 and file["accuracy"]["split"] == "test"
        accuracy = file["accuracy"]
        assert 0 <= accuracy["ci_low"] <= accuracy["top1"] <= accuracy["ci_high"] <= 1
        assert sum(n for _, _, n in accuracy["confusion"]) == 100
        assert sum(n for label, told, n in accuracy["confusion"] if label == told) == round(100 * accuracy["top1"])
        assert set(accuracy["metrics"]) == {"balanced_accuracy", "macro_f1", "worst_class_recall"}
        assert abs(accuracy["metrics"]["balanced_accuracy"]["value"] - accuracy["top1"]) < 1e-9  # classes of equal size
        measurement = file["measurements"][0]
        latency = measurement["latency_ms"]
        assert latency["ci_low"] <= latency["median"] <= latency["ci_high"] and latency["median"] <= latency["p90"] <= latency["p99"]
        assert measurement["energy_mj"] is None and measurement["artifact_sha256"] == file["sha256"]
        assert len(open(run + "/" + measurement["raw"], "rb").read()) % 8 == 0
assert "</html>" in open(run + "/report.html").read()
PYTHON

# The same campaign in another folder measures and trains nothing again, and says so.
"$finch" run "$work/tiny.toml" --output "$work/again" >"$work/out" 2>"$work/log" || fail "the second campaign failed"
grep -q "(reused)" "$work/log" || fail "nothing was reused"
"$finch" report "$work/again" --json | python3 -c 'import json, sys; json.load(sys.stdin)' || fail "finch report --json is no JSON"
grep -q "$(printf '\033')" "$work/log" && fail "control characters in a log"

# One evaluation more, and something to compare with: what is known stays known.
sed 's/^evaluations = 3/evaluations = 4/' "$work/tiny.toml" >"$work/more.toml"
cp "$(find "$work/run/models" -name '*-fp32.onnx' | head -n 1)" "$work/mine.onnx"
printf '[[baseline]]\nfile = "mine.onnx"\n[[baseline]]\nnetwork = "mobilenet_v2"\nwidth = 0.5\n' >>"$work/more.toml"
expect_failure 2 "nothing differs" "$finch" run "$work/tiny.toml" --extend "$work/again"
sed 's/^epochs = 1/epochs = 3/' "$work/tiny.toml" >"$work/other.toml"
expect_failure 2 "train.epochs is 3.0 here and was 1.0" "$finch" run "$work/other.toml" --extend "$work/again"
"$finch" run "$work/more.toml" --extend "$work/again" >"$work/out" 2>"$work/log" || fail "the extended campaign failed"
python3 - "$work/again" <<'PYTHON' || fail "front.json has not the baselines"
import hashlib, json, sys
run = sys.argv[1]
front = json.load(open(run + "/front.json"))
assert [baseline["name"] for baseline in front["baselines"]] == ["mine.onnx", "mobilenet_v2 x0.5"], front["baselines"]
for baseline in front["baselines"]:
    file = baseline["file"]
    assert hashlib.sha256(open(run + "/" + file["path"], "rb").read()).hexdigest() == file["sha256"]
    assert file["accuracy"]["samples"] == 100 and file["measurements"][0]["latency_ms"]["median"] > 0
    assert baseline["name"] in front["headline"], front["headline"]
assert front["baselines"][1]["macs"] > 0
PYTHON

# One model for somebody's limits, as a bundle whose runners give the outputs that the device gave.
"$finch" pick "$work/again" --max-latency 10s --min-accuracy 1% --output "$work/bundle" >"$work/out" 2>"$work/err" || fail "finch pick: $(cat "$work/err")"
grep -q "^Chosen: c0" "$work/out" || fail "finch pick explains nothing: $(cat "$work/out")"
expect_failure 1 "no file of the front keeps the limits; the nearest is" "$finch" pick "$work/again" --max-latency 0.01us
expect_failure 2 "'20' is not understood; write it as in 20ms" "$finch" pick "$work/again" --max-latency 20
expect_failure 2 "not empty" "$finch" pick "$work/again" --output "$work/bundle"
"$here/bundle_runs.sh" "$work/bundle" || fail "the bundle does not run"

# Every candidate in a table, and a search replayed on it.
"$finch" export "$work/again" --output "$work/table.csv" 2>"$work/err" || fail "finch export: $(cat "$work/err")"
[ "$(grep -c evaluated "$work/table.csv")" = 4 ] || fail "the table has not 4 evaluated candidates: $(cat "$work/table.csv")"
"$finch" table-bench --table "$work/table.csv" --space mobilenet --image 1x16x16 --classes 4 --maximize accuracy --minimize latency \
  --algorithm random --evaluations 3 --seeds 2 >"$work/out" 2>"$work/err" || fail "finch table-bench: $(cat "$work/err")"

# The front again, from its files. Latencies of a busy machine may differ; the accuracy may not.
"$finch" verify "$work/again" --json >"$work/checks.json" 2>"$work/err" || [ $? = 1 ] || fail "finch verify: $(cat "$work/err")"
python3 - "$work" <<'PYTHON' || fail "finch verify: $(cat "$work/checks.json")"
import json, sys
work = sys.argv[1]
checks = json.load(open(work + "/checks.json"))
front = json.load(open(work + "/again/front.json"))
assert [check["path"] for check in checks] == [file["path"] for model in front["models"] for file in model["files"]]
for check in checks:
    assert check["top1"]["then"] == check["top1"]["now"], check
    assert check["measurements"][0]["median_ms"]["now"] > 0 and all(d.startswith("local: ") for d in check["differences"]), check
damaged = open(work + "/again/" + checks[0]["path"], "ab")
damaged.write(b"x")
PYTHON
expect_failure 1 "files are not as they were" "$finch" verify "$work/again"
grep -q "not the one that was measured" "$work/out" || fail "a damaged file was not noticed: $(cat "$work/out")"
echo "campaign_end_to_end: good"
