"""The path of a GPU on a stand-in for its driver: host arrays, and a stand-in for CuPy's."""

import os
import sys
import types
import unittest

MOCK = os.environ.get("FARRIER_TEST_MOCK", "")
if not MOCK:
    raise unittest.SkipTest("FARRIER_TEST_MOCK names no stand-in for the driver")
os.environ["FARRIER_CUDA_LIBRARY"] = MOCK

from support import Case, bundle, farrier, np  # noqa: E402


class HostArrays(Case):
    def setUp(self):
        self.model = farrier.load(bundle("scale"), "cuda:0")
        self.addCleanup(self.model.close)
        self.x = np.arange(1, 7, dtype=np.float32).reshape(2, 3)

    def test_are_copied_in_and_out(self):
        self.assertEqual((self.model.device, self.model.target), ("cuda:0", "sm_80"))
        with self.model.create_state() as state:
            for n in (1, 2, 3):
                out = self.model(x=self.x, state=state)
                self.assertEqual(out.y.tolist(), [[2.5, 8.5, 18.5], [8.5, 20.5, 36.5]])
                self.assertEqual(out["count"].tolist(), [n])
            out = self.model(x=self.x[:1, :2].copy(), offset=np.zeros(1, np.float32), state=state)
            self.assertEqual(out.y.tolist(), [[2, 8]])
            y = np.zeros((2, 3), np.float32)
            self.model(x=self.x, state=state, out={"y": y})
            self.assertEqual(y[1, 2], 36.5)
            self.model.synchronize()

    def test_fail_with_a_type(self):
        state = self.model.create_state()
        self.fails("E_RT_INDEX", "negative", lambda: self.model(x=-self.x, state=state))
        self.fails("E_RT_STATE", "needs a state", lambda: self.model(x=self.x))
        self.fails(
            "E_RT_INPUT",
            "not dense",
            lambda: self.model(x=np.zeros((3, 2), np.float32).T, state=state),
        )
        self.fails(
            "E_UNSUPPORTED",
            "host arrays",
            lambda: self.model.entry().record(x=self.x, state=state),
            3,
        )
        self.fails("E_OPTION", "no memory on a GPU", lambda: self.model.create_state("numpy"))
        self.assertEqual(self.model(x=self.x, state=state).y[1, 2], 36.5)

    def test_weights_of_the_host_are_copied(self):
        scale = np.array([1, 1, 1, 1], np.float32)
        with farrier.load(bundle("scale-none"), "cuda", weights={"scale": scale}) as model:
            self.assertEqual(
                model(x=self.x, state=model.create_state()).y[0].tolist(), [2.5, 4.5, 6.5]
            )
            self.assertEqual(model.device, "cuda:0")


class DeviceArrays(Case):
    """A module that looks like CuPy, whose memory is the stand-in driver's: the host's."""

    @classmethod
    def setUpClass(cls):
        if "cupy" in sys.modules:
            raise unittest.SkipTest("CuPy is here")
        sys.modules["cupy"] = stand_in()

    @classmethod
    def tearDownClass(cls):
        from farrier import _registry

        del sys.modules["cupy"]
        _registry._frameworks.pop("cupy", None)

    def test_are_used_where_they_are(self):
        cupy = sys.modules["cupy"]
        model = farrier.load(bundle("scale"), "cuda")
        x = cupy.empty((2, 3), "f4")
        x.host[:] = np.arange(1, 7).reshape(2, 3)
        state = model.create_state()
        self.assertIsInstance(state["total"], cupy.ndarray)
        out = model(x=x, state=state)
        self.assertIsInstance(out.y, cupy.ndarray)
        model.synchronize()
        self.assertEqual(out.y.host.tolist(), [[2.5, 8.5, 18.5], [8.5, 20.5, 36.5]])
        with model.entry().record(x=x, state=state) as recording:
            for i in range(3):
                x.host[0, 0] = i
                found = recording()
                recording.check()
                self.assertEqual(found.y.host[0, 0], 2 * i + 0.5)
            x.host[0, 0] = -1
            recording()
            self.fails("E_RT_INDEX", "negative", recording.check)
        self.assertEqual(state["total"].host.tolist(), [5])
        self.fails(
            "E_RT_INPUT",
            "one framework",
            lambda: model(x=x, offset=np.zeros(2, np.float32), state=state),
        )
        cpu = farrier.load(bundle("scale"))
        self.fails("E_RT_INPUT", "is on cuda:0, the model on cpu", lambda: cpu(x=x))
        model.close()


def stand_in():
    module = types.ModuleType("cupy")

    class ndarray:
        __module__ = "cupy"

        def __init__(self, shape, dtype):
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            memory = np.zeros(size + 512, np.uint8)
            start = -memory.ctypes.data % 512
            self.host = memory[start : start + size].view(dtype).reshape(shape)
            self.shape, self.dtype, self.flags, self.nbytes = (
                self.host.shape,
                self.host.dtype,
                self.host.flags,
                size,
            )
            self.device = types.SimpleNamespace(id=0)
            self.data = types.SimpleNamespace(ptr=self.host.ctypes.data)

    def full(shape, value, dtype):
        made = ndarray(shape, dtype)
        made.host[...] = value
        return made

    class Device:
        def __init__(self, index):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

    module.ndarray, module.empty, module.full, module.dtype = ndarray, ndarray, full, np.dtype
    module.cuda = types.SimpleNamespace(
        Device=Device,
        get_current_stream=lambda device: types.SimpleNamespace(ptr=0),
        runtime=types.SimpleNamespace(getDevice=lambda: 0, streamIsCapturing=lambda stream: False),
    )
    return module


if __name__ == "__main__":
    unittest.main()
