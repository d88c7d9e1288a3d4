#!/usr/bin/env python3
"""int8 against fp32 on this machine, by MACs: the same random networks in both precisions, measured in turns by finch-agent.

    benchmarks/quantization/int8_against_fp32.py [--bin build/release/bin] [--tier quick] [--threads 1]

Prints a table on stdout: name, MACs, median latency of both with their intervals, and how many times int8 is faster.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile


def measure(program, model, options):
    done = subprocess.run([program, "measure", model, "--json", "--tier", options.tier, "--threads", str(options.threads)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{model}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    parser.add_argument("--tier", default="quick")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        exported = subprocess.run([options.bin / "export_networks", folder], stdout=subprocess.PIPE, text=True, check=True)
        networks = sorted((line.split() for line in exported.stdout.splitlines()), key=lambda row: int(row[1]))
        print(f"{'network':>9} {'MMACs':>8} {'fp32 ms':>9} {'interval':>19} {'int8 ms':>9} {'interval':>19} {'int8 is':>8}  verdicts")
        for name, macs in networks:
            rows = [measure(options.bin / "finch-agent", f"{folder}/{name}.{precision}.onnx", options)
                    for precision in ("fp32", "int8")]
            fp32, int8 = (row["latency_ms"] for row in rows)
            interval = lambda latency: f"{latency['ci_low']:.4f} - {latency['ci_high']:.4f}"
            print(f"{name:>9} {int(macs) / 1e6:8.2f} {fp32['median']:9.4f} {interval(fp32):>19} {int8['median']:9.4f} "
                  f"{interval(int8):>19} {fp32['median'] / int8['median']:7.2f}x  {rows[0]['verdict']}, {rows[1]['verdict']}",
                  flush=True)


if __name__ == "__main__":
    main()
