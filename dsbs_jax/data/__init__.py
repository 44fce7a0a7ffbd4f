"""From a teacher's completions and people's labels to examples for a student.

No module here imports JAX itself. Records and the readers of completions, released
files and JSONL need neither TensorFlow nor SeqIO.
"""
