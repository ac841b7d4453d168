#!/usr/bin/env python3
"""Dependent launches against plain ones: a recorded decode step of each bundle, in one process.

  farrier compile MODEL --target sm_90 --weights random:1 --dtype bf16 … -o A.farrier
  python3 bench/gpu/dependent.py A.farrier[:PAST[:BATCH]] …

Each bundle is loaded twice, once with FARRIER_DEPENDENT=0. Results must have the same bits; the two
take turns, and the median of the rounds is printed with the lowest and the highest.
"""

import os
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "runtime", "python"))

import farrier  # noqa: E402
import torch  # noqa: E402

ROUNDS, LAUNCHES = 11, 100


def load(path, dependent):
    os.environ["FARRIER_DEPENDENT"] = "1" if dependent else "0"
    return farrier.load(path, "cuda")


def recorded(model, past, batch):
    state = model.create_state("torch")
    for tensor in state.arrays.values():
        tensor.normal_()
    ids = torch.ones(batch, 1, dtype=torch.int64, device="cuda")
    lengths = torch.full((batch,), past, dtype=torch.int32, device="cuda")
    return model.entry("decode").record(ids, lengths, state=state)


def timed(recording):
    """Microseconds of a launch, in a row of them."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(LAUNCHES):
        recording()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / LAUNCHES * 1e3


def main():
    print(f"{torch.cuda.get_device_name()}, {ROUNDS} rounds of {LAUNCHES} launches")
    failed = False
    for argument in sys.argv[1:]:
        path, past, batch = (argument.split(":") + ["512", "1"])[:3]
        recordings, results = [], []
        for dependent in (False, True):
            torch.manual_seed(1)
            recordings.append(recorded(load(path, dependent), int(past), int(batch)))
            results.append(recordings[-1]().logits.clone())
        torch.cuda.synchronize()
        same = all(
            torch.equal(recordings[1]().logits, results[0]) for _ in range(200)
        )
        failed |= not same
        rounds = [[timed(recording) for recording in recordings] for _ in range(ROUNDS)]
        plain, dependent = (
            f"{statistics.median(times):.1f} us ({min(times):.1f} to {max(times):.1f})"
            for times in zip(*rounds)
        )
        name = os.path.basename(path)
        print(
            f"{name}, {past} filled, batch {batch}: plain {plain}, dependent {dependent}, "
            + ("same bits in 200 runs" if same else "BITS DIFFER"),
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
