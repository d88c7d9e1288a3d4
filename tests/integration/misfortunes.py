"""What may befall a campaign, with real processes: Ctrl-C, a full disk, damaged files. Each time one clear line, the
documented exit code, and nothing lost: the campaign goes on afterwards.
"""
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

BIN = pathlib.Path(os.environ["FINCH_BIN"])
HERE = pathlib.Path(__file__).parent
FAILED, USAGE, INTERRUPTED = 1, 2, 130


def processes_with(text):
    """Command lines of running processes that hold `text`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode() if entry.name.isdigit() else ""
        except OSError:
            continue
        if text in line and entry.name != str(os.getpid()):
            found.append(line)
    return found


class Misfortunes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)
        (self.work / "data").mkdir()
        subprocess.run([sys.executable, HERE / "tiny_data.py", self.work / "data"], check=True)
        shutil.copy(HERE / "tiny.toml", self.work)
        self.run_folder = self.work / "run"
        self.home = self.work / "home"

    def environment(self):
        return os.environ | {"FINCH_HOME": str(self.home), "FINCH_PROFILES": os.environ["FINCH_SOURCE"] + "/profiles"}

    def start(self, *arguments):
        return subprocess.Popen([BIN / "finch", *map(str, arguments)], env=self.environment(), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)

    def finch(self, *arguments):
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def events(self, type):
        if not (self.run_folder / "campaign.db").exists():
            return []
        with sqlite3.connect(f"file:{self.run_folder}/campaign.db?mode=ro", uri=True) as db:
            try:
                return db.execute("SELECT sequence, data FROM events WHERE type = ?", [type]).fetchall()
            except sqlite3.OperationalError:
                return []  # not yet made

    def wait_for_event(self, process, type):
        while not self.events(type):
            self.assertIsNone(process.poll(), "finch ended too early")
            time.sleep(0.05)

    def assert_one_line(self, err, *words):
        """The last line says it; before it there is nothing but the log."""
        lines = err.strip().splitlines()
        self.assertEqual([line for line in lines if not line.startswith("[ ")], lines[-1:], err)
        for word in words:
            self.assertIn(str(word), lines[-1])

    def assert_goes_on(self):
        code, _, err = self.finch("resume", self.run_folder)
        self.assertEqual(code, 0, err)
        asked = [json.loads(data)["id"] for _, data in self.events("asked") if "id" in json.loads(data)]
        self.assertEqual(asked, sorted(set(asked)))
        self.assertTrue(json.loads((self.run_folder / "front.json").read_text())["models"])

    def test_control_c(self):
        for type in ("teacher", "screened", "finalists"):
            with self.subTest(type=type):
                shutil.rmtree(self.run_folder, ignore_errors=True)
                shutil.rmtree(self.home, ignore_errors=True)
                process = self.start("run", self.work / "tiny.toml", "--output", self.run_folder)
                self.wait_for_event(process, type)
                before = self.events("asked")
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, INTERRUPTED, err)
                self.assert_one_line(err, f"finch resume {self.run_folder}")
                self.assertEqual(processes_with(str(self.home)), [], "workers outlive finch")
                self.assert_goes_on()
                self.assertEqual(self.events("asked")[:len(before)], before)

    def test_damaged_artifacts_are_made_anew(self):
        code, _, err = self.finch("run", self.work / "tiny.toml", "--output", self.run_folder)
        self.assertEqual(code, 0, err)
        front = json.loads((self.run_folder / "front.json").read_text())
        shutil.rmtree(self.run_folder)
        for model in front["models"]:
            for file in model["files"]:
                artifact = self.home / "artifacts" / file["sha256"][:2] / file["sha256"]
                os.truncate(artifact, file["size_bytes"] // 2)
        code, _, err = self.finch("run", self.work / "tiny.toml", "--output", self.run_folder)
        self.assertEqual(code, 0, err)
        for model in json.loads((self.run_folder / "front.json").read_text())["models"]:
            for file in model["files"]:
                self.assertEqual((self.run_folder / file["path"]).stat().st_size, file["size_bytes"])

    def test_a_truncated_model(self):
        model = self.work / "model.onnx"
        model.write_bytes(pathlib.Path(os.environ["FINCH_SOURCE"], "tests/agent/models/brightest.onnx").read_bytes()[:120])
        done = subprocess.run([BIN / "finch-agent", "measure", model, "--tier", "quick"], capture_output=True, text=True)
        self.assertIn(done.returncode, (FAILED, USAGE))
        self.assertEqual(done.stdout, "")
        self.assert_one_line(done.stderr, model)

    def test_an_unreadable_profile(self):
        for text, word in (("name = \n", "this is not TOML"), ('nmae = "mine"\n', "nmae")):
            (self.work / "mine.toml").write_text(text)
            (self.work / "campaign.toml").write_text((self.work / "tiny.toml").read_text() +
                                                     '[[device]]\nname = "local"\nprofile = "mine.toml"\n')
            code, _, err = self.finch("run", self.work / "campaign.toml", "--output", self.run_folder)
            self.assertEqual(code, USAGE, err)
            self.assertIn(f"{self.work}/mine.toml:1", err)
            self.assertIn(word, err)
            self.assertFalse(self.run_folder.exists())

    def test_a_full_disk(self):
        if "FINCH_SMALL_DISK" not in os.environ:
            self.skipTest("this kernel gives no namespaces to mount a small disk in")
        disk = pathlib.Path(os.environ["FINCH_SMALL_DISK"])
        self.home, self.run_folder = disk / "home", disk / "run"
        (disk / "ballast").write_bytes(bytes((4 << 20) - (2 << 20)))
        code, _, err = self.finch("run", self.work / "tiny.toml", "--output", self.run_folder)
        self.assertEqual(code, FAILED, err)
        self.assertRegex(err.lower(), "no space|disk is full|full")
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=500m", disk], check=True)
        self.assert_goes_on()


if __name__ == "__main__":
    # The full disk is a small one of our own, in a mount namespace.
    if "FINCH_SMALL_DISK" not in os.environ:
        unshare = ["unshare", "--user", "--map-root-user", "--mount"]
        if subprocess.run([*unshare, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0:
            os.environ["FINCH_SMALL_DISK"] = "/mnt"
            os.execvp("unshare", [*unshare, "sh", "-c", 'mount -t tmpfs -o size=4m tmpfs /mnt && exec "$@"', "sh",
                                  sys.executable, *sys.argv])
    unittest.main()
