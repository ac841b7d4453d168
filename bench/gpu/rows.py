#!/usr/bin/env python3
"""Checks and times the kernels that make-rows.ts rendered, beside their peers, in one process.

  python3 bench/gpu/rows.py DIR --out RESULT.json --commit ID --date DAY [--only TEXT,…] [--seconds N] [--compile-seconds N]

Correctness first: every variant and every peer on random data, outputs poisoned, against f32. Then
each contender is one CUDA graph of launches that rotate through more than 300 MB of operands; time is
that of a graph over its launches. All variants are screened in short windows; the model's choice, the
best variant and the best peers are then timed in rounds, interleaved: burst (0.1 s of idleness, a window
of 25 ms) and, where operations bound the row, sustained (slices of 50 ms, shuffled). Medians throughout.
"""
import argparse
import json
import random
import statistics
import subprocess
import sys
import time
import traceback

import torch

from driver import CublasLt, Kernels
from work import KINDS

READ = 4.46e12
FLOPS = 835e12
ROUNDS = 5


class Context:
    def __init__(self, options):
        self.start = time.monotonic()
        self.options = options
        self.cublaslt = CublasLt()
        self.compiling = 0.0

    def elapsed(self):
        return time.monotonic() - self.start

    def compile_mode(self):
        """max-autotune while its allowance lasts, the default mode after it, nothing at the end."""
        if self.compiling < self.options.compile_seconds:
            return "max-autotune-no-cudagraphs"
        return "default" if self.options.compile_seconds > 0 else None


class Contender:
    """One graph of launches over the row's sets of operands."""

    def __init__(self, name, call, sets):
        self.name, self.call, self.sets = name, call, sets
        self.screened, self.burst, self.sustained = [], [], []
        self.graph = None

    def capture(self):
        for given in self.sets[:2]:
            self.call(given)
        torch.cuda.synchronize()
        # How often all sets, so that a graph lasts 1.5 ms and the gap between graphs does not show.
        self.record(1)
        self.replay(1)
        self.launches_for(1.5)

    def record(self, times):
        self.graph = torch.cuda.CUDAGraph()
        self.launches = times * len(self.sets)
        with torch.cuda.graph(self.graph):
            for _ in range(times):
                for given in self.sets:
                    self.call(given)
        torch.cuda.synchronize()

    def launches_for(self, milliseconds):
        self.each = self.replay(1)
        times = max(1, round(milliseconds / (self.each * 1e-3 * len(self.sets))))
        if times > 1:
            self.record(times)
            self.replay(1)
            self.each = self.replay(1)

    def replay(self, count):
        """Microseconds a launch."""
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        for _ in range(count):
            self.graph.replay()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) * 1e3 / (count * self.launches)

    def window(self, milliseconds):
        self.each = self.replay(max(1, round(milliseconds * 1e3 / (self.each * self.launches))))
        return self.each


def poison(given):
    for name in ("out", "hidden", "normed"):
        if name in given:
            given[name].fill_(float("nan"))


def error_of(work, call, given, expected):
    """‖out − ref‖ / ‖ref‖ of a call that writes `out` or returns it."""
    poison(given)
    returned = call(given)
    torch.cuda.synchronize()
    out = (returned if isinstance(returned, torch.Tensor) else given["out"]).float()
    return ((out - expected).norm() / expected.norm()).item()


def gated(work, found, given, expected, result):
    """The contenders whose result is right; the others are reported."""
    kept = []
    for contender in found:
        try:
            error = error_of(work, contender.call, given, expected)
        except Exception as problem:
            result["failed"][contender.name] = str(problem).splitlines()[0][:200]
            continue
        result["errors"][contender.name] = error
        if error <= work.gate:
            kept.append(contender)
        else:
            result["failed"][contender.name] = f"error {error}"
    return kept


def screen(contenders):
    for contender in contenders:
        contender.capture()
    for _ in range(3):
        for contender in random.sample(contenders, len(contenders)):
            torch.cuda.synchronize()
            time.sleep(0.01)
            contender.screened.append(contender.window(4))


def burst(contenders):
    for _ in range(ROUNDS):
        for contender in random.sample(contenders, len(contenders)):
            torch.cuda.synchronize()
            time.sleep(0.1)
            contender.burst.append(contender.window(25))


def sustain(contenders, seconds):
    end = time.monotonic() + seconds
    warm = time.monotonic() + 0.4
    while time.monotonic() < end or min(len(x.sustained) for x in contenders) < ROUNDS:
        for contender in random.sample(contenders, len(contenders)):
            taken = contender.window(50)
            if time.monotonic() > warm:
                contender.sustained.append(taken)


def ours(kernels, variant, sets):
    calls = {id(given): [kernels.launcher(step, given) for step in variant["steps"]] for given in sets}

    def call(given):
        for launch in calls[id(given)]:
            launch()

    return Contender(variant["label"], call, sets)


def best(contenders):
    return min(contenders, key=lambda x: statistics.median(x.screened), default=None)


def measure(context, kernels, row):
    work = KINDS[row["kind"]](row)
    result = {key: value for key, value in row.items() if key != "variants"}
    result |= {"errors": {}, "failed": {}, "sets": len(work.sets)}
    result["floor"] = 1e6 * max(row["bytes"] / READ, row["flops"] / FLOPS)
    given = work.sets[0]
    expected = work.reference(given)
    variants = [ours(kernels, variant, work.sets) for variant in row["variants"]]
    started = context.elapsed()
    peers = [Contender(name, call, work.sets) for name, call in work.peers(context)]
    context.compiling += context.elapsed() - started
    variants, peers = (gated(work, found, given, expected, result) for found in (variants, peers))
    del expected
    screen(variants + peers)
    # One peer of a kind: the best of cuBLASLt's algorithms, beside what PyTorch calls.
    lists = [x for x in peers if x.name.startswith("cuBLASLt")]
    finalists = [x for x in peers if x not in lists] + ([best(lists)] if lists else [])
    contenders = list(dict.fromkeys([*variants[:1], *([best(variants)] if variants else []), *finalists]))
    burst(contenders)
    if row["flops"] / FLOPS > row["bytes"] / READ:
        sustain(contenders, 1.2)
    median = lambda times: round(statistics.median(times), 3) if times else None
    timed = lambda x: {
        "name": x.name, "screened": median(x.screened), "burst": median(x.burst), "sustained": median(x.sustained),
        "rounds": [round(time, 3) for time in x.burst]}
    described = {variant["label"]: variant["steps"] for variant in row["variants"]}
    step = lambda x: {key: x[key] for key in ("config", "grid", "threads", "sharedBytes")} | kernels.reports[x["file"]] | {"resident": kernels.resident(x)}
    result["farrier"] = [timed(x) | {"steps": [step(y) for y in described[x.name]]} for x in variants]
    result["peers"] = [timed(x) for x in peers]
    return result


def summary(result):
    model = next((x for x in result["farrier"] if x["burst"] is not None), None)
    fastest = min((x for x in result["farrier"] if x["burst"] is not None), key=lambda x: x["burst"], default=None)
    peers = [x for x in result["peers"] if x["burst"] is not None]
    line = f"{result['row']:>2} {result['name']:42} floor {result['floor']:7.1f}"
    if model:
        line += f" model {model['burst']:7.1f} best {fastest['burst']:7.1f} ({fastest['name'][:44]})"
    for peer in peers:
        ratio = f" {peer['burst'] / fastest['burst']:.2f}" if fastest else ""
        line += f" | {peer['name'][:26]} {peer['burst']:.1f}{ratio}"
    if model and model["sustained"]:
        line += f" | sustained {fastest['sustained'] or 0:.1f} : " + " ".join(f"{x['sustained']:.1f}" for x in peers)
    if result["failed"]:
        line += f" FAILED {result['failed']}"
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--out", required=True)
    parser.add_argument("--commit", default="")
    parser.add_argument("--date", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--compile-seconds", type=float, default=0)
    options = parser.parse_args()
    with open(f"{options.folder}/rows.json") as file:
        given = json.load(file)
    wanted = options.only.split(",")
    rows = [row for row in given["rows"] if any(f"{row['row']} {row['name']}".startswith(text) for text in wanted)]
    files = sorted({step["file"] for row in rows for variant in row["variants"] for step in variant["steps"]})
    context = Context(options)
    kernels = Kernels(options.folder, files)
    driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
    report = {
        "device": torch.cuda.get_device_name(), "driver": driver, "cuda": torch.version.cuda, "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(), "commit": options.commit, "date": options.date, "target": given["target"], "rows": []}
    print(f"{report['device']}, {len(rows)} rows, {len(files)} kernels assembled after {context.elapsed():.0f} s", flush=True)
    for row in rows:
        if context.elapsed() > options.seconds:
            print(f"{row['name']}: no time left", flush=True)
            continue
        try:
            with torch.no_grad():
                result = measure(context, kernels, row)
        except Exception as problem:
            print(f"{row['name']}: {type(problem).__name__} {problem}"[:400], flush=True)
            print(traceback.format_exc()[-600:], flush=True)
            if "CUDA" in str(problem):
                break
            continue
        summary(result)
        report["rows"].append(result)
        with open(options.out, "w") as file:
            json.dump(report, file, ensure_ascii=False)
        torch.cuda.empty_cache()
    print(f"{len(report['rows'])} rows in {context.elapsed():.0f} s, {context.compiling:.0f} of them compiling")
    sys.exit(0 if report["rows"] else 1)


if __name__ == "__main__":
    main()
