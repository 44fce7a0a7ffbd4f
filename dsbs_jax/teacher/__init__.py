"""Asks a teacher, a large language model, for rationales and labels.

No module in this package imports TensorFlow, SeqIO or JAX, so the command starts fast.
"""
