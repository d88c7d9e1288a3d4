"""Writes a tiny IDX data set: the class decides in which quarter of a noisy 16 x 16 image a bright square lies."""
import gzip
import random
import struct
import sys

folder, generator = sys.argv[1], random.Random(1)
for stem, count in (("train", 600), ("t10k", 100)):
    pixels, labels = bytearray(), bytearray()
    for i in range(count):
        label = i % 4
        image = [generator.randrange(90) for _ in range(256)]
        for y in range(5):
            for x in range(5):
                image[(2 + y + 8 * (label // 2)) * 16 + 2 + x + 8 * (label % 2)] = 160 + generator.randrange(90)
        pixels += bytes(image)
        labels.append(label)
    with gzip.open(f"{folder}/{stem}-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">4I", 0x803, count, 16, 16) + pixels)
    with gzip.open(f"{folder}/{stem}-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">2I", 0x801, count) + labels)
