"""The stubs of `lossexport.ops` and `lossexport.nn`, for type checkers and editors.

Both modules make their names at runtime, so that no tool could read them from the source.
"""

import inspect
import textwrap
from inspect import Parameter, Signature
from typing import Any

from lossexport import nn, ops
from lossexport.catalog import BUILTIN
from lossexport.catalog.spec import Op

EDITED = "# Written by docs/generate.py from the catalogue: change it there."
WIDTH = 100
# Ops that users register have their names at runtime only.
OTHERS = "def __getattr__(name: str) -> Any: ...\n"


def functions() -> str:
    """lossexport/ops/__init__.pyi"""
    head = f'''\
"""{ops.__doc__}"""

{EDITED}

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor
'''
    return "\n".join((head, *map(_function, BUILTIN.values()), OTHERS))


def modules() -> str:
    """lossexport/nn.pyi"""
    head = f'''\
"""{nn.__doc__}"""

{EDITED}

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from lossexport.ops.module import CataloguedModule as CataloguedModule
'''
    return "\n".join((head, *map(_class, BUILTIN.values()), OTHERS))


def _function(op: Op) -> str:
    function = getattr(ops, op.name)
    return _def(op.name, inspect.signature(function)) + ":\n" + _doc(function)


def _class(op: Op) -> str:
    module = getattr(nn, op.class_name)
    given, shown = inspect.signature(module.__init__), inspect.signature(module.forward)
    members = (
        *(f"{name}: Tensor\n\n" for name in op.state),
        _def("__init__", given) + ": ...\n",
        _def("forward", shown) + ":\n" + _doc(module.forward) + "\n",
        _def("__call__", shown) + ": ...\n",
    )
    body = textwrap.indent("".join(members), "    ")
    return f"class {op.class_name}(CataloguedModule):\n{_doc(module)}\n{body}"


def _doc(item: Any) -> str:
    """A docstring that is indented by a level."""
    text = inspect.getdoc(item) or ""
    return textwrap.indent(f'"""{text}' + ("\n" if "\n" in text else "") + '"""\n', "    ")


def _def(name: str, signature: Signature) -> str:
    """`def` with parameters and result, on a line if they fit."""
    parameters = [_parameter(item) for item in signature.parameters.values()]
    kinds = [item.kind for item in signature.parameters.values()]
    if Parameter.KEYWORD_ONLY in kinds:
        parameters.insert(kinds.index(Parameter.KEYWORD_ONLY), "*")
    result = _text(signature.return_annotation)
    line = f"def {name}({', '.join(parameters)}) -> {result}"
    if len(line) + len("    : ...") <= WIDTH:
        return line
    lines = textwrap.indent("".join(f"{item},\n" for item in parameters), "    ")
    return f"def {name}(\n{lines}) -> {result}"


def _parameter(item: Parameter) -> str:
    text = item.name
    if item.annotation is not Parameter.empty:
        text += f": {_text(item.annotation)}"
    if item.default is not Parameter.empty:
        text += f" = {item.default!r}".replace("'", '"')
    return text


def _text(annotation: Any) -> str:
    """An annotation, with the names that the head of a stub imports."""
    text = inspect.formatannotation(annotation, base_module="torch").replace("'", '"')
    for module in ("typing", "collections.abc", "torch"):
        text = text.replace(f"{module}.", "")
    return text
