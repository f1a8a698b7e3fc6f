"""A GPU is never a silent choice: what was asked for is used or refused, and ``auto`` knows why it is the CPU."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest

from cellkey import device
from cellkey.errors import MissingDependencyError, ParameterError


@pytest.fixture(autouse=True)
def _ask_again() -> Iterator[None]:
    device.why_no_gpu.cache_clear()
    yield
    device.why_no_gpu.cache_clear()


def cupy_that_counts(monkeypatch: pytest.MonkeyPatch, count: object) -> None:
    cupy = types.ModuleType("cupy")
    cupy.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    cupy.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=count))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert device.choose_device("auto") == "cpu"
    assert device.why_no_gpu() == "cupy is not installed"
    with pytest.raises(MissingDependencyError, match=r"'cupy'.*cellkey\[gpu\]"):
        device.choose_device("gpu")


def test_without_a_device_the_driver_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        msg = "cudaErrorNoDevice: no CUDA-capable device is detected"
        raise RuntimeError(msg)

    cupy_that_counts(monkeypatch, fails)
    assert device.choose_device("auto") == "cpu"
    with pytest.raises(ParameterError, match="no CUDA-capable device"):
        device.choose_device("gpu")


def test_a_device_is_taken_unless_the_cpu_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy_that_counts(monkeypatch, lambda: 1)
    assert [device.choose_device(wanted) for wanted in ("auto", "gpu", "cpu")] == ["gpu", "gpu", "cpu"]
