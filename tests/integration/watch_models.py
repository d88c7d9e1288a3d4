"""A model in use on a board, as a real agent with a runtime of known speed: a baseline, a board that becomes slower, a
governor that changes, a watch that is killed.
"""
import json
import os
import pathlib
import signal
import subprocess
import time

from farm import BIN, GOVERNOR, in_a_farm, wait_for

MODEL = pathlib.Path(os.environ["FINCH_SOURCE"]) / "tests" / "agent" / "models" / "times_one.onnx"


def watch(farm, *arguments):
    alarms = farm.work / "alarms"
    command = [BIN / "finch", "watch", "run", "--once", "--on-alarm",
               f'echo "$FINCH_ALARM $FINCH_MODEL $FINCH_DEVICE" >>{alarms}', *arguments]
    done = subprocess.run([str(part) for part in command], env=farm.environment, capture_output=True, text=True)
    (farm.work / "watch.log").open("a").write(done.stderr)
    return done.returncode, alarms.read_text().split() if alarms.exists() else []


def listed(farm):
    model, = json.loads(farm.finch("watch", "list", "--json"))
    return model


def check(farm):
    farm.serve()
    agent = farm.join("slow", 1.05)
    farm.finch("watch", "add", MODEL, "--device", "slow", "--tier", "quick", "--name", "camera")
    assert listed(farm)["checked"] is None
    assert watch(farm) == (0, []), "the baseline is no alarm"
    baseline = listed(farm)["baseline"]
    assert baseline["latency_ms"] > 2
    assert watch(farm) == (0, []), "nothing has changed"
    assert listed(farm)["baseline"] == baseline

    # Killed while it measures: the next one takes over.
    process = farm.start("killed.log", BIN / "finch", "watch", "run", "--every", "0.001")
    wait_for("a measurement", lambda: "Measuring camera" in (farm.work / "killed.log").read_text())
    time.sleep(1)
    process.kill()
    process.wait()
    assert watch(farm) == (0, [])
    assert listed(farm)["baseline"] == baseline

    # Dust: the board takes 10 % longer for everything, and comes back in the same state.
    agent.send_signal(signal.SIGTERM)
    agent.wait(20)
    wait_for("the board to be away", lambda: farm.devices()["slow"]["state"] == "away")
    farm.agent("slow", 1.155, "run")
    assert watch(farm) == (1, ["device", "camera", "slow"])
    assert listed(farm)["alarm"] == "device"
    assert watch(farm)[1] == ["device", "camera", "slow"], "the alarm is raised once"

    (farm.work / "slow" / "root" / GOVERNOR).write_text("powersave\n")
    code, alarms = watch(farm)
    assert code == 1 and alarms[3:] == ["epoch", "camera", "slow"], alarms
    assert listed(farm)["baseline"]["epoch"] != baseline["epoch"], "a baseline of the new epoch"
    assert watch(farm)[0] == 0
    farm.finch("watch", "remove", "camera")
    assert json.loads(farm.finch("watch", "list", "--json")) == []


in_a_farm(check)
print("watch_models: good")
