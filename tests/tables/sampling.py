"""Which ids samplers' filters let through, and with what probabilities, by Hugging Face, for the tests of the crate.

    python3 tests/tables/sampling.py > tests/tables/sampling.json

needs `torch` and `transformers`. Logits are floats of 32 bits; everything is computed from them in 64, by the processors of
transformers in the order in which generate() applies them (GenerationMixin._get_logits_processor, of which 5.24.0 made the
table; that the installed version has the same order is asserted):

    repetition_penalty, temperature, top_k, top_p, min_p, typical_p

Each sees the logits as those before it left them, and takes probabilities among what they let through. A filter that is off
is null; tokens are the ids that the penalty is for, in any order and more than once. Survivors are the ids whose logits are
not -inf in the end, probabilities their softmax. As in generate(), a penalty, temperature, top_p or typical_p of 1.0 is off.

No case is borderline: rows are drawn until every decision holds with MARGIN to spare (`borderline` says what that is for each
filter). Where top_p or typical_p ends no two logits are equal, as what is kept of equals may hang on the sort; top_k keeps
all that equal the k-th, and min_p sees nothing but the values.
"""

import itertools
import types

import torch
from torch.nn.functional import log_softmax, softmax
from transformers import GenerationConfig, GenerationMixin
from transformers.generation.logits_process import (LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor,
                                                    TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper,
                                                    TypicalLogitsWarper)

import table

INF = float("inf")
MARGIN = 1e-4
ORDER = {"repetition_penalty": RepetitionPenaltyLogitsProcessor, "temperature": TemperatureLogitsWarper,
         "top_k": TopKLogitsWarper, "top_p": TopPLogitsWarper, "min_p": MinPLogitsWarper, "typical_p": TypicalLogitsWarper}
FILTERS = ["top_k", "top_p", "min_p", "typical_p"]
OFF_AT_1 = ["repetition_penalty", "temperature", "top_p", "typical_p"]


def processors(options):
    """The processors for these options, which are those of generate()."""
    on = [name for name in ORDER if options.get(name) is not None and not (name in OFF_AT_1 and options[name] == 1.0)]
    ours = LogitsProcessorList(ORDER[name](options[name]) for name in on)
    model = types.SimpleNamespace(config=types.SimpleNamespace(is_encoder_decoder=False),
                                  _merge_criteria_processor_list=lambda default, custom: default)
    config = GenerationConfig(do_sample=True, **{name: options.get(name) for name in ORDER})
    theirs = GenerationMixin._get_logits_processor(model, config, input_ids_seq_length=1)
    assert [type(one) for one in ours] == [type(one) for one in theirs]
    return on, ours


def apart(values, at):
    """Whether the values at `at` - 1 and `at` of a sorted row are clearly two: or there are not as many, or both infinite."""
    if at <= 0 or at >= len(values) or values[at].isinf() and values[at - 1].isinf():
        return True
    return abs(values[at] - values[at - 1]) > MARGIN


def borderline(name, value, before, after):
    """Whether slightly different arithmetic could come to a different `after` in a filter."""
    p = softmax(before, 0)
    if name == "top_k":  # the k-th and the next differ, or are equal in all bits
        down = before.sort(descending=True).values
        tied = value < len(down) and down[value] == down[value - 1]
        return not tied and not apart(down, value)
    if name == "top_p":  # no cumulative probability is near p, and the last one kept is not near the next
        down, order = before.sort(descending=True)
        mass = p[order].cumsum(0)
        kept = int((after > -INF).sum())
        near = bool(((mass - value).abs() <= MARGIN).any()) or not apart(down, kept)
        assert near or mass[kept - 1] >= value and (kept == 1 or mass[kept - 2] < value)
        return near
    if name == "min_p":  # no probability is near the limit, but for the largest, which are kept whatever it is
        limit = value * p.max()
        others = (before < before.max()) & (before > -INF)
        return bool(((p - limit).abs() <= MARGIN * limit)[others].any())
    if name == "typical_p":  # no cumulative probability is near the mass, nor the boundary's key near its neighbours
        surprise = -log_softmax(before, 0)
        keys, order = (surprise - (p * surprise).nansum()).abs().sort()
        mass = p[order].cumsum(0)
        last = int((mass < value).sum())
        near = bool(((mass - value).abs() <= MARGIN).any()) or not apart(keys, last) or not apart(keys, last + 1)
        # Without ties what has the boundary's key or less is the prefix up to the first cumulative mass >= value.
        assert near or set(order[:last + 1].tolist()) == set(torch.nonzero(after > -INF).flatten().tolist())
        return near
    return False


def attempt(logits, options, tokens, effective):
    """The processed logits; None if they are borderline, or if a filter that should have an effect has none."""
    ids = torch.tensor([tokens], dtype=torch.int64)
    on, chain = processors(options)
    scores = logits.double()[None]
    for name, one in zip(on, chain):
        before, scores = scores, one(ids, scores)
        assert scores.dtype == torch.float64
        if borderline(name, options[name], before[0], scores[0]):
            return None
        if effective and name in FILTERS and torch.equal(before, scores):
            return None
    assert torch.equal(scores, chain(ids, logits.double()[None]))
    return scores[0]


def case(row, effective=False, seen=None, **options):
    """One line of the table: (what, draw) is a kind of rows, lists are of values to draw from for every attempt."""
    what, draw = row
    for _ in range(10000):
        logits = draw()
        chosen = {name: value[torch.randint(len(value), ()).item()] if isinstance(value, list) else value
                  for name, value in options.items()}
        tokens = []
        if chosen.get("repetition_penalty") is not None:
            tokens = torch.randint(len(logits), (min(len(logits), 40),)).tolist() if seen is None else seen
        scores = attempt(logits, chosen, tokens, effective)
        if scores is not None:
            break
    else:
        raise RuntimeError(f"{what}, {options}: always borderline")
    survivors = torch.nonzero(scores > -INF).flatten()
    name = ", ".join(f"{name} {chosen[name]}" for name in ORDER if name in chosen)
    line = {"name": f"{name or 'nothing'}: {what}", "logits": table.floats(logits)}
    line |= {name: chosen.get(name) for name in ["temperature", *FILTERS, "repetition_penalty"]}
    return line | {"tokens": tokens, "survivors": survivors.tolist(),
                   "probabilities": table.numbers(softmax(scores[survivors], 0).tolist())}


def normal(cols, sigma):
    return f"{cols} normal, sigma {sigma}", lambda: sigma * torch.randn(cols)


def flat(cols):
    return f"{cols} flat", lambda: 2.5 + 0.01 * torch.randn(cols)


def peaked(cols, lead):
    def draw():
        x = torch.randn(cols)
        x[torch.randint(cols, ())] = x.max() + lead
        return x
    return f"{cols} peaked by {lead}", draw


def zipf(cols):
    return f"{cols} by rank", lambda: 20 - 1.2 * torch.log(1.0 + torch.randperm(cols)) + 0.1 * torch.randn(cols)


def offset(cols, by):
    return f"{cols} normal, offset {by}", lambda: by + 2 * torch.randn(cols)


def masked(cols, sigma, masks):
    def draw():
        x = sigma * torch.randn(cols)
        x[torch.randperm(cols)[:masks]] = -INF
        return x
    return f"{cols} normal, sigma {sigma}, {masks} masked", draw


def tied(cols, sigma):
    return f"{cols} in quarters, sigma {sigma}", lambda: (4 * sigma * torch.randn(cols)).round() / 4


def fixed(what, *values):
    return what, lambda: torch.tensor(values)


def alone():
    yield case(normal(17, 2))
    yield case(masked(8, 2, 3))
    for cols, temperature in [(2, 0.5), (17, 0.1), (17, 0.7), (17, 1.0), (64, 1.5), (64, 3.0), (17, 100.0)]:
        yield case(normal(cols, 2), temperature=temperature)
    for cols, k in [(2, 1), (17, 1), (17, 2), (17, 5), (100, 10), (300, 40), (17, 16), (17, 17), (17, 18), (8, 1000), (2, 3)]:
        yield case(normal(cols, 3), top_k=k)
    for cols, p in [(2, 0.5), (17, 0.001), (17, 0.1), (17, 0.3), (17, 0.5), (64, 0.7), (100, 0.9), (300, 0.95), (100, 0.99),
                    (64, 0.999), (17, 1.0)]:
        yield case(normal(cols, 2), top_p=p)
    for cols, p in [(2, 0.5), (17, 0.9), (17, 0.5), (17, 0.2), (64, 0.1), (100, 0.05), (300, 0.02), (100, 0.001), (17, 0.0)]:
        yield case(normal(cols, 3), min_p=p)
    for cols, p in [(2, 0.5), (17, 0.05), (17, 0.2), (17, 0.5), (64, 0.7), (100, 0.9), (300, 0.95), (100, 0.99), (17, 1.0)]:
        yield case(normal(cols, 2), typical_p=p)
    for cols, penalty in [(2, 1.3), (8, 1.0), (17, 1.1), (17, 1.3), (64, 2.0), (17, 0.8), (17, 0.5), (8, 50.0)]:
        yield case(normal(cols, 2), repetition_penalty=penalty)
    yield case(("17 normal, no tokens", normal(17, 2)[1]), repetition_penalty=1.3, seen=[])
    yield case(("17 normal, one token, again and again", normal(17, 2)[1]), repetition_penalty=1.3, seen=[3] * 9)
    yield case(fixed("zeros among the tokens", 0.0, 0.0, 1.5, -1.5, 1.5, -1.5), repetition_penalty=1.5, seen=[1, 0, 2, 3])
    yield case(("8 masked, all tokens", masked(8, 2, 3)[1]), repetition_penalty=1.3, seen=[*range(8)])


def shapes():
    """Each filter over rows of other kinds."""
    for sigma in [1, 4, 5]:
        yield case(normal(100, sigma), top_p=0.9, effective=True)
        yield case(normal(100, sigma), min_p=0.05, effective=True)
        yield case(normal(100, sigma), typical_p=0.9, effective=True)
    for row in [flat(50), zipf(200), offset(33, 1000), offset(33, -1000), masked(50, 2, 20)]:
        yield case(row, top_k=12)
        yield case(row, top_p=0.8)
        yield case(row, min_p=0.1)
        yield case(row, typical_p=0.8)
    for lead in [5, 30]:
        yield case(peaked(50, lead), top_k=3)
        yield case(peaked(50, lead), top_p=0.9)
        yield case(peaked(50, lead), min_p=0.01)
        yield case(peaked(50, lead), typical_p=0.9)
    yield case(flat(50), min_p=0.999)
    yield case(peaked(50, 5), temperature=0.2)
    yield case(peaked(50, 5), temperature=4.0, top_p=0.9)
    yield case(peaked(50, 30), temperature=20.0, typical_p=0.5)
    for masks in [1, 9]:  # k is more than there are ids that are not masked, or 1 is all there is
        yield case(masked(10, 2, masks), top_k=9)
        yield case(masked(10, 2, masks), top_p=0.9)
        yield case(masked(10, 2, masks), min_p=0.01)
        yield case(masked(10, 2, masks), typical_p=0.9)


def ties():
    for k in [1, 2, 3, 7, 20]:
        yield case(tied(40, 1), top_k=k)
    yield case(fixed("equal to the third", 1.5, 0.25, 1.5, 2.0, -1.0, 1.5, 1.5, 0.0, 3.0), top_k=3)
    yield case(fixed("all equal", *[0.75] * 9), top_k=4)
    yield case(fixed("all equal", *[0.75] * 9), min_p=0.3)
    yield case(fixed("all equal, but for the masked", -INF, 2.0, 2.0, -INF, 2.0), top_k=1)
    yield case(fixed("three are largest", 1.5, 4.25, 4.0, 4.25, -1.0, 4.25, 0.0), min_p=1.0)
    yield case(fixed("three are largest", 1.5, 4.25, 4.0, 4.25, -1.0, 4.25, 0.0), top_k=2, min_p=0.5)
    for p in [0.9, 0.3, 0.05, 0.001]:
        yield case(tied(40, 1.5), min_p=p)
    yield case(tied(40, 1.5), temperature=0.7, min_p=0.1)
    yield case(tied(40, 1), temperature=1.3, top_k=5)
    yield case(tied(40, 1), temperature=0.7, top_k=6, repetition_penalty=2.0)
    yield case(tied(40, 1.5), top_p=0.8, effective=True)
    yield case(tied(40, 1.5), typical_p=0.8, effective=True)
    yield case(tied(40, 1), top_k=7, top_p=0.6, effective=True)


def extremes():
    yield case(normal(100, 5), min_p=1e-12)
    yield case(fixed("far below", 3.0, 2.5, -66.0, -66.25, -60.0, -200.0), min_p=1e-30)
    yield case(fixed("beyond f32", 0.0, -90.0, -95.0, -100.0, -400.0, -1.0), min_p=1e-40)
    yield case(fixed("beyond f32", 0.0, -90.0, -95.0, -100.0, -400.0, -1.0), temperature=0.5, min_p=1e-40)
    yield case(fixed("large, of both signs", 3e4, -3e4, 2.9999e4, 2.9998e4, 0.0), temperature=2.0, top_p=0.9)
    yield case(fixed("large, of both signs", 3e4, -3e4, 2.9999e4, 2.9998e4, 0.0), repetition_penalty=1.5, seen=[1, 2, 1])
    yield case(normal(64, 2), temperature=0.05, top_k=40, top_p=0.99)


VALUES = {"repetition_penalty": [1.1, 1.3, 2.0, 0.8], "temperature": [0.5, 0.7, 0.9, 1.5, 2.0],
          "top_k": [5, 10, 20, 30, 50], "top_p": [0.5, 0.7, 0.8, 0.9, 0.95], "min_p": [0.01, 0.02, 0.05, 0.1, 0.2],
          "typical_p": [0.3, 0.5, 0.7, 0.9, 0.95]}


def pairs():
    for pair in itertools.combinations(ORDER, 2):
        for row in [normal(60, 2), normal(120, 1), masked(80, 3, 12)]:
            yield case(row, effective=True, **{name: VALUES[name] for name in pair})


def many():
    for without in ORDER:
        yield case(normal(150, 1.5), effective=True, **{name: VALUES[name] for name in ORDER if name != without})
    for row in [normal(20, 1), normal(100, 2), normal(300, 1), normal(300, 3), zipf(300), zipf(120), masked(200, 2, 50),
                offset(150, 200), normal(64, 1.5)]:
        yield case(row, effective=True, **VALUES)
    yield case(peaked(100, 8), **VALUES)
    yield case(peaked(30, 2), **VALUES)
    yield case(normal(2, 2), **VALUES)
    yield case(flat(50), **VALUES)


torch.manual_seed(0)
torch.set_num_threads(1)
table.write([line for part in (alone, shapes, ties, extremes, pairs, many) for line in part()])
