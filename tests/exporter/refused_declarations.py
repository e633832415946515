"""Functions that do not do as they are declared, or fail of themselves."""

import numpy as np
import torch

from tests.exporter.refused import (
    CUTS,
    RETURNS,
    WIDENS,
    device,
    draws,
    dtype,
    raises,
    refused,
    shape,
    writes,
)

PINNED = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)

# Inputs, random numbers, devices, types, shapes.


@refused(writes("pred"))
def in_place(pred, target):
    pred.clamp_(min=0)  # here
    return pred[:, 0]


@refused(writes("target"))
def write_by_slice(pred, target):
    target[:, 0] = 0.0  # here
    return (pred - target).sum(1)


@refused(writes("pred"), gradient=True)
def in_place_on_a_view(pred, target):
    first = pred[:, 0]
    first += 1  # here
    return first


@refused(draws("rand"))
def random(pred, target):
    return pred[:, 0] + torch.rand(pred.shape[0])  # here


@refused(draws("dropout"))
def dropout(pred, target):
    return torch.nn.functional.dropout(pred, 0.5).sum(1)  # here


@refused(device("meta"))
def other_device(pred, target):
    return pred.to("meta").sum(1)  # here


@refused(WIDENS)
def numpy_constant(pred, target):
    weights = torch.from_numpy(np.array([1.0, 2.0, 3.0, 4.0]))
    return (pred * weights).sum(1)  # here


@refused(WIDENS)
def double_constant(pred, target):
    weights = torch.tensor([1.0, 2.0], dtype=torch.float64)  # here
    return (pred[:, :2] * weights).sum(1)


@refused(WIDENS)
def global_of_doubles(pred, target):
    return (pred * PINNED).sum(1)  # here


@refused(dtype("bool"))
def comparison(pred, target):
    return pred[:, 0] > target[:, 0]  # here


@refused(shape("[5, 4]"))
def no_reduction(pred, target):
    return (pred - target).abs()  # here


@refused(shape("[]"))
def whole_sum(pred, target):
    return (pred - target).sum()  # here


@refused(f"returns 2 tensors, {RETURNS}")
def two_outputs(pred, target):  # here
    return pred[:, 0], target[:, 0]


@refused(f"returns a value of type dict, {RETURNS}")
def dictionary(pred, target):  # here
    return {"loss": pred[:, 0]}


@refused(f"returns a value of type NoneType, {RETURNS}")
def nothing(pred, target):  # here
    pred.sum(1)


# Gradients that do not exist.


@refused(CUTS, gradient=True)
def independent(pred, target):  # here
    return target.sum(1)


@refused(CUTS, gradient=True)
def detached(pred, target):
    return pred.detach().sum(1)  # here


@refused(CUTS, gradient=True)
def no_grad(pred, target):
    with torch.no_grad():
        return pred.sum(1)  # here


@refused(CUTS, gradient=True)
def argmax(pred, target):
    best = pred.argmax(1)  # here
    return best.float()


# Errors of the function's own.


@refused(raises("RuntimeError: mat1 and mat2 shapes cannot be multiplied (5x4 and 5x4)"))
def product(pred, target):
    return pred @ target  # here


@refused(raises("AttributeError: 'Tensor' object has no attribute 'summe'"))
def misspelt(pred, target):
    return pred.summe(1)  # here


@refused(raises("ValueError: two lines"))
def own_error(pred, target):
    raise ValueError("two\nlines")  # here


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor  # here


@refused(
    raises("AttributeError: 'BackwardBackward' object has no attribute 'factor'"), gradient=True
)
def backward(pred, target):
    return Backward.apply(pred).sum(1)
