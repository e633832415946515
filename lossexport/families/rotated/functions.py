"""Rotated boxes as Gaussians: ProbIoU and its loss, and the losses KLD, GWD and KFIoU.

Each formula is a function of the two determinants, of that of the summed covariances, and of the
offset of the centres. Published code forms these from covariance matrices, where they are small
differences of large products. Here they are sums of terms that are not negative, written in the
standard deviations along the axes of the boxes: a, b of the prediction, g, k of the target, with
cos^2 and sin^2 of the angle between them. `Pair` explains how.

Sources: ProbIoU, Llerena et al. (arXiv 2106.06072); KLD, Yang et al., NeurIPS 2021 (arXiv
2106.01883); GWD, Yang et al., ICML 2021 (arXiv 2101.11952); KFIoU, Yang et al., ICLR 2023 (arXiv
2201.12558). The constants are those of Ultralytics (ProbIoU) and mmrotate (the others).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lossexport.families.rotated.boxes import Box, Frame, Turn, offset
from lossexport.ops.common import reduce

# Of mmrotate: the range that sides are moved into, the least distance under a root, the least root
# of a product of determinants, and what is added to denominators and logarithms of KFIoU.
_SIDES = (1e-7, 1e7)
_FLOOR = 1e-7
_KF_EPS = 1e-6
# ProbIoU: the largest distance.
_FAR = 100.0


class _Gaussian(NamedTuple):
    """A box whose axes are two standard deviations."""

    box: Box
    a: Tensor
    b: Tensor

    @classmethod
    def uniform(cls, box: Box, floor: float) -> "_Gaussian":
        """The deviations of a uniform rectangle; `floor` is added to its variances."""
        return cls(box, *(_deviation(side, floor) for side in (box.w, box.h)))

    @classmethod
    def half(cls, box: Box) -> "_Gaussian":
        """Half the sides, each of which is moved into `_SIDES`."""
        return cls(box, *(side.clamp(*_SIDES) * 0.5 for side in (box.w, box.h)))


def _deviation(side: Tensor, floor: float) -> Tensor:
    if floor == 0:  # the root has no finite slope at 0
        return side.abs() * 12**-0.5
    return (side * side * (1 / 12) + floor).sqrt()


class _Pair(NamedTuple):
    """The deviations of two boxes, and the squares of the cosine and sine of their angle.

    With covariances P and T, det(P + T) = `spread` + `product`, where the product is
    4 sqrt(det P det T), and the spread is 0 for equal Gaussians.
    """

    a: Tensor
    b: Tensor
    g: Tensor
    k: Tensor
    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, p: _Gaussian, t: _Gaussian) -> "_Pair":
        """The pair of two Gaussians that broadcast against each other."""
        turn = Turn.between(p.box, t.box)
        return cls(p.a, p.b, t.a, t.b, turn.cos * turn.cos, turn.sin * turn.sin)

    def product(self) -> Tensor:
        """4 sqrt(det P det T)."""
        return 4 * ((self.a * self.b) * (self.g * self.k))

    def spread(self) -> Tensor:
        """det(P + T) - 4 sqrt(det P det T), as a sum of squares."""
        area = self.a * self.b - self.g * self.k
        crossed = self.a * self.k - self.b * self.g
        straight = self.a * self.g - self.b * self.k
        return area * area + crossed * crossed * self.cos + straight * straight * self.sin


def _log(number: Tensor, excess: Tensor) -> Tensor:
    """The logarithm of a number above 0, precise near 1 too; `excess` is that number less 1."""
    near = torch.log1p(excess.clamp(-0.5, 0.5))
    return torch.where(excess.abs() <= 0.5, near, number.log())


def _form(a: Tensor, b: Tensor, away: Frame) -> Tensor:
    """d' adj(S) d for the covariance S of deviations a, b, and an offset d along its axes."""
    along, across = b * away.x, a * away.y
    return along * along + across * across


def _distance(pred: Box, target: Box, eps: float, floor: float) -> Tensor:
    """The Hellinger distance of ProbIoU, from the Bhattacharyya distance between eps and 100."""
    p, t = _Gaussian.uniform(pred, floor), _Gaussian.uniform(target, floor)
    pair = _Pair.of(p, t)
    spread, product = pair.spread(), pair.product()
    form = _form(p.a, p.b, offset(target, pred)) + _form(t.a, t.b, offset(pred, target))
    centres = form / (4 * ((spread + product) + eps))
    quotient = (spread + product) / (product + eps) + eps
    shapes = 0.5 * _log(quotient, (spread - eps) / (product + eps) + eps)
    bhattacharyya = (centres + shapes).clamp(eps, _FAR)
    return (eps - torch.expm1(-bhattacharyya)).sqrt()


def box_probiou(pred: Tensor, target: Tensor, eps: float = 1e-7, floor: float = 0.0) -> Tensor:
    """ProbIoU of `pred[i]` with `target[i]`: [N,5] and [N,5] (cx, cy, w, h, radians) to [N]."""
    return 1 - _distance(Box.of(pred), Box.of(target), eps, floor)


def pairwise_probiou(pred: Tensor, target: Tensor, eps: float = 1e-7, floor: float = 0.0) -> Tensor:
    """ProbIoU of every `pred[i]` with every `target[j]`: [N,5] and [M,5] to [N,M]."""
    return 1 - _distance(Box.of(pred.unsqueeze(1)), Box.of(target), eps, floor)


def probiou_loss(
    pred: Tensor,
    target: Tensor,
    eps: float = 1e-7,
    floor: float = 0.01,
    reduction: str = "none",
) -> Tensor:
    """1 - ProbIoU of `pred[i]` with `target[i]`: [N,5] (cx, cy, w, h, radians) to [N]."""
    return reduce(_distance(Box.of(pred, target), Box.of(target), eps, floor), reduction)


def _post(distance: Tensor, post: str, tau: float) -> Tensor:
    """What mmrotate makes a loss of a distance with; below 1, `tau` has no effect."""
    if post == "log1p":
        distance = torch.log1p(distance)
    elif post == "sqrt":
        distance = _root(distance)
    return 1 - 1 / (tau + distance) if tau >= 1 else distance


def _root(distance: Tensor) -> Tensor:
    return distance.clamp(min=_FLOOR).sqrt()


def _divergence(p: _Gaussian, t: _Gaussian) -> Tensor:
    """The Kullback-Leibler divergence of `p` from `t`, with the covariance of `p` inverted.

    Trace and logarithm nearly cancel for alike boxes. With m^2 = det T / det P, the trace is 2 m
    and squares, and m - 1 - log m has only the errors of m - 1.
    """
    pair = _Pair.of(p, t)
    straight = pair.g / pair.a - pair.k / pair.b
    crossed = pair.k / pair.a - pair.g / pair.b
    squares = straight * straight * pair.cos + crossed * crossed * pair.sin + _reach(p, t)
    own, other = pair.a * pair.b, pair.g * pair.k
    growth = (other - own) / own
    return 0.5 * squares + (growth - _log(other / own, growth))


def _reach(p: _Gaussian, t: _Gaussian) -> Tensor:
    """The squared distance of the centres in deviations of `p`.

    As the share of a circle and that of the short axis, so that two equal squares are equally far
    from each other to the last bit: the symmetric directions halve the gradient there.
    """
    away = offset(t.box, p.box)
    flat = p.a > p.b
    long, short = torch.where(flat, p.a, p.b), torch.where(flat, p.b, p.a)
    x, y = (t.box.x - p.box.x) / long, (t.box.y - p.box.y) / long
    beyond = torch.where(flat, away.y, away.x) / short
    share = ((long - short) / long) * ((long + short) / long)
    return (x * x + y * y) + beyond * beyond * share


def kld_loss(
    pred: Tensor,
    target: Tensor,
    direction: str = "kld",
    sqrt: bool = True,
    post: str = "log1p",
    tau: float = 1.0,
    reduction: str = "none",
) -> Tensor:
    """A loss of the divergence of `pred[i]` from `target[i]`: [N,5] (cx, cy, w, h, radians) to [N].

    `direction`: "kld" inverts the predicted covariance; "jd", "symmax" and "symmin" are the mean,
    the larger and the smaller of both directions. With `sqrt`, the root of the divergence counts.
    The loss is 1 - 1 / (tau + post(d)), or post(d) for tau < 1.
    """
    p, t = _Gaussian.half(Box.of(pred, target)), _Gaussian.half(Box.of(target))
    distance = _divergence(p, t)
    if direction != "kld":
        back = _divergence(t, p)
        if direction == "jd":
            distance = (distance + back) * 0.5
        else:
            choose = torch.maximum if direction == "symmax" else torch.minimum
            distance = choose(distance, back)
    return reduce(_post(_root(distance) if sqrt else distance, post, tau), reduction)


def gwd_loss(
    pred: Tensor,
    target: Tensor,
    normalize: bool = True,
    post: str = "log1p",
    tau: float = 1.0,
    reduction: str = "none",
) -> Tensor:
    """A loss of the Wasserstein distance of boxes: [N,5] (cx, cy, w, h, radians) to [N].

    `normalize` divides the distance by 2 (det det)^(1/8), the size of the boxes. The loss is
    1 - 1 / (tau + post(d)), or post(d) for tau < 1.
    """
    p, t = _Gaussian.half(Box.of(pred, target)), _Gaussian.half(Box.of(target))
    pair = _Pair.of(p, t)
    # tr P + tr T - 2 coupling is a sum of squares if the long sides are named alike.
    swap = (pair.a - pair.b) * (pair.g - pair.k) < 0
    g, k = torch.where(swap, pair.k, pair.g), torch.where(swap, pair.g, pair.k)
    cos, sin = torch.where(swap, pair.sin, pair.cos), torch.where(swap, pair.cos, pair.sin)
    straight, crossed = pair.a * g + pair.b * k, pair.a * k + pair.b * g
    # mmrotate raises the root of the determinants, of boxes with sides below about 0.3.
    product = (pair.a * pair.b) * (pair.g * pair.k)
    root = product.clamp(min=_FLOOR**0.5)
    raised = 2 * (root - product)
    coupling = _root(straight * straight * cos + crossed * crossed * sin + raised)
    turned = (pair.a * pair.a - pair.b * pair.b) * (g * g - k * k) * sin
    wide, high = pair.a - g, pair.b - k
    shift_x, shift_y = p.box.x - t.box.x, p.box.y - t.box.y
    squares = shift_x * shift_x + shift_y * shift_y + wide * wide + high * high
    distance = _root(squares + 2 * ((turned - raised) / (straight + coupling)))
    if normalize:
        distance = distance / (2 * root.sqrt().sqrt())
    return reduce(_post(distance, post, tau), reduction)


def kfiou_loss(
    pred: Tensor, target: Tensor, form: str = "linear", reduction: str = "none"
) -> Tensor:
    """A loss of the overlap of Gaussians of equal centres: [N,5] (cx, cy, w, h, radians) to [N].

    The KFIoU of equal boxes is 1/3, its largest value; the centres have no effect. `form`: "linear"
    is 1 - KFIoU, "ln" its negative logarithm, "exp" exp(1 - KFIoU) - 1.
    """
    p, t = _Gaussian.half(Box.of(pred, target)), _Gaussian.half(Box.of(target))
    pair = _Pair.of(p, t)
    product = pair.product()
    common = product / (pair.spread() + product).sqrt()
    together = 4 * (pair.a * pair.b + pair.g * pair.k) - common
    overlap = common / (together + _KF_EPS)
    if form == "ln":
        return reduce(-torch.log(overlap + _KF_EPS), reduction)
    miss = 1 - overlap
    return reduce(torch.exp(miss) - 1 if form == "exp" else miss, reduction)
