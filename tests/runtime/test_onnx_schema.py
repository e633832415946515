"""The guard's table of messages against the descriptors of the installed onnx."""

from typing import Any

import onnx
import pytest
from onnx import TensorProto

from lossexport.runtime.guard.schema import SCHEMA, STORAGE

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
    "opaque": "TypeProto.Opaque",
    "segment": "TensorProto.Segment",
    "annotation": "TensorAnnotation",
    "devices": "DeviceConfigurationProto",
    "placement": "NodeDeviceConfigurationProto",
    "sharding": "ShardingSpecProto",
    "group": "IntIntListEntryProto",
    "sharded": "ShardedDimProto",
    "simple": "SimpleShardedDimProto",
}
ALIKE = {
    "onnx.TypeProto.Optional": "onnx.TypeProto.Sequence",
    "onnx.TypeProto.SparseTensor": "onnx.TypeProto.Tensor",
}


def descriptor(name: str) -> Any:
    found: Any = onnx
    for part in name.split("."):
        found = getattr(found, part)
    return found.DESCRIPTOR


@pytest.mark.parametrize(("kind", "name"), MESSAGES.items())
def test_the_table_has_the_field_numbers_of_onnx(kind: str, name: str) -> None:
    fields = descriptor(name).fields_by_name
    assert {number: field for number, (field, _) in SCHEMA[kind].items()} == {
        fields[field].number: field for field, _ in SCHEMA[kind].values()
    }


@pytest.mark.parametrize(("kind", "name"), MESSAGES.items())
def test_no_message_is_skipped(kind: str, name: str) -> None:
    """Protobuf makes objects of messages that the table would take for bytes."""
    messages = {
        field.number: field.message_type.full_name
        for field in descriptor(name).fields
        if field.message_type is not None
    }
    listed = {
        number: descriptor(MESSAGES[leaf.rstrip("*")]).full_name
        for number, (_, leaf) in SCHEMA[kind].items()
        if leaf.rstrip("*") in SCHEMA
    }
    # Two kinds serve for messages that are alike.
    assert {number: ALIKE.get(found, found) for number, found in messages.items()} == listed


def test_every_data_type_of_onnx_is_known() -> None:
    assert set(STORAGE) == set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
