#!/usr/bin/env python3
"""Replays every algorithm on tables of measured networks and draws hypervolume over evaluations as one SVG.

Usage: benchmarks/search/plot_curves.py TABLE.csv.gz [--finch build/release/bin/finch] [--seeds 31] [--jobs 2]
                                        [--out docs/search-curves.svg]
"""
import argparse
import json
import subprocess
import sys

TASKS = [  # title, --maximize, --minimize, --reference
    ("CIFAR-10 accuracy, Raspberry Pi 4 latency", ["cifar10_test_acc"], ["raspi4_latency_ms"], [15, 75.2445]),
    ("CIFAR-100 accuracy, Raspberry Pi 4 latency", ["cifar100_test_acc"], ["raspi4_latency_ms"], [40, 88.4401]),
    ("CIFAR-10 accuracy, Jetson TX2 latency", ["cifar10_test_acc"], ["jetson_tx2_latency_ms"], [15, 7.4494]),
    ("CIFAR-10 accuracy, Jetson TX2 latency and energy", ["cifar10_test_acc"],
     ["jetson_tx2_latency_ms", "jetson_tx2_energy_mj"], [15, 7.4494, 35]),
]
COLORS = {"surrogate": "#c23b22", "nsga2": "#2b6cb0", "unsga3": "#2f855a", "aging": "#b7791f", "random": "#718096"}
WIDTH, HEIGHT, LEFT, TOP, GAP = 420, 260, 46, 34, 70
EVALUATIONS, LOW = 200, 60  # horizontal extent; percent at the bottom


def replay(arguments, task, algorithm):
    _, maximize, minimize, reference = task
    command = [arguments.finch, "table-bench", "--table", arguments.table, "--space", "nasbench201", "--maximize",
               *maximize, "--minimize", *minimize, "--reference", *map(str, reference), "--algorithm", algorithm,
               "--evaluations", str(EVALUATIONS), "--seeds", str(arguments.seeds), "--jobs", str(arguments.jobs),
               "--json"]
    print(" ".join(command), file=sys.stderr)
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def panel(title, results, x0, y0):
    def place(evaluations, share):
        percent = max(LOW, 100 * share)
        return (x0 + WIDTH * evaluations / EVALUATIONS, y0 + HEIGHT * (100 - percent) / (100 - LOW))

    parts = [f'<text x="{x0}" y="{y0 - 12}" font-weight="bold">{title}</text>']
    for percent in range(LOW, 101, 10):
        y = place(0, percent / 100)[1]
        parts.append(f'<line x1="{x0}" y1="{y:.1f}" x2="{x0 + WIDTH}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>')
    for evaluations in range(0, EVALUATIONS + 1, 50):
        x = place(evaluations, 1)[0]
        parts.append(f'<text x="{x:.1f}" y="{y0 + HEIGHT + 16}" text-anchor="middle">{evaluations}</text>')
    for algorithm, result in results.items():
        curve = result["hypervolume"]
        band = [place(p["evaluations"], p["low"]) for p in curve] + [place(p["evaluations"], p["high"])
                                                                    for p in reversed(curve)]
        line = [place(p["evaluations"], p["median"]) for p in curve]
        points = lambda all_points: " ".join(f"{x:.1f},{y:.1f}" for x, y in all_points)
        color = COLORS[algorithm]
        parts.append(f'<polygon points="{points(band)}" fill="{color}" opacity="0.12"/>')
        parts.append(f'<polyline points="{points(line)}" fill="none" stroke="{color}" stroke-width="2"/>')
    return parts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--finch", default="build/release/bin/finch")
    parser.add_argument("--seeds", type=int, default=31)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", default="docs/search-curves.svg")
    arguments = parser.parse_args()

    parts = []
    for index, task in enumerate(TASKS):
        results = {algorithm: replay(arguments, task, algorithm) for algorithm in reversed(COLORS)}
        for algorithm in COLORS:
            marks = {m["share"]: m for m in results[algorithm]["evaluations_to"]}
            print(f"{task[0]}: {algorithm}: " + ", ".join(
                f"{100 * share:.0f} % {m['median'] or '-'} (worst {m['worst'] or '-'})" for share, m in marks.items()))
        parts += panel(task[0], results, LEFT + index % 2 * (WIDTH + GAP), TOP + index // 2 * (HEIGHT + GAP))
    width, height = 2 * WIDTH + GAP + LEFT + 20, 2 * (HEIGHT + GAP) + TOP
    for index, (algorithm, color) in enumerate(COLORS.items()):
        x = LEFT + 120 * index
        parts.append(f'<line x1="{x}" y1="{height - 18}" x2="{x + 24}" y2="{height - 18}" stroke="{color}" '
                     f'stroke-width="3"/><text x="{x + 30}" y="{height - 14}">{algorithm}</text>')
    parts.append(f'<text x="{width - 20}" y="{height - 14}" text-anchor="end">hypervolume, % of the true, over '
                 f'evaluations; medians and quartiles of {arguments.seeds} seeds</text>')
    with open(arguments.out, "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
                   f'font-size="12"><rect width="100%" height="100%" fill="white"/>' + "\n".join(parts) + "</svg>\n")


if __name__ == "__main__":
    main()
