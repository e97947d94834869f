"""What layers may use: one meaning each, on a CPU and on a GPU. `minires.backend` lists it.

What only one of the two does lies in `cpu/` and `gpu/`; here is the choice between them.
"""
