"""The systems that throughput.py compares, and the work that all of them do.

Each module of a system has two functions, `train(options, batches)` and
`label(options, batches)`, that return what the system measured:

    rate            pairs or examples per second
    first           seconds until the first step or pass has finished, with compilation
    flops           operations per second, without padding (this project only)
    matrix_product  operations per second of a matrix product (this project only)
    tokens          mean tokens of a prediction (labelling with this project only)
"""
