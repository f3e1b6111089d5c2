"""How the tables in this folder are written: JSON, one case a line; NaN and infinities are strings."""

import json
import math

import torch


def numbers(values):
    """Floats as JSON can hold them: repr, integers without `.0`, "nan", "inf" and "-inf"."""
    return [number(value) for value in values]


def number(value):
    if not math.isfinite(value):
        return str(value)
    return int(value) if value == int(value) and abs(value) < 1e6 else value


def floats(tensor):
    """The elements of a float32 tensor, row by row, in nine digits: rounded to f32 they are what they were."""
    assert tensor.dtype == torch.float32
    short = [float(f"{value:.9g}") for value in tensor.flatten().tolist()]
    assert torch.equal(torch.tensor(short, dtype=torch.float32), tensor.flatten())
    return numbers(short)


def write(cases):
    assert len({case["name"] for case in cases}) == len(cases)
    lines = [json.dumps(case, separators=(",", ":"), allow_nan=False) for case in cases]
    print('{"torch":"%s","cases":[\n%s\n]}' % (torch.__version__, ",\n".join(lines)))
