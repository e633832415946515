"""The guard's table of messages against the descriptors of the installed onnx."""

import onnx
import pytest
from onnx import TensorProto

from lossexport.runtime.onnx_guard import _STORAGE, SCHEMA

MESSAGES = {
    "model": "ModelProto",
    "opset": "OperatorSetIdProto",
    "entry": "StringStringEntryProto",
    "training": "TrainingInfoProto",
    "graph": "GraphProto",
    "function": "FunctionProto",
    "node": "NodeProto",
    "attribute": "AttributeProto",
    "sparse": "SparseTensorProto",
    "tensor": "TensorProto",
    "value": "ValueInfoProto",
    "type": "TypeProto",
    "element": "TypeProto.Sequence",
    "map": "TypeProto.Map",
    "tensor_type": "TypeProto.Tensor",
    "shape": "TensorShapeProto",
    "dim": "TensorShapeProto.Dimension",
}


def descriptor(name):
    found = onnx
    for part in name.split("."):
        found = getattr(found, part)
    return found.DESCRIPTOR


@pytest.mark.parametrize(("kind", "name"), MESSAGES.items())
def test_the_table_has_the_field_numbers_of_onnx(kind, name):
    fields = descriptor(name).fields_by_name
    assert {number: field for number, (field, _) in SCHEMA[kind].items()} == {
        fields[field].number: field for field, _ in SCHEMA[kind].values()
    }


def test_the_table_reaches_every_tensor():
    """A message field that the table skips must not lead to a tensor or a graph."""
    known = {descriptor(name).full_name for name in MESSAGES.values()}
    leaves = {descriptor(MESSAGES[kind]).full_name for kind in ("opset", "entry")}
    for kind, name in MESSAGES.items():
        listed = {field for field, _ in SCHEMA[kind].values()}
        for field in descriptor(name).fields:
            inner = field.message_type
            if inner is not None and field.name not in listed:
                assert inner.full_name not in known - leaves, (name, field.name)


def test_every_data_type_of_onnx_is_known():
    assert set(_STORAGE) == set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
