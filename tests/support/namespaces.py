"""Tests that need a namespace of their own, made with unshare(1)."""

import os
import sys

import pytest

needs_namespaces = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux may make namespaces and mount"
)
