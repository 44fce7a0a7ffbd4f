"""Packaging: what is installed, and what each dependency is for."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "dsbs_jax/__init__.py").read_text(), re.MULTILINE
).group(1)

setuptools.setup(
    name="dsbs-jax",
    version=VERSION,
    description="Distilling Step-by-Step on JAX: small students from a teacher's "
    "labels and rationales",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # The folders that people and launch scripts open by hand stand at the top of the
    # repository; installed, they are part of the package.
    packages=[
        "dsbs_jax",
        *(
            f"dsbs_jax.{package}"
            for package in setuptools.find_namespace_packages("dsbs_jax")
            if "__pycache__" not in package
        ),
        "dsbs_jax.tasks",
        "dsbs_jax.configs",
    ],
    package_dir={"dsbs_jax.tasks": "tasks", "dsbs_jax.configs": "gin"},
    package_data={
        "dsbs_jax.configs": ["*/*.gin"],
        "dsbs_jax.teacher": ["prompts/*.txt"],
    },
    install_requires=[
        # Student and local engine.
        "jax>=0.10.2",
        "flax>=0.12.8",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "tensorstore>=0.1.86",
        "msgpack>=1.2.4",
        # Data.
        "seqio>=0.0.20",
        "tensorflow>=2.21.0",
        "tensorflow-datasets>=4.9.10",
        "tensorflow-text>=2.21.1",
        "sentencepiece>=0.2.3",
        "etils[epath]>=1.15.0",
        # The teacher's client, and the transport whose errors it raises.
        "openai>=3.52.0",
        "httpx2>=2.12.0",
        # Settings and flags.
        "gin-config>=0.5.0",
        "absl-py>=2.5.1",
        # Published weights and vocabularies.
        "huggingface-hub>=2.4.0",
        "safetensors>=0.8.0",
        # What people look at: TensorBoard, plots, progress.
        "clu>=0.0.12",
        "tensorboard>=2.21.0",
        "matplotlib>=3.11.2",
        "tqdm>=4.70.1",
    ],
    extras_require={
        "cuda": ["jax[cuda13]>=0.10.2"],
        "tpu": ["jax[tpu]>=0.10.2"],
        # Reading pytorch_model.bin; the tests of parity and against a real server.
        "hf": ["torch>=2.13.0", "transformers[serving]>=5.23.0"],
        # What T5X imports; itself, airio and jestimator come from launch/t5x.txt.
        "t5x": [
            "cached-property>=2.0.1",
            "chex>=0.1.92",
            "fiddle>=0.3.1",
            "grain>=0.2.18",
            "jaxtyping>=0.3.11",
            "ml-collections>=1.1.0",
        ],
        "test": ["pytest>=9.2.0", "hypothesis>=6.170.15", "ruff>=0.17.5"],
    },
)
