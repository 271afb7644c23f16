"""What a team would run without Diffes: diffusers' own pipeline behind FastAPI, and behind BentoML.

A peer's process has nothing of Diffes in it. `start.py` alone, which starts one, is Diffes' side.
"""
