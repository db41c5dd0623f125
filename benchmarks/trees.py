"""A tree of files to pack."""

import os
import random
import sysconfig
from pathlib import Path

FILES = 15_000


def make(tree: Path, size: int, files: int = FILES) -> None:
    """Fill a tree with pieces of Python's own library, of which few are large and most are small."""
    chance = random.Random(1)
    library = b"".join(path.read_bytes() for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")))
    weights = [chance.lognormvariate(0, 1) for _ in range(files)]
    for number, weight in enumerate(weights):
        folder = tree / str(number // 1000) / str(number // 50 % 20)
        folder.mkdir(parents=True, exist_ok=True)
        missing = round(size * weight / sum(weights)) if number else size // 100
        with (folder / f"file-{number}.txt").open("wb") as stream:
            while missing > 0:
                start = chance.randrange(len(library) - 65536)
                missing -= stream.write(library[start : start + min(missing, 65536)])
    os.sync()  # or the first contestants would share the disk with it
