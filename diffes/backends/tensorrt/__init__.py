"""TensorRT or TensorRT-RTX: engines without weights, handed prefixes of the one blob.

package.py  which of the two is installed, and where they differ     profiles.py  which shapes an engine is built for
build.py    network to engine                                        cache.py     engines on disk
gpu.py      the GPU, refused if engines do not run on it              engine.py    an engine with its contexts
backend.py  the backend
"""
