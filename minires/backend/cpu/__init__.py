"""Threads, blocks and memory on the CPU. Nothing here knows what a layer is."""
