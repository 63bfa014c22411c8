"""The LiteLLM proxy, as `pip install 'litellm[proxy]'` brings it: many providers behind one address.

It is half a minute of installing and 0.7 GB, once.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import msgspec

from tests.support import pip
from tests.support.ports import free_port

# Measured and tried from this one on.
REQUIREMENT = "litellm[proxy]>=1.106"
KEY = "sk-drill"
START_S = 90.0
LEAVE_S = 10.0


class LiteLLM(NamedTuple):
    url: str
    pid: int


def install() -> Path:
    return pip.install("litellm", REQUIREMENT)


@contextmanager
def litellm(folder: Path, models: Mapping[str, Mapping[str, object]]) -> Iterator[LiteLLM]:
    """Models by name, each with its `litellm_params`. One worker, no retries, no telemetry, nothing kept."""
    program = install() / "litellm"
    config = {
        "model_list": [{"model_name": name, "litellm_params": params} for name, params in models.items()],
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"master_key": KEY},
    }
    path = folder / "litellm.yaml"
    path.write_bytes(msgspec.json.encode(config))  # JSON is YAML
    port = free_port()
    command = [str(program), "--config", str(path), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_environ(folder), cwd=folder)
    try:
        _until_it_listens(process, f"http://127.0.0.1:{port}", folder / "litellm.log")
        yield LiteLLM(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environ(folder: Path) -> dict[str, str]:
    """It asks nobody for prices, and knows no key of ours."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}


def _until_it_listens(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends = time.monotonic() + START_S
    while True:
        try:
            with build_opener(ProxyHandler({})).open(f"{url}/health/liveliness", timeout=5):
                return
        except (URLError, OSError) as error:
            if process.poll() is not None or time.monotonic() > ends:
                raise AssertionError(f"the LiteLLM proxy did not start:\n{log.read_text()[-4000:]}") from error
        time.sleep(0.1)
