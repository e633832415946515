"""Puts these classes in pycocotools' place, and takes them out again."""

import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType, TracebackType
from typing import Any

from lossexport.pycocotools import coco, cocoeval
from lossexport.pycocotools.masks import masks

_NAMES = {"coco": ("COCO",), "cocoeval": ("COCOeval", "Params")}
_OURS = {"coco": coco, "cocoeval": cocoeval}


class Patch:
    """A replacement of pycocotools, which `undo` or the end of a `with` block takes back."""

    def __init__(self) -> None:
        self._active = True
        _PLACE.enter()

    def undo(self) -> None:
        """Take the replacement back, unless that is done."""
        if self._active:
            self._active = False
            _PLACE.leave()

    def __enter__(self) -> "Patch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()


def patch() -> Patch:
    """Put `COCO`, `COCOeval` and `Params` in pycocotools' place, until `undo` or the end of `with`.

    From then on `import pycocotools.coco` and `import pycocotools.cocoeval`, in any form, give
    these classes, and so do modules of pycocotools that were imported before. A class that was
    imported by its name before (`from pycocotools.cocoeval import COCOeval`) stays what it is.
    `pycocotools.mask` stays pycocotools' own; where that is not installed, using one of its
    functions raises LossexportError. Replacements may be nested: the last one to end restores.
    """
    return Patch()


class _Place:
    """The modules and attributes that are replaced while any patch is active."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._modules: dict[str, ModuleType | None] = {}
        self._attributes: list[tuple[ModuleType, str, Any]] = []

    def enter(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._replace()

    def leave(self) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0:
                self._restore()

    def _replace(self) -> None:
        package = ModuleType("pycocotools", __doc__)
        package.__path__ = []
        package.__spec__ = ModuleSpec("pycocotools", None, is_package=True)
        modules: dict[str, ModuleType] = {"mask": masks(), **_OURS}
        for name, module in modules.items():
            setattr(package, name, module)
        new = {"pycocotools": package}
        new |= {f"pycocotools.{name}": module for name, module in modules.items()}
        self._modules = {name: sys.modules.get(name) for name in new}
        for name, attributes in _NAMES.items():
            old = self._modules[f"pycocotools.{name}"]
            if old is not None:
                for attribute in attributes:
                    self._set(old, attribute, getattr(_OURS[name], attribute))
        sys.modules.update(new)

    def _set(self, module: ModuleType, name: str, value: Any) -> None:
        self._attributes.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    def _restore(self) -> None:
        for name, module in self._modules.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
        for module, name, value in self._attributes:
            setattr(module, name, value)
        self._attributes.clear()


_PLACE = _Place()
