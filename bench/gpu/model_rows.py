"""What models.py measures: every model's passes, and how many bytes and operations each takes at least."""

from dataclasses import dataclass

READ = 4.46e12
FLOPS = 835e12
HEADROOM = 64
"""Steps that a window may take: places of a cache beyond the context."""


@dataclass(frozen=True)
class Row:
    """One pass of a model: `tokens` is a text's length, or for `decode` what the caches hold already."""

    model: str
    work: str
    batch: int
    tokens: int
    alone: bool = False
    """Each side has the memory to itself, in a process of its own."""

    @property
    def name(self):
        return f"{self.model} {self.work} {self.batch}x{self.tokens}"

    @property
    def capacity(self):
        return self.tokens + (HEADROOM if self.work == "decode" else 0)


def _decoder(model, prefills, contexts, alone=()):
    return [Row(model, "prefill", 1, tokens) for tokens in prefills] + [
        Row(model, "decode", batch, context, (batch, context) in alone)
        for batch in (1, 16, 64)
        for context in contexts
    ]


ROWS = [
    Row("bert-base", "encode", 1, 128),
    Row("bert-base", "encode", 32, 128),
    *_decoder("gpt2", (512, 1024), (512, 960)),
    *_decoder("llama-3.2-1b", (512, 4096), (512, 8192)),
    *_decoder("llama-3.1-8b", (512, 4096), (512, 8192), alone={(64, 8192)}),
]


def floor(row, model):
    """Microseconds: matrices and caches read once, products of matrices and of attention."""
    config = model.config
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    inner = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n and ".wt" not in n and ".wp" not in n]
    tied = model.get_output_embeddings()
    head = 0 if tied is None else tied.weight.numel()
    matrices = sum(p.numel() for p in inner if tied is None or p is not tied.weight)
    queries = row.batch * (1 if row.work == "decode" else row.tokens)
    pairs = {"decode": queries * row.tokens, "prefill": row.batch * row.tokens * (row.tokens + 1) // 2}
    seen = pairs.get(row.work, row.batch * row.tokens * row.tokens)
    flops = 2 * (queries * matrices + row.batch * head) + 4 * seen * heads * size * layers
    caches = row.batch * row.tokens * layers * 2 * kept * size if row.work == "decode" else 0
    return 1e6 * max(2 * (matrices + head + caches) / READ, flops / FLOPS)
