"""The pytest plugin: `pytest --lossexport PATH` runs a test for every artifact and backend.

pytest imports this module in every run, so everything else is imported only if the option is given.
"""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("lossexport", "exported files against PyTorch in float64 (lossexport)")
    group.addoption(
        "--lossexport",
        action="append",
        default=[],
        metavar="PATH",
        help="Test an .onnx or .engine file, or all files of an export folder, on every backend.",
    )
    group.addoption(
        "--lossexport-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="Only on these: native, ort-kernels, ort (ort-cpu, ort-cuda, ort-rtx), rtx, tensorrt.",
    )
    group.addoption(
        "--lossexport-require",
        action="append",
        default=[],
        metavar="NAME",
        help="Fail where this backend cannot run, in place of skipping; ort is ort-cpu here.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Plan the tests. Raises UsageError on a path or a backend that cannot be used."""
    config.addinivalue_line("markers", "lossexport: a test that --lossexport has added")
    options = [f"lossexport{suffix}" for suffix in ("", "_backend", "_require")]
    paths, backends, required = (config.getoption(option) for option in options)
    if paths:
        from lossexport.parity.collect import Artifacts

        config.pluginmanager.register(Artifacts(config, paths, backends, required))
    elif backends or required:
        raise pytest.UsageError("--lossexport PATH is missing: nothing to run on a backend")
