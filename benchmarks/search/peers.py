#!/usr/bin/env python3
"""Evaluations that other searches need on a table of measured networks, to compare `finch table-bench` with.

Usage: benchmarks/search/peers.py TABLE.csv.gz --maximize COLUMN --minimize COLUMN… --reference VALUE…
                                  --peer {pygmo-nsga2,pymoo-nsga2,pymoo-unsga3,optuna-tpe} [--evaluations 1000] [--seeds 31]

Needs the peer: pip install pymoo optuna pygmo. Counts distinct genotypes, as finch table-bench does; a genotype without
one of the metrics is outside the space: it is given very bad values and does not count. References are errors
(100 - accuracy) and costs. Prints the median evaluations to 90, 95, 98 and 99 % of the table's true hypervolume.
"""
import argparse
import csv
import gzip
import statistics

OPERATIONS, EDGES, BAD = 5, 6, 1e4
MARKS = (90, 95, 98, 99)


def read(arguments):
    rows = {}
    with gzip.open(arguments.table, "rt") as file:
        for row in csv.DictReader(file):
            cells = [row[column] for column in arguments.maximize + arguments.minimize]
            if all(cells):
                errors = [100 - float(cell) for cell in cells[:len(arguments.maximize)]]
                rows[row["genotype"]] = errors + [float(cell) for cell in cells[len(arguments.maximize):]]
    return rows


def front_of(points):
    return [p for p in points if not any(q != p and all(a <= b for a, b in zip(q, p)) for q in points)]


def hypervolume(points, reference):
    """By slices along the last objective; points are few: fronts."""
    inside = [p for p in points if all(a < b for a, b in zip(p, reference))]
    if len(reference) == 1:
        return reference[0] - min((p[0] for p in inside), default=reference[0])
    levels = sorted({p[-1] for p in inside}) + [reference[-1]]
    return sum((above - level) * hypervolume(front_of([p[:-1] for p in inside if p[-1] <= level]), reference[:-1])
               for level, above in zip(levels, levels[1:]))


class Enough(Exception):
    pass


class Replay:
    def __init__(self, rows, arguments):
        self.rows, self.reference, self.most = rows, arguments.reference, arguments.evaluations
        self.seen, self.front, self.volumes = set(), [], []

    def evaluate(self, genotype):
        values = self.rows.get(genotype)
        if values is None:
            return [BAD] * len(self.reference)
        if genotype not in self.seen:
            if len(self.seen) == self.most:
                raise Enough
            self.seen.add(genotype)
            if not any(all(a <= b for a, b in zip(other, values)) for other in self.front):
                self.front = front_of(self.front + [values])
                self.volumes.append((len(self.seen), hypervolume(self.front, self.reference)))
        return values


def pymoo(replay, seed, name):
    import numpy
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.algorithms.moo.unsga3 import UNSGA3
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.ux import UX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize
    from pymoo.util.ref_dirs import get_reference_directions

    objectives = len(replay.reference)

    class Table(ElementwiseProblem):
        def __init__(self):
            super().__init__(n_var=EDGES, n_obj=objectives, xl=0, xu=OPERATIONS - 1, vtype=int)

        def _evaluate(self, x, out, *_, **__):
            out["F"] = numpy.array(replay.evaluate("".join(str(int(choice)) for choice in x)))

    operators = dict(sampling=IntegerRandomSampling(), crossover=UX(),
                     mutation=PM(prob=1.0, eta=3, vtype=float, repair=RoundingRepair()), eliminate_duplicates=True)
    if name == "unsga3":
        directions = get_reference_directions("energy", objectives, 20, seed=1)
        algorithm = UNSGA3(ref_dirs=directions, pop_size=20, **operators)
    else:
        algorithm = NSGA2(pop_size=20, **operators)
    minimize(Table(), algorithm, ("n_gen", 10 * replay.most), seed=seed)


def optuna_tpe(replay, seed):
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * len(replay.reference),
                                sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(lambda trial: replay.evaluate("".join(
        str(trial.suggest_categorical(f"edge{edge}", list(range(OPERATIONS)))) for edge in range(EDGES))),
        n_trials=3 * replay.most)


def pygmo_nsga2(replay, seed):
    import pygmo

    class Table:
        def fitness(self, x):
            return replay.evaluate("".join(str(int(choice)) for choice in x))

        def get_bounds(self):
            return ([0] * EDGES, [OPERATIONS - 1] * EDGES)

        def get_nobj(self):
            return len(replay.reference)

        def get_nix(self):
            return EDGES

    population = pygmo.population(pygmo.problem(Table()), 20, seed=seed)
    pygmo.algorithm(pygmo.nsga2(gen=10 * replay.most, seed=seed)).evolve(population)


PEERS = {"pymoo-nsga2": lambda replay, seed: pymoo(replay, seed, "nsga2"),
         "pymoo-unsga3": lambda replay, seed: pymoo(replay, seed, "unsga3"),
         "optuna-tpe": optuna_tpe, "pygmo-nsga2": pygmo_nsga2}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--maximize", nargs="+", required=True)
    parser.add_argument("--minimize", nargs="+", required=True)
    parser.add_argument("--reference", nargs="+", type=float, required=True)
    parser.add_argument("--peer", choices=sorted(PEERS), required=True)
    parser.add_argument("--evaluations", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=31)
    arguments = parser.parse_args()
    rows = read(arguments)
    true = hypervolume(front_of(sorted(set(map(tuple, rows.values())))), arguments.reference)
    reached = {mark: [] for mark in MARKS}
    for seed in range(1, arguments.seeds + 1):
        replay = Replay(rows, arguments)
        try:
            PEERS[arguments.peer](replay, seed)
        except Enough:
            pass
        for mark in MARKS:
            reached[mark].append(next((count for count, volume in replay.volumes if volume >= mark / 100 * true),
                                      float("inf")))
        print(f"seed {seed}: " + " ".join(f"{mark} %: {reached[mark][-1]}" for mark in MARKS), flush=True)
    print(f"{arguments.peer}, true hypervolume {true:.3f}, medians: " +
          ", ".join(f"{mark} %: {statistics.median(reached[mark])} (worst {max(reached[mark])})" for mark in MARKS))


if __name__ == "__main__":
    main()
