"""Functions that look at values or sizes, which a graph does not."""

import numpy as np
import torch

from tests.exporter.refused import (
    BRANCHES,
    FIXES,
    PICKS,
    PUTS,
    index,
    memory,
    number,
    refused,
    sized,
    sizes,
)

# Sizes that depend on the data.


@refused(PICKS)
def mask(pred, target):
    return pred[pred > target].sum() + pred[:, 0]  # here


@refused(PICKS)
def masked_select(pred, target):
    return pred[:, 0] + pred.masked_select(pred > target).sum()  # here


@refused(PICKS)
def mask_in_another_function(pred, target):
    def inner(x):
        chosen = x[x > 0]  # here
        return chosen.sum()

    return inner(pred) + target[:, 0]


@refused(PUTS)
def write_by_mask(pred, target):
    out = pred - target
    out[out < 0] = 0.0  # here
    return out.sum(1)


@refused(PUTS)
def masked_scatter(pred, target):
    return pred.masked_scatter(pred > target, target).sum(1)  # here


@refused(sized("nonzero"))
def nonzero(pred, target):
    return target[:, 0] + (pred > 0).nonzero().sum()  # here


@refused(sized("where"))
def where_of_one(pred, target):
    return target[:, 0] + torch.where(pred > 0)[0].sum()  # here


@refused(sized("unique"))
def unique(pred, target):
    return target[:, 0] + torch.unique(pred).sum()  # here


@refused(sized("repeat_interleave"))
def repeat_interleave(pred, target):
    counts = (pred[:, 0] > 0).long()
    return target[:, 0] + pred.repeat_interleave(counts, 0).sum()  # here


@refused(sized("[]"))
def slice_to_item(pred, target):
    count = (pred[:, 0] > 0).sum()
    return target[:, 0] + pred[: count.item()].sum()  # here


@refused(sized("[]"))
def slice_to_tensor(pred, target):
    count = (pred[:, 0] > 0).sum()
    return target[:, 0] + pred[:count].sum()  # here


@refused(sized("arange"))
def arange_of_tensor(pred, target):
    return target[:, 0] + torch.arange((pred > 0).sum()).sum()  # here


@refused(
    "makes a tensor whose size depends on the data (one_hot); "
    "write (index.unsqueeze(-1) == torch.arange(K)).float(), whose size is known"
)
def one_hot_of_unknown_classes(pred, target):
    classes = torch.nn.functional.one_hot(index(target))  # here
    return pred[:, 0] + classes.sum()


# Python that looks at values.


@refused(BRANCHES)
def branch(pred, target):
    if pred.sum() > target.sum():  # here
        return pred[:, 0]
    return target[:, 0]


@refused(BRANCHES)
def loop(pred, target):
    x = pred[:, 0]
    while x.max() > 1:  # here
        x = x / 2
    return x


@refused(BRANCHES)
def truth(pred, target):
    return pred[:, 0] * bool((pred > 0).all())  # here


@refused(BRANCHES)
def assertion(pred, target):
    assert (pred >= 0).all()  # here
    return pred[:, 0]


@refused(BRANCHES)
def largest_by_python(pred, target):
    return pred[:, 0] + max(pred.sum(), target.sum(), key=abs)  # here


@refused(BRANCHES)
def equal_tensors(pred, target):
    return pred[:, 0] * (2 if torch.equal(pred, target) else 1)  # here


@refused(number("item"))
def item(pred, target):
    return pred[:, 0] * pred.max().item()  # here


@refused(number("item"))
def place_by_item(pred, target):
    place = pred[:, 0].argmax().item()  # here
    return pred[place].sum() + target[:, 0]


@refused(number("float"))
def to_float(pred, target):
    return pred[:, 0] * float(pred.max())  # here


@refused(number("index"))
def range_of_tensor(pred, target):
    steps = range((pred > 0).sum())  # here
    return pred[:, 0] * len(steps)


@refused(number("[]"))
def place_by_tensor(pred, target):
    return pred[pred[:, 0].argmax()].sum() + target[:, 0]  # here


@refused(number("tensor"))
def tensor_of_tensors(pred, target):
    return pred[:, 0] + torch.tensor([pred.sum(), target.sum()]).sum()  # here


@refused(number("item"))
def to_list(pred, target):
    return pred[:, 0] * sum(pred[0].tolist())  # here


@refused(memory("numpy"))
def to_numpy(pred, target):
    return pred[:, 0] + torch.from_numpy(np.sqrt(pred.numpy()))[:, 0]  # here


@refused(memory("array"))
def numpy_function(pred, target):
    return torch.as_tensor(np.maximum(pred, target))[:, 0]  # here


# Python that looks at sizes.


@refused(sizes("N <= 10"))
def branch_on_size(pred, target):
    if pred.shape[0] > 10:  # here
        return pred[:, 0]
    return target[:, 0]


@refused(sizes("N >= 3"))
def rows(pred, target):
    return pred[:, 0] + target[:3].sum()  # here


@refused(sizes("4*N == 20"))
def reshape_of_the_example(pred, target):
    return (pred - target).reshape(5, 4).sum(1)  # here


@refused(FIXES)
def loop_over_rows(pred, target):
    return torch.stack([row.sum() for row in pred])  # here


@refused(FIXES)
def loop_over_range(pred, target):
    return torch.stack([pred[i].sum() for i in range(pred.shape[0])])  # here


@refused(FIXES)
def length(pred, target):
    return pred[:, 0] / len(pred)  # here


@refused(FIXES)
def tensor_of_size(pred, target):
    return pred[:, 0] / torch.tensor(pred.shape[0])  # here
