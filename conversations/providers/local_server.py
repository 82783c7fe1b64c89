"""The child process that serves the demo model; run by path, so that it imports nothing of ours.

Reads one JSON line (weights, key, context, slots) from standard input, writes one JSON line with
its URL when it is ready, and ends when standard input does: with its parent, however that ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

NICENESS = 10
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask Linux for SIGKILL at the parent's end; standard input tells us elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    end_with_parent()
    os.nice(NICENESS)
    config = json.loads(sys.stdin.readline())

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = config["weights"]
    params.model_alias = {config["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [config["key"]]
    params.n_ctx = config["context"] * config["slots"]
    params.n_parallel = config["slots"]
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_threads_http = config["slots"] + 2
    params.cache_ram_mib = 64
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = -1
    server = xllamacpp.Server(params)

    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    # Nobody reads our output any more: what the library prints later must not block it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stdin.read()
    # The library's threads may be in the middle of an answer; nobody waits for it.
    os._exit(0)


if __name__ == "__main__":
    main()
