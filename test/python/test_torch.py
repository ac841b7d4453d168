"""Bundles on a CPU with PyTorch, and entries as operators."""

import unittest

from support import Case, bundle, farrier, np, rel_rms, safetensors

try:
    import torch
except ImportError:
    raise unittest.SkipTest("PyTorch is not installed") from None

operators = hasattr(torch.library, "register_fake")


class Gpt2(Case):
    @classmethod
    def setUpClass(cls):
        cls.model = farrier.load(bundle("gpt2"), torch.device("cpu"))
        cls.golden = safetensors("gpt2", "golden-hf.safetensors")
        cls.ids = torch.from_numpy(np.array(cls.golden["input_ids"], np.int64))
        cls.logits = cls.model(cls.ids).logits

    def test_computes_the_golden_logits(self):
        self.assertIsInstance(self.logits, torch.Tensor)
        self.assertEqual((self.logits.dtype, self.logits.device.type), (torch.float32, "cpu"))
        self.assertLessEqual(rel_rms(self.logits.numpy(), self.golden["logits"]), 2e-6)
        with torch.inference_mode():
            self.assertTrue(torch.equal(self.model(input_ids=self.ids).logits, self.logits))

    def test_gives_the_kind_of_array_that_it_was_given(self):
        found = self.model(input_ids=self.ids.numpy()).logits
        self.assertIsInstance(found, np.ndarray)
        self.assertTrue(np.array_equal(found, self.logits.numpy()))
        entry = self.model.entry("prefill")
        lengths = np.zeros(self.ids.shape[0], np.int32)
        self.fails("E_RT_INPUT", "one framework", lambda: entry(self.ids, lengths))

    def test_has_its_state_in_tensors(self):
        state = self.model.create_state()
        self.assertIsInstance(state["cache.0.key"], torch.Tensor)
        lengths = torch.zeros(self.ids.shape[0], dtype=torch.int32)
        out = self.model(input_ids=self.ids, lengths=lengths, entry="prefill", state=state)
        self.assertLess((out.logits[:, 0] - self.logits[:, -1]).abs().max(), 1e-5)
        self.assertGreater(state["cache.1.value"].abs().max(), 0)

    def test_refuses_tensors(self):
        ids = self.ids
        fails = lambda text, tensor: self.fails(
            "E_RT_INPUT", text, lambda: self.model(input_ids=tensor)
        )
        fails("is i32, expected i64", ids.int())
        fails("not dense and row-major", torch.zeros(4, 4, dtype=torch.int64).T)
        fails("dense", torch.zeros(1, 4, dtype=torch.int64).to_sparse())
        fails("is on meta", ids.to("meta"))
        wide = torch.zeros(1, 4, dtype=torch.complex64)
        self.fails("E_TYPE_UNSUPPORTED", "complex64", lambda: self.model(input_ids=wide), 3)

    def test_takes_its_weights_from_a_live_module(self):
        module = torch.nn.Module()
        for name, tensor in safetensors("gpt2", "hf", "model.safetensors").items():
            at = module
            for part in name.split(".")[:-1]:
                if not hasattr(at, part):
                    at.add_module(part, torch.nn.Module())
                at = getattr(at, part)
            at.register_parameter(name.split(".")[-1], torch.nn.Parameter(torch.tensor(tensor)))
        with farrier.load(bundle("gpt2-none"), weights=module.state_dict()) as model:
            self.assertLessEqual(
                rel_rms(model(self.ids).logits.numpy(), self.golden["logits"]), 2e-6
            )
        with farrier.load(
            bundle("gpt2-none"), weights=dict(module.transformer.named_parameters())
        ) as model:
            self.assertLessEqual(
                rel_rms(model(self.ids).logits.numpy(), self.golden["logits"]), 2e-6
            )


@unittest.skipUnless(
    hasattr(torch, "uint16") and hasattr(torch, "float8_e8m0fnu"), "PyTorch 2.7 has all of the types"
)
class DTypes(Case):
    def test_bits_come_back(self):
        model = farrier.load(bundle("copy"))
        x = torch.randn(3, 8)
        inputs = {
            "bool": x > 0,
            "f16": x.half(),
            "bf16": x.bfloat16(),
            "i4": torch.arange(12, dtype=torch.uint8).reshape(3, 4),
            "e4m3fn": x.to(torch.float8_e4m3fn),
        }
        out = model(**inputs)
        for name, tensor in inputs.items():
            found = out[f"out_{name}"]
            self.assertEqual((found.dtype, found.shape), (tensor.dtype, tensor.shape))
            self.assertTrue(
                torch.equal(found.view(torch.uint8), tensor.contiguous().view(torch.uint8)), name
            )
        self.assertEqual(out.out_u2.shape, (3, 2))
        out = model(bool=inputs["bool"])
        self.assertTrue((out.out_bf16 == 1.5).all())
        model.close()


@unittest.skipUnless(operators, "PyTorch 2.4 or newer is needed for operators")
class Operators(Case):
    @classmethod
    def setUpClass(cls):
        import farrier.torch

        cls.model = farrier.load(bundle("gpt2"))
        cls.ids = torch.arange(12).reshape(1, 12)
        cls.logits = cls.model(cls.ids).logits
        cls.main = farrier.torch.register(cls.model, "gpt2")
        cls.prefill = farrier.torch.register(cls.model, "door::prefill", entry="prefill")

    def test_schema(self):
        self.assertEqual(
            str(self.main.default._schema), "farrier::gpt2(Tensor input_ids) -> Tensor"
        )
        self.assertIn(
            "Tensor(a3!) cache_1_value, Tensor? counts=None, Tensor? temperature=None, "
            "Tensor? top_k=None, Tensor? top_p=None, Tensor? seed=None) -> (Tensor, Tensor)",
            str(self.prefill.default._schema),
        )

    def test_passes_opcheck(self):
        torch.library.opcheck(self.main.default, (self.ids,))
        state = self.model.create_state("torch")
        lengths = torch.zeros(1, dtype=torch.int32)
        torch.library.opcheck(self.prefill.default, (self.ids, lengths, *state.arrays.values()))

    def test_is_compiled_with_dynamic_shapes(self):
        program = torch.compile(
            lambda ids: self.main(ids + 0).softmax(-1),
            backend="aot_eager",
            fullgraph=True,
            dynamic=True,
        )
        for n in (12, 7, 3):
            ids = self.ids[:, :n].contiguous()
            self.assertTrue(torch.equal(program(ids), self.model(ids).logits.softmax(-1)))

    def test_changes_a_state_in_a_compiled_program(self):
        program = torch.compile(
            lambda *tensors: self.prefill(*tensors), backend="aot_eager", fullgraph=True
        )
        state = self.model.create_state("torch")
        lengths = torch.zeros(1, dtype=torch.int32)
        logits, drawn = program(self.ids, lengths, *state.arrays.values())
        self.assertEqual(drawn.tolist(), logits[:, 0].argmax(-1).tolist())
        self.assertLess((logits[:, 0] - self.logits[:, -1]).abs().max(), 1e-5)
        self.assertGreater(state["cache.0.key"].abs().max(), 0)

    def test_is_exported(self):
        main = self.main

        class Program(torch.nn.Module):
            def forward(self, ids):
                return main(ids).argmax(-1)

        dim = torch.export.Dim("seq", min=2, max=128)
        exported = torch.export.export(Program(), (self.ids,), dynamic_shapes={"ids": {1: dim}})
        found = exported.module()(self.ids[:, :5].contiguous())
        self.assertTrue(torch.equal(found, self.logits[:, :5].argmax(-1)))

    def test_outputs_and_optional_inputs(self):
        import farrier.torch

        model = farrier.load(bundle("scale"))
        scale = farrier.torch.register(model, "scale")
        self.assertEqual(
            str(scale.default._schema),
            "farrier::scale(Tensor x, Tensor(a0!) total, Tensor? offset=None) -> (Tensor, Tensor)",
        )
        total = torch.zeros(1, dtype=torch.int64)
        for n in (1, 2):
            y, count = scale(torch.ones(2, 3), total)
            self.assertEqual((y.shape, count.item(), total.item()), ((2, 3), n, n))

    def test_refuses(self):
        import farrier.torch

        register = farrier.torch.register
        self.fails("E_OPTION", "there already", lambda: register(self.model, "gpt2"))
        self.fails("E_OPTION", "no operator's name", lambda: register(self.model, "a b"))
        self.fails("E_RT_ENTRY", "no entry", lambda: register(self.model, "none", entry="none"))
        self.fails("E_RT_INPUT", "expected i64", lambda: self.main(self.ids.int()))
        with self.assertRaises(Exception) as caught:
            torch.compile(lambda ids: self.main(ids), backend="aot_eager", fullgraph=True)(
                self.ids.int()
            )
        self.assertIn("expected torch.int64", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
