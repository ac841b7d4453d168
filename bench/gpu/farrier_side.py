"""farrier's side: bundles of the rows, bound to the live models' own tensors."""

import atexit
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time

# The driver reads it once, when it starts.
os.environ["CUDA_CACHE_PATH"] = tempfile.mkdtemp(prefix="driver-cache-")
atexit.register(shutil.rmtree, os.environ["CUDA_CACHE_PATH"], ignore_errors=True)

import torch  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "runtime", "python"))

import farrier  # noqa: E402

from hugging_face import CONFIGS  # noqa: E402

BUCKETS = {"batch": (1, 16, 64), "seq": (1, 16, 128, 512, 1024, 4096)}


def bundle(row, folder, options=()):
    """Compiles what the row needs. Its path, seconds that the process took, bytes."""
    path = os.path.join(folder, row.name.replace(" ", "-") + ".farrier")
    start = time.perf_counter()
    if not os.path.exists(path):
        dims = {"batch": row.batch, "seq": row.capacity}
        command = ["node", os.path.join(ROOT, "bin", "farrier.js"), "compile", os.path.join(CONFIGS, row.model)]
        command += ["--target", "sm_80,sm_90", "--weights", "none", "-o", path, *options]
        for name, most in dims.items():
            ends = [end for end in BUCKETS[name] if end < most]
            command += ["--dim", f"{name}=1..{most}"]
            command += ["--buckets", f"{name}={','.join(map(str, ends))}"] if ends else []
        subprocess.run(command, check=True, capture_output=True, text=True)
    size = sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(path) for name in names)
    return {"path": path, "compile_s": time.perf_counter() - start, "bytes": size}


def empty_driver_cache():
    """So that what is loaded next is assembled from its text."""
    for file in glob.glob(os.path.join(os.environ["CUDA_CACHE_PATH"], "*")):
        shutil.rmtree(file) if os.path.isdir(file) else os.remove(file)


def loaded(path, live):
    """The bundle on the GPU, and the seconds until its weights are there."""
    start = time.perf_counter()
    model = farrier.load(path, "cuda", weights=live.state_dict())
    torch.cuda.synchronize()
    return model, time.perf_counter() - start


def side(case, path):
    """Calls by name, each of which returns what a peer's step returns; and what was made for them."""
    row = case.row
    empty_driver_cache()
    first, cold = loaded(path, case.model)
    first.close()
    model, warm = loaded(path, case.model)
    made = {"load_s": {"cold": cold, "warm": warm}, "derived_bytes": model.weight_bytes}
    if row.work == "encode":
        entry, arguments, state = model.entry("main"), {"input_ids": case.ids}, None
        result = lambda out: (out.last_hidden_state, None)
    else:
        entry, state = model.entry(row.work), model.create_state("torch")
        held = row.tokens if row.work == "decode" else 0
        lengths = torch.full((row.batch,), held, dtype=torch.int32, device="cuda")
        arguments = {"input_ids": case.ids, "lengths": lengths}
        result = lambda out: (out.logits[:, -1], out.next_ids)
        for layer in range(len(case.caches)):
            case.fill(layer, [state[f"cache.{layer}.{kind}"] for kind in ("key", "value")])
    recording = entry.record(**arguments, state=state)
    plans = model.description.plan["targets"][model.target]["entries"][entry.name]
    sizes = {"batch": row.batch, "seq": row.tokens}
    plan = next(p for p in plans if all(low <= sizes[n] <= high for n, (low, high) in p["box"].items()))
    kernels = model.description.plan["targets"][model.target]["kernels"]
    made["steps"] = [f"{kernels[step['kernel']]['symbol']} {step['label']}" for step in plan["steps"] if step["kind"] == "kernel"]
    return {
        "farrier": lambda: result(recording()),
        "farrier, called": lambda: result(entry.run(arguments, state=state)),
    }, made
