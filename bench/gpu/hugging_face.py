"""The peers: transformers' models with random weights, run as its guides say."""

import copy
import os

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, DynamicCache, StaticCache

CONFIGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")


def build(name, work):
    """bf16 on the GPU. Norms and biases are random too: as transformers makes them, they do nothing."""
    torch.manual_seed(1)
    config = AutoConfig.from_pretrained(os.path.join(CONFIGS, name))
    kind = AutoModel if work == "encode" else AutoModelForCausalLM
    with torch.device("cuda"):
        model = kind.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.requires_grad_(False)


class Case:
    """The data of one row: ids, and for some sequences of the batch what their caches hold."""

    def __init__(self, row, model):
        torch.manual_seed(2)
        self.row, self.model = row, model
        self.config = config = model.config
        width = 1 if row.work == "decode" else row.tokens
        self.ids = torch.randint(0, config.vocab_size, (row.batch, width), device="cuda")
        self.sample = sorted({0, row.batch // 2, row.batch - 1})
        self.heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (len(self.sample), self.heads, row.tokens, self.size)
        layers = config.num_hidden_layers if row.work == "decode" else 0
        random = lambda: torch.randn(shape, device="cuda", dtype=torch.bfloat16)
        self.caches = [(random(), random()) for _ in range(layers)]
        self.reference = self._run(copy.deepcopy(model).float())
        self.error = self.error_of(self._run(model))

    def _run(self, model):
        """The sampled sequences' results, f32."""
        ids, past = self.ids[self.sample], None
        if self.caches:
            past = DynamicCache(config=self.config)
            for layer, (keys, values) in enumerate(self.caches):
                past.update(keys.to(model.dtype), values.to(model.dtype), layer)
        return forward(self.row, model, ids, past).float()

    def error_of(self, result):
        """‖result − reference‖ / ‖reference‖ of the sampled sequences' results."""
        return ((result.float() - self.reference).norm() / self.reference.norm()).item()

    def fill(self, layer, tensors):
        """Random keys and values [batch, heads, places, size] of a layer; the sampled sequences' own."""
        for tensor, own in zip(tensors, self.caches[layer]):
            tensor.normal_()
            tensor[self.sample, :, : self.row.tokens] = own


def forward(row, model, ids, past=None):
    """[batch, vocabulary] of the last id, or an encoder's [batch, seq, features]."""
    if row.work == "encode":
        return model(input_ids=ids).last_hidden_state
    return model(input_ids=ids, past_key_values=past, logits_to_keep=1).logits[:, -1]


def dynamic_cache(case):
    """A cache that grows with each step, and what takes the steps back."""
    past = DynamicCache(config=case.config)
    shape = (case.row.batch, case.heads, case.row.tokens, case.size)
    for layer in range(len(case.caches)):
        kept = [torch.empty(shape, device="cuda", dtype=torch.bfloat16) for _ in range(2)]
        case.fill(layer, kept)
        past.update(*kept, layer)
    first = [(layer.keys, layer.values) for layer in past.layers]

    def rewind():
        for layer, (layer.keys, layer.values) in zip(past.layers, first):
            pass

    return past, rewind


def static_cache(case):
    """A cache of the row's capacity, and what takes its steps back."""
    past = StaticCache(config=case.config, max_cache_len=case.row.capacity)
    past.early_initialization(case.row.batch, case.heads, case.size, torch.bfloat16, torch.device("cuda"))

    def rewind():
        for layer in past.layers:
            layer.cumulative_length.fill_(case.row.tokens)

    for index, layer in enumerate(past.layers):
        case.fill(index, (layer.keys, layer.values))
    rewind()
    return past, rewind


def _step(case, past):
    """Results, and of language models the next ids."""

    def step():
        result = forward(case.row, case.model, case.ids, past)
        return result, result.argmax(-1) if case.row.work != "encode" else None

    return step


def _nothing():
    pass


def eager(case):
    """Prompts and encoders: as they are called, caches included."""
    return _step(case, None), _nothing


def eager_dynamic(case):
    past, rewind = dynamic_cache(case)
    return _step(case, past), rewind


def eager_static(case):
    past, rewind = static_cache(case)
    return _step(case, past), rewind


def captured(case):
    """The same kernels as eager's with a static cache, in one CUDA graph."""
    past, rewind = static_cache(case)
    step = _step(case, past)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()
    rewind()

    def replay():
        graph.replay()
        return out

    return replay, rewind


def compiled(case):
    """
    torch.compile, mode reduce-overhead, the next ids inside. A prompt is compiled without caches, which
    leaves the peer less to do: transformers' own generation does not compile prompts.
    """
    row, model = case.row, case.model
    past, rewind = static_cache(case) if row.work == "decode" else (None, _nothing)

    def whole(ids, past):
        if row.work == "prefill":
            result = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
        else:
            result = forward(row, model, ids, past)
        return result, result.argmax(-1) if row.work != "encode" else None

    program = torch.compile(whole, mode="reduce-overhead", fullgraph=True, dynamic=False)
    return lambda: program(case.ids, past), rewind


SIDES = {
    "encode": {"eager": eager, "reduce-overhead": compiled},
    "prefill": {"eager": eager, "reduce-overhead": compiled},
    "decode": {
        "eager, dynamic cache": eager_dynamic,
        "eager, static cache": eager_static,
        "eager's kernels in a graph": captured,
        "reduce-overhead": compiled,
    },
}
