#!/usr/bin/env python3
"""
Time from the start of a process to its first ids, on one GPU: farrier from Python and from Node, and
transformers with torch.compile.

  python3 bench/gpu/first_token.py --out RESULT.json --commit ID --date DAY [--model NAME] [--only TEXT,…] [--runs N]

Each contender is a process: it gets its weights (random ones, made on the GPU), runs a prompt of 128 ids and
one decode step. Written are the seconds from before the process is started until the first id is on the host,
and until the second is. Cold: no cache of compiled kernels, neither the driver's nor Inductor's. Warm: with what the
cold run left, and after `farrier warm`; the median of the runs. Files have been read before in both. This process loads neither
PyTorch nor a driver.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROMPT, CAPACITY, BATCH = 128, 1024, 8
MARKS = ("imported ", "loaded ", "first ", "second ")
FARRIER = ["node", os.path.join(ROOT, "bin", "farrier.js")]


def said(what):
    print(f"{what} {time.time()}", flush=True)


def of_numpy(bundle, _):
    """Host arrays: no PyTorch in the process."""
    import numpy as np

    sys.path.insert(0, os.path.join(ROOT, "runtime", "python"))
    import farrier

    said("imported")
    model = farrier.load(bundle, "cuda")
    said("loaded")
    state = model.create_state("runtime")
    ids = np.arange(1, PROMPT + 1, dtype=np.int64)[None]
    first = model(entry="prefill", input_ids=ids, lengths=np.zeros(1, np.int32), state=state).next_ids
    said("first")
    model(entry="decode", input_ids=first[None], lengths=np.full(1, PROMPT, np.int32), state=state)
    said("second")


def of_torch(bundle, _):
    """The same with PyTorch's tensors and a recorded step."""
    import torch

    sys.path.insert(0, os.path.join(ROOT, "runtime", "python"))
    import farrier

    said("imported")
    model = farrier.load(bundle, "cuda")
    said("loaded")
    state = model.create_state("torch")
    ids = torch.arange(1, PROMPT + 1, device="cuda")[None]
    lengths = torch.zeros(1, dtype=torch.int32, device="cuda")
    last = model(entry="prefill", input_ids=ids, lengths=lengths, state=state).next_ids[None]
    last.cpu()
    said("first")
    lengths.fill_(PROMPT)
    model.entry("decode").record(last, lengths, state=state)().next_ids.cpu()
    said("second")


def of_transformers(_, name):
    """The prompt eager and the step compiled, as transformers' own generation does."""
    import torch
    from transformers import StaticCache

    sys.path.insert(0, HERE)
    from hugging_face import build

    said("imported")
    with torch.no_grad():
        model = build(name, "decode")
        torch.cuda.synchronize()
        said("loaded")
        past = StaticCache(config=model.config, max_cache_len=CAPACITY)
        ids = torch.arange(1, PROMPT + 1, device="cuda")[None]
        step = lambda ids, past: model(input_ids=ids, past_key_values=past, logits_to_keep=1).logits[:, -1].argmax(-1)
        last = step(ids, past)[None]
        last.cpu()
        said("first")
        torch.compile(step, mode="reduce-overhead", fullgraph=True, dynamic=False)(last, past).cpu()
        said("second")


INSIDE = {"numpy": of_numpy, "torch": of_torch, "transformers": of_transformers}


def contenders(bundle, model):
    inside = lambda name: [sys.executable, os.path.abspath(__file__), "--inside", name, bundle, model]
    prompt = ["--prompt-ids", ",".join(map(str, range(1, PROMPT + 1))), "--ignore-eos", "--device", "cuda:0"]
    generate = lambda place, *options: [*FARRIER, "generate", place, *prompt, *options]
    return {
        "farrier, Python with NumPy": inside("numpy"),
        "farrier, Python with PyTorch": inside("torch"),
        "farrier generate BUNDLE, whole process, one id": generate(bundle, "--max-new-tokens", "1"),
        "farrier generate MODEL, compiled first, whole process, one id": generate(
            os.path.join(HERE, "models", model), "--max-new-tokens", "1", "--weights", "random:1"),
        "transformers, torch.compile reduce-overhead": inside("transformers"),
    }


def with_caches(folder):
    kept = {
        "CUDA_CACHE_PATH": "driver", "FARRIER_WARM_DIR": "kernels",
        "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
    return os.environ | {name: os.path.join(folder, each) for name, each in kept.items()}


def timed(command, environment):
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    end = time.time()
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)[:200]}: {done.stderr[-800:]}")
    marks = (line.split() for line in done.stdout.splitlines() if line.startswith(MARKS))
    found = {what: round(float(when) - start, 3) for what, when in marks}
    return found or {"first": round(end - start, 3)}


def main():
    if sys.argv[1:2] == ["--inside"]:
        INSIDE[sys.argv[2]](*sys.argv[3:])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--commit", default="")
    parser.add_argument("--date", default="")
    parser.add_argument("--model", default="llama-3.2-1b")
    parser.add_argument("--only", default="")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    report = {"model": options.model, "prompt": PROMPT, "commit": options.commit, "date": options.date, "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        bundle = os.path.join(folder, "model.farrier")
        dims = ["--dim", f"batch=1..{BATCH}", "--dim", f"seq=1..{CAPACITY}"]
        compiling = [*FARRIER, "compile", os.path.join(HERE, "models", options.model), "--target", "sm_80,sm_90,sm_90a", *dims]
        subprocess.run([*compiling, "--weights", "random:1", "-o", bundle], check=True, capture_output=True)
        subprocess.run([sys.executable, "-c", "import numpy, torch, transformers"], capture_output=True)
        for name, command in contenders(bundle, options.model).items():
            if not any(text in name for text in options.only.split(",")):
                continue
            caches = os.path.join(folder, "caches")
            environment = with_caches(caches)
            try:
                cold = timed(command, environment)
                if bundle in command:
                    subprocess.run([*FARRIER, "warm", bundle], check=True, capture_output=True, env=environment)
                runs = [timed(command, environment) for _ in range(options.runs)]
            except RuntimeError as problem:
                print(f"{name}: {problem}", flush=True)
                continue
            finally:
                shutil.rmtree(caches, ignore_errors=True)
            warm = {mark: statistics.median(run[mark] for run in runs) for mark in cold}
            report["rows"].append({"name": name, "cold": cold, "warm": warm, "runs": runs})
            print(f"{name:64} cold {cold} warm {warm}", flush=True)
            with open(options.out, "w") as file:
                json.dump(report, file)


if __name__ == "__main__":
    main()
