"""A pool of two boards that are 10 % apart, as real agents with a runtime of known speed: the search compares latencies
free of the boards, finalists are certified on both, and one board's governor changes half way.
"""
import json
import sqlite3
import subprocess
import sys

from farm import BIN, GOVERNOR, HERE, in_a_farm, wait_for

PACES = {"slow": 1.05, "fast": 0.95}


def events(run, kind):
    if not (run / "campaign.db").exists():
        return []
    with sqlite3.connect(f"file:{run}/campaign.db?mode=ro", uri=True) as db:
        try:
            return [json.loads(data) for (data,) in
                    db.execute("SELECT data FROM events WHERE type = ? ORDER BY sequence", [kind])]
        except sqlite3.OperationalError:
            return []


def near(value, expected, share):
    assert abs(value / expected - 1) < share, f"{value} is not within {share:.0%} of {expected}"


def check(farm):
    (farm.work / "data").mkdir()
    subprocess.run([sys.executable, HERE / "tiny_data.py", farm.work / "data"], check=True)
    farm.serve()
    for name, pace in PACES.items():
        farm.join(name, pace)
    text = (HERE / "tiny.toml").read_text().replace("evaluations = 3", "evaluations = 4")
    (farm.work / "tiny.toml").write_text(text + '[[device]]\nname = "pool"\nboards = ["slow", "fast"]\n')
    run = farm.work / "run"
    campaign = farm.start("run.log", BIN / "finch", "run", farm.work / "tiny.toml", "--output", run)
    wait_for("two candidates to be measured", lambda: len(events(run, "screened")) >= 2 or campaign.poll() is not None)
    (farm.work / "slow" / "root" / GOVERNOR).write_text("powersave\n")
    assert campaign.wait(400) == 0, "the campaign"

    pool = events(run, "pool")[0]
    near(pool["baseline_ms"]["slow"] / pool["baseline_ms"]["fast"], PACES["slow"] / PACES["fast"], 0.03)
    screened = events(run, "screened")
    assert {screen["result"]["device"] for screen in screened} == set(PACES), "both boards measure"
    assert all(screen["device"] == "pool" for screen in screened)

    front = json.loads((run / "front.json").read_text())
    assert front["search_latency"] == "pool_ms"
    assert any("slow changed after" in note and "governor performance -> powersave" in note for note in front["notes"])
    assert any("pool is a pool of" in note for note in front["notes"]), front["notes"]
    assert front["models"]
    for model in front["models"]:
        for file in model["files"]:
            by_board = {m["device"]: m for m in file["measurements"]}
            assert set(by_board) == set(PACES), "certified on both"
            slow, fast = by_board["slow"], by_board["fast"]
            near(slow["latency_ms"]["median"] / fast["latency_ms"]["median"], PACES["slow"] / PACES["fast"], 0.03)
            near(slow["pool_ms"]["median"], fast["pool_ms"]["median"], 0.03)
    epochs = {m["epoch"] for model in front["models"] for file in model["files"] for m in file["measurements"]
              if m["device"] == "slow"}
    states = {screen["result"]["deviceStateHash"] for screen in screened if screen["result"]["device"] == "slow"}
    device, = [event for event in events(run, "device") if event["new_epoch"]]
    now = device["device"]["runtimes"][0]["stateHash"]
    assert epochs == {now[:16]}, f"finalists of another epoch: {epochs}"
    # A result stands in the farm under the state in which it was taken.
    with sqlite3.connect(f"file:{farm.work}/home/farm.db?mode=ro", uri=True) as db:
        failed = db.execute("SELECT count(*) FROM jobs WHERE state = 'failed' AND target = 'slow'").fetchone()
    assert failed[0] >= 1, "the board refused nothing"
    assert states - {now} or len(states) == 1
    listed = farm.devices()
    assert listed["slow"]["profile"] == "local"


in_a_farm(check)
print("board_pool: good")
