"""Cross-entropies and their gradients by PyTorch, for the tests of the crate.

    python3 tests/tables/cross_entropy.py > tests/tables/cross_entropy.json

needs `torch`. Logits, probabilities and weights are floats of 32 bits; everything is computed from them in 64. What PyTorch
has an option for is torch.nn.functional.cross_entropy, NaN and infinities included: names tell where they come up. For what
it has none:

    softcap c   x' = c tanh(x / c) takes the place of the logits
    z_loss s    s logsumexp(x')^2 is added for every row that is not ignored, whatever its weight; the mean divides it by what
                cross_entropy divides by: the weights of the targets that count, or the number of rows for probabilities
"""

import torch
from torch.nn.functional import cross_entropy, one_hot, softmax

import table

INF = float("inf")


def objective(logits, target, reduction, ignore_index, label_smoothing, weights, z_loss, softcap):
    x = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    options = {"reduction": reduction, "ignore_index": ignore_index, "label_smoothing": label_smoothing, "weight": weights}
    value = cross_entropy(x, target, **options)
    if z_loss is None:
        return value
    weights = torch.ones(x.shape[1], dtype=torch.float64) if weights is None else weights
    if target.is_floating_point():
        counts, divisor = torch.ones(len(x), dtype=torch.bool), len(x)
    else:
        counts = target != ignore_index
        divisor = weights[target[counts]].sum()
    z = z_loss * torch.where(counts, torch.logsumexp(x, 1) ** 2, 0.0)
    return value + {"none": z, "sum": z.sum(), "mean": z.sum() / divisor}[reduction]


def case(name, logits, target, ignore_index=-100, label_smoothing=0.0, weights=None, z_loss=None, softcap=None):
    """One line of the table. Targets are class ids if they are integers, otherwise probabilities."""
    soft = target.is_floating_point()
    line = {"name": name, "rows": logits.shape[0], "cols": logits.shape[1], "logits": table.floats(logits)}
    line |= {"probabilities": table.floats(target)} if soft else {"targets": target.tolist()}
    line |= {"ignore_index": ignore_index, "label_smoothing": label_smoothing,
             "weights": weights if weights is None else table.floats(weights), "z_loss": z_loss, "softcap": softcap}

    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "z_loss": z_loss, "softcap": softcap,
               "weights": weights if weights is None else weights.double()}
    x = logits.double().requires_grad_()
    value = {reduction: objective(x, target.double() if soft else target, reduction, **options)
             for reduction in ("none", "sum", "mean")}
    line |= {"losses": table.numbers(value["none"].tolist()),
             "sum": table.number(value["sum"].item()), "mean": table.number(value["mean"].item())}
    for reduction in ("sum", "mean"):
        gradient, = torch.autograd.grad(value[reduction], x)
        line["gradient_" + reduction] = table.numbers(gradient.flatten().tolist())
    return line


def logits(rows, cols, spread=2.0):
    return spread * torch.randn(rows, cols)


def masked(x, *places):
    x = x.clone()
    for row, col in places:
        x[row, col] = -INF
    return x


def ids(*values):
    return torch.tensor(values)


def random_ids(rows, cols):
    return torch.randint(cols, (rows,))


def random_probabilities(rows, cols):
    return softmax(torch.randn(rows, cols), 1)


def random_weights(cols, *zeros):
    weights = torch.randint(1, 17, (cols,)) / 8
    weights[list(zeros)] = 0
    return weights


def class_ids():
    for rows, cols in [(1, 1), (1, 2), (3, 5), (4, 8), (5, 17), (3, 64), (2, 100)]:
        yield case(f"ids {rows}x{cols}", logits(rows, cols), random_ids(rows, cols))

    yield case("ignore_index -100", logits(4, 8), ids(3, -100, 7, -100), ignore_index=-100)
    yield case("ignore_index 0", logits(4, 8), ids(0, 1, 0, 5), ignore_index=0)
    yield case("ignore_index 2", logits(3, 5), ids(4, 2, 0), ignore_index=2)
    yield case("ignore_index 255", logits(5, 17), ids(255, 16, 255, 0, 2), ignore_index=255)
    yield case("ignore_index that no target is", logits(3, 5), ids(4, 2, 0), ignore_index=255)
    yield case("all ignored: mean is NaN, its gradient 0", logits(3, 5), ids(-100, -100, -100))
    yield case("all ignored, smoothing and weights: mean is NaN, its gradient 0", logits(3, 5), ids(1, 1, 1),
               ignore_index=1, label_smoothing=0.1, weights=random_weights(5))

    for smoothing in [0.1, 0.5, 1.0]:
        yield case(f"smoothing {smoothing}", logits(3, 5), random_ids(3, 5), label_smoothing=smoothing)
    yield case("smoothing 0.1, 1x1", logits(1, 1), ids(0), label_smoothing=0.1)
    yield case("smoothing 0.1, 5x17", logits(5, 17), random_ids(5, 17), label_smoothing=0.1)
    yield case("smoothing 0.1, 2x1000", logits(2, 1000), random_ids(2, 1000), label_smoothing=0.1)
    yield case("smoothing and ignore_index", logits(4, 8), ids(0, -100, 2, 7), label_smoothing=0.1)

    yield case("weights", logits(4, 8), random_ids(4, 8), weights=random_weights(8))
    yield case("weights, 2x100", logits(2, 100), random_ids(2, 100), weights=random_weights(100, 3, 50, 99))
    yield case("weights, one target's is 0", logits(3, 5), ids(0, 3, 4), weights=random_weights(5, 1, 3))
    yield case("weights, all targets' are 0: mean is NaN, its gradient too", logits(2, 5), ids(3, 1),
               weights=random_weights(5, 1, 3))
    yield case("weights and smoothing", logits(4, 8), random_ids(4, 8), weights=random_weights(8), label_smoothing=0.1)
    yield case("weights, one target's is 0, and smoothing", logits(3, 5), ids(0, 3, 4), weights=random_weights(5, 1, 3),
               label_smoothing=0.5)
    yield case("weights, all targets' are 0, and smoothing: the sum is finite, the mean is NaN", logits(2, 5),
               ids(3, 1), weights=random_weights(5, 1, 3), label_smoothing=0.1)
    yield case("weights and smoothing 1.0", logits(3, 5), random_ids(3, 5), weights=random_weights(5),
               label_smoothing=1.0)
    yield case("weights and ignore_index 2", logits(4, 8), ids(2, 0, 2, 5), weights=random_weights(8), ignore_index=2)
    yield case("weights, smoothing and ignore_index", logits(5, 17), ids(16, -100, 0, 9, -100),
               weights=random_weights(17, 4, 9), label_smoothing=0.1)


def probabilities():
    one_hots = one_hot(random_ids(4, 8), 8).float()
    yield case("probabilities", logits(3, 5), random_probabilities(3, 5))
    yield case("probabilities, 1x1", logits(1, 1), torch.ones(1, 1))
    yield case("probabilities, 3x64", logits(3, 64), random_probabilities(3, 64))
    yield case("probabilities, 1x1000", logits(1, 1000), random_probabilities(1, 1000))
    yield case("probabilities, one-hot", logits(4, 8), one_hots)
    yield case("probabilities that do not sum to 1", logits(3, 5), 2 * torch.rand(3, 5))
    yield case("probabilities, all 0 in a row", logits(2, 5), torch.tensor([[0.0] * 5, [0.2] * 5]))
    yield case("probabilities and smoothing", logits(3, 5), random_probabilities(3, 5), label_smoothing=0.1)
    yield case("probabilities, one-hot, and smoothing", logits(4, 8), one_hots, label_smoothing=0.1)
    yield case("probabilities and smoothing 1.0", logits(3, 5), random_probabilities(3, 5), label_smoothing=1.0)
    yield case("probabilities that do not sum to 1, and smoothing", logits(3, 5), 2 * torch.rand(3, 5),
               label_smoothing=0.5)
    yield case("probabilities and weights: mean divides by the rows", logits(4, 8), random_probabilities(4, 8),
               weights=random_weights(8, 2))
    yield case("probabilities, one-hot, and weights: mean divides by the rows", logits(4, 8), one_hots,
               weights=random_weights(8))
    yield case("probabilities, weights and smoothing", logits(5, 17), random_probabilities(5, 17),
               weights=random_weights(17, 0, 8), label_smoothing=0.1)


def masks():
    x = masked(logits(2, 5), (0, 1), (0, 4), (1, 0))
    target = ids(2, 3)
    weights = torch.tensor([1, 0.5, 2, 0.25, 1.5])
    light = torch.tensor([0, 0, 2, 0.25, 0])
    soft = torch.tensor([[0.25, 0, 0.5, 0.25, 0], [0, 0.125, 0.125, 0.5, 0.25]])
    yield case("masked", x, target)
    yield case("masked, weights", x, target, weights=weights)
    yield case("masked, smoothing: losses are infinite, gradients finite", x, target, label_smoothing=0.1)
    yield case("masked, weights and smoothing: losses are infinite, gradients finite", x, target, weights=weights,
               label_smoothing=0.1)
    yield case("masked where weights are 0", x, target, weights=light)
    yield case("masked where weights are 0, smoothing: losses are NaN, gradients finite", x, target, weights=light,
               label_smoothing=0.1)
    yield case("masked where probabilities are 0: losses are NaN, gradients finite", x, soft)
    yield case("masked where probabilities are 0, weights: losses are NaN, gradients finite", x, soft, weights=weights)
    yield case("masked where probabilities are 0, smoothing: losses are infinite, gradients finite", x, soft,
               label_smoothing=0.1)
    yield case("masked where probabilities are not 0: losses are infinite, gradients finite", x,
               torch.full((2, 5), 0.2))
    yield case("masked target: its loss is infinite, its gradient finite", x, ids(1, 3))
    yield case("masked target of weight 0: its loss is NaN, its gradient 0", x, ids(1, 3), weights=light)
    yield case("masked but for the target: loss is 0", masked(logits(1, 3), (0, 0), (0, 2)), ids(1))
    yield case("all of a row masked: its loss and gradient are NaN", masked(logits(2, 3), (0, 0), (0, 1), (0, 2)),
               ids(1, 2))
    yield case("all of an ignored row masked: its loss is 0, its gradient NaN",
               masked(logits(2, 3), (0, 0), (0, 1), (0, 2)), ids(-100, 2))


def extremes():
    for offset in [3000, -3000]:
        yield case(f"offset {offset}", logits(3, 5) + offset, random_ids(3, 5))
        yield case(f"offset {offset}, weights and smoothing", logits(3, 5) + offset, random_ids(3, 5),
                   weights=random_weights(5), label_smoothing=0.1)
        yield case(f"offset {offset}, probabilities", logits(3, 5) + offset, random_probabilities(3, 5))
    for lead, rest in [(20, ""), (60, ", where e^-60 is lost beside 1")]:
        x = torch.tensor([[0.0, lead, 0.5, -1.0], [0.0, lead, 0.5, -1.0]])
        yield case(f"a logit leads by {lead}: target, and not target{rest}", x, ids(1, 2))
        yield case(f"a logit leads by {lead}, smoothing", x, ids(1, 2), label_smoothing=0.1)


def beyond_pytorch():
    for options in [{"z_loss": 1e-4}, {"z_loss": 0.5}, {"softcap": 30.0}, {"softcap": 2.0}, {"z_loss": 0.01, "softcap": 5.0}]:
        name = ", ".join(f"{option} {value}" for option, value in options.items())
        yield case(name, logits(3, 5), random_ids(3, 5), **options)
    for options in [{"z_loss": 0.01}, {"softcap": 5.0}, {"z_loss": 0.01, "softcap": 5.0}]:
        name = " and ".join(options)
        yield case(f"{name}, ignore_index", logits(4, 8), ids(3, -100, 7, -100), **options)
        yield case(f"{name}, smoothing", logits(4, 8), random_ids(4, 8), label_smoothing=0.1, **options)
        yield case(f"{name}, weights", logits(4, 8), ids(0, 3, 6, 3), weights=random_weights(8, 3), **options)
        yield case(f"{name}, weights, smoothing and ignore_index", logits(5, 17), ids(16, 2, 0, 9, 2),
                   weights=random_weights(17, 9), label_smoothing=0.1, ignore_index=2, **options)
        yield case(f"{name}, probabilities", logits(3, 5), random_probabilities(3, 5), **options)
        yield case(f"{name}, probabilities, weights and smoothing", logits(4, 8), random_probabilities(4, 8),
                   weights=random_weights(8, 3), label_smoothing=0.1, **options)
    yield case("z_loss, 2x100", logits(2, 100), random_ids(2, 100), z_loss=1e-4)
    yield case("z_loss, masked", masked(logits(2, 5), (0, 1), (1, 0)), ids(2, 3), z_loss=0.01)
    yield case("z_loss, offset 3000", logits(3, 5) + 3000, random_ids(3, 5), z_loss=1e-4)
    yield case("softcap, saturated", logits(3, 5, spread=200.0), random_ids(3, 5), softcap=30.0)


torch.manual_seed(0)
torch.set_num_threads(1)
table.write([line for part in (class_ids, probabilities, masks, extremes, beyond_pytorch) for line in part()])
