#!/usr/bin/env python3
"""Whether `finch bench` says the same twice: the same models again and again on this machine (an A/A test).

Usage: repeatability.py MODEL... [--repeats 20] [--tier screen] [--hog] [--record FILE]
--hog keeps every core busy beside it: the verdicts should then say so.
--record keeps every measurement, a line of JSON each; with no MODEL such a file is read instead of measuring.
Takes the baseline of the reference network first, in a home of its own. Prints for each model how many measurements are
VALID, how far the VALID medians lie from the pooled median (the median of all of them), in percent, and how many of the
95 % intervals cover it: the latency as measured, and normalised by the reference network.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

FINCH = pathlib.Path(__file__).resolve().parents[2] / "build/release/bin/finch"


def measure(options, home):
    environment = os.environ | {"FINCH_HOME": home}
    subprocess.run([FINCH, "devices", "calibrate"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() if options.hog else 0)]
    try:
        for repeat in range(options.repeats):
            out = subprocess.run([FINCH, "bench", *options.models, "--tier", options.tier, "--json"], env=environment,
                                 capture_output=True, text=True)
            for measurement in json.loads(out.stdout)["measurements"]:
                yield measurement | {"repeat": repeat}
    finally:
        for hog in hogs:
            hog.kill()


def report(name, measurements):
    print(f"{name}: VALID {sum(m['verdict'] == 'VALID' for m in measurements)} of {len(measurements)}")
    for kind in ("latency_ms", "normalised_ms"):
        found = [(m["verdict"], m[kind]) for m in measurements if m.get(kind)]
        if not found:
            continue
        pooled = statistics.median(value["median"] for _, value in found)
        off = sorted(abs(value["median"] / pooled - 1) * 100 for verdict, value in found if verdict == "VALID")
        covered = [verdict for verdict, value in found if value["ci_low"] <= pooled <= value["ci_high"]]
        line = f"  {kind}: pooled median {pooled:.4f}, its interval covers it in {len(covered)} of {len(found)}"
        if off:
            line += f" (VALID: {covered.count('VALID')} of {len(off)}); VALID medians lie {statistics.median(off):.2f} % off, at most {off[-1]:.2f} %"
        print(line)
    for reason, count in sorted(reasons(measurements).items(), key=lambda item: -item[1])[:4]:
        print(f"  {count} x not VALID: {reason}")


def reasons(measurements):
    counts = {}
    for measurement in measurements:
        if measurement["verdict"] != "VALID":
            text = "".join("#" if c.isdigit() else c for c in measurement["reasons"][0])
            counts[text] = counts.get(text, 0) + 1
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--tier", default="screen")
    parser.add_argument("--hog", action="store_true")
    parser.add_argument("--record", type=pathlib.Path)
    options = parser.parse_args()
    measurements = []
    if options.models:
        with tempfile.TemporaryDirectory() as home, open(options.record or os.devnull, "w") as record:
            for measurement in measure(options, home):
                measurements.append(measurement)
                print(json.dumps(measurement), file=record, flush=True)
    elif options.record:
        measurements = [json.loads(line) for line in options.record.read_text().splitlines()]
    else:
        parser.error("name models, or a --record to read")
    for name in sorted({m["file"] for m in measurements}):
        report(pathlib.Path(name).name, [m for m in measurements if m["file"] == name and "verdict" in m])


main()
