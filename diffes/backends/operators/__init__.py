"""Operators of ours in ONNX Runtime: what its kernels do in five passes over memory, ours do in one.

abi.py speaks ONNX Runtime's C interface, kernels.py says what the operators calculate, fuse.py puts them in a graph.
"""
