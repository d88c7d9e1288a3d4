#!/usr/bin/env python3
"""Finch's training and evaluation against Python's PyTorch: the same network, data, batch and threads, in turns.

  benchmarks/trainer/pytorch_training.py [FASHION_MNIST_FOLDER [THREADS [ROUNDS [DEVICE]]]]

Needs numpy and torch (any of 2.x), and build/release/bin/training_benchmark, which describes the network; Finch augments,
looks soft targets up and distils meanwhile, PyTorch does none of it. DEVICE: cpu or cuda, where PyTorch trains with and
without bfloat16 (Finch with) and has all images on the GPU beforehand.
"""
import gzip
import pathlib
import random
import statistics
import subprocess
import sys
import time

import numpy
import torch
from torch import nn

BATCH = 128
STEPS = {"cpu": 60, "cuda": 468}  # of a turn, as in training_benchmark.cpp
PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "build/release/bin/training_benchmark"


def convolution(inputs, outputs, kernel, stride=1, groups=1, activation=True):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
              nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activation else []))


class Block(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__()
        self.layers = nn.Sequential(convolution(inputs, 3 * inputs, 1),
                                    convolution(3 * inputs, 3 * inputs, kernel, stride, 3 * inputs),
                                    convolution(3 * inputs, outputs, 1, activation=False))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.shortcut else self.layers(x)


def network():  # as kGenotype of training_benchmark.cpp
    return nn.Sequential(convolution(1, 16, 3, 2), Block(16, 16, 3, 1), Block(16, 32, 3, 2), Block(32, 32, 5, 1),
                         Block(32, 64, 3, 2), Block(64, 64, 5, 1), convolution(64, 128, 1), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(128, 10))


def idx(folder, name, header):
    path = pathlib.Path(folder) / name
    data = path.read_bytes() if path.exists() else gzip.decompress((path.parent / (name + ".gz")).read_bytes())
    return torch.from_numpy(numpy.frombuffer(data, numpy.uint8, offset=header).copy())


class PyTorch:
    def __init__(self, folder, memory_format, device, autocast):
        def images(name):
            pixels = idx(folder, name, 16).view(-1, 1, 28, 28).float() / 255
            return ((pixels - 0.286) / 0.353).contiguous(memory_format=memory_format).to(device)

        self.format, self.device, self.autocast = memory_format, device, autocast
        self.images = images("train-images-idx3-ubyte")
        self.labels = idx(folder, "train-labels-idx1-ubyte", 8).long().to(device)
        self.test_images = images("t10k-images-idx3-ubyte")
        self.test_labels = idx(folder, "t10k-labels-idx1-ubyte", 8).long().to(device)
        self.network = network().to(device, memory_format=memory_format)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.01)

    def finish(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def train(self):
        self.network.train()
        order = torch.randperm(len(self.images), device=self.device)
        self.finish()
        begin = time.perf_counter()
        for step in range(STEPS[self.device]):
            batch = order[step * BATCH:(step + 1) * BATCH]
            with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
                logits = self.network(self.images[batch].contiguous(memory_format=self.format))
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(logits.float(), self.labels[batch]).backward()
            self.optimizer.step()
        self.finish()
        return STEPS[self.device] * BATCH / (time.perf_counter() - begin)

    def evaluate(self):
        self.network.eval()
        begin = time.perf_counter()
        with torch.no_grad():
            right = sum(int((self.network(images).argmax(1) == labels).sum())
                        for images, labels in zip(self.test_images.split(250), self.test_labels.split(250)))
        assert 0 <= right <= len(self.test_images)
        return len(self.test_images) / (time.perf_counter() - begin)


class Finch:
    def __init__(self, folder, threads, device):
        self.process = subprocess.Popen([PROGRAM, folder, str(threads), device, "turns"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.parameters = int(self.process.stdout.readline())

    def turn(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def compare(what, contenders, rounds):
    for turn in contenders.values():  # warm-up
        turn()
    results = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in random.sample(list(contenders), len(contenders)):
            results[name].append(contenders[name]())
    for name, rates in results.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(results["Finch"], rates)], n=4)
        print(f"{what:10} {name:32} {statistics.median(rates):6.0f} images/s; "
              f"Finch is {middle:.3f} of it (quartiles {low:.3f} - {high:.3f})", flush=True)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist"
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 11
    device = sys.argv[4] if len(sys.argv) > 4 else "cpu"
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    random.seed(1)
    finch = Finch(folder, threads, device)
    others = {f"PyTorch, {name}{', bfloat16' if autocast else ''}": PyTorch(folder, memory_format, device, autocast)
              for name, memory_format in (("contiguous", torch.contiguous_format), ("channels-last", torch.channels_last))
              for autocast in ((False, True) if device == "cuda" else (False,))}
    for other in others.values():
        parameters = sum(p.numel() for p in other.network.parameters())
        assert parameters == finch.parameters, f"not the same network: {finch.parameters} and {parameters} parameters"
    print(f"PyTorch {torch.__version__}, {finch.parameters} parameters, batch {BATCH}, {threads} threads, {device}, "
          f"{rounds} rounds", flush=True)
    compare("training", {"Finch": lambda: finch.turn("train"), **{n: o.train for n, o in others.items()}},
            rounds)
    compare("evaluation", {"Finch": lambda: finch.turn("evaluate"), **{n: o.evaluate for n, o in others.items()}},
            rounds)


if __name__ == "__main__":
    main()
