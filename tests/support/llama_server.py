"""The server of llama.cpp. Runs in the environment of `llama`, not in ours.

    python llama_server.py MODEL CONTEXT PORT

It listens while it still loads, prints a line once it is ready, and ends with its stdin.
"""

import sys

import xllamacpp


def serve(path: str, context: str, port: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = int(context)
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.port = int(port)
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


serve(*sys.argv[1:])
