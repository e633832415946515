"""The step of a wheel or an editable install that builds the CPU kernels, if possible."""

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeKernels(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the library to the wheel. If it cannot be built, the rest is installed without it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build into the package, then say what the wheel holds and where it runs."""
        script = Path(self.root, "plugins", "host", "build.py")
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            self.app.display_warning(f"{reason}; lossexport doctor says how to add them")
            return
        library = Path(done.stdout.strip()).relative_to(self.root)
        build_data["artifacts"].append(f"/{library.as_posix()}")
        build_data["pure_python"] = False
        # One wheel for every Python: the binding is ctypes.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
