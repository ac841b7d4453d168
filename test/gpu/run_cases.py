#!/usr/bin/env python3
"""Runs the cases that make-cases.ts wrote, through the CUDA driver API (libcuda, numpy; nothing else).

  python3 test/gpu/run_cases.py DIR [FILTER] [--shard 1/4] [--untimed]

Each kernel runs twice on poisoned outputs between guard bands: results must be within the case's
tolerance of the double-precision reference, bit for bit the same in both runs, and nothing else may
have changed. Prints one line per case with the median time of 20 launches, then the totals.
"""
import argparse
import ctypes
import json
import os
import statistics
import sys
import zlib

import numpy as np

GUARD = 1024
POISON = 0xFF
SENTINEL = 0xA5

NUMPY = {
    "bool": np.uint8, "i8": np.int8, "u8": np.uint8, "i16": np.int16, "u16": np.uint16,
    "i32": np.int32, "u32": np.uint32, "i64": np.int64, "u64": np.uint64,
    "f16": np.float16, "bf16": np.uint16, "f32": np.float32, "f64": np.float64,
}
FLOATS = {"f16", "bf16", "f32", "f64"}


class Driver:
    def __init__(self):
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.check(self.cuda.cuInit(0))
        device = ctypes.c_int()
        self.check(self.cuda.cuDeviceGet(ctypes.byref(device), 0))
        context = ctypes.c_void_p()
        self.check(self.cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
        self.check(self.cuda.cuCtxSetCurrent(context))
        name = ctypes.create_string_buffer(100)
        self.check(self.cuda.cuDeviceGetName(name, 100, device))
        self.name = name.value.decode()
        self.modules = {}
        self.events = [self.event(), self.event()]

    def check(self, status):
        if status != 0:
            text = ctypes.c_char_p()
            self.cuda.cuGetErrorString(status, ctypes.byref(text))
            raise RuntimeError(f"CUDA {status}: {(text.value or b'?').decode()}")

    def event(self):
        event = ctypes.c_void_p()
        self.check(self.cuda.cuEventCreate(ctypes.byref(event), 0))
        return event

    def function(self, path, entry):
        if path not in self.modules:
            with open(path, "rb") as file:
                text = file.read() + b"\0"
            log = ctypes.create_string_buffer(8192)
            options = (ctypes.c_int * 2)(5, 6)  # error log buffer and its size
            values = (ctypes.c_void_p * 2)(ctypes.addressof(log), 8192)
            module = ctypes.c_void_p()
            status = self.cuda.cuModuleLoadDataEx(ctypes.byref(module), text, 2, options, values)
            if status != 0:
                raise RuntimeError(f"{path} does not load: {log.value.decode()}")
            function = ctypes.c_void_p()
            self.check(self.cuda.cuModuleGetFunction(ctypes.byref(function), module, entry.encode()))
            self.modules[path] = function
        return self.modules[path]

    def allocate(self, size):
        pointer = ctypes.c_uint64()
        self.check(self.cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size)))
        return pointer.value

    def free(self, pointer):
        self.check(self.cuda.cuMemFree_v2(ctypes.c_uint64(pointer)))

    def upload(self, pointer, data):
        self.check(self.cuda.cuMemcpyHtoD_v2(ctypes.c_uint64(pointer), data.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(data.nbytes)))

    def download(self, pointer, size):
        data = np.empty(size, np.uint8)
        self.check(self.cuda.cuMemcpyDtoH_v2(data.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(pointer), ctypes.c_size_t(size)))
        return data

    def launch(self, function, grid, threads, shared, arguments):
        values = [ctypes.c_uint64(argument & (2**64 - 1)) for argument in arguments]
        pointers = (ctypes.c_void_p * max(1, len(values)))(*[ctypes.addressof(value) for value in values])
        self.check(self.cuda.cuLaunchKernel(function, *map(ctypes.c_uint, grid), ctypes.c_uint(threads), ctypes.c_uint(1), ctypes.c_uint(1), ctypes.c_uint(shared), None, pointers, None))

    def synchronize(self):
        self.check(self.cuda.cuCtxSynchronize())

    def timed(self, body):
        self.check(self.cuda.cuEventRecord(self.events[0], None))
        body()
        self.check(self.cuda.cuEventRecord(self.events[1], None))
        self.check(self.cuda.cuEventSynchronize(self.events[1]))
        milliseconds = ctypes.c_float()
        self.check(self.cuda.cuEventElapsedTime(ctypes.byref(milliseconds), *self.events))
        return milliseconds.value * 1e3


def hash32(count, seed):
    """`hash32` of cases/case.ts."""
    with np.errstate(over="ignore"):
        h = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32((seed * 0x85EBCA77) % 2**32)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def encode(values, dtype):
    """Doubles as bytes of `dtype`, rounded once, to nearest even."""
    if dtype == "bf16":
        mantissa, exponent = np.frexp(values)
        rounded = np.ldexp(np.rint(mantissa * 256), exponent - 8).astype(np.float32)
        return (rounded.view(np.uint32) >> np.uint32(16)).astype(np.uint16).view(np.uint8)
    if dtype == "bool":
        return (values != 0).astype(np.uint8)
    if dtype not in FLOATS:
        values = np.trunc(values)
    return values.astype(NUMPY[dtype]).view(np.uint8)


def decode(data, dtype):
    values = data.view(NUMPY[dtype])
    if dtype == "bf16":
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    if dtype == "bool":
        return (values != 0).astype(np.float64)
    return values.astype(np.float64)


def initial(operand, data):
    """Bytes of an operand before the run, with its guard bands."""
    buffer = np.full(2 * GUARD + operand["bytes"], SENTINEL, np.uint8)
    inside = buffer[GUARD:GUARD + operand["bytes"]]
    fill = operand["fill"]
    if fill is None:
        inside[:] = POISON
    elif fill["kind"] == "values":
        inside[:] = data[fill["offset"]:fill["offset"] + fill["bytes"]]
    else:
        unit = (hash32(operand["elements"], fill["seed"]) >> np.uint32(8)).astype(np.float64) / 2**23 - 1
        values = unit * fill["scale"] + fill["shift"]
        if "step" in fill:
            values = np.floor(values / fill["step"] + 0.5) * fill["step"]
        inside[:] = encode(values, operand["dtype"])
        if zlib.crc32(inside.tobytes()) != fill["crc32"]:
            raise RuntimeError(f"{operand['name']}: generated input differs from the compiler's")
    return buffer


def compare(operand, after, expected, tolerance):
    """Null where all elements are as expected, else a sentence; and the worst relative error."""
    dtype = operand["dtype"]
    got = decode(after, dtype)
    untouched = decode(np.full(8, POISON, np.uint8), dtype)[0]
    want = np.where(np.isnan(expected), untouched, expected) if dtype not in FLOATS else expected
    finite = want[np.isfinite(want)]
    rms = np.sqrt(np.mean(finite**2)) if finite.size else 0.0
    with np.errstate(invalid="ignore"):
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        error = np.where(same, 0.0, np.abs(got - want))
        allowed = tolerance["absolute"] + tolerance["relative"] * np.abs(want) + tolerance["rms"] * rms
        good = same | (error <= allowed)
    worst = float(np.nanmax(error)) / (rms or 1.0) if error.size else 0.0
    if good.all():
        return None, worst
    at = int(np.argmin(good))
    return f"{operand['name']}[{at}] = {got[at]!r}, expected {want[at]!r} ± {np.broadcast_to(allowed, want.shape)[at]:.3g} ({int((~good).sum())} of {good.size} wrong)", worst


def run(driver, folder, case, data, timed):
    function = driver.function(os.path.join(folder, case["file"]), case["entry"])
    if case["sharedBytes"] > 48 * 1024:
        driver.check(driver.cuda.cuFuncSetAttribute(function, 8, case["sharedBytes"]))
    before = [initial(operand, data) for operand in case["operands"]]
    pointers = [driver.allocate(buffer.nbytes) for buffer in before]
    arguments = [pointer + GUARD for pointer in pointers] + case["scalars"]
    launch = lambda: driver.launch(function, case["grid"], case["threads"], case["sharedBytes"], arguments)
    try:
        results = []
        for _ in range(2):
            for pointer, buffer in zip(pointers, before):
                driver.upload(pointer, buffer)
            launch()
            driver.synchronize()
            results.append([driver.download(pointer, buffer.nbytes) for pointer, buffer in zip(pointers, before)])
        worst = 0.0
        for operand, was, first, second in zip(case["operands"], before, *results):
            if not operand.get("scratch") and not np.array_equal(first, second):
                return f"{operand['name']}: two runs differ", 0, worst
            end = GUARD + operand["bytes"]
            if not (np.array_equal(first[:GUARD], was[:GUARD]) and np.array_equal(first[end:], was[end:])):
                return f"{operand['name']}: written outside its {operand['elements']} elements", 0, worst
            if operand.get("scratch"):
                continue
            if operand["expected"] is None:
                if not np.array_equal(first, was):
                    return f"{operand['name']}: must be as before, and changed", 0, worst
                continue
            place = operand["expected"]
            expected = data[place["offset"]:place["offset"] + place["bytes"]].view(np.float64)
            failure, error = compare(operand, first[GUARD:end], expected, case["tolerance"])
            worst = max(worst, error)
            if failure is not None:
                return failure, 0, worst
        times = [driver.timed(launch) for _ in range(timed)][5:]
        return None, statistics.median(times or [0.0]), worst
    finally:
        for pointer in pointers:
            driver.free(pointer)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", default="build/gpu-cases")
    parser.add_argument("wanted", nargs="?", default="", help="cases whose name has this text")
    parser.add_argument("--shard", default="1/1", help="which part of the cases, of how many")
    parser.add_argument("--untimed", action="store_true", help="two launches a case, and no more")
    options = parser.parse_args()
    folder, wanted = options.folder, options.wanted
    index, count = map(int, options.shard.split("/"))
    with open(os.path.join(folder, "cases.json")) as file:
        cases = json.load(file)["cases"][index - 1::count]
    data = np.fromfile(os.path.join(folder, "data.bin"), np.uint8)
    driver = Driver()
    print(driver.name)
    passed = failed = 0
    for case in cases:
        if wanted not in case["name"]:
            continue
        try:
            failure, microseconds, worst = run(driver, folder, case, data, 0 if options.untimed else 25)
        except RuntimeError as error:
            # A fault is sticky: nothing after it can be trusted.
            print(f"FAIL  {case['name']}: {error}", flush=True)
            failed += 1
            if "CUDA" in str(error):
                print("stopped: the context is lost")
                break
            continue
        if failure is None:
            passed += 1
            print(f"ok    {microseconds:9.1f} us  worst {worst:8.1e} of rms  {case['name']}", flush=True)
        else:
            failed += 1
            print(f"FAIL  {case['name']}: {failure}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
