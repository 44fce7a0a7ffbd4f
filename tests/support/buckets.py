"""A bucket that is a local folder, which the code under test reads as gs://bucket."""

import os

import tensorflow as tf
from etils.epath import backend, gpath

from dsbs_jax.weights import digests

BUCKET = "gs://bucket"


class _Gfile:
    """TensorFlow's file functions, which read the folder for addresses of the bucket.

    Attributes:
        reads: The addresses of the files that were opened.
    """

    def __init__(self, folder):
        self.reads = []
        self._folder = str(folder)

    def __getattr__(self, name):
        def call(path, *arguments, **keywords):
            address = os.fspath(path)
            if name == "GFile":
                self.reads.append(address)
            local = address.replace(BUCKET, self._folder)
            found = getattr(tf.io.gfile, name)(local, *arguments, **keywords)
            return found if name != "walk" else map(self._as_in_bucket, found)

        return call

    def _as_in_bucket(self, visited):
        top, *names = visited
        return top.replace(self._folder, BUCKET), *names


class Bucket(backend._TfBackend):
    """The backend of `epath` for addresses, without a network.

    Attributes:
        gfile: Its file functions.
    """

    gfile = None

    def __init__(self, folder):
        self.gfile = _Gfile(folder)


def install(folder, monkeypatch):
    """Makes a folder the bucket, and returns the backend that reads it."""
    bucket = Bucket(folder)
    # New versions of etils ask Google Cloud which kind of bucket it is.
    monkeypatch.setattr(
        gpath, "_is_zonal_gcs_bucket", lambda name: False, raising=False
    )
    monkeypatch.setattr(backend, "tf_backend", bucket)
    # Another test may have read the same address.
    digests._find_damage_once.cache_clear()
    return bucket
