"""A board with a network of its own: an agent in its own network namespace joins with the command that `finch devices
invite` prints, survives a killed and restarted controller and a cut cable, and serves two campaigns at once.

Needs user and network namespaces, no root. Exits with 77 (skipped) where the kernel forbids them.
"""
import json
import os
import subprocess
import sys
import time

from farm import BIN, HERE, in_a_farm, wait_for

CONTROLLER, BOARD, PORT = "10.77.0.1", "10.77.0.2", "7433"
SKIPPED = 77


def shell(*command):
    subprocess.run(command, check=True)


def connected(farm):
    return farm.is_connected("board")


def restarted(farm, server):
    server.kill()
    server.wait()
    time.sleep(1)
    return farm.start_server(PORT)


def evaluated(farm, run):
    log = farm.work / f"{run}.log"
    return log.read_text().count("parameters") if log.exists() else 0


def check(farm, holder):
    network = f"--net=/proc/{holder.pid}/ns/net"
    shell("ip", "link", "set", "lo", "up")
    shell("ip", "link", "add", "name", "finch0", "type", "veth", "peer", "name", "board0", "netns", str(holder.pid))
    shell("ip", "address", "add", f"{CONTROLLER}/24", "dev", "finch0")
    shell("ip", "link", "set", "finch0", "up")
    shell("nsenter", network, "ip", "address", "add", f"{BOARD}/24", "dev", "board0")
    shell("nsenter", network, "ip", "link", "set", "board0", "up")

    server = farm.start_server(PORT)
    wait_for("finch serve", lambda: f"served on port {PORT}" in farm.finch("doctor"))
    command = farm.finch("devices", "invite", "board", "--host", CONTROLLER).strip()
    print("pasted on the board:", command)
    board_home = {"HOME": str(farm.work / "board"), "PATH": os.environ["FINCH_BIN"] + ":" + os.environ["PATH"]}
    agent = farm.start("agent.log", "nsenter", network, "bash", "-c", "exec " + command, environment=board_home)
    wait_for("the board to join", lambda: connected(farm))

    campaign = (HERE / "tiny.toml").read_text() + '[[device]]\nname = "board"\n'
    (farm.work / "tiny.toml").write_text(campaign)
    runs = {name: farm.start(f"{name}.log", BIN / "finch", "run", farm.work / "tiny.toml", "--output", farm.work / name,
                             "--seed", seed) for seed, name in enumerate(("one", "two"), 1)}
    wait_for("both campaigns to evaluate a candidate", lambda: all(evaluated(farm, name) for name in runs))
    server = restarted(farm, server)
    wait_for("the board to come back to the restarted controller", lambda: connected(farm))
    shell("ip", "link", "set", "finch0", "down")
    time.sleep(3)
    shell("ip", "link", "set", "finch0", "up")
    restarted(farm, server)
    for name, run in runs.items():
        assert run.wait(300) == 0, f"campaign {name} ended with {run.returncode}"
        front = json.loads((farm.work / name / "front.json").read_text())
        measurements = [m for model in front["models"] for file in model["files"] for m in file["measurements"]]
        assert measurements and all(m["device"] == "board" for m in measurements), measurements
    assert agent.poll() is None, "the agent ended"
    peers = subprocess.run(["nsenter", network, "ss", "-tnH"], capture_output=True, text=True, check=True).stdout
    assert f"{CONTROLLER}:{PORT}" in peers, f"the board talks with somebody else: {peers}"


def on_a_board(farm):
    for name in ("data", "board"):
        (farm.work / name).mkdir()
    shell(sys.executable, str(HERE / "tiny_data.py"), str(farm.work / "data"))
    holder = farm.start("holder.log", "unshare", "--net", "sleep", "infinity")
    here = os.readlink("/proc/self/ns/net")
    wait_for("the board's namespace", lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != here)
    check(farm, holder)


def main():
    if len(sys.argv) == 1:
        done = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"], capture_output=True, text=True)
        if done.returncode != 0:
            print("skipped: this kernel gives no namespaces:", done.stderr.strip())
            sys.exit(SKIPPED)
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", sys.executable, __file__, "inside"])
    in_a_farm(on_a_board)
    print("board_in_namespace: good")


main()
