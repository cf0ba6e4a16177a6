"""Loads llama_cpp before anything else of a worker: a module to be imported first, for that alone."""

from contextlib import suppress

from engine.work.processes import settle_thread_waiting

settle_thread_waiting()  # before llama_cpp, which loads OpenMP
with suppress(ImportError):  # not in the environment for conversions
    # Before numpy: built with CUDA, its library may hold a C++ library of its own, and crashes beside numpy's.
    import llama_cpp  # noqa: F401
