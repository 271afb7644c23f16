"""Tests run without a GPU: there, Triton's kernels are interpreted. With one, TRITON_INTERPRET=0 runs them on it."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported, which diffusers does
