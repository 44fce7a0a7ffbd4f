"""The Python API, which takes and returns plain values.

`import dsbs_jax` offers these names too, and imports their modules when they are used.
Nothing here uses gin, the command line or SeqIO's registries, so several students
can be used in one process.
"""
