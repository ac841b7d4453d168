"""What each row computes: its operands on random data, a reference in f32, and the peers' calls."""
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

COLD = 320e6


def random(*shape, scale=1.0):
    return (torch.randn(*shape, device="cuda", dtype=torch.float32) * scale).to(torch.bfloat16)


def sets_of(make, bytes_read):
    """Operand sets that one graph rotates through: more than 300 MB of what is read, and two at least."""
    return [make() for _ in range(max(2, -(-int(COLD) // bytes_read)))]


class Gemm:
    gate = 3e-3

    def __init__(self, row):
        self.m, self.n, self.k = row["m"], row["n"], row["k"]
        self.sets = sets_of(self.make, 2 * self.k * (self.m + self.n))

    def make(self):
        a, b = random(self.m, self.k), random(self.n, self.k, scale=self.k**-0.5)
        return {"a": a, "b": b, "out": torch.empty(self.m, self.n, device="cuda", dtype=torch.bfloat16)}

    def reference(self, given):
        return given["a"].float() @ given["b"].float().T

    def peers(self, context):
        yield "torch.matmul", lambda x: torch.matmul(x["a"], x["b"].T, out=x["out"])
        for index, launch in enumerate(context.cublaslt.algorithms(self.m, self.n, self.k)):
            yield f"cuBLASLt #{index}", lambda x, launch=launch: launch(x["a"], x["b"], x["out"])


class Block:
    gate = 1e-2

    def __init__(self, row):
        self.layer = row["kind"] == "gelu"
        self.tokens, self.d, self.h = row["tokens"], row["d"], row["h"]
        empty = lambda width: torch.empty(self.tokens, width, device="cuda", dtype=torch.bfloat16)
        self.hidden, self.normed = empty(self.h), empty(self.d)
        self.sets = sets_of(self.make, 2 * (2 if self.layer else 3) * self.d * self.h)

    def make(self):
        d, h = self.d, self.h
        scale, shift = 1 + 0.2 * random(d), random(d, scale=0.2)
        up, down = random(h, d, scale=d**-0.5), random(d, h, scale=h**-0.5 * 2)
        given = {"x": random(self.tokens, d), "scale": scale, "bias": shift, "up": up, "w2": down}
        if self.layer:
            # As the compiler folds a norm's scale and shift into the product that follows it.
            given["w1"] = (up.float() * scale.float()).to(torch.bfloat16)
            given["shift"] = up.float() @ shift.float()
            given["sums"] = given["w1"].float().sum(1)
        else:
            given["gate"] = random(h, d, scale=d**-0.5)
            both = torch.stack([given["gate"], up], 1).reshape(2 * h, d)
            given["w1"] = (both.float() * scale.float()).to(torch.bfloat16)
        given["out"] = torch.empty(self.tokens, d, device="cuda", dtype=torch.bfloat16)
        return {**given, "hidden": self.hidden, "normed": self.normed}

    def function(self):
        def gelu(x, scale, bias, up, down):
            return x + F.linear(F.gelu(F.linear(F.layer_norm(x, x.shape[-1:], scale, bias, 1e-5), up)), down)

        def swiglu(x, scale, gate, up, down):
            n = F.rms_norm(x, x.shape[-1:], scale, 1e-5)
            return x + F.linear(F.silu(F.linear(n, gate)) * F.linear(n, up), down)

        return gelu if self.layer else swiglu

    def arguments(self, given):
        return [given[name] for name in ("x", "scale", "bias" if self.layer else "gate", "up", "w2")]

    def reference(self, given):
        return self.function()(*[tensor.float() for tensor in self.arguments(given)])

    def peers(self, context):
        function = self.function()
        yield "eager kernels", lambda x: function(*self.arguments(x))
        mode = context.compile_mode()
        if mode is not None:
            torch._dynamo.reset()
            compiled = torch.compile(function, mode=mode, dynamic=False)
            compiled(*self.arguments(self.sets[0]))
            yield f"torch.compile {mode}", lambda x: compiled(*self.arguments(x))


class Attention:
    gate = 6e-3

    def __init__(self, row):
        self.row = row
        b, hq, hk, d = row["batch"], row["queryHeads"], row["keyHeads"], row["depth"]
        self.q, self.k, self.shared = (b, row["queries"], hq, d), (b, hk, row["keys"], d), hq // hk
        self.sets = sets_of(self.make, 4 * b * hk * row["keys"] * d)

    def make(self):
        empty = torch.empty(*self.q, device="cuda", dtype=torch.bfloat16)
        return {"q": random(*self.q, scale=2.0), "k": random(*self.k), "v": random(*self.k), "out": empty}

    def reference(self, given):
        out = torch.empty(self.q, device="cuda")
        for b in range(self.q[0]):
            for h in range(self.q[2]):
                key, value = (given[name][b, h // self.shared].float() for name in "kv")
                scores = given["q"][b, :, h].float() @ key.T * self.q[3] ** -0.5
                if self.row["causal"]:
                    scores.masked_fill_(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
                out[b, :, h] = scores.softmax(-1) @ value
        return out

    def peers(self, context):
        for name, backend in (("cuDNN", SDPBackend.CUDNN_ATTENTION), ("FlashAttention-2", SDPBackend.FLASH_ATTENTION)):

            def call(x, backend=backend):
                with sdpa_kernel(backend):
                    out = F.scaled_dot_product_attention(
                        x["q"].transpose(1, 2), x["k"], x["v"], is_causal=self.row["causal"], enable_gqa=self.shared > 1)
                return out.transpose(1, 2)

            yield name, call


KINDS = {"gemm": Gemm, "gelu": Block, "swiglu": Block, "attention": Attention}
