"""Every message of an ONNX file, and how its tensors store their elements."""

from lossexport.runtime.wire import Schema

METADATA_PROPS = 14
SCHEMA: Schema = {
    "model": {
        1: ("ir_version", "int"),
        7: ("graph", "graph"),
        8: ("opset_import", "opset*"),
        METADATA_PROPS: ("metadata_props", "entry*"),
        20: ("training_info", "training*"),
        25: ("functions", "function*"),
        26: ("configuration", "devices*"),
    },
    "opset": {1: ("domain", "text"), 2: ("version", "int")},
    "entry": {1: ("key", "text"), 2: ("value", "text")},
    "training": {
        1: ("initialization", "graph"),
        2: ("algorithm", "graph"),
        3: ("initialization_binding", "entry*"),
        4: ("update_binding", "entry*"),
    },
    "graph": {
        1: ("node", "node*"),
        5: ("initializer", "tensor*"),
        11: ("input", "value*"),
        12: ("output", "value*"),
        13: ("value_info", "value*"),
        14: ("quantization_annotation", "annotation*"),
        15: ("sparse_initializer", "sparse*"),
        16: ("metadata_props", "entry*"),
    },
    "function": {
        1: ("name", "text"),
        4: ("input", "names"),
        5: ("output", "names"),
        7: ("node", "node*"),
        9: ("opset_import", "opset*"),
        10: ("domain", "text"),
        11: ("attribute_proto", "attribute*"),
        12: ("value_info", "value*"),
        13: ("overload", "text"),
        14: ("metadata_props", "entry*"),
    },
    "node": {
        1: ("input", "names"),
        2: ("output", "names"),
        4: ("op_type", "text"),
        5: ("attribute", "attribute*"),
        7: ("domain", "text"),
        8: ("overload", "text"),
        9: ("metadata_props", "entry*"),
        10: ("device_configurations", "placement*"),
    },
    "attribute": {
        1: ("name", "text"),
        5: ("t", "tensor"),
        6: ("g", "graph"),
        7: ("floats", "floats"),
        8: ("ints", "numbers"),
        10: ("tensors", "tensor*"),
        11: ("graphs", "graph*"),
        14: ("tp", "type"),
        15: ("type_protos", "type*"),
        21: ("ref_attr_name", "text"),
        22: ("sparse_tensor", "sparse"),
        23: ("sparse_tensors", "sparse*"),
    },
    "sparse": {1: ("values", "tensor"), 2: ("indices", "tensor"), 3: ("dims", "ints")},
    "tensor": {
        1: ("dims", "ints"),
        2: ("data_type", "int"),
        3: ("segment", "segment"),
        4: ("float_data", "floats"),
        5: ("int32_data", "varints"),
        6: ("string_data", "blobs"),
        7: ("int64_data", "varints"),
        8: ("name", "text"),
        9: ("raw_data", "bytes"),
        10: ("double_data", "doubles"),
        11: ("uint64_data", "varints"),
        13: ("external_data", "entry*"),
        14: ("data_location", "int"),
        16: ("metadata_props", "entry*"),
    },
    "segment": {1: ("begin", "int"), 2: ("end", "int")},
    "value": {1: ("name", "text"), 2: ("type", "type"), 4: ("metadata_props", "entry*")},
    "type": {
        1: ("tensor_type", "tensor_type"),
        4: ("sequence_type", "element"),
        5: ("map_type", "map"),
        7: ("opaque_type", "opaque"),
        8: ("sparse_tensor_type", "tensor_type"),
        9: ("optional_type", "element"),
    },
    "element": {1: ("elem_type", "type")},
    "map": {2: ("value_type", "type")},
    "opaque": {},
    "tensor_type": {2: ("shape", "shape")},
    "shape": {1: ("dim", "dim*")},
    "dim": {1: ("dim_value", "int")},
    "annotation": {2: ("quant_parameter_tensor_names", "entry*")},
    "devices": {},
    "placement": {2: ("sharding_spec", "sharding*")},
    "sharding": {
        2: ("device", "numbers"),
        3: ("index_to_device_group_map", "group*"),
        4: ("sharded_dim", "sharded*"),
    },
    "group": {2: ("value", "numbers")},
    "sharded": {2: ("simple_sharding", "simple*")},
    "simple": {},
}

_INT, _FLOAT, _DOUBLE, _LONG = "int32_data", "float_data", "double_data", "uint64_data"
STRING = 8
STORAGE: dict[int, tuple[int, str, float]] = {
    1: (32, _FLOAT, 1),  # FLOAT
    2: (8, _INT, 1),  # UINT8
    3: (8, _INT, 1),  # INT8
    4: (16, _INT, 1),  # UINT16
    5: (16, _INT, 1),  # INT16
    6: (32, _INT, 1),  # INT32
    7: (64, "int64_data", 1),  # INT64
    STRING: (0, "string_data", 1),
    9: (8, _INT, 1),  # BOOL
    10: (16, _INT, 1),  # FLOAT16
    11: (64, _DOUBLE, 1),  # DOUBLE
    12: (32, _LONG, 1),  # UINT32
    13: (64, _LONG, 1),  # UINT64
    14: (64, _FLOAT, 2),  # COMPLEX64
    15: (128, _DOUBLE, 2),  # COMPLEX128
    16: (16, _INT, 1),  # BFLOAT16
    17: (8, _INT, 1),  # FLOAT8E4M3FN
    18: (8, _INT, 1),  # FLOAT8E4M3FNUZ
    19: (8, _INT, 1),  # FLOAT8E5M2
    20: (8, _INT, 1),  # FLOAT8E5M2FNUZ
    21: (4, _INT, 0.5),  # UINT4
    22: (4, _INT, 0.5),  # INT4
    23: (4, _INT, 0.5),  # FLOAT4E2M1
    24: (8, _INT, 1),  # FLOAT8E8M0
    25: (2, _INT, 0.25),  # UINT2
    26: (2, _INT, 0.25),  # INT2
    27: (6, _INT, 1),  # FLOAT6E2M3
    28: (6, _INT, 1),  # FLOAT6E3M2
}
"""TensorProto.data_type -> bits of an element in raw_data, typed field, entries per element."""

STRING_BYTES = 48
"""Memory of an empty string, roughly, in any library that holds one."""
MAX_RANK = 64
