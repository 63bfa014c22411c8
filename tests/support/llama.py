"""A real server of OpenAI's API on this machine: that of llama.cpp, as the wheels of `xllamacpp` bring it, with a model
of 260 KB that is made on the spot."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import pip
from tests.support.ports import free_port

# Its version is its date and llama.cpp's build.
REQUIREMENTS = ("xllamacpp>=2026.10", "gguf>=0.19")
_HERE = Path(__file__).parent
_START_S = 60.0
SHORT = 256


class Llama:
    """`process` may be stopped and killed."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}/v1"

    def ready(self) -> None:
        """Wait until the model is loaded."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the server of llama.cpp did not start"


def model() -> Path:
    """Beside what it is made with, and as long."""
    python = pip.install("llama", *REQUIREMENTS) / "python"
    path = pip.ROOT / "llama" / "model.gguf"
    if not path.is_file():
        made = path.with_suffix(".making")
        subprocess.run([python, _HERE / "llama_model.py", made], check=True, capture_output=True, timeout=_START_S)
        made.replace(path)
    return path


@contextmanager
def llama(context: int = SHORT, *, is_ready: bool = True) -> Iterator[Llama]:
    """With room for so many tokens, in memory that is filled while it loads; `is_ready`: once that is over."""
    path, port = model(), free_port()
    python = path.with_name("venv") / "bin" / "python"
    command = [python, _HERE / "llama_server.py", path, str(context), str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as process:
        try:
            server = Llama(process, port)
            if is_ready:
                server.ready()
            yield server
        finally:
            process.kill()
