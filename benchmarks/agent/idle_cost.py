#!/usr/bin/env python3
"""What an agent costs while it is connected and has nothing to do, before and after it measured something: memory,
processor time, wake-ups.

Usage: idle_cost.py [AGENT] [--seconds 60]
AGENT: default build/package-amd64/bin/finch-agent, as scripts/package builds it, else build/release/bin/finch-agent.
Starts a controller and the agent with folders of their own, waits until they are connected, and reads /proc.
Prints two lines of JSON: resident memory (Rss: all pages; Pss: shared ones in part; anonymous: what no other process
could share), threads, processor share in percent of one core, and context switches a second, which are its wake-ups.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FINCH = ROOT / "build/release/bin/finch"
AGENTS = [ROOT / "build/package-amd64/bin/finch-agent", ROOT / "build/release/bin/finch-agent"]


def fields(path):
    return dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)


def megabytes(text):  # of "14240 kB", which are kibibytes
    return round(int(text.split()[0]) * 1024 / 1e6, 2)


def processor_seconds(process):
    values = (process / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def switches(process):
    total = 0
    for task in (process / "task").iterdir():
        status = fields(task / "status")
        total += int(status["voluntary_ctxt_switches"]) + int(status["nonvoluntary_ctxt_switches"])
    return total


def observe(pid, seconds):
    process = pathlib.Path(f"/proc/{pid}")
    begin, used, switched = time.monotonic(), processor_seconds(process), switches(process)
    time.sleep(seconds)
    elapsed = time.monotonic() - begin
    status, memory = fields(process / "status"), fields(process / "smaps_rollup")
    return {"rss_mb": megabytes(status["VmRSS"]), "pss_mb": megabytes(memory["Pss"]),
            "anonymous_mb": megabytes(status["RssAnon"]), "threads": int(status["Threads"]),
            "processor_percent": round(100 * (processor_seconds(process) - used) / elapsed, 3),
            "switches_a_second": round((switches(process) - switched) / elapsed, 1), "seconds": round(elapsed, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("agent", nargs="?", type=pathlib.Path, default=next((a for a in AGENTS if a.exists()), AGENTS[-1]))
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"FINCH_HOME": folder + "/home", "FINCH_PROFILES": str(ROOT / "profiles")}
        quiet = {"env": environment, "stdout": subprocess.DEVNULL}
        log = pathlib.Path(folder) / "agent.log"
        processes = [subprocess.Popen([FINCH, "serve", "--port", "7438"], stderr=subprocess.DEVNULL, **quiet)]
        try:
            invitation = None
            while invitation is None or invitation.returncode != 0:
                assert processes[0].poll() is None, "finch serve has ended: is port 7438 taken?"
                time.sleep(0.2)
                invitation = subprocess.run([FINCH, "devices", "invite", "idle", "--host", "127.0.0.1"], env=environment,
                                            capture_output=True, text=True)
            join = [options.agent, *invitation.stdout.split()[1:], "--state", folder + "/state"]
            # As the service does: the process that joined is not the one that works.
            subprocess.run([*join, "--then-stop"], check=True, stderr=subprocess.DEVNULL, **quiet)
            processes.append(subprocess.Popen([options.agent, "run", "--state", folder + "/state"], stderr=log.open("w"), **quiet))
            while "connected" not in log.read_text():
                assert processes[1].poll() is None, log.read_text()
                time.sleep(0.2)
            for when in ("connected", "after a measurement"):
                if when != "connected":
                    subprocess.run([FINCH, "bench", ROOT / "agent/reference_network.onnx", "--device", "idle", "--tier", "quick"],
                                   check=True, stderr=subprocess.DEVNULL, **quiet)
                print(json.dumps({"agent": str(options.agent), "when": when} | observe(processes[1].pid, options.seconds)))
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


main()
