"""Memory that an adversarial set of 50,000 images needs to be opened and read, beside a single shard of it.

The set is synthetic (32 x 32 pixels, perturbations of one sign step) and written with the writer of
``gazeshift attack``. Each reading runs in a process of its own; what counts is the highest resident memory above what
was resident after the imports.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench._table import show, verdict

COUNT, SHARD, SIDE, EPSILON = 50_000, 2_000, 32, 2 / 255
WAYS = {
    "shard": "open, read the first shard",
    "open": "open, count, no image read",
    "ids": "open, list all ids and labels",
    "all": "open, read every image, batches of 100",
}
MOST = 1.25  # times one shard; the list of shards and the allocator's leftovers are the rest


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        folder = write(Path(place) / "set")
        written = time.perf_counter() - started
        size = sum(file.stat().st_size for file in folder.rglob("*.parquet")) / 1e6
        found = {way: _in_its_own_process(folder, way) for way in WAYS}
    reached = found["all"]["megabytes"] / found["shard"]["megabytes"]
    show(
        f"Adversarial set, {COUNT} images of {SIDE} x {SIDE} in shards of {SHARD} ({size:.0f} MB on the disk)",
        ["", "memory, MB", "ratio to one shard", "seconds"],
        [
            [
                what,
                f"{found[way]['megabytes']:.1f}",
                f"{found[way]['megabytes'] / found['shard']['megabytes']:.2f}",
                f"{found[way]['seconds']:.2f}",
            ]
            for way, what in WAYS.items()
        ],
        f"written in {written:.0f} s; pixels of one shard, clean and perturbed: {SHARD * SIDE**2 * 3 * 8 / 1e6:.0f} MB",
        f"every image to one shard {reached:.2f}, {verdict(reached, MOST)}",
    )


def write(folder: Path) -> Path:
    """The synthetic set."""
    import torch

    from gazeshift.data import SET, describe_shard, set_options, set_rows
    from gazeshift.runs.store import Cell, CellResult, Store

    store, shards = Store(folder, **SET), []
    store.open({})
    draw = torch.Generator().manual_seed(0)
    for number in range(COUNT // SHARD):
        ids = tuple(f"{number * SHARD + at:06d}.png" for at in range(SHARD))
        clean = torch.randint(0, 256, (SHARD, 3, SIDE, SIDE), generator=draw).float() / 255
        step = torch.randint(0, 2, clean.shape, generator=draw).float().mul_(2).sub_(1).mul_(EPSILON)
        table = set_rows(
            ids=ids,
            labels=torch.arange(SHARD) % 10,
            sha256=["0" * 64] * SHARD,
            clean=clean,
            attacked=(clean + step).clamp_(0, 1),
            facts=_facts(),
        )
        cell = Cell(number=number, inputs={}, ids=ids)
        store.save(cell, CellResult(tables={SET["main"]: table}, notes={}, options=set_options(table)))
        shards.append(describe_shard(folder, store.place(cell)))
    store.write_manifest({"schema": 1, "holds": "set", "status": "finished", "shards": shards})
    return folder


def _facts() -> dict:
    import torch

    whole, real, flag = (torch.zeros(SHARD, dtype=kind) for kind in (torch.int32, torch.float32, torch.bool))
    kinds = {"class": whole, "confidence": real, "correct": flag}
    names = ("clean_class", "clean_confidence", "attacked_class", "attacked_confidence", "clean_correct")
    facts = {name: kinds[name.split("_")[1]] for name in names}
    facts |= dict.fromkeys(("margin", "linf", "l2", "rms"), real)
    return facts | dict.fromkeys(("claimed", "success", "success_8bit"), flag)


def _in_its_own_process(folder: Path, way: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.sets", str(folder), way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, way: str) -> dict[str, float]:
    """Megabytes and seconds of one way to read the set, in this process."""
    from gazeshift.data import open_set

    before, started = _resident(), time.perf_counter()
    found = open_set(folder)
    assert len(found) == COUNT
    if way == "ids":
        assert len(set(found.ids)) == len(found.labels) == COUNT
    if way in {"shard", "all"}:
        seen = 0
        for batch in found.batches(100):
            seen += len(batch)
            if way == "shard" and seen == SHARD:
                break
        assert seen == (SHARD if way == "shard" else COUNT)
    return {"megabytes": (_resident() - before) / 1e6, "seconds": time.perf_counter() - started}


def _resident() -> float:
    """Highest resident memory so far, in bytes. Linux's getrusage counts the parent's too, so it is asked elsewhere."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * float(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2])))
    else:
        main()
