"""What the Python tests share: the bundles that python.test.ts made, fixtures, safetensors."""

import json
import os
import struct
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "runtime", "python"))

import farrier  # noqa: E402
import numpy as np  # noqa: E402

FIXTURES = os.path.join(ROOT, "test", "fixtures", "models")
BUNDLES = json.loads(os.environ.get("FARRIER_TEST_BUNDLES", "{}"))

NUMPY = {"BF16": np.uint16, "F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32, "BOOL": np.bool_}


def bundle(name):
    if name not in BUNDLES:
        raise unittest.SkipTest(f"FARRIER_TEST_BUNDLES names no bundle {name}")
    return BUNDLES[name]


def safetensors(*path):
    """Tensors of a fixture's file, by name."""
    with open(os.path.join(FIXTURES, *path), "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    out = {}
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, end = tensor["data_offsets"]
        out[name] = np.frombuffer(data[begin:end], NUMPY[tensor["dtype"]]).reshape(tensor["shape"])
    return out


def reference(model):
    with open(os.path.join(FIXTURES, model, "reference.json"), encoding="utf-8") as file:
        return json.load(file)


def rel_rms(found, wanted):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


class Case(unittest.TestCase):
    def fails(self, code, text, body, status=2):
        """`body` raises a FarrierError with that code, whose text holds `text`."""
        with self.assertRaises(farrier.FarrierError) as caught:
            body()
        error = caught.exception
        self.assertEqual((error.code, error.exit_status), (code, status), str(error))
        self.assertTrue(str(error).startswith(f"{code}: "), str(error))
        self.assertIn(text, str(error))
