#!/usr/bin/env python3
"""One draw from one row of logits, on one thread: logits beside llama.cpp and Hugging Face, one process, in turns.

    cargo build --release -p logits-shim          # in crates/peers
    CMAKE_ARGS=-DLLAVA_BUILD=OFF pip install -r python/requirements-sampling.txt
    python3 python/sampling.py --runs 3 --csv peers-sampling.csv

llama.cpp is the library in the package llama-cpp-python, built from source, or the one that --llama-cpp names. Its samplers
work in place on an array of structures (id, logit, p), which its applications fill for each token: "llama.cpp" is without
that, "+ fill" with it, as a strided copy by NumPy, and "fill" is that alone. Hugging Face's processors on PyTorch end in a
multinomial draw, or argmax, as in generate(). All apply the filters in llama.cpp's order, temperature last.

What is missing is said and left out. First all are compared: survivors with those of a sort in doubles, where the filters
can be seen, and draws with survivors and their probabilities. Then each round takes a sample of each candidate, in an order
of its own; medians are printed.
"""

import argparse
import csv
import ctypes
import importlib.metadata
import importlib.util
import itertools
import pathlib
import random
import statistics
import sys
import time

import numpy

from bench import Shim, aligned, timed

CHAINS = {
    "greedy": {"temperature": 0.0},
    "temperature": {"temperature": 0.8},
    "top-p": {"top_p": 0.9},
    "min-p": {"min_p": 0.05},
    "typical": {"typical": 0.9},
    "chain": {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8},
}
OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical": 1.0}
ROWS = ("peaked", "normal", "flat")
COLUMNS = ("logits", "llama.cpp", "+ fill", "fill", "Hugging Face")
DRAWS = 2000
# Sums in floats put a threshold elsewhere: the most probability that survivors may differ by.
SLACK = 2e-3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cols", default="128256")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--chains", default=",".join(CHAINS))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2, help="for the rounds of a cell")
    parser.add_argument("--llama-cpp", help="libllama.so, if not that of llama-cpp-python")
    parser.add_argument("--csv")
    return parser.parse_args()


def logits_of(kind, cols):
    generator = numpy.random.default_rng(1)
    x = aligned((cols,), numpy.float32)
    if kind == "flat":
        x[:] = generator.uniform(-0.5, 0.5, cols)
    else:
        x[:] = generator.normal(0, 5 if kind == "peaked" else 2.5, cols)
    if kind == "peaked":
        # The leader has half of the probability.
        leader = cols // 3
        x[leader] = -numpy.inf
        x[leader] = numpy.logaddexp.reduce(x.astype(numpy.float64))
    return x


def softmax(x):
    terms = numpy.exp(x - x.max())
    return terms / terms.sum()


def reference(x, top_k, top_p, min_p, typical, temperature):
    """Survivors, and the probabilities that they are drawn with: sorts, in doubles."""
    x = x.astype(numpy.float64)
    order = numpy.argsort(-x, kind="stable")
    if temperature == 0:
        return order[:1], numpy.ones(1)
    if top_k:
        order = order[:top_k]
    if typical < 1:
        p = softmax(x[order])
        surprise = -numpy.log(p)
        nearest = numpy.argsort(numpy.abs(surprise - (p * surprise).sum()), kind="stable")
        kept = numpy.searchsorted(numpy.cumsum(p[nearest]), typical) + 1
        order = order[numpy.sort(nearest[:kept])]
    if top_p < 1:
        order = order[:numpy.searchsorted(numpy.cumsum(softmax(x[order])), top_p) + 1]
    if min_p > 0:
        order = order[x[order] >= x[order[0]] + numpy.log(min_p)]
    return order, softmax(x[order] / temperature)


class Logits:
    """This crate, by python/shim."""

    def __init__(self):
        self.function = Shim().library.logits_sample
        self.function.restype = ctypes.c_int64
        c = ctypes
        self.function.argtypes = [c.c_void_p, c.c_size_t, c.c_double, c.c_size_t, c.c_double, c.c_double, c.c_double,
                                  c.c_uint64, c.c_uint64]

    def bind(self, x, temperature, top_k, top_p, min_p, typical):
        function, positions = self.function, itertools.count()
        filters = temperature, top_k, top_p, min_p, typical
        fixed = [kind(value) for kind, value in zip(self.function.argtypes, (x.ctypes.data, x.size, *filters, 1))]

        def run():
            return function(*fixed, next(positions))

        return run, None, lambda: [run() for _ in range(DRAWS)]


class TokenData(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int32), ("logit", ctypes.c_float), ("p", ctypes.c_float)]


class TokenArray(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("selected", ctypes.c_int64), ("sorted", ctypes.c_bool)]


class ChainParameters(ctypes.Structure):
    _fields_ = [("no_perf", ctypes.c_bool)]


class LlamaCpp:
    """llama.cpp's samplers, by ctypes."""

    def __init__(self, path):
        if path is None:
            package = importlib.util.find_spec("llama_cpp")
            if package is None:
                raise ImportError("no package llama-cpp-python")
            folder = pathlib.Path(package.origin).parent / "lib"
            names = [folder / name for name in ("libllama.so", "libllama.dylib", "llama.dll")]
            path = next((name for name in names if name.exists()), None)
            if path is None:
                raise ImportError(f"no library in {folder}")
            self.name = f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"
        else:
            self.name = str(path)
        self.library = ctypes.CDLL(str(path))
        if hasattr(self.library, "llama_version"):
            self.library.llama_version.restype = ctypes.c_char_p
            self.name += f", llama.cpp {self.library.llama_version().decode()}"
        self.chain_init = self.function("chain_init", ChainParameters)
        self.chain_add = self.function("chain_add", ctypes.c_void_p, ctypes.c_void_p, result=None)
        self.apply = self.function("apply", ctypes.c_void_p, ctypes.c_void_p, result=None)

    def function(self, name, *parameters, result=ctypes.c_void_p):
        function = getattr(self.library, "llama_sampler_" + name)
        function.restype, function.argtypes = result, parameters
        return function

    def filters(self, temperature, top_k, top_p, min_p, typical):
        """In the order of common_params_sampling."""
        f, size, i = ctypes.c_float, ctypes.c_size_t, ctypes.c_int32
        if top_k:
            yield self.function("init_top_k", i)(top_k)
        if typical < 1:
            yield self.function("init_typical", f, size)(typical, 0)
        if top_p < 1:
            yield self.function("init_top_p", f, size)(top_p, 0)
        if min_p > 0:
            yield self.function("init_min_p", f, size)(min_p, 0)
        if temperature not in (0, 1):
            yield self.function("init_temp", f)(temperature)

    def draw(self, temperature):
        return self.function("init_dist", ctypes.c_uint32)(1) if temperature else self.function("init_greedy")()

    def chain(self, samplers):
        chain = self.chain_init(ChainParameters(no_perf=True))
        for sampler in samplers:
            self.chain_add(chain, sampler)
        return chain

    def bind(self, x, **options):
        tokens = aligned((x.size,), numpy.dtype(TokenData, align=True))
        ids, logits, selected_ids = numpy.arange(x.size, dtype=numpy.int32), tokens["logit"], tokens["id"]
        array = TokenArray()
        pointer, address, size = ctypes.byref(array), tokens.ctypes.data, x.size
        apply, clock = self.apply, time.perf_counter
        chain = self.chain([*self.filters(**options), self.draw(options["temperature"])])
        applied = [0.0]

        def fill():
            # Samplers move them; they need no p.
            selected_ids[:] = ids
            logits[:] = x

        def ready(size):
            array.data, array.size, array.selected, array.sorted = address, size, -1, False

        def run():
            fill()
            start = clock()
            ready(size)
            apply(chain, pointer)
            token = int(selected_ids[array.selected])
            applied[0] += clock() - start
            return token

        def take_applied():
            taken, applied[0] = applied[0], 0.0
            return taken

        def survivors_and_draws():
            fill()
            ready(size)
            apply(self.chain(self.filters(**options)), pointer)
            if options["temperature"] == 0:
                return None, [run()]
            assert array.data == address
            kept, count, drawer = tokens[:array.size].copy(), array.size, self.draw(1)
            draws = []
            for _ in range(DRAWS):
                tokens[:count] = kept
                ready(count)
                apply(drawer, pointer)
                draws.append(int(selected_ids[array.selected]))
            return kept["id"], draws

        return run, survivors_and_draws, fill, take_applied


class HuggingFace:
    """The processors of transformers, in llama.cpp's order, and PyTorch's draw."""

    def __init__(self):
        import torch
        import transformers
        torch.set_num_threads(1)
        torch.manual_seed(1)
        self.torch, self.transformers = torch, transformers
        self.name = f"transformers {transformers.__version__}, PyTorch {torch.__version__}"

    def bind(self, x, temperature, top_k, top_p, min_p, typical):
        torch, kinds = self.torch, self.transformers
        processors = kinds.LogitsProcessorList()
        if top_k:
            processors.append(kinds.TopKLogitsWarper(top_k))
        if typical < 1:
            processors.append(kinds.TypicalLogitsWarper(typical))
        if top_p < 1:
            processors.append(kinds.TopPLogitsWarper(top_p))
        if min_p > 0:
            processors.append(kinds.MinPLogitsWarper(min_p))
        if temperature not in (0, 1):
            processors.append(kinds.TemperatureLogitsWarper(temperature))
        scores = torch.from_numpy(x)[None]
        ids = torch.zeros((1, 1), dtype=torch.int64)

        @torch.no_grad()
        def run():
            if temperature == 0:
                return int(torch.argmax(scores, dim=-1))
            return int(torch.multinomial(torch.softmax(processors(ids, scores), dim=-1), 1))

        @torch.no_grad()
        def survivors_and_draws():
            if temperature == 0:
                return None, [run()]
            processed = processors(ids, scores)
            drawn = torch.multinomial(torch.softmax(processed, dim=-1), DRAWS, replacement=True)
            return torch.isfinite(processed[0]).nonzero()[:, 0].numpy(), drawn[0].tolist()

        return run, survivors_and_draws


def compare(name, cell, probabilities, expected, expected_p, survivors, draws):
    """Says what a candidate computes, and gives up if that is something else."""
    words = []
    if survivors is not None:
        different = numpy.setxor1d(survivors, expected)
        mass = probabilities[different].sum()
        words.append(f"{len(survivors)} survivors, {len(different)} differ, of probability {mass:.1e}")
        if mass > SLACK:
            raise SystemExit(f"{cell}: {name} computes something else: {words[-1]}")
    draws = numpy.array(draws)
    outside = int((~numpy.isin(draws, expected)).sum())
    words.append(f"{outside} of {len(draws)} draws outside")
    if (draws < 0).any() or (draws >= probabilities.size).any() or outside > 5 * SLACK * len(draws):
        raise SystemExit(f"{cell}: {name} draws something else: {words[-1]}")
    # Chi-square, over groups of at least ten expected draws each.
    place = numpy.full(probabilities.size, -1)
    place[expected] = numpy.arange(expected.size)
    group = ((numpy.cumsum(expected_p) - expected_p) * len(draws) / 10).astype(int)
    groups = numpy.unique(group, return_inverse=True)[1]
    if len(draws) == DRAWS and groups[-1] > 0:
        wanted = numpy.bincount(groups, expected_p) * len(draws)
        found = numpy.bincount(groups[place[draws[numpy.isin(draws, expected)]]], minlength=wanted.size)
        square = ((found - wanted) ** 2 / wanted).sum()
        deviations = (square - groups[-1]) / (2 * groups[-1]) ** 0.5
        words.append(f"chi-square {deviations:+.1f} deviations from its mean")
        if deviations > 6:
            raise SystemExit(f"{cell}: {name} draws with other probabilities: {words[-1]}")
    if survivors is not None or len(draws) > 1:
        print(f"{cell}: {name}: {'; '.join(words)}", file=sys.stderr)


def measure(kind, cols, chain, peers, seconds, check):
    """Seconds a row of each column."""
    options = {**OFF, **CHAINS[chain]}
    x = logits_of(kind, cols)
    cell = f"{kind} {cols} {chain}"
    runs, inner = {}, lambda: 0.0
    bound = {name: peer.bind(x, **options) for name, peer in peers.items()}
    if check:
        expected, expected_p = reference(x, **options)
        probabilities = softmax(x.astype(numpy.float64))
        print(f"{cell}: {expected.size} survivors", file=sys.stderr)
        for name, (run, survivors_and_draws, *rest) in bound.items():
            survivors, draws = survivors_and_draws() if survivors_and_draws else (None, rest[0]())
            compare(name, cell, probabilities, expected, expected_p, survivors, draws)
            compare(name, cell, probabilities, expected, expected_p, None, [run()])
    for name, (run, _, *rest) in bound.items():
        if name == "llama.cpp":
            runs["+ fill"], runs["fill"], inner = run, *rest
        else:
            runs[name] = run
    iterations, round_time = {}, 0.0
    for name, run in runs.items():
        run()
        count = 1
        while (elapsed := timed(run, count)) < 1e-3:
            count = max(count + 1, int(count * min(10, 1.1e-3 / max(elapsed, 1e-9))))
        iterations[name] = count
        round_time += elapsed
    samples = {}
    shuffled = random.Random(1)
    for _ in range(min(max(int(seconds / round_time), 15), 101)):
        for name in shuffled.sample(list(runs), len(runs)):
            inner()
            samples.setdefault(name, []).append(timed(runs[name], iterations[name]) / iterations[name])
            if name == "+ fill":
                samples.setdefault("llama.cpp", []).append(inner() / iterations[name])
    return {name: statistics.median(times) for name, times in samples.items()}


def main():
    options = arguments()
    peers = {}
    for name, made in (("logits", Logits), ("llama.cpp", lambda: LlamaCpp(options.llama_cpp)), ("Hugging Face", HuggingFace)):
        try:
            peers[name] = made()
            print(f"{name}: {getattr(peers[name], 'name', 'here')}", file=sys.stderr)
        except StopIteration:
            print(f"{name}: MISSING: no library; build logits-shim", file=sys.stderr)
        except (ImportError, AttributeError, OSError) as error:
            print(f"{name}: MISSING: {error}", file=sys.stderr)
    if not peers:
        raise SystemExit("nothing to measure")
    cells = [(kind, int(cols), chain) for kind in options.rows.split(",") for cols in options.cols.split(",")
             for chain in options.chains.split(",")]
    lines = {}
    for run in range(options.runs):
        for cell in cells:
            for name, taken in measure(*cell, peers, options.seconds, run == 0).items():
                lines.setdefault(cell, {}).setdefault(name, []).append(taken)
    names = [name for name in COLUMNS if any(name in line for line in lines.values())]
    print("Microseconds a row, and nanoseconds an element.\n")
    print("| row | cols | chain | " + " | ".join(names) + " | fastest peer | ratio |")
    print("|---|---|---|" + "---|" * (len(names) + 2))
    for (kind, cols, chain), line in lines.items():
        medians = {name: statistics.median(times) for name, times in line.items()}
        figures = [f"{medians[name] * 1e6:.1f} ({medians[name] * 1e9 / cols:.3f})" for name in names]
        # The best that can be said for llama.cpp.
        fastest = min((name for name in ("llama.cpp", "Hugging Face") if name in medians), key=medians.get, default="")
        ratio = f"{medians[fastest] / medians['logits']:.2f}" if fastest and "logits" in medians else ""
        print(f"| {kind} | {cols} | {chain} | " + " | ".join(figures) + f" | {fastest} | {ratio} |")
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["row", "cols", "chain", "name", "run", "us_per_row", "ns_per_element"])
            for cell, line in lines.items():
                for name, times in line.items():
                    writer.writerows([*cell, name, run, f"{t * 1e6:.3f}", f"{t * 1e9 / cell[1]:.4f}"]
                                     for run, t in enumerate(times))


if __name__ == "__main__":
    main()
