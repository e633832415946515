"""Where this installation came from, so that suggested commands install from the same place."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_NAME = "lossexport"
_ROOT = Path(__file__).resolve().parent.parent


def install_command(extra: str = "") -> str:
    """The `pip install` line that adds `extra` to this installation, quoted for a shell.

    A checkout, a wheel and a repository are named by their path or address (PEP 610), because an
    index may have another package of this name. Where that path is gone, the packages of the extra
    are named instead. The name alone is for an installation that pip found by its name.
    """
    wanted = f"[{extra}]" if extra else ""
    if _is_checkout(_ROOT):
        return _pip("-e", f"{_ROOT}{wanted}")
    record = _direct_url()
    if not record:
        return _pip(f"{_NAME}{wanted}")
    path = _local_path(record)
    if path is None:
        return _pip(f"{_NAME}{wanted} @ {_address(record)}")
    if not path.exists():
        return _pip(*_packages(extra))
    editable = isinstance(info := record.get("dir_info"), dict) and info.get("editable") is True
    return _pip(*(["-e"] if editable else []), f"{path}{wanted}")


def _pip(*arguments: str) -> str:
    return shlex.join(("pip", "install", *arguments))


def _is_checkout(folder: Path) -> bool:
    """Whether the package runs from its sources, whatever else is installed."""
    try:
        text = (folder / "pyproject.toml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return re.search(rf'^name\s*=\s*"{_NAME}"\s*$', text, re.MULTILINE) is not None


def _direct_url() -> dict[str, Any]:
    """PEP 610's record of the origin; empty if there is none or it cannot be read."""
    from importlib import metadata

    try:
        record = json.loads(metadata.distribution(_NAME).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, OSError, ValueError, RecursionError):
        return {}
    usable = isinstance(record, dict) and isinstance(record.get("url"), str)
    return record if usable else {}


def _local_path(record: dict[str, Any]) -> Path | None:
    parts = urlsplit(record["url"])
    if parts.scheme != "file" or "vcs_info" in record:
        return None
    return Path(unquote(parts.path), record.get("subdirectory") or "")


def _address(record: dict[str, Any]) -> str:
    """The address of a remote archive, or of a repository at the commit that is installed."""
    url: str = record["url"]
    if isinstance(vcs := record.get("vcs_info"), dict):
        url = f"{vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', 'HEAD')}"
    folder = record.get("subdirectory")
    return f"{url}#subdirectory={folder}" if folder else url


def _packages(extra: str) -> Iterator[str]:
    """The requirements of `extra`, or of the base if it is empty, from the metadata."""
    from importlib import metadata

    for line in metadata.requires(_NAME) or ():
        requirement, _, marker = line.partition(";")
        found = re.search(r"""extra == ["']([\w-]+)["']""", marker)
        if (found[1] if found else "") == extra:
            yield requirement.strip()
