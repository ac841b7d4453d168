"""Bundles on a CPU with NumPy."""

import copy
import gc
import pickle
import subprocess
import sys
import threading
import unittest
import weakref

from support import Case, ROOT, bundle, farrier, np, reference, rel_rms, safetensors


class Gpt2(Case):
    @classmethod
    def setUpClass(cls):
        cls.model = farrier.load(bundle("gpt2"))
        cls.golden = safetensors("gpt2", "golden-hf.safetensors")
        cls.ids = np.array(cls.golden["input_ids"], np.int64)

    @classmethod
    def tearDownClass(cls):
        cls.model.close()

    def test_describes_itself(self):
        model = self.model
        self.assertEqual(list(model.entries), ["main", "prefill", "decode"])
        self.assertEqual((model.device, model.target), ("cpu", "cpu"))
        self.assertEqual([tensor.name for tensor in model.inputs], ["input_ids"])
        self.assertEqual([symbol.name for symbol in model.symbols], ["batch", "seq"])
        self.assertGreater(model.weight_bytes, 100_000)
        self.assertTrue(model.entry("decode").uses_state)
        self.assertFalse(model.entry("main").uses_state)
        self.assertIn("logits", repr(model.entry()))

    def test_computes_the_golden_logits(self):
        out = self.model(input_ids=self.ids)
        self.assertIsInstance(out.logits, np.ndarray)
        self.assertEqual(out.logits.dtype, np.float32)
        self.assertLessEqual(rel_rms(out["logits"], self.golden["logits"]), 2e-6)
        self.assertTrue(np.array_equal(self.model(self.ids).logits, out.logits))
        self.assertTrue(np.array_equal(self.model.run({"input_ids": self.ids}).logits, out.logits))
        self.assertRaises(AttributeError, lambda: out.hidden)

    def test_writes_to_the_callers_array(self):
        logits = np.full((*self.ids.shape, 256), np.nan, np.float32)
        out = self.model(input_ids=self.ids, out={"logits": logits})
        self.assertIs(out.logits, logits)
        self.assertLessEqual(rel_rms(logits, self.golden["logits"]), 2e-6)

    def generate(self, state):
        expected, prompt = reference("gpt2")["greedy"], reference("gpt2")["prompt"]
        prefill, decode = self.model.entry("prefill"), self.model.entry("decode")
        ids, past, found = np.array([prompt], np.int64), 0, []
        for i in range(len(expected)):
            entry = decode if i else prefill
            logits = entry(input_ids=ids, lengths=np.array([past], np.int32), state=state).logits
            past += ids.shape[1]
            found.append(int(logits[0, -1].argmax()))
            ids = np.array([found[-1:]], np.int64)
        self.assertEqual(found, expected)

    def test_generates_with_a_state(self):
        for framework in (None, "numpy", "runtime"):
            with self.model.create_state(framework) as state:
                self.generate(state)
                state.reset()
                self.generate(state)
        mine = [np.zeros(s.shape, s.dtype.replace("f", "float")) for s in self.model.states]
        self.generate(self.model.create_state(arrays=mine))
        self.assertGreater(np.abs(mine[0]).max(), 0)

    def test_infers_shapes(self):
        entry = self.model.entry()
        self.assertEqual(entry.infer_shapes(input_ids=(2, 5)), {"logits": ((2, 5, 256), "f32")})
        self.assertEqual(
            entry.infer_shapes(input_ids=self.ids)["logits"][0], (*self.ids.shape, 256)
        )
        self.fails("E_RT_PROFILE", "seq=1000", lambda: entry.infer_shapes(input_ids=(2, 1000)))

    def test_is_the_same_from_many_threads(self):
        wrong = []
        lengths = [self.ids.shape[1]] * 4 + [3, 4, 5, 6]
        cut = {n: self.model(self.ids[:, :n].copy()).logits for n in set(lengths)}
        threads = [threading.Thread(target=self.repeat, args=(n, cut[n], wrong)) for n in lengths]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def repeat(self, length, wanted, wrong):
        ids = self.ids[:, :length].copy()
        for _ in range(20):
            if not np.array_equal(self.model(ids).logits, wanted):
                wrong.append(length)

    def test_takes_what_speaks_dlpack(self):
        class Foreign:
            def __init__(self, array):
                self.array = array

            def __dlpack__(self, **options):
                return self.array.__dlpack__(**options)

            def __dlpack_device__(self):
                return self.array.__dlpack_device__()

        found = self.model(input_ids=Foreign(self.ids.copy())).logits
        self.assertTrue(np.array_equal(found, self.model(self.ids).logits))

    def test_takes_its_weights_from_a_live_model(self):
        weights = safetensors("gpt2", "hf", "model.safetensors")
        none = bundle("gpt2-none")
        self.fails("E_WEIGHTS", "has no values", lambda: farrier.load(none))
        short = {name.replace("transformer.", ""): tensor for name, tensor in weights.items()}
        for tensors in (weights, short):
            with farrier.load(none, weights=tensors) as model:
                wanted = model(self.ids).logits
                self.assertLessEqual(rel_rms(wanted, self.golden["logits"]), 2e-6)
                self.assertLess(model.weight_bytes, self.model.weight_bytes)
        # Borrowed: a change of the tensor is seen.
        mine = dict(weights)
        mine["transformer.wpe.weight"] = weights["transformer.wpe.weight"].copy()
        with farrier.load(none, weights=mine) as model:
            mine["transformer.wpe.weight"][:] = 0
            self.assertGreater(np.abs(model(self.ids).logits - wanted).max(), 1e-3)

    def test_copies_nothing_of_weights_that_stay_live(self):
        weights = safetensors("gpt2", "hf", "model.safetensors")
        self.fails("E_WEIGHTS", "has no values", lambda: farrier.load(bundle("gpt2-live")))
        mine = {name: tensor.copy() for name, tensor in weights.items()}
        with farrier.load(bundle("gpt2-live"), weights=mine) as model:
            self.assertEqual(model.weight_bytes, 0)
            wanted = model(self.ids).logits
            self.assertLessEqual(rel_rms(wanted, self.golden["logits"]), 2e-6)
            for name, tensor in mine.items():
                tensor *= 1.5
                self.assertGreater(np.abs(model(self.ids).logits - wanted).max(), 0, name)
                tensor[...] = weights[name]
            self.assertTrue(np.array_equal(model(self.ids).logits, wanted))

    def test_widens_weights_that_stay_live_as_it_reads_them(self):
        """bf16 tensors in a model that computes in f32."""
        golden = safetensors("llama", "golden-hf.safetensors")
        weights = safetensors("llama", "hf", "model.safetensors")
        with farrier.load(bundle("llama-live"), weights=weights) as model:
            self.assertLess(model.weight_bytes, 1 << 14)  # tables of angles
            logits = model(np.array(golden["input_ids"], np.int64)).logits
            self.assertLessEqual(rel_rms(logits, golden["logits"]), 2e-6)

    def test_refuses_weights_that_do_not_fit(self):
        weights = safetensors("gpt2", "hf", "model.safetensors")
        none = bundle("gpt2-none")

        def load(change):
            return lambda: farrier.load(none, weights={**weights, "transformer.wte.weight": change})

        wte = weights["transformer.wte.weight"]
        self.fails("E_WEIGHTS", "f64", load(wte.astype(np.float64)))
        self.fails("E_WEIGHTS", "compiled for", load(wte[:-1]))
        self.fails("E_WEIGHTS", "not dense", load(np.asfortranarray(wte)))
        self.fails("E_WEIGHTS", "not an array", load([1, 2]))
        self.fails(
            "E_WEIGHTS", "none of the tensors", lambda: farrier.load(none, weights={"a": wte})
        )
        self.fails("E_WEIGHTS", "of its own", lambda: farrier.load(bundle("gpt2"), weights=weights))
        del weights["transformer.wte.weight"]
        self.fails(
            "E_WEIGHTS", "transformer.wte.weight", lambda: farrier.load(none, weights=weights)
        )


class PagedCaches(Case):
    """Pools and a table of the caller's: what a server has."""

    def test_generates_from_pages_in_any_order(self):
        expected, prompt = reference("gpt2")["greedy"], reference("gpt2")["prompt"]
        with farrier.load(bundle("gpt2-paged")) as model:
            pages, _, size, _ = model.states[0].shape
            self.assertEqual((pages, size), (8, 8))
            decode = model.entry("decode")
            (wide,) = [t.shape[1] for t in decode.inputs if t.name == "block_table"]
            pools = [np.zeros(s.shape, np.float32) for s in model.states]
            table = np.full((1, wide), -1, np.int32)
            free = [3, 6, 1, 7, 0, 2, 5, 4]
            ids, past, found = np.array([prompt], np.int64), 0, []
            with model.create_state(arrays=pools) as state:
                for i in range(len(expected)):
                    for page in range(-(-past // size), -(-(past + ids.shape[1]) // size)):
                        table[0, page] = free.pop(0)
                    entry = decode if i else model.entry("prefill")
                    lengths = np.array([past], np.int32)
                    logits = entry(
                        input_ids=ids, lengths=lengths, block_table=table, state=state
                    ).logits
                    past += ids.shape[1]
                    found.append(int(logits[0, -1].argmax()))
                    ids = np.array([found[-1:]], np.int64)
                self.assertEqual(found, expected)
                self.assertTrue(all(not pools[0][page].any() for page in free))
                table[0, 0] = pages
                self.fails(
                    "E_RT_INDEX",
                    "block_table",
                    lambda: decode(input_ids=ids, lengths=lengths, block_table=table, state=state),
                )


class Scale(Case):
    """The runtime's own small bundle: an optional input, a state that counts, a check."""

    def setUp(self):
        self.model = farrier.load(bundle("scale"))
        self.addCleanup(self.model.close)
        self.x = np.arange(1, 7, dtype=np.float32).reshape(2, 3)

    def test_fills_inputs_and_counts_in_its_state(self):
        with self.model.create_state() as state:
            out = self.model(x=self.x, state=state)
            self.assertEqual(out.y.tolist(), [[2.5, 8.5, 18.5], [8.5, 20.5, 36.5]])
            self.assertEqual(out["count"].tolist(), [1])
            out = self.model(self.x, np.array([1, 2], np.float32), state=state)
            self.assertEqual(out.y.tolist(), [[3, 9, 19], [10, 22, 38]])
            self.assertEqual(state["total"].tolist(), [2])
            state.reset()
            self.assertEqual(self.model(x=self.x, offset=None, state=state)["count"].tolist(), [1])

    def test_refuses_inputs(self):
        state = self.model.create_state()

        def call(*arrays, **inputs):
            return lambda: self.model(*arrays, state=state, **inputs)

        x = self.x
        fails = lambda text, body: self.fails("E_RT_INPUT", text, body)
        fails('input "x" is absent', call())
        fails('has no input "y" (it has x, offset)', call(x=x, y=x))
        fails("has 2 inputs, 3 were given", call(x, x, x))
        fails("given twice", call(x, x=x))
        fails("is f64, expected f32", call(x=x.astype(np.float64)))
        fails("has 3 dimensions, expected 2", call(x=x[None]))
        fails("batch=3, but another input has batch=2", call(x=x, offset=np.zeros(3, np.float32)))
        fails("not dense and row-major", call(x=np.zeros((3, 2), np.float32).T))
        fails("is list, not an array", call(x=[[1.0]]))
        fails("is float32, not an array", call(x=np.float32(1)))
        self.fails("E_RT_PROFILE", "seq=65, max 64", call(x=np.zeros((1, 65), np.float32)))
        self.fails("E_TYPE_UNSUPPORTED", "byte-swapped", call(x=x.astype(">f4")), 3)
        self.fails("E_TYPE_UNSUPPORTED", "object", call(x=np.array([[object()]])), 3)
        self.fails("E_RT_INDEX", "negative number", call(x=-x))
        self.fails("E_RT_STATE", "needs a state", lambda: self.model(x=x))
        self.fails("E_RT_ENTRY", "it has main", call(x=x, entry="decode"))
        # And it goes on working.
        self.assertEqual(call(x=x)().y.shape, (2, 3))

    def test_refuses_outputs(self):
        state = self.model.create_state()

        def call(name, array):
            return lambda: self.model(x=self.x, state=state, out={name: array})

        y = np.zeros((2, 3), np.float32)
        fails = lambda text, body: self.fails("E_RT_INPUT", text, body)
        fails('has no output "z" (it has y, count)', call("z", y))
        fails("is f64[2, 3], expected f32[2, 3]", call("y", y.astype(np.float64)))
        fails("is f32[1, 3], expected f32[2, 3]", call("y", y[:1]))
        fails("not dense", call("y", np.zeros((3, 2), np.float32).T))
        fails("no array of numpy", call("y", [1]))
        y.flags.writeable = False
        fails("read-only", call("y", y))
        self.fails("E_RT_ALIAS", "overlaps", call("y", self.x))

    def test_takes_read_only_inputs(self):
        self.x.flags.writeable = False
        self.assertEqual(self.model(x=self.x, state=self.model.create_state()).y.shape, (2, 3))

    def test_refuses_use_after_close(self):
        state = self.model.create_state()
        other = farrier.load(bundle("scale"))
        self.fails("E_RT_STATE", "other weights", lambda: other(x=self.x, state=state))
        state.close()
        state.close()
        self.fails("E_RT_HANDLE", "state", lambda: self.model(x=self.x, state=state))
        other.close()
        other.close()
        self.assertTrue(other.closed)
        for body in (lambda: other(x=self.x), other.create_state, other.synchronize):
            self.fails("E_RT_HANDLE", "closed", body)
        with farrier.load(bundle("scale")) as third:
            kept = third.create_state()
        kept.close()

    def test_closes_while_other_threads_run(self):
        for _ in range(20):
            model = farrier.load(bundle("scale"))
            codes = []

            def work(model=model, codes=codes):
                try:
                    state = model.create_state()
                    while True:
                        model(x=self.x, state=state)
                except farrier.FarrierError as error:
                    codes.append(error.code)

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            model.close()
            for thread in threads:
                thread.join()
            self.assertEqual(codes, ["E_RT_HANDLE"] * 4)

    def test_goes_with_its_last_reference(self):
        model = farrier.load(bundle("scale"))
        owned, gone = model._owned, weakref.ref(model)
        del model
        gc.collect()
        self.assertIsNone(gone())
        self.assertTrue(owned.closed)

    def test_keeps_few_shapes(self):
        entry = self.model.entry()
        with self.model.create_state() as state:
            for n in range(1, 65):
                for batch in range(1, 5):
                    for kind in (np.array, np.asfortranarray):
                        entry(x=kind(np.ones((batch, n), np.float32)).copy(order="C"), state=state)
        self.assertLessEqual(len(entry._shaped), 256)

    def test_does_not_record_on_a_cpu(self):
        state = self.model.create_state()
        self.fails("E_UNSUPPORTED", "", lambda: self.model.entry().record(x=self.x, state=state), 3)

    def test_refuses_arguments(self):
        path = bundle("scale")
        self.fails("E_DEVICE_NAME", "cpu, cuda or cuda:N", lambda: farrier.load(path, "tpu"))
        self.fails("E_BUNDLE_FORMAT", "manifest.json", lambda: farrier.load(path + "/kernels"))
        self.fails("E_IO", "nothing", lambda: farrier.load(path + "/nothing"), 5)
        self.fails("E_OPTION", "no framework", lambda: self.model.create_state("jax"))
        self.fails("E_RT_STATE", "1 states, 0 arrays", lambda: self.model.create_state("numpy", []))
        wrong = [np.zeros(2, np.int64)]
        self.fails("E_RT_STATE", "expected i64[1]", lambda: self.model.create_state(arrays=wrong))

    def test_tells_progress_and_can_be_cancelled(self):
        seen = []
        farrier.load(
            bundle("scale"), on_progress=lambda done, total: seen.append((done, total))
        ).close()
        self.assertEqual(seen[-1][0], seen[-1][1])

        def cancel(done, total):
            raise KeyboardInterrupt

        self.assertRaises(
            KeyboardInterrupt, lambda: farrier.load(bundle("scale"), on_progress=cancel)
        )

    def test_errors_travel(self):
        with self.assertRaises(farrier.FarrierError) as caught:
            self.model(x=self.x, entry="no")
        for again in (pickle.loads(pickle.dumps(caught.exception)), copy.copy(caught.exception)):
            self.assertEqual(
                (again.code, again.exit_status, str(again)),
                (caught.exception.code, 2, str(caught.exception)),
            )


class DTypes(Case):
    def setUp(self):
        self.model = farrier.load(bundle("copy"))
        self.addCleanup(self.model.close)

    def test_bits_come_back(self):
        bits = np.random.default_rng(1).integers(0, 256, (3, 16), np.uint8)
        inputs = {
            "bool": bits[:, :8] > 127,
            "u16": bits.view(np.uint16),
            "f16": bits.view(np.float16),
            "bf16": bits.view(np.uint16),
            "e4m3fn": bits[:, :8].copy(),
            "e8m0": bits[:, 8:].copy(),
            "i4": bits[:, :4].copy(),
            "u2": bits[:, :2].copy(),
            "e2m1": bits[:, 4:8].copy(),
        }
        out = self.model(**inputs)
        for name, array in inputs.items():
            found = out[f"out_{name}"]
            self.assertEqual(found.shape, array.shape, name)
            self.assertEqual(found.tobytes(), array.tobytes(), name)
        self.assertEqual((out.out_bool.dtype, out.out_f16.dtype), (np.bool_, np.float16))
        self.assertEqual(out.out_i4.dtype, np.uint8)
        try:
            import ml_dtypes

            self.assertEqual(out.out_bf16.dtype, ml_dtypes.bfloat16)
            again = self.model(**{**inputs, "bf16": out.out_bf16, "e4m3fn": out.out_e4m3fn})
            self.assertEqual(again.out_bf16.tobytes(), inputs["bf16"].tobytes())
        except ImportError:
            self.assertEqual((out.out_bf16.dtype, out.out_e4m3fn.dtype), (np.uint16, np.uint8))

    def test_fills_bits(self):
        out = self.model(u16=np.zeros((2, 8), np.uint16))
        self.assertEqual(out.out_bf16.view(np.uint16).tolist(), [[0x3FC0] * 8] * 2)
        self.assertEqual(out.out_f16.tolist(), [[1.5] * 8] * 2)
        self.assertEqual(out.out_i4.shape, (2, 4))

    def test_refuses_other_bits(self):
        self.fails(
            "E_RT_INPUT", "is u8, expected u16", lambda: self.model(u16=np.zeros((2, 8), np.uint8))
        )
        self.fails(
            "E_RT_INPUT",
            "is i16, expected bf16",
            lambda: self.model(bf16=np.zeros((2, 8), np.int16)),
        )
        self.fails("E_RT_INPUT", "shape", lambda: self.model(i4=np.zeros((2, 8), np.uint8)))


class Package(Case):
    def python(self, program, **environment):
        return subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": f"{ROOT}/runtime/python", "PATH": "/usr/bin:/bin", **environment},
        )

    def test_needs_nothing_to_be_imported(self):
        program = "import sys, farrier; sys.exit(any(m in sys.modules for m in ('numpy', 'torch', 'cupy')))"
        self.assertEqual(self.python(program).returncode, 0)

    def test_says_where_the_library_should_be(self):
        run = self.python(
            "import farrier; farrier.machine()", FARRIER_LIBRARY="/nowhere/libfarrier.so"
        )
        self.assertIn("E_NO_ADDON: FARRIER_LIBRARY is", run.stderr)
        run = self.python(
            "import farrier; farrier.machine()", FARRIER_LIBRARY="/lib/x86_64-linux-gnu/libc.so.6"
        )
        self.assertIn("E_NO_ADDON", run.stderr)

    def test_knows_the_machine(self):
        self.assertRegex(farrier.machine(), "^[0-9a-f]{64}$")
        self.assertEqual(farrier.devices()[0]["type"], "cpu")
        self.assertTrue(farrier.library_path().endswith(".so"))


if __name__ == "__main__":
    unittest.main()
