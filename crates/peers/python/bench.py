#!/usr/bin/env python3
"""logits beside PyTorch, ONNX Runtime, NumPy and JAX: one process, the same arrays, in turns.

    cargo build --release -p logits-shim          # in crates/peers
    pip install -r python/requirements.txt
    python3 python/bench.py --runs 3 --csv peers-python.csv

Every candidate writes into memory that is there already, where its library can; results are compared first. A sample is as
many iterations as take a millisecond; in each round all candidates give one, in an order of its own; medians are printed,
nanoseconds an element.
"""

import argparse
import csv
import ctypes
import math
import os
import pathlib
import random
import statistics
import time

GRID = ("1x7,1x64,1x1000,1x4096,1x32000,1x128256,1x262144,64x64,256x8,256x128,256x1000,4096x64,4096x1024,16384x1024,"
        "512x32768,64x128256")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=GRID)
    parser.add_argument("--operations", default="softmax,log-softmax,logsumexp,entropy,cross-entropy,statistics,kl")
    parser.add_argument("--threads", default=f"1,{os.cpu_count()}")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.6, help="for the rounds of a cell")
    parser.add_argument("--csv")
    return parser.parse_args()


class Shim:
    """The functions of python/shim."""

    def __init__(self):
        target = pathlib.Path(__file__).parent.parent / "target" / "release"
        names = [target / name for name in ("liblogits_shim.so", "liblogits_shim.dylib", "logits_shim.dll")]
        self.library = ctypes.CDLL(str(next(name for name in names if name.exists())))

    def bind(self, operation, inputs, y, threads):
        function = getattr(self.library, "logits_" + operation.replace("-", "_"))
        function.restype = None
        rows, cols = inputs[0].shape
        sizes = [ctypes.c_size_t(n) for n in (rows, cols, threads)]
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*inputs, y)]
        return lambda: function(*pointers, *sizes)


def onnx_session(operation, threads):
    """A model of one operator."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper
    kind = {"softmax": "Softmax", "log-softmax": "LogSoftmax", "logsumexp": "ReduceLogSumExp"}[operation]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "cols"])
    if operation == "logsumexp":
        axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
        node = helper.make_node(kind, ["x", "axes"], ["y"], keepdims=0)
        graph = helper.make_graph([node], "g", [x], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows"])], [axes])
    else:
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "cols"])
        graph = helper.make_graph([helper.make_node(kind, ["x"], ["y"], axis=-1)], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def aligned(shape, dtype):
    """Ones from a multiple of 64 bytes on, as ONNX Runtime and PyTorch give themselves."""
    import numpy
    size = math.prod(shape) * numpy.dtype(dtype).itemsize
    memory = numpy.empty(size + 64, numpy.uint8)
    start = -memory.ctypes.data % 64
    array = memory[start:start + size].view(dtype).reshape(shape)
    array[:] = 1
    return array


def candidates(operation, rows, cols, threads, shim):
    """Names, functions without arguments, and where their results are (a function too)."""
    import jax
    import numpy
    import onnxruntime
    import torch

    random = numpy.random.default_rng(1)
    x = aligned((rows, cols), numpy.float32)
    x[:] = random.uniform(-10, 10, (rows, cols))
    labels = random.integers(0, cols, rows)
    other = aligned((rows, cols), numpy.float32)
    other[:] = x + random.uniform(-1, 1, (rows, cols))
    inputs = {"cross-entropy": (x, labels), "kl": (x, other)}.get(operation, (x,))
    # A number for each row; statistics are compared by their entropy.
    a_number = operation not in ("softmax", "log-softmax")
    out_shape, out_type = ((rows,), numpy.float64) if a_number else ((rows, cols), numpy.float32)
    y = aligned(out_shape, out_type)
    yield "logits", shim.bind(operation, inputs, y, threads), lambda: y

    torch.set_num_threads(threads)
    tensor = torch.from_numpy(x)
    result = torch.ones(out_shape, dtype=torch.float32)

    tensor_other, tensor_labels = torch.from_numpy(other), torch.from_numpy(labels)

    def torch_entropy():
        logs = torch.log_softmax(tensor, -1)
        torch.sum(torch.special.entr(logs.exp()), -1, out=result)

    def torch_statistics():
        # Maximum and its place, normaliser, entropy and its variance.
        tensor.max(-1)
        torch.logsumexp(tensor, -1)
        logs = torch.log_softmax(tensor, -1)
        probabilities = logs.exp()
        entropies = torch.sum(probabilities * logs, -1, keepdim=True).neg_()
        torch.sum(probabilities * (logs + entropies) ** 2, -1)
        result.copy_(entropies[:, 0])

    def torch_kl():
        p, q = torch.log_softmax(tensor, -1), torch.log_softmax(tensor_other, -1)
        torch.sum(torch.nn.functional.kl_div(q, p, reduction="none", log_target=True), -1, out=result)

    def torch_cross_entropy():
        result.copy_(torch.nn.functional.cross_entropy(tensor, tensor_labels, reduction="none"))

    run_torch = {
        "softmax": lambda: torch.softmax(tensor, -1, out=result),
        "log-softmax": lambda: torch.log_softmax(tensor, -1, out=result),
        "logsumexp": lambda: torch.logsumexp(tensor, -1, out=result),
        "entropy": torch_entropy,
        "cross-entropy": torch_cross_entropy,
        "statistics": torch_statistics,
        "kl": torch_kl,
    }[operation]
    yield "PyTorch", run_torch, lambda: result.numpy()

    # There is no such operator for the others.
    if operation in ("softmax", "log-softmax", "logsumexp"):
        session = onnx_session(operation, threads)
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
        onnx_result = onnxruntime.OrtValue.ortvalue_from_numpy(numpy.ones(out_shape, numpy.float32))
        binding.bind_ortvalue_output("y", onnx_result)
        yield "ONNX Runtime", lambda: session.run_with_iobinding(binding), lambda: onnx_result.numpy()

    if operation in ("cross-entropy", "statistics", "kl"):
        return
    if threads == 1:
        def numpy_terms():
            terms = x - x.max(-1, keepdims=True)
            return terms, numpy.exp(terms).sum(-1, keepdims=True)

        kept = {}

        def run_numpy():
            if operation == "softmax":
                terms = numpy.exp(x - x.max(-1, keepdims=True))
                terms /= terms.sum(-1, keepdims=True)
                kept["numpy"] = terms
            elif operation == "log-softmax":
                terms, total = numpy_terms()
                terms -= numpy.log(total)
                kept["numpy"] = terms
            elif operation == "logsumexp":
                _, total = numpy_terms()
                kept["numpy"] = numpy.log(total)[:, 0] + x.max(-1)
            else:
                terms, total = numpy_terms()
                terms -= numpy.log(total)
                kept["numpy"] = -(numpy.exp(terms) * terms).sum(-1)

        yield "NumPy", run_numpy, lambda: kept["numpy"]
    else:
        # JAX takes all the processors there are.
        function = {
            "softmax": jax.nn.softmax,
            "log-softmax": jax.nn.log_softmax,
            "logsumexp": lambda x: jax.scipy.special.logsumexp(x, -1),
            "entropy": lambda x: jax.scipy.special.entr(jax.nn.softmax(x)).sum(-1),
        }[operation]
        compiled = jax.jit(function)
        array = jax.numpy.asarray(x)
        kept = {}

        def run_jax():
            kept["jax"] = compiled(array).block_until_ready()

        yield "JAX", run_jax, lambda: numpy.asarray(kept["jax"])


def timed(run, iterations):
    start = time.perf_counter()
    for _ in range(iterations):
        run()
    return time.perf_counter() - start


def measure(operation, rows, cols, threads, shim, seconds):
    """Nanoseconds an element of each candidate."""
    import numpy
    all_candidates = list(candidates(operation, rows, cols, threads, shim))
    expected = None
    for name, run, result in all_candidates:
        run()
        found = numpy.array(result(), dtype=numpy.float64)
        if expected is None:
            expected = found
        elif not numpy.allclose(found, expected, rtol=2e-4, atol=0 if operation == "softmax" else 2e-4):
            raise SystemExit(f"{operation} {rows}x{cols}: {name} computes something else")
    iterations, round_time = [], 0.0
    for _, run, _ in all_candidates:
        count = 1
        while (elapsed := timed(run, count)) < 1e-3:
            count = max(count + 1, int(count * min(10, 1.1e-3 / max(elapsed, 1e-9))))
        iterations.append(count)
        round_time += elapsed
    samples = [[] for _ in all_candidates]
    rounds = min(max(int(seconds / round_time), 15), 101)
    shuffled = random.Random(1)
    for _ in range(rounds):
        for index in shuffled.sample(range(len(all_candidates)), len(all_candidates)):
            samples[index].append(timed(all_candidates[index][1], iterations[index]) / iterations[index])
    return {name: statistics.median(times) * 1e9 / (rows * cols)
            for (name, _, _), times in zip(all_candidates, samples)}


def main():
    options = arguments()
    shim = Shim()
    lines = {}
    for _ in range(options.runs):
        for operation in options.operations.split(","):
            for threads in sorted({int(threads) for threads in options.threads.split(",")}):
                for shape in options.shapes.split(","):
                    rows, cols = map(int, shape.split("x"))
                    cell = lines.setdefault((operation, shape, threads), {})
                    for name, time_taken in measure(operation, rows, cols, threads, shim, options.seconds).items():
                        cell.setdefault(name, []).append(time_taken)
    ratios = {}
    names = ["logits", "PyTorch", "ONNX Runtime", "NumPy", "JAX"]
    print("| operation | shape | threads | " + " | ".join(names) + " | fastest peer | ratio |")
    print("|---|---|---|" + "---|" * (len(names) + 2))
    for (operation, shape, threads), cell in lines.items():
        medians = {name: statistics.median(times) for name, times in cell.items()}
        fastest = min((name for name in medians if name != "logits"), key=medians.get)
        ratio = medians[fastest] / medians["logits"]
        ratios.setdefault(operation, []).append((ratio, shape, threads, fastest))
        figures = [f"{medians[name]:.3f}" if name in medians else "" for name in names]
        print(f"| {operation} | {shape} | {threads} | " + " | ".join(figures) + f" | {fastest} | {ratio:.2f} |")
    for operation, found in ratios.items():
        mean = math.exp(statistics.mean(math.log(ratio) for ratio, *_ in found))
        least = min(found)
        print(f"\n{operation}: geometric mean {mean:.2f} over {len(found)} cells, least {least[0]:.2f} "
              f"({least[1]}, {least[2]} threads, against {least[3]})")
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["operation", "shape", "threads", "name", "run", "ns_per_element"])
            for (operation, shape, threads), cell in lines.items():
                for name, times in cell.items():
                    writer.writerows([operation, shape, threads, name, run, f"{t:.4f}"] for run, t in enumerate(times))


if __name__ == "__main__":
    main()
