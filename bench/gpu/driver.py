"""Kernels by the CUDA driver API on PyTorch's current stream, so that its graphs capture them; and cuBLASLt."""
import concurrent.futures
import ctypes
import gzip
import os
import re
import shutil
import subprocess
import tempfile

import torch


class Kernels:
    """Assembles PTX texts with the machine's ptxas, all at once, and loads them in PyTorch's context."""

    def __init__(self, folder, files):
        torch.zeros(1, device="cuda")
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.built = tempfile.mkdtemp()
        self.folder = folder
        self.loaded = {}
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            self.reports = dict(zip(files, pool.map(self.assemble, files)))

    def assemble(self, file):
        text = os.path.join(self.built, file.removesuffix(".gz"))
        with gzip.open(os.path.join(self.folder, file)) as packed, open(text, "wb") as out:
            source = packed.read()
            out.write(source)
        # What is made for one architecture is assembled for it, all else for the machine's.
        target = re.search(rb"\.target (\w+)", source).group(1).decode()
        architecture = target if target.endswith("a") else "sm_90"
        ptxas = shutil.which("ptxas") or "/usr/local/cuda/bin/ptxas"
        done = subprocess.run([ptxas, "-arch", architecture, "-v", text, "-o", text + ".cubin"], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{file}: {done.stderr}")
        number = lambda pattern: int(re.search(pattern, done.stderr).group(1))
        return {"registers": number(r"Used (\d+) registers"), "spilled": number(r"(\d+) bytes spill stores")}

    def check(self, status):
        if status != 0:
            text = ctypes.c_char_p()
            self.cuda.cuGetErrorString(status, ctypes.byref(text))
            raise RuntimeError(f"CUDA {status}: {(text.value or b'?').decode()}")

    def function(self, step):
        file = step["file"]
        if file not in self.loaded:
            with open(os.path.join(self.built, file.removesuffix(".gz") + ".cubin"), "rb") as cubin:
                image = cubin.read()
            module, function = ctypes.c_void_p(), ctypes.c_void_p()
            self.check(self.cuda.cuModuleLoadData(ctypes.byref(module), image))
            self.check(self.cuda.cuModuleGetFunction(ctypes.byref(function), module, step["entry"].encode()))
            if step["sharedBytes"] > 48 * 1024:
                self.check(self.cuda.cuFuncSetAttribute(function, 8, step["sharedBytes"]))
            self.loaded[file] = function
        return self.loaded[file]

    def resident(self, step):
        """Blocks of this kernel that one multiprocessor holds at a time."""
        count = ctypes.c_int()
        self.check(self.cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(
            ctypes.byref(count), self.function(step), step["threads"], ctypes.c_size_t(step["sharedBytes"])))
        return count.value

    def launcher(self, step, tensors):
        """A call that launches `step` over `tensors` (by operand name)."""
        function = self.function(step)
        workspace = [torch.zeros(size, dtype=torch.uint8, device="cuda") for size in step["workspace"]]
        given = [tensors[name] for name in step["operands"]] + workspace
        values = [ctypes.c_uint64(tensor.data_ptr()) for tensor in given]
        arguments = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        shape = [ctypes.c_uint(x) for x in [*step["grid"], step["threads"], 1, 1, step["sharedBytes"]]]

        def launch(kept=(values, given)):
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            self.check(self.cuda.cuLaunchKernel(function, *shape, stream, arguments, None))

        return launch


class CublasLt:
    """out[m, n] = a[m, k] · b[n, k]ᵀ in bf16 with f32 sums, by each algorithm that cuBLASLt proposes."""

    WORKSPACE = 64 << 20

    def __init__(self):
        self.lib = ctypes.CDLL("libcublasLt.so.13")
        self.handle = ctypes.c_void_p()
        self.call("cublasLtCreate", ctypes.byref(self.handle))
        self.workspace = torch.empty(self.WORKSPACE, dtype=torch.uint8, device="cuda")
        self.one, self.zero = ctypes.c_float(1), ctypes.c_float(0)

    def call(self, name, *arguments):
        status = getattr(self.lib, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name}: {status}")

    def layout(self, rows, columns, stride):
        made = ctypes.c_void_p()
        self.call("cublasLtMatrixLayoutCreate", ctypes.byref(made), 14, ctypes.c_uint64(rows), ctypes.c_uint64(columns), ctypes.c_int64(stride))
        return made

    def algorithms(self, m, n, k, wanted=12):
        """Calls (a, b, out) → launch, one for each algorithm."""
        desc, preference = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cublasLtMatmulDescCreate", ctypes.byref(desc), 68, 0)
        transpose = ctypes.c_int32(1)
        self.call("cublasLtMatmulDescSetAttribute", desc, 3, ctypes.byref(transpose), ctypes.c_size_t(4))
        # Column-major: outᵀ[n, m] = b(stored k × n, transposed) · aᵀ(stored k × m).
        left, right, out = self.layout(k, n, k), self.layout(k, m, k), self.layout(n, m, n)
        self.call("cublasLtMatmulPreferenceCreate", ctypes.byref(preference))
        limit = ctypes.c_uint64(self.WORKSPACE)
        self.call("cublasLtMatmulPreferenceSetAttribute", preference, 1, ctypes.byref(limit), ctypes.c_size_t(8))
        results, count = ctypes.create_string_buffer(96 * wanted), ctypes.c_int()
        self.call("cublasLtMatmulAlgoGetHeuristic", self.handle, desc, left, right, out, out, preference, wanted, results, ctypes.byref(count))

        def bound(index):
            algorithm = ctypes.c_void_p(ctypes.addressof(results) + 96 * index)

            def launch(a, b, c):
                pointer = lambda tensor: ctypes.c_void_p(tensor.data_ptr())
                self.call(
                    "cublasLtMatmul", self.handle, desc, ctypes.byref(self.one), pointer(b), left, pointer(a), right,
                    ctypes.byref(self.zero), pointer(c), out, pointer(c), out, algorithm, pointer(self.workspace),
                    ctypes.c_size_t(self.WORKSPACE), ctypes.c_void_p(torch.cuda.current_stream().cuda_stream))

            launch.kept = results
            return launch

        return [bound(index) for index in range(count.value)]
