"""A farm of real processes in a folder of its own, for the integration tests: finch serve, agents, campaigns."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

BIN = pathlib.Path(os.environ["FINCH_BIN"])
HERE = pathlib.Path(__file__).parent
GOVERNOR = "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"


def wait_for(what, condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for: {what}")
        time.sleep(0.1)


class Farm:
    def __init__(self, work):
        self.work, self.processes = work, []
        self.environment = os.environ | {"FINCH_HOME": str(work / "home"),
                                         "FINCH_PROFILES": os.environ["FINCH_SOURCE"] + "/profiles"}

    def start(self, log, *command, environment=None, **more):
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, cwd=self.work,
                                   stderr=(self.work / log).open("a"), env=(environment or self.environment) | more)
        self.processes.append(process)
        return process

    def finch(self, *arguments):
        done = subprocess.run([BIN / "finch", *map(str, arguments)], env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_server(self, port, *more):
        return self.start("serve.log", BIN / "finch", "serve", "--port", port, *more)

    def serve(self):
        """On loopback."""
        self.start_server("0", "--bind", "127.0.0.1")
        wait_for("finch serve", lambda: "served on port" in self.finch("doctor"))

    def devices(self):
        return {device["name"]: device for device in json.loads(self.finch("devices", "--json"))}

    def is_connected(self, name):
        return self.devices().get(name, {}).get("state") == "connected"

    def join(self, name, pace):
        """A board with /sys of its own, on which everything takes `pace` times as long."""
        root = self.work / name / "root"
        for file, text in {GOVERNOR: "performance\n", "proc/sys/kernel/osrelease": "6.6.1\n",
                           "proc/sys/kernel/random/boot_id":
                           pathlib.Path("/proc/sys/kernel/random/boot_id").read_text()}.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text)
        command = self.finch("devices", "invite", name, "--host", "127.0.0.1").split()
        return self.agent(name, pace, *command[1:])

    def agent(self, name, pace, *command):
        agent = self.start(f"{name}.log", BIN / "finch-agent", *command, "--state", self.work / name / "state",
                           "--sysfs-root", self.work / name / "root", "--onnxruntime", BIN / "libpaced_runtime.so",
                           FINCH_PACE=str(pace))
        wait_for(f"{name} to connect", lambda: self.is_connected(name))
        return agent

    def end(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(20)


def in_a_farm(check):
    """Ends with the last lines of every log where the check fails."""
    with tempfile.TemporaryDirectory() as folder:
        farm = Farm(pathlib.Path(folder))
        try:
            check(farm)
        except BaseException:
            for log in sorted(farm.work.glob("*.log")):
                print(f"== {log.name}", *log.read_text().splitlines()[-15:], sep="\n")
            raise
        finally:
            farm.end()
