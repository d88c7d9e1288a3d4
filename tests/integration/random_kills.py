"""Campaigns whose controller, trainer or agent is killed with SIGKILL at random moments, with real processes.

random_kills.py ROLE KILLS [SEED]: runs tiny campaigns until KILLS kills of ROLE (controller, trainer, agent) have hit,
and checks of every campaign that it finishes, that no event is lost or doubled, that its files are what front.json says,
and that its log replays: finch proposes again, from the seed and the recorded outcomes alone, what it proposed then.
"""
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile

FINCH = os.environ["FINCH_BIN"] + "/finch"
HERE = pathlib.Path(__file__).parent
EVALUATIONS = 3  # as tiny.toml says
# Seconds between kills. A model whose measuring process dies four times in a row is given up, as it should be: an agent
# is left the time to measure now and then.
LONGEST_PAUSE = {"controller": 4, "trainer": 4, "agent": 12}


def processes_of(role, finch):
    """Those of `role` that this finch has started: workers, and the children in which they train and measure."""
    parents, names = {}, {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name, rest = (entry / "stat").read_text().split("(", 1)[1].rsplit(") ", 1)
        except (OSError, IndexError):
            continue  # it has ended meanwhile
        parents[int(entry.name)], names[int(entry.name)] = int(rest.split()[1]), name

    def descends(process):
        while process in parents:
            process = parents[process]
            if process == finch:
                return True
        return False

    return [process for process in parents if names[process] == "finch-" + role and descends(process)]


class Campaign:
    def __init__(self, work, number):
        self.folder = work / f"run{number}"
        self.log = (work / f"log{number}").open("w")
        # Of its own each, or what the one before has measured would be reused.
        self.environment = os.environ | {"FINCH_HOME": str(work / f"home{number}"),
                                         "FINCH_PROFILES": os.environ["FINCH_SOURCE"] + "/profiles"}
        self.start("run", str(work / "tiny.toml"), "--output", str(self.folder), "--seed", str(number))

    def start(self, *arguments):
        self.process = subprocess.Popen([FINCH, *arguments], stdout=subprocess.DEVNULL, stderr=self.log,
                                        env=self.environment)

    def kill(self, role, generator):
        """True when something was hit."""
        if role != "controller":
            victims = processes_of(role, self.process.pid)
            if not victims:
                return False
            try:
                os.kill(generator.choice(victims), signal.SIGKILL)
            except ProcessLookupError:
                return False
            return True
        if not (self.folder / "campaign.db").exists():
            return False  # nothing to resume yet
        self.process.kill()
        if self.process.wait() == 0:
            return False
        self.start("resume", str(self.folder))
        return True

    def report(self, folder):
        return subprocess.run([FINCH, "report", str(folder), "--json"], env=self.environment, capture_output=True,
                              text=True)

    def check(self):
        self.log.flush()
        tail = pathlib.Path(self.log.name).read_text()[-2000:]
        assert self.process.returncode == 0, f"finch ended with {self.process.returncode}: {tail}"
        events = [(kind, json.loads(data)) for kind, data in sqlite3.connect(self.folder / "campaign.db").execute(
            "SELECT type, data FROM events ORDER BY sequence")]
        keys = [(kind, data.get("id"), data.get("precision")) for kind, data in events if kind not in ("note", "device")]
        assert len(set(keys)) == len(keys), f"events are doubled: {sorted(k for k in keys if keys.count(k) > 1)}"
        ids = lambda wanted: [data["id"] for kind, data in events if kind == wanted and "id" in data]
        assert sorted(ids("asked")) == sorted(ids("told")), "a proposal was lost"
        outcomes = [data["outcome"] for kind, data in events if kind == "told"]
        assert outcomes.count("evaluated") == EVALUATIONS, outcomes
        front = json.loads((self.folder / "front.json").read_text())
        assert front["models"]
        for file in (file for model in front["models"] for file in model["files"]):
            content = (self.folder / file["path"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file["sha256"], file["path"]

        replayed = self.report(self.folder)
        assert replayed.returncode == 0, replayed.stderr
        # The same check sees a log whose recorded proposal is another.
        forged = self.folder.with_suffix(".forged")
        shutil.copytree(self.folder, forged)
        with sqlite3.connect(forged / "campaign.db") as database:
            asked = database.execute("SELECT max(sequence) FROM events WHERE type = 'asked'").fetchone()[0]
            data = json.loads(database.execute("SELECT data FROM events WHERE sequence = ?", (asked,)).fetchone()[0])
            other = next(d["genotype"] for kind, d in events if kind == "asked" and d.get("genotype") != data["genotype"])
            database.execute("UPDATE events SET data = ? WHERE sequence = ?",
                             (json.dumps(data | {"genotype": other}), asked))
        assert self.report(forged).returncode != 0, "a forged proposal was not noticed"
        shutil.rmtree(forged)


def main():
    role, kills = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
    print(f"{kills} kills of {role}; seed {seed}", flush=True)
    generator = random.Random(seed)
    work = pathlib.Path(tempfile.mkdtemp(prefix="finch-kills-"))
    (work / "data").mkdir()
    subprocess.run([sys.executable, HERE / "tiny_data.py", work / "data"], check=True)
    shutil.copy(HERE / "tiny.toml", work)
    hit = campaigns = 0
    try:
        while hit < kills:
            campaigns += 1
            campaign = Campaign(work, campaigns)
            try:
                while campaign.process.poll() is None:
                    try:
                        campaign.process.wait(generator.uniform(0.05, LONGEST_PAUSE[role]))
                    except subprocess.TimeoutExpired:
                        if hit < kills and campaign.kill(role, generator):
                            hit += 1
            finally:
                campaign.process.kill()
                campaign.process.wait()
            campaign.check()
            print(f"campaign {campaigns} finished after {hit} kills in all", flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{hit} kills of {role} in {campaigns} campaigns: nothing lost, nothing doubled, every log replays")


main()
