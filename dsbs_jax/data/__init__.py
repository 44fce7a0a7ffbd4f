"""From human labels and a teacher's completions to a student's examples.

No module here imports JAX. The modules that read records, completions, settings and
a user's files do not import TensorFlow or SeqIO.
"""
