"""Python imports this first, in every process whose PYTHONPATH leads here; PRETEND_GPU names the built device.cpp."""

import os

if os.environ.get("PRETEND_GPU"):
    import ctypes

    ctypes.CDLL(os.environ["PRETEND_GPU"])  # before torch, which asks for its devices when it is imported
    import pretend_gpu

    pretend_gpu.plug_in()
