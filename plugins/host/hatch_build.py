"""The step of a wheel or an editable install that builds the CPU kernels, if possible.

With LOSSEXPORT_PORTABLE=1 they are for glibc 2.17 and later, and $CXX may compile for another
processor: `make wheels`.
"""

import os
import runpy
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeKernels(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the library to the wheel. If it cannot be built, the rest is installed without it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, for an editable install into the package, then say what the wheel holds."""
        tools = runpy.run_path(str(Path(self.root, "plugins", "host", "build.py")))
        portable = os.environ.get("LOSSEXPORT_PORTABLE") == "1"
        if version == "editable":
            folder = tools["package"]() / "native"
        else:
            self._built = tempfile.TemporaryDirectory()
            folder = Path(self._built.name)
        try:
            tools["install"](folder, portable)
        except (tools["BuildError"], OSError) as error:
            reason = f"native kernels were not built: {error}"
            if portable:  # asked for by name
                self.app.abort(reason)
            self.app.display_warning(f"{reason}; lossexport doctor says how to add them")
            return
        if version != "editable":
            build_data["force_include"][str(folder)] = "lossexport/native"
        platform = sysconfig.get_platform()
        if portable:
            platform = f"linux-{tools['machine']().partition('-')[0]}"
        # One wheel for every Python: the binding is ctypes.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform.replace('-', '_').replace('.', '_')}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what is in the wheel now."""
        if version != "editable":
            self._built.cleanup()
