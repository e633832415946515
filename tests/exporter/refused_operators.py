"""Functions of operators that no graph, or not every runtime, has."""

import torch

from tests.exporter.refused import adds, gradient, index, refused, untranslated

# Adding and reducing by index.


@refused(adds("aten.scatter_add"))
def scatter_add(pred, target):
    return pred[:, 0].scatter_add(0, index(target), target[:, 0])  # here


@refused(adds("aten.scatter_reduce.two"))
def scatter_reduce(pred, target):
    return pred[:, 0].scatter_reduce(0, index(target), target[:, 0], "amax")  # here


@refused(adds("aten.scatter_.reduce"))
def scatter_with_reduce(pred, target):
    out = torch.zeros_like(pred[:, 0])
    return out.scatter_(0, index(target), pred[:, 0], reduce="add")  # here


@refused(adds("aten.index_put_"))
def index_add(pred, target):
    return torch.zeros_like(pred).index_add_(0, index(target), pred).sum(1)  # here


@refused(adds("aten.index_put"))
def index_put(pred, target):
    out = torch.zeros_like(pred)
    return out.index_put((index(target),), pred, accumulate=True).sum(1)  # here


@refused(adds("aten.index_reduce_"))
def index_reduce(pred, target):
    out = torch.zeros_like(pred)
    return out.index_reduce_(0, index(target), pred, "amax").sum(1)  # here


@refused(adds("aten.bincount"))
def bincount(pred, target):
    return pred[:, 0] + torch.bincount(index(target), minlength=4).sum()  # here


@gradient(adds("aten.scatter_add"))
def gather(pred, target):
    return pred.gather(1, index(target).unsqueeze(1))[:, 0]  # here


@gradient(adds("aten.index_put"))
def index_by_tensor(pred, target):
    chosen = pred[index(target)]  # here
    return chosen.sum(1)


@gradient(adds("aten.index_put"))
def index_by_list(pred, target):
    sides = pred[:, [2, 3]] - pred[:, :2]  # here
    return sides.prod(1) * 0 + sides.sum(1)


@gradient(adds("aten.index_put"))
def sorted_rows(pred, target):
    order = target[:, 0].argsort()
    return pred.index_select(0, order).sum(1)  # here


# What ONNX has no operator for.


@refused(untranslated("aten.cummax", "torch.where(lower_triangle, x, -inf) and amax"))
def cummax(pred, target):
    return pred.cummax(1).values.sum(1)  # here


@refused(untranslated("aten.histogram.bin_ct", "other operators of torch"))
def histogram(pred, target):
    return pred[:, 0] + torch.histogram(pred, 4)[0].sum()  # here


@refused(untranslated("aten._linalg_det", "a * d - b * c of the elements"))
def determinant(pred, target):
    return torch.linalg.det(pred.reshape(-1, 2, 2))  # here


@gradient(untranslated("aten.diagonal_scatter", "(a * b).sum(-1) for the diagonal of a @ b.T"))
def diagonal(pred, target):
    return torch.diagonal(pred @ target.T)  # here
