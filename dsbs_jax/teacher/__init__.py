"""Step one of the method: asks a teacher for rationales, and judges what it says.

Nothing here imports TensorFlow, SeqIO or JAX, so that asking starts at once.
"""
