#!/usr/bin/env python3
"""The Python package on a GPU, with PyTorch and CuPy.

  hf=test/fixtures/models/gpt2/hf
  farrier compile $hf --target sm_80 --dtype f32 -o gpt2.farrier
  farrier compile $hf --target sm_80 --dtype f32 --weights none -o gpt2-none.farrier
  farrier compile $hf --target sm_80 --dtype f32 --weights live -o gpt2-live.farrier
  python3 test/gpu/python_door.py gpt2.farrier [gpt2-none.farrier [gpt2-live.farrier]]

Prints a line per check, then the time of a call beside what is under it; exit status 1 if a check
failed.
"""

import os
import statistics
import sys
import threading
import time
import traceback

sys.path.insert(
    0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python")
)

import torch  # noqa: E402
from support import farrier, np, reference, rel_rms, safetensors  # noqa: E402

GOLDEN = safetensors("gpt2", "golden-hf.safetensors")
IDS = np.array(GOLDEN["input_ids"], np.int64)
PROMPT, GREEDY = reference("gpt2")["prompt"], reference("gpt2")["greedy"]
TOLERANCE = 5e-6
CHECKS = []


def check(body):
    CHECKS.append(body)
    return body


def cuda(array):
    return torch.tensor(array, device="cuda")


def close_to_golden(logits):
    error = rel_rms(logits, GOLDEN["logits"])
    assert error <= TOLERANCE, f"rel-RMS {error:.2e}"


def failure(body):
    try:
        body()
    except farrier.FarrierError as error:
        return error.code
    return None


@check
def torch_tensors(model, _):
    logits = model(input_ids=cuda(IDS)).logits
    assert logits.is_cuda and logits.dtype == torch.float32
    close_to_golden(logits.cpu().numpy())


@check
def cupy_arrays(model, _):
    import cupy

    logits = model(input_ids=cupy.asarray(IDS)).logits
    assert isinstance(logits, cupy.ndarray)
    close_to_golden(cupy.asnumpy(logits))
    with cupy.cuda.Stream(non_blocking=True) as stream:
        again = model(cupy.asarray(IDS)).logits
        stream.synchronize()
    assert (again == logits).all()


@check
def numpy_arrays_are_copied(model, _):
    close_to_golden(model(input_ids=IDS).logits)


@check
def the_current_stream(model, _):
    """Inputs that the stream has not written yet, and results that it reads: no wait between."""
    wanted = model(cuda(IDS)).logits
    busy = torch.randn(4096, 4096, device="cuda")
    late, stream = torch.zeros_like(cuda(IDS)), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(20):
            busy = busy @ busy * 1e-3
        late.copy_(cuda(IDS), non_blocking=True)
        equal = (model(late).logits == wanted).all()
    stream.synchronize()
    assert equal.item()


def generate(step, prefill, lengths, ids):
    logits, found = prefill(), []
    for i in range(len(GREEDY)):
        found.append(int(logits[0, -1].argmax()))
        lengths.fill_(len(PROMPT) + i)
        ids.fill_(found[-1])
        logits = step()
    assert found == GREEDY, found


def decoding(model):
    state = model.create_state("torch")
    ids, lengths = cuda([[0]]), torch.zeros(1, dtype=torch.int32, device="cuda")
    decode, prefill = model.entry("decode"), model.entry("prefill")
    start = torch.zeros(1, dtype=torch.int32, device="cuda")
    first = lambda: prefill(cuda([PROMPT]), start, state=state).logits
    return state, ids, lengths, decode, first


@check
def decode_call_by_call(model, _):
    state, ids, lengths, decode, first = decoding(model)
    generate(lambda: decode(ids, lengths, state=state).logits, first, lengths, ids)


@check
def decode_as_the_callers_graph(model, _):
    state, ids, lengths, decode, first = decoding(model)
    decode(ids, lengths, state=state)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = decode(ids, lengths, state=state).logits
    state.reset()
    generate(lambda: (graph.replay(), out)[1], first, lengths, ids)


@check
def a_first_call_that_is_captured(model, _):
    """Nothing of it was made before: not its shapes, nor its descriptors."""
    ids = cuda(np.resize(IDS, (1, 37)))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = model(ids).logits
    graph.replay()
    assert torch.equal(out, model(ids).logits)


@check
def decode_as_cupys_graph(model, _):
    import cupy

    state, ids, lengths, decode, first = decoding(model)
    ids_, lengths_ = cupy.from_dlpack(ids), cupy.from_dlpack(lengths)
    stream = cupy.cuda.Stream(non_blocking=True)
    torch.cuda.synchronize()
    with stream:
        out = dict(decode(ids_, lengths_, state=state))
        stream.synchronize()
        stream.begin_capture()
        decode(ids_, lengths_, state=state, out=out)
        graph = stream.end_capture()

    def step():
        torch.cuda.synchronize()
        graph.launch(stream)
        stream.synchronize()
        return torch.from_dlpack(out["logits"])

    state.reset()
    generate(step, first, lengths, ids)


@check
def decode_as_farriers_graph(model, _):
    state, ids, lengths, decode, first = decoding(model)
    with decode.record(ids, lengths, state=state) as recording:
        generate(lambda: recording().logits, first, lengths, ids)
        recording.check()


@check
def decode_with_its_own_ids(model, _):
    """The loop of docs/python.md: nothing comes to the host between steps."""
    state, ids, lengths, decode, first = decoding(model)
    ids.copy_(first()[:, -1].argmax(-1)[:, None])
    lengths.fill_(len(PROMPT))
    found = [ids.clone()]
    with decode.record(ids, lengths, state=state) as step:
        for _ in GREEDY[1:]:
            ids.copy_(step().next_ids[:, None])
            lengths += 1
            found.append(ids.clone())
    assert torch.cat(found, 1)[0].tolist() == GREEDY


@check
def an_operator_of_torch(model, _):
    import farrier.torch

    step = farrier.torch.register(model, "door::decode", entry="decode")
    main = farrier.torch.register(model, "door::main")
    torch.library.opcheck(main.default, (cuda(IDS),))
    program = torch.compile(lambda ids: main(ids + 0).argmax(-1), fullgraph=True, dynamic=True)
    for n in (5, 8):
        ids = cuda(IDS[:, :n].copy())
        assert torch.equal(program(ids), model(ids).logits.argmax(-1))
    state, ids, lengths, _, first = decoding(model)
    compiled = torch.compile(
        lambda *tensors: step(*tensors), fullgraph=True, mode="reduce-overhead"
    )
    generate(lambda: compiled(ids, lengths, *state.arrays.values())[0].clone(), first, lengths, ids)


@check
def live_weights(model, others):
    if not others:
        return "no bundle without weights was given"
    weights = {
        name: cuda(tensor)
        for name, tensor in safetensors("gpt2", "hf", "model.safetensors").items()
    }
    with farrier.load(others[0], weights=weights) as live:
        assert live.device == "cuda:0"
        logits = live(cuda(IDS)).logits
        close_to_golden(logits.cpu().numpy())
        weights["transformer.wpe.weight"].zero_()
        assert (live(cuda(IDS)).logits - logits).abs().max() > 1e-3
        given = sum(tensor.nbytes for tensor in weights.values())
        return (
            f"{live.weight_bytes} bytes made of {given}; {model.weight_bytes} with the bundle's own"
        )


@check
def weights_that_stay_live(model, others):
    """Binding takes no memory for weights: less than the smallest tensor of a layer's products."""
    if len(others) < 2:
        return "no bundle with --weights live was given"
    weights = {
        name: cuda(tensor)
        for name, tensor in safetensors("gpt2", "hf", "model.safetensors").items()
    }
    copied, live = [], None
    for path in others:
        farrier.load(path, weights=weights).close()  # modules and the driver's own memory
        torch.cuda.synchronize()
        before = torch.cuda.mem_get_info()[0]
        live = farrier.load(path, weights=weights)
        copied.append((live.weight_bytes, before - torch.cuda.mem_get_info()[0]))
        if path is not others[-1]:
            live.close()
    assert live.weight_bytes == 0 < copied[0][0]
    close_to_golden(live(cuda(IDS)).logits.cpu().numpy())
    live.close()
    return f"bytes of weights, of device memory: {copied[1]}; with --weights none {copied[0]}"


@check
def threads(model, _):
    wrong, wanted = [], {n: model(cuda(IDS[:, :n].copy())).logits for n in range(1, 9)}
    torch.cuda.synchronize()

    def work(n):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            ids = cuda(IDS[:, :n].copy())
            for _ in range(200):
                if not torch.equal(model(ids).logits, wanted[n]):
                    wrong.append(n)

    workers = [threading.Thread(target=work, args=(n,)) for n in wanted]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, wrong


@check
def memory_is_flat(model, _):
    ids = cuda(IDS)
    for _ in range(10):
        model(ids)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]
    for i in range(3000):
        model(ids)
    torch.cuda.synchronize()
    assert (torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]) == before


@check
def errors(model, _):
    ids = cuda(IDS)
    assert failure(lambda: model(ids.cpu())) == "E_RT_INPUT"
    assert failure(lambda: model(ids.int())) == "E_RT_INPUT"
    assert failure(lambda: model(ids.T)) in ("E_RT_INPUT", "E_RT_PROFILE")
    assert failure(lambda: model(ids[:, ::2])) == "E_RT_INPUT"
    assert (
        failure(
            lambda: model(
                torch.empty(ids.numel() + 1, dtype=torch.int64, device="cuda")[1:].view(ids.shape)
            )
        )
        == "E_RT_INPUT"
    )
    wrong = torch.full_like(ids, 10**6)
    model(wrong)
    assert failure(model.synchronize) == "E_RT_INDEX"
    model(ids)
    model.synchronize()
    with farrier.load(model.path, "cuda") as other:
        pass
    assert failure(lambda: other(ids)) == "E_RT_HANDLE"


def host_time(body, calls=100, rounds=60):
    """Median microseconds that a call keeps the host, the GPU's queue never full."""
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            body()
        times.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(times)


def whole_time(body, calls=1000, rounds=9):
    """Median microseconds of a call, one after the other, until the last has ended on the GPU."""
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            body()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(times)


def overheads(model):
    import cupy

    state, ids, lengths, decode, _ = decoding(model)
    library = decode._library
    stream = torch.cuda.current_stream().cuda_stream
    recording = decode.record(ids, lengths, state=state)
    frame, values, memory, _, execution = recording._kept
    out = dict(decode(ids, lengths, state=state))
    size = memory.numel()
    bare_graph = lambda: library.graph_launch(recording._graph, stream)
    at = memory.data_ptr() + 255 & ~255
    bare_run = lambda: library.check(
        library.run(
            execution.handle, frame.inputs, len(values), frame.outputs, len(out), at, size, stream
        )
    )
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        decode(ids, lengths, state=state)
    ids_, lengths_ = cupy.from_dlpack(ids), cupy.from_dlpack(lengths)
    rows = {
        "bare graph launch (C)": bare_graph,
        "recording()": recording,
        "torch graph.replay()": graph.replay,
        "bare run (C)": bare_run,
        "entry(ids, lengths, state=)": lambda: decode(ids, lengths, state=state),
        "entry(..., out=)": lambda: decode(ids, lengths, state=state, out=out),
        "model(..., entry=)": lambda: model(
            input_ids=ids, lengths=lengths, state=state, entry="decode"
        ),
        "entry(...), CuPy": lambda: decode(ids_, lengths_, state=state),
        "operator of torch": lambda: torch.ops.door.decode(ids, lengths, *state.arrays.values()),
    }
    print(f"\n{'decode, batch 1 (us a call)':32} {'host':>8} {'whole':>8}")
    for name, body in rows.items():
        print(f"{name:32} {host_time(body):8.2f} {whole_time(body):8.2f}")


def main():
    model = farrier.load(sys.argv[1], "cuda")
    print(f"{model} ({model.target}), {torch.cuda.get_device_name()}, torch {torch.__version__}")
    failed = 0
    for body in CHECKS:
        try:
            note = body(model, sys.argv[2:])
            print(f"ok    {body.__name__}" + ("" if note is None else f": {note}"), flush=True)
        except Exception:
            failed += 1
            print(f"FAIL  {body.__name__}\n{traceback.format_exc()}", flush=True)
    overheads(model)
    print(f"\n{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
