"""Evaluates in several processes of torch.distributed and merges what they saw.

    python examples/evaluator/two_processes.py

Each process takes every second image and sends the bytes of its evaluator to the first one, which
merges them. The numbers are those of one process that sees all images, to the last bit.
"""

import argparse
import multiprocessing
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, distributed

from lossexport import Evaluator

IMAGES = 101
"""An odd number, so that the processes have unlike shares."""


def detections(image: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Boxes, scores, labels, and boxes and labels of the references: a detector's stand-in."""
    rng = torch.Generator().manual_seed(image)
    low, size = (100 * torch.rand(8, 2, generator=rng) for _ in range(2))
    references = torch.cat([low, low + size + 1], dim=1)
    boxes = references + torch.randn(8, 4, generator=rng)
    labels = torch.randint(1, 4, (8,), generator=rng)
    scores = torch.randint(1, 5, (8,), generator=rng) / 5  # many equal ones
    return boxes, scores, labels, references, labels


def evaluated(images: range) -> Evaluator:
    """An evaluator that has seen `images`."""
    evaluator = Evaluator(categories=[1, 2, 3])
    for image in images:
        evaluator.update_image(image, *detections(image))
    return evaluator


def work(rank: int, processes: int, meeting: str) -> None:
    """One process."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes
    )
    # Not a DistributedSampler: it repeats images where the shares are unlike, and an image that
    # two shards have is refused.
    own = evaluated(range(rank, IMAGES, processes))
    parts: list[bytes] | None = [b""] * processes if rank == 0 else None
    distributed.gather_object(own.to_bytes(), parts)
    if parts is not None:
        whole = Evaluator.from_bytes(parts[0])
        for part in parts[1:]:
            whole.merge(Evaluator.from_bytes(part))
        summary = whole.compute()
        print(f"{processes} processes, {len(whole)} images, {sum(map(len, parts))} bytes")
        print(f"AP {summary['AP']!r}, mean IoU {summary['iou']['mean']!r}")
        same = summary == evaluated(range(IMAGES)).compute()
        print("the same as one process" if same else "other numbers than one process")
    distributed.destroy_process_group()


def main() -> None:
    """Start the processes and wait for them."""
    parser = argparse.ArgumentParser(description="Evaluate in several processes.")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        context = multiprocessing.get_context("spawn")
        processes = [
            context.Process(target=work, args=(rank, given.processes, meeting))
            for rank in range(given.processes)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a process failed")


if __name__ == "__main__":
    main()
