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
TARGETS = "sm_80,sm_90,sm_90a"
WEIGHTS = {"farrier": "none", "farrier, live weights": "live"}
"""What is timed as a recorded graph, and the bundle's `--weights`."""


def bundle(row, folder, weights):
    """Compiles what the row needs. Its path, seconds that the process took, bytes."""
    path = os.path.join(folder, f"{row.name} {weights}.farrier")
    start = time.perf_counter()
    command = ["node", os.path.join(ROOT, "bin", "farrier.js"), "compile", os.path.join(CONFIGS, row.model)]
    command += ["--target", TARGETS, "--weights", weights, "-o", path]
    for name, most in {"batch": row.batch, "seq": row.capacity}.items():
        ends = [end for end in BUCKETS[name] if end < most]
        command += ["--dim", f"{name}=1..{most}"]
        command += ["--buckets", f"{name}={','.join(map(str, ends))}"] if ends else []
    subprocess.run(command, check=True, capture_output=True, text=True)
    taken = time.perf_counter() - start
    size = sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(path) for name in names)
    return {"path": path, "compile_s": taken, "bytes": size}


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


def steps_of(model, row, entry):
    """Kernel and label of each launch of the row's plan."""
    plans = model.description.plan["targets"][model.target]
    sizes = {"batch": row.batch, "seq": row.tokens}
    inside = lambda box: all(low <= sizes[name] <= high for name, (low, high) in box.items())
    plan = next(plan for plan in plans["entries"][entry.name] if inside(plan["box"]))
    return [f"{plans['kernels'][step['kernel']]['symbol']} {step['label']}" for step in plan["steps"] if step["kind"] == "kernel"]


class Sides:
    """The row's calls, over one state and one set of inputs."""

    def __init__(self, case):
        self.case, self.state = case, None
        row = case.row
        self.arguments = {"input_ids": case.ids}
        if row.work != "encode":
            held = row.tokens if row.work == "decode" else 0
            self.arguments["lengths"] = torch.full((row.batch,), held, dtype=torch.int32, device="cuda")

    def _state(self, model):
        if self.case.row.work == "encode":
            return None
        if self.state is None:
            self.state = model.create_state("torch")
            for layer in range(len(self.case.caches)):
                self.case.fill(layer, [self.state[f"cache.{layer}.{kind}"] for kind in ("key", "value")])
            return self.state
        return model.create_state(arrays=list(self.state.arrays.values()))

    def build(self, name, made):
        """The call `name`, the entry's call besides; what was made for it is added to `made`."""
        row = self.case.row
        empty_driver_cache()
        first, cold = loaded(made["path"], self.case.model)
        first.close()
        model, warm = loaded(made["path"], self.case.model)
        entry, state = model.entry("main" if row.work == "encode" else row.work), self._state(model)
        recording = entry.record(**self.arguments, state=state)
        made |= {"load_s": {"cold": cold, "warm": warm}, "derived_bytes": model.weight_bytes, "target": model.target}
        made["steps"] = steps_of(model, row, entry)
        if row.work == "encode":
            result = lambda out: (out.last_hidden_state, None)
        else:
            result = lambda out: (out.logits[:, -1], out.next_ids)
        calls = {name: lambda: result(recording())}
        if name == "farrier":
            calls["farrier, called"] = lambda: result(entry.run(self.arguments, state=state))
        return calls
