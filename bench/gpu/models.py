#!/usr/bin/env python3
"""
Whole passes of models beside Hugging Face's, on one GPU, through the Python package.

  python3 bench/gpu/models.py --out RESULT.json --commit ID --date DAY [--only TEXT,…] [--sides NAME:…] [--seconds N]

Each model is built by transformers with random weights; farrier compiles its config.json and is bound to
that model's own tensors, so that both compute the same function. A side is timed only if its result, for
three sequences of the batch and over the row's whole context, is within twice the error that transformers'
own bf16 has against transformers in f32. Steps of all sides are then timed in windows of 25 ms,
interleaved in random order after 50 ms of idleness; times are medians of seven windows. RESULT.json is
written after each row, and rows that it has already are kept: give the same file again to go on.
"""

import argparse
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import torch
import transformers

import farrier_side
import hugging_face
from model_rows import HEADROOM, ROWS, floor

ROUNDS = 7
WINDOW_US = 25e3


class Side:
    def __init__(self, name, step, rewind):
        self.name, self.step, self.rewind = name, step, rewind
        self.windows = []

    def start(self, case):
        """The error of the first call, and calls until it is warm; seconds of both, in which it compiles and records."""
        begin = time.perf_counter()
        self.rewind()
        error = case.error_of(self.step()[0][case.sample])
        for _ in range(2):
            self.rewind()
            self.step()
        torch.cuda.synchronize()
        self.first_s = time.perf_counter() - begin
        self.each = self.window(3)
        return error

    def window(self, count):
        """Microseconds a step, one after the other, until the last has ended."""
        self.rewind()
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        first.record()
        for _ in range(count):
            self.step()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) * 1e3 / count

    def measure(self):
        time.sleep(0.05)
        count = max(2, min(HEADROOM, round(WINDOW_US / self.each)))
        self.windows.append(self.window(count))

    def kernels(self):
        """Names and median microseconds of one step's kernels, in the order of their start."""
        activity = torch.profiler.ProfilerActivity
        self.rewind()
        with torch.profiler.profile(activities=[activity.CUDA]) as profile:
            for _ in range(3):
                self.step()
            torch.cuda.synchronize()
        events = [e for e in profile.profiler.kineto_results.events() if "CUDA" in str(e.device_type())]
        events = sorted((e.start_ns(), e.name(), e.duration_ns() / 1e3) for e in events)
        events = [e for e in events if not e[1].startswith(("Memcpy", "Memset"))]
        each = len(events) // 3
        runs = [events[i * each : (i + 1) * each] for i in range(3)]
        return [(same[0][1], round(statistics.median(t for _, _, t in same), 2)) for same in zip(*runs)]


def by_name(kernels):
    """How often and how long in all, the longest first; names of a peer's kernels have no end."""
    found = {}
    for name, time in kernels:
        count, whole = found.get(name[:100], (0, 0))
        found[name[:100]] = (count + 1, round(whole + time, 2))
    return dict(sorted(found.items(), key=lambda each: -each[1][1]))


def is_wanted(name, options):
    return options.sides == "" or name in options.sides.split(":")


def ours(row, options):
    """Live weights are timed where steps are: it is there that launches count."""
    names = farrier_side.WEIGHTS if row.work == "decode" else ["farrier"]
    return [name for name in names if is_wanted(name, options)]


def peers(row, options):
    return [name for name in hugging_face.SIDES[row.work] if is_wanted(name, options)]


def sides_of(case, options, made, failed):
    """Yields the row's sides, built one after the other."""
    own = farrier_side.Sides(case)
    for name, bundle in made.items():
        try:
            for call, step in own.build(name, bundle).items():
                yield Side(call, step, lambda: None)
        except Exception as problem:
            failed[name] = str(problem)[:300]
    for name in peers(case.row, options):
        try:
            yield Side(name, *hugging_face.SIDES[case.row.work][name](case))
        except Exception as problem:
            failed[name] = str(problem)[:300]


def measure(row, model, made, options):
    case = hugging_face.Case(row, model)
    result = {"name": row.name, "model": row.model, "work": row.work, "batch": row.batch, "tokens": row.tokens,
              "alone": row.alone, "floor": floor(row, model), "bf16_error": case.error, "failed": {}, "sides": {}}
    torch.cuda.empty_cache()
    sides = []
    for side in sides_of(case, options, made, result["failed"]):
        try:
            side.error = side.start(case)
            if side.error <= 2 * case.error:
                sides.append(side)
            else:
                result["failed"][side.name] = f"error {side.error}, transformers' own {case.error}"
        except Exception as problem:
            result["failed"][side.name] = f"{type(problem).__name__}: {problem}"[:300]
            print(traceback.format_exc()[-1500:], flush=True)
    for _ in range(ROUNDS):
        for side in random.sample(sides, len(sides)):
            side.measure()
    for side in sides:
        kernels = side.kernels()
        result["sides"][side.name] = {
            "us": round(statistics.median(side.windows), 2), "windows": [round(t, 2) for t in side.windows],
            "error": side.error, "first_s": round(side.first_s, 3), "launches": len(kernels),
            "kernels_us": round(sum(t for _, t in kernels), 2),
            "kernels": kernels if side.name in farrier_side.WEIGHTS else by_name(kernels)}
    result["bundles"] = {name: {key: value for key, value in each.items() if key != "path"} for name, each in made.items()}
    return result


def summary(result):
    ours = result["sides"].get("farrier", {}).get("us")
    line = f"{result['name']:32} floor {result['floor']:8.0f}"
    for name, side in result["sides"].items():
        ratio = f" ({side['us'] / ours:.2f})" if ours and not name.startswith("farrier") else ""
        line += f" | {name} {side['us']:.0f}{ratio} {side['launches']}k"
    print(line + (f" FAILED {result['failed']}" if result["failed"] else ""), flush=True)


def alone(row, options):
    """Each side in a process of its own; their results put together."""
    whole = None
    for name in [*ours(row, options), *peers(row, options)]:
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "one.json")
            command = [sys.executable, __file__, "--out", out, "--only", row.name, "--sides", name, "--inside"]
            done = subprocess.run(command, capture_output=True, text=True)
            if not os.path.exists(out):
                print(f"{row.name}, {name}: {done.stdout[-300:]} {done.stderr[-600:]}", flush=True)
                continue
            with open(out) as file:
                found = json.load(file)["rows"][0]
        if whole is None:
            whole = found
        else:
            whole["sides"] |= found["sides"]
            whole["failed"] |= found["failed"]
            whole["bundles"] |= found["bundles"]
    return whole


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--commit", default="")
    parser.add_argument("--date", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--sides", default="", help="names, colons between; default all")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--inside", action="store_true", help="a row that wants the memory to itself is given it")
    options = parser.parse_args()
    start = time.monotonic()
    driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
    report = {
        "device": torch.cuda.get_device_name(), "driver": driver, "cuda": torch.version.cuda, "torch": torch.__version__,
        "transformers": transformers.__version__, "commit": options.commit, "date": options.date, "rows": []}
    if os.path.exists(options.out):
        with open(options.out) as file:
            report["rows"] = json.load(file)["rows"]
    have = {row["name"] for row in report["rows"]}
    rows = [r for r in ROWS if r.name not in have and any(text in r.name for text in options.only.split(","))]
    model, loaded = None, None
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(8) as pool, torch.no_grad():
        apart = lambda row: row.alone and not options.inside
        compiled = lambda row, name: pool.submit(farrier_side.bundle, row, folder, farrier_side.WEIGHTS[name])
        bundles = {row.name: {name: compiled(row, name) for name in ours(row, options)} for row in rows if not apart(row)}
        for row in rows:
            if time.monotonic() - start > options.seconds:
                print(f"{row.name}: no time left", flush=True)
                continue
            try:
                if apart(row):
                    model = loaded = None
                    gc.collect()
                    torch.cuda.empty_cache()
                    result = alone(row, options)
                else:
                    if loaded != row.model:
                        model, loaded = None, row.model
                        gc.collect()
                        model = hugging_face.build(row.model, row.work)
                    result = measure(row, model, {name: each.result() for name, each in bundles[row.name].items()}, options)
            except Exception as problem:
                print(f"{row.name}: {type(problem).__name__} {problem}"[:500], flush=True)
                print(traceback.format_exc()[-1500:], flush=True)
                continue
            finally:
                torch._dynamo.reset()
                gc.collect()
                torch.cuda.empty_cache()
            if result is None:
                continue
            summary(result)
            report["rows"].append(result)
            with open(options.out, "w") as file:
                json.dump(report, file, ensure_ascii=False)
    print(f"{len(report['rows'])} rows after {time.monotonic() - start:.0f} s", flush=True)
    sys.exit(0 if len(report["rows"]) > len(have) or not rows else 1)


if __name__ == "__main__":
    main()
