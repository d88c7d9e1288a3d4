"""The program `finch` as a user and a shell see it: help, completion, exit codes, one clear line an error."""

import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
import unittest

FINCH = os.environ["FINCH_BIN"] + "/finch"
SOURCE = pathlib.Path(os.environ["FINCH_SOURCE"])
COMMANDS = [[], ["run"], ["resume"], ["finish"], ["report"], ["export"], ["verify"], ["pick"], ["compress"], ["serve"], ["devices"], ["devices", "invite"],
            ["watch"], ["watch", "add"], ["watch", "list"], ["watch", "remove"], ["watch", "run"],
            ["devices", "remove"], ["doctor"], ["init"], ["plan"], ["bench"], ["table-bench"], ["table-bench", "predict"],
            ["completion"]]
DONE, FAILED, USAGE = 0, 1, 2


class CommandLine(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.environment = dict(os.environ, FINCH_HOME=str(self.folder / "home"), FINCH_PROFILES=str(SOURCE / "profiles"))

    def finch(self, *arguments):
        return subprocess.run([FINCH, *map(str, arguments)], cwd=self.folder, env=self.environment, capture_output=True,
                              text=True, timeout=60)

    def assert_refused(self, code, words, *arguments):
        """One line on stderr that holds all `words`, and nothing on stdout."""
        done = self.finch(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(str(word), done.stderr)

    def write_tiny_data(self, name):
        (self.folder / name).mkdir()
        subprocess.run([sys.executable, SOURCE / "tests/integration/tiny_data.py", self.folder / name], check=True)
        return self.folder / name

    def write_campaign(self, **replaced):
        text = (SOURCE / "tests/integration/tiny.toml").read_text()
        for old, new in replaced.items():
            self.assertIn(old, text)
            text = text.replace(old, new)
        (self.folder / "campaign.toml").write_text(text)
        return self.folder / "campaign.toml"


class Help(CommandLine):
    def test_every_command_has_an_example_that_it_understands(self):
        for command in COMMANDS:
            with self.subTest(command=command):
                done = self.finch(*command, "--help")
                self.assertEqual((done.returncode, done.stderr), (DONE, ""))
                self.assertLessEqual(max(map(len, done.stdout.splitlines())), 140)
                examples = [line.strip() for line in done.stdout.splitlines() if "finch " + " ".join(command) in line]
                self.assertTrue(examples, done.stdout)

    def test_the_list_above_is_complete(self):
        listed = self.finch("--help").stdout.split("Subcommands:")[1].split("\n\n")[0].split("\n")
        self.assertEqual({line.split()[0] for line in listed if line.strip()}, {c[0] for c in COMMANDS if c})

    def test_a_misspelt_command_is_answered_with_the_nearest(self):
        self.assert_refused(USAGE, ["devces", "devices"], "devces")
        self.assert_refused(USAGE, ["--sed"], "run", "campaign.toml", "--sed", "1")


class Completion(CommandLine):
    def complete(self, line):
        """What bash offers for the last word of `line`."""
        words = line.split(" ")
        script = (f"source <({shlex.quote(FINCH)} completion bash); COMP_WORDS=({' '.join(map(shlex.quote, words))}); "
                  f"COMP_CWORD={len(words) - 1}; _finch; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
        done = subprocess.run(["bash", "-c", script], cwd=self.folder, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stderr, "")
        return set(done.stdout.split())

    def test_offers_commands_options_and_files(self):
        self.assertEqual(self.complete("finch re"), {"resume", "report"})
        self.assertEqual(self.complete("finch devices in"), {"invite"})
        self.assertEqual(self.complete("finch run --o"), {"--output"})
        self.assertIn("--profile", self.complete("finch devices invite pi --"))
        (self.folder / "mine.toml").touch()
        self.assertEqual(self.complete("finch run mi"), {"mine.toml"})


class Doctor(CommandLine):
    def test_says_what_is_there(self):
        done = self.finch("doctor", "--json")
        findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
        for program in ("finch-agent", "finch-trainer", "onnxruntime", "device profiles"):
            self.assertEqual(findings[program]["state"], "ok", findings[program])
        for runtime in ("openvino", "litert"):
            self.assertIn(findings[runtime]["state"], ("ok", "warning"), findings[runtime])
        self.assertEqual(done.returncode, DONE)
        self.assertIn(str(self.folder / "home"), self.finch("doctor").stdout)

    def test_says_what_is_missing_and_what_to_do(self):
        self.environment["FINCH_PROFILES"] = str(self.folder / "nowhere")
        done = self.finch("doctor")
        self.assertEqual(done.returncode, FAILED)
        self.assertRegex(done.stdout, r"missing +device profiles .*FINCH_PROFILES")


class Init(CommandLine):
    def test_writes_a_campaign_of_what_lies_there(self):
        data = self.write_tiny_data('a "b" \\ c')
        done = self.finch("init", "--data", data, "--device", "pi-kitchen", "--profile", "raspberry-pi-5")
        self.assertEqual(done.returncode, DONE, done.stderr)
        text = (self.folder / "campaign.toml").read_text()
        campaign = tomllib.loads(text)
        self.assertEqual(campaign["data"]["path"], str(data.resolve()))
        self.assertEqual(campaign["device"], [{"name": "pi-kitchen", "profile": "raspberry-pi-5"}])
        self.assertIn("4 classes, 600 training and 100 test images of 1 x 16 x 16", text)

    def test_overwrites_nothing(self):
        data = self.write_tiny_data("data")
        (self.folder / "campaign.toml").write_text("mine")
        self.assert_refused(USAGE, ["campaign.toml", "--output"], "init", "--data", data)
        self.assertEqual((self.folder / "campaign.toml").read_text(), "mine")

    def test_refuses_what_is_no_data_set(self):
        self.assert_refused(USAGE, [self.folder / "nowhere", "--data"], "init", "--data", self.folder / "nowhere")
        data = self.write_tiny_data("data")
        (data / "train-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
        done = self.finch("init", "--data", data)
        self.assertEqual(done.returncode, USAGE)
        self.assertIn("train-labels-idx1-ubyte.gz", done.stderr)
        self.assertFalse((self.folder / "campaign.toml").exists())

    def test_refuses_an_unknown_profile_with_the_nearest(self):
        data = self.write_tiny_data("data")
        self.assert_refused(USAGE, ["raspberry-pi-5"], "init", "--data", data, "--profile", "raspbery-pi-5")


class BadInput(CommandLine):
    def test_a_campaign_file_that_is_wrong(self):
        self.write_tiny_data("data")
        self.assert_refused(USAGE, ["nowhere.toml"], "run", "nowhere.toml")
        for old, new, words in [
            ("[budget]", "[budget]\nevaluatoins = 3", [":12", "budget.evaluatoins", "budget.evaluations"]),
            ("batch_size = 32", 'batch_size = "32"', [":18", "train.batch_size", "whole number"]),
            ("population = 4", "population = ", [":8"]),
            ('path = "data"', 'path = "nowhere"', [self.folder / "nowhere", "data.path"]),
            ('path = "data"', 'path = "data/t10k-labels-idx1-ubyte.gz"', ["data.path", "folder"]),
            ("count = 2", "count = 9", ["finalists.count", "budget.evaluations"]),
            ('name = "tiny"', 'name = ".."', ["campaign.name"]),
            ("[budget]", "[budget]\neval = 3", ["budget.eval", "'budget.evaluations'"]),
            ("[campaign]", "device = []\n[campaign]", ["device"]),
        ]:
            with self.subTest(new=new):
                file = self.write_campaign(**{old: new})
                self.assert_refused(USAGE, [file.name, *words], "run", file)
        self.assertEqual([entry.name for entry in self.folder.iterdir() if entry.name == "runs"], [])

    def test_folders_that_are_no_runs(self):
        for command in ("resume", "report", "finish"):
            with self.subTest(command=command):
                self.assert_refused(USAGE, ["no campaign here"], command, self.folder)

    def test_a_folder_that_holds_something_else(self):
        self.write_tiny_data("data")
        file = self.write_campaign()
        (self.folder / "full").mkdir()
        (self.folder / "full" / "thesis.txt").write_text("mine")
        self.assert_refused(USAGE, ["full"], "run", file, "--output", self.folder / "full")
        self.assertEqual((self.folder / "full" / "thesis.txt").read_text(), "mine")

    def test_an_occupied_port(self):
        with socket.socket() as other:
            other.bind(("0.0.0.0", 0))
            other.listen()
            port = other.getsockname()[1]
            self.assert_refused(FAILED, [port, "--port"], "serve", "--port", port)

    def test_a_missing_agent_is_named(self):
        alone = self.folder / "finch"
        shutil.copy(FINCH, alone)
        model = SOURCE / "agent" / "reference_network.onnx"
        self.write_tiny_data("data")
        self.write_campaign()
        for arguments in (("bench", model), ("devices", "calibrate"), ("run", "campaign.toml")):
            with self.subTest(arguments=arguments):
                done = subprocess.run([alone, *map(str, arguments)], cwd=self.folder, env=self.environment,
                                      capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, FAILED, done.stderr)
                self.assertIn(f"{self.folder / 'finch-agent'} is missing", done.stderr)

    def test_bench_that_cannot_be(self):
        model = os.path.join(SOURCE, "agent/reference_network.onnx")
        self.assert_refused(USAGE, ["name a model", "--compare"], "bench")
        self.assert_refused(USAGE, ["nowhere.onnx: no such file"], "bench", "nowhere.onnx")
        self.assert_refused(USAGE, ["--device pi", "finch devices"], "bench", model, "--device", "pi")
        self.assert_refused(USAGE, ["NAME=1,3,224,224"], "bench", model, "--shape", "image=1,x")
        self.assert_refused(USAGE, ["--tier"], "bench", model, "--tier", "fast")

    def test_devices_that_cannot_be(self):
        self.assert_refused(USAGE, ["local"], "devices", "invite", "local")
        self.assert_refused(USAGE, ["pi", "finch devices"], "devices", "remove", "pi")
        self.assertEqual(json.loads(self.finch("devices", "--json").stdout), [])


class Bench(CommandLine):
    MODELS = SOURCE / "tests" / "agent" / "models"

    def test_compares_two_files_and_goes_on_after_one_that_is_none(self):
        (self.folder / "broken.onnx").write_text("no model")
        done = self.finch("bench", "broken.onnx", "--compare", SOURCE / "agent" / "reference_network.onnx",
                          self.MODELS / "times_one.onnx", "--tier", "quick", "--json")
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("broken.onnx on local with onnxruntime: ", done.stderr)
        result = json.loads(done.stdout)
        broken, network = result["measurements"]
        self.assertIn("no ONNX file", broken["error"])
        self.assertIn(network["verdict"], ["VALID", "DEGRADED"])
        self.assertGreater(network["latency_ms"]["ci_low"], 0)
        comparison, = result["comparisons"]
        self.assertEqual(comparison["conclusion"], "slower")
        self.assertGreater(comparison["ratio"]["ci_low"], 1)

    def test_free_dimensions_are_given_by_name(self):
        model = self.MODELS / "free_size.onnx"
        self.assertIn("--shape x=", self.finch("bench", model, "--tier", "quick").stderr)
        done = self.finch("bench", model, "--shape", "x=1,1,64,2", "--tier", "quick")
        self.assertEqual(done.returncode, DONE, done.stderr)
        self.assertIn("95 % interval", done.stdout)


class Calibrate(CommandLine):
    def test_a_baseline_is_kept_where_nothing_disturbed(self):
        first, second = (json.loads(self.finch("devices", "calibrate", "--tier", "quick", "--json").stdout)[0]
                         for _ in range(2))
        self.assertEqual(first["device"], "local")
        self.assertGreater(first["reference_ms"]["ci_low"], 0)
        self.assertIsNone(first["before"])
        self.assertEqual(first["state_hash"], second["state_hash"])
        if first["verdict"] == "VALID":
            self.assertEqual(second["before"]["reference_ms"], first["reference_ms"]["median"])
        else:
            self.assertIsNone(second["before"])

    def test_an_unknown_device_is_named(self):
        done = self.finch("devices", "calibrate", "nobody")
        self.assertEqual(done.returncode, USAGE, done.stderr)
        self.assertIn("nobody", done.stderr)


class TableBench(CommandLine):
    def setUp(self):
        super().setUp()
        rows = "".join(f"000{a}{b}0,{60 + 7 * a + b},{1 + a * 5 + b}\n" for a in range(5) for b in range(5))
        (self.folder / "table.csv").write_text("genotype,top1,ms\n" + rows)

    def test_replays_writes_every_evaluation_and_prints_json(self):
        done = self.finch("table-bench", "--table", "table.csv", "--maximize", "top1", "--minimize", "ms",
                          "--evaluations", 5, "--seeds", 2, "--out", "runs.jsonl", "--json")
        self.assertEqual((done.returncode, done.stderr), (DONE, ""))
        self.assertEqual(json.loads(done.stdout)["evaluations"], 5)
        lines = [json.loads(line) for line in (self.folder / "runs.jsonl").read_text().splitlines()]
        self.assertEqual([line["index"] for line in lines], [1, 2, 3, 4, 5] * 2)
        self.assertEqual(set(lines[0]), {"seed", "index", "genotype", "values"})

    def test_says_what_is_wrong_with_the_call_or_the_table(self):
        common = ("table-bench", "--table", "table.csv", "--evaluations", 5, "--seeds", 1)
        self.assert_refused(USAGE, ["table.csv:1", "'top2'", "did you mean 'top1'"], *common, "--maximize", "top2")
        self.assert_refused(USAGE, ["--maximize", "--minimize"], *common)
        self.assert_refused(USAGE, ["'nsga4'", "nsga2"], *common, "--maximize", "top1", "--algorithm", "nsga4")
        self.assert_refused(USAGE, ["--cheap", "'mss'", "'ms'"], *common, "--minimize", "ms", "--cheap", "mss")
        self.assert_refused(USAGE, ["--reference", "1 values for 2"], *common, "--maximize", "top1", "--minimize", "ms",
                            "--reference", "50")
        self.assert_refused(USAGE, ["nowhere.csv", "no such file"], "table-bench", "--table", "nowhere.csv", "--maximize",
                            "top1")
        self.assert_refused(USAGE, ["resnet", "mobilenet"], *common, "--maximize", "top1", "--space", "resnet")


if __name__ == "__main__":
    unittest.main()
