"""Divergences of Kullback-Leibler and Jensen-Shannon, in nats, for the tests of the crate.

    python3 tests/tables/divergence.py > tests/tables/divergence.json

needs `torch`. P and Q are given as floats of 32 bits, as logits, as log-probabilities or as probabilities, and are then

    softmax(x / T),   x = the logits, the log-probabilities, or the logarithms of the probabilities

which makes their sums 1 again. `kl` is KL(P || Q) of each row: classes with p = 0 add nothing, those with q = 0 < p make it
infinite. `js` has a list for each beta, of each row's

    beta KL(P || M) + (1 - beta) KL(Q || M),   M = beta P + (1 - beta) Q;   at beta = 0 KL(P || Q), at beta = 1 KL(Q || P)

All in decimal numbers of 50 digits, so that divergences of 1e-14 are right to the last bit of a double; `kl` is compared
with PyTorch where PyTorch has a number.
"""

import decimal
from decimal import Decimal

import torch
from torch.nn.functional import kl_div, log_softmax, softmax

import table

INF = float("inf")
BETAS = [0.0, 0.1, 0.5, 0.9, 1.0]
LOGITS, LOG_PROBABILITIES, PROBABILITIES = "logits", "log_probabilities", "probabilities"


def distribution(row, kind, temperature):
    x = [Decimal(value) for value in row.tolist()]
    if kind == PROBABILITIES:
        x = [value.ln() for value in x]
    largest = max(x)
    exponentials = [((value - largest) / Decimal(temperature)).exp() for value in x]
    total = sum(exponentials)
    return [value / total for value in exponentials]


def kl(p, q):
    if any(b == 0 < a for a, b in zip(p, q)):
        return Decimal("inf")
    return sum((a * (a / b).ln() for a, b in zip(p, q) if a > 0), Decimal(0))


def js(p, q, beta):
    if beta == 0.0:
        return kl(p, q)
    if beta == 1.0:
        return kl(q, p)
    beta = Decimal(beta)
    m = [b + beta * (a - b) for a, b in zip(p, q)]
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


def compare_with_pytorch(p, q, kind_p, kind_q, temperature, divergences):
    log_p, log_q = (log_softmax((x.double().log() if kind == PROBABILITIES else x.double()) / temperature, 1)
                    for x, kind in ((p, kind_p), (q, kind_q)))
    theirs = kl_div(log_q, log_p.exp(), reduction="none").sum(1)
    ours = torch.tensor([float(value) for value in divergences], dtype=torch.float64)
    # 0 * -inf is NaN in PyTorch, 0 here.
    assert torch.all(theirs.isnan() | torch.isclose(theirs, ours, rtol=1e-10, atol=1e-12)), (theirs, ours)


def case(name, p, q, kind_p=LOGITS, kind_q=LOGITS, temperature=1.0):
    pairs = [(distribution(a, kind_p, temperature), distribution(b, kind_q, temperature)) for a, b in zip(p, q)]
    divergences = [kl(a, b) for a, b in pairs]
    compare_with_pytorch(p, q, kind_p, kind_q, temperature, divergences)
    return {"name": name, "rows": p.shape[0], "cols": p.shape[1], "p": table.floats(p), "q": table.floats(q),
            "kind_p": kind_p, "kind_q": kind_q, "temperature": temperature, "kl": table.numbers(map(float, divergences)),
            "beta": BETAS, "js": [table.numbers(float(js(a, b, beta)) for a, b in pairs) for beta in BETAS]}


def logits(rows, cols):
    return 2 * torch.randn(rows, cols)


def masked(x, *cols):
    x = x.clone()
    x[:, list(cols)] = -INF
    return x


def of_kind(kind, x):
    """Logits as what `kind` says."""
    return {LOGITS: x, LOG_PROBABILITIES: log_softmax(x, 1), PROBABILITIES: softmax(x, 1)}[kind]


def random_rows():
    for rows, cols in [(3, 2), (3, 5), (2, 17), (2, 100), (1, 300)]:
        yield case(f"logits {rows}x{cols}", logits(rows, cols), logits(rows, cols))
    for kind_p, kind_q in [(LOG_PROBABILITIES, LOG_PROBABILITIES), (PROBABILITIES, PROBABILITIES), (LOGITS, LOG_PROBABILITIES),
                           (PROBABILITIES, LOGITS), (LOG_PROBABILITIES, PROBABILITIES)]:
        for temperature in [1.0, 0.7, 3.0]:
            yield case(f"{kind_p} and {kind_q}, temperature {temperature}", of_kind(kind_p, logits(2, 17)),
                       of_kind(kind_q, logits(2, 17)), kind_p, kind_q, temperature)
    yield case("logits, temperature 0.7", logits(2, 100), logits(2, 100), temperature=0.7)
    yield case("logits, temperature 3.0", logits(2, 100), logits(2, 100), temperature=3.0)
    yield case("far apart", torch.tensor([[0.0, -200, -1], [0, -80, -90]]),
               torch.tensor([[-200.0, 0, -100], [-90, -85, 0]]))


def near():
    x = logits(2, 17)
    for kind in [LOGITS, LOG_PROBABILITIES, PROBABILITIES]:
        yield case(f"equal {kind}", of_kind(kind, x), of_kind(kind, x), kind, kind, 0.7)
    for size in ["1e-1", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]:
        yield case(f"logits {size} apart", x, x + float(size) * torch.randn(2, 17))
    for size in ["1e-2", "1e-4", "1e-6"]:
        y = x + float(size) * torch.randn(2, 17)
        for kind in [LOG_PROBABILITIES, PROBABILITIES]:
            yield case(f"{kind} {size} apart", of_kind(kind, x), of_kind(kind, y), kind, kind)
    yield case("logits 1e-4 apart, 1x300, temperature 3.0", y := logits(1, 300), y + 1e-4 * torch.randn(1, 300),
               temperature=3.0)


def offsets():
    x = torch.randint(-256, 257, (2, 17)) / 64
    for offset in [3000, -3000]:
        yield case(f"equal but for an offset of {offset}", x, x + offset)
        yield case(f"offset {offset}", logits(2, 17), logits(2, 17) + offset)
    yield case("offset 3000, temperature 0.7", logits(2, 17), logits(2, 17) + 3000, temperature=0.7)


def zeros():
    x, y = logits(2, 5), logits(2, 5)
    for temperature in [1.0, 0.7]:
        yield case(f"masked in both, temperature {temperature}", masked(x, 1, 3), masked(y, 1, 3),
                   temperature=temperature)
        yield case(f"masked in P, temperature {temperature}", masked(x, 1, 3), y, temperature=temperature)
        yield case(f"masked in Q, temperature {temperature}", x, masked(y, 1, 3), temperature=temperature)
    yield case("masked in part of both", masked(x, 1, 3), masked(y, 3, 4))
    yield case("masked, equal", masked(x, 1, 3), masked(x, 1, 3))
    yield case("disjoint supports", masked(x, 0, 2), masked(y, 1, 3, 4))
    yield case("masked log-probabilities", of_kind(LOG_PROBABILITIES, masked(x, 1, 3)),
               of_kind(LOG_PROBABILITIES, masked(y, 1)), LOG_PROBABILITIES, LOG_PROBABILITIES, 3.0)
    p = torch.tensor([[0.5, 0, 0.25, 0.25, 0], [0, 0, 0, 1, 0]])
    q = torch.tensor([[0.125, 0, 0.5, 0.25, 0.125], [0, 0.5, 0, 0.5, 0]])
    for temperature in [1.0, 3.0]:
        yield case(f"probabilities, 0 in P, temperature {temperature}", p, q, PROBABILITIES, PROBABILITIES, temperature)
        yield case(f"probabilities, 0 in Q, temperature {temperature}", q, p, PROBABILITIES, PROBABILITIES, temperature)
    yield case("one-hot probabilities, equal and disjoint", torch.eye(3)[:2], torch.eye(3)[[0, 2]], PROBABILITIES,
               PROBABILITIES)
    yield case("probabilities with a 0, and logits", p, x, PROBABILITIES, LOGITS, 0.7)


torch.manual_seed(0)
torch.set_num_threads(1)
decimal.getcontext().prec = 50
table.write([line for part in (random_rows, near, offsets, zeros) for line in part()])
