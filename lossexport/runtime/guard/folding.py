"""An upper estimate of what constant folding computes: nodes whose inputs are all constants.

onnxruntime folds no output of more bytes than a given limit. The estimate therefore assumes that
limit for sizes that depend on values, such as that of `ConstantOfShape`.
"""

import math


def _ops(names: str) -> frozenset[str]:
    return frozenset(names.split())


_ELEMENTWISE = _ops(
    """Add And BitShift BitwiseAnd BitwiseOr BitwiseXor CastLike Div Equal Greater GreaterOrEqual
    Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor"""
)
_KEEPING = _ops(
    """Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh BitwiseNot Cast Ceil Clip Cos Cosh CumSum
    DepthToSpace DequantizeLinear Elu Erf Exp Flatten Floor HardSigmoid HardSwish Identity IsInf
    IsNaN LeakyRelu Log LogSoftmax Neg Not QuantizeLinear Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
    Round Selu Sigmoid Sign Sin Sinh Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Tan Tanh
    Transpose Trilu Unsqueeze"""
)
_FILLING = _ops("ConstantOfShape Expand EyeLike NonZero OneHot Pad Range Resize Tile Upsample")
_MULTIPLYING = _ops("Einsum Gather GatherElements GatherND Gemm MatMul ScatterElements ScatterND")
_STORE = 16
"""Steps to make an element: it is computed, stored and read again."""


def fold(op: str, counts: list[int], outputs: int, cap: int) -> tuple[int, int]:
    """Steps to fold a node whose inputs have `counts` elements, and the elements of an output.

    No output has more than `cap`.
    """
    product = math.prod(max(count, 1) for count in counts)
    steps, made = sum(counts), cap
    if op in _KEEPING and counts:
        made = max(counts[0], 1)
    elif op == "Concat":
        made = sum(counts)
    elif op in _ELEMENTWISE:
        made = product
    elif op in _MULTIPLYING:
        made = max(product, counts[0] if counts else 0)
        steps = product
    elif op not in _FILLING:
        steps = product * cap
    made = min(made, cap)
    return steps + _STORE * made * max(outputs, 1), made
