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
    # gin/ and tasks/ are at the top of the repository, where users look for them. The
    # installed package contains them as dsbs_jax.configs and dsbs_jax.tasks.
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
    entry_points={"console_scripts": ["dsbs-jax = dsbs_jax.commands.app:main"]},
    package_data={
        "dsbs_jax": ["py.typed"],
        "dsbs_jax.configs": ["*/*.gin"],
        "dsbs_jax.experiments.paper": ["*.json"],
        "dsbs_jax.reports": ["templates/*.jinja"],
        "dsbs_jax.serving": ["page/*"],
        "dsbs_jax.teacher": ["prompts/*.txt"],
    },
    # Lower bounds are the lowest versions that pass the tests (.ci/lowest.txt).
    install_requires=[
        # Student and local engine.
        # 0.6.0 decodes nothing with programs from its persistent compilation cache.
        "jax>=0.6.1",
        "flax>=0.10.6",
        "optax>=0.2.4",
        "orbax-checkpoint>=0.11.20",
        "tensorstore>=0.1.73",
        "msgpack>=1.0.7",
        "numpy>=2.0.0",
        # Data.
        "seqio>=0.0.20",
        "tensorflow>=2.20.0",
        "tensorflow-datasets>=4.9.10",
        "tensorflow-text>=2.20.0",
        "sentencepiece>=0.2.0",
        "protobuf>=6.31.1",
        "etils[epath]>=1.13.0",
        # CSV, Parquet and compressed files.
        "pyarrow>=21.0.0",
        # The teacher's client, the HTTP library whose errors it raises, and retries.
        "openai>=3.15.0",
        "httpx2>=2.12.0",
        "tenacity>=9.0.0",
        # Settings, flags and strict JSON.
        "msgspec>=0.19.0",
        "gin-config>=0.5.0",
        "absl-py>=2.0.0",
        # The command `dsbs-jax`.
        "typer>=0.28.0",
        # Published weights and vocabularies.
        "huggingface-hub>=1.0.0",
        "safetensors>=0.8.0",
        # The templates of the pages.
        "jinja2>=3.1.0",
        "markupsafe>=2.1.0",
        # Tests and intervals of cards and reports.
        "scipy>=1.13.0",
        "statsmodels>=0.14.2",
        # TensorBoard, plots and progress bars.
        "clu>=0.0.12",
        "tensorboard>=2.20.0",
        "matplotlib>=3.8.4",
        "tqdm>=4.66.3",
        "tabulate>=0.9.0",
    ],
    extras_require={
        "cuda": ["jax[cuda13]>=0.10.2"],
        "tpu": ["jax[tpu]>=0.10.2"],
        # To read folders and hub repositories of the library datasets.
        "datasets": ["datasets>=4.2.0"],
        # To read pytorch_model.bin; for the tests of parity and with a real server.
        # PEFT reads and writes adapters in the tests.
        "hf": ["torch>=2.6.0", "transformers[serving]>=5.8.0", "peft>=0.18.0"],
        # What T5X imports. launch/t5x.txt installs T5X, airio and jestimator.
        "t5x": [
            "cached-property>=2.0.1",
            "chex>=0.1.92",
            "fiddle>=0.3.1",
            # Orbax needs it for checkpoints in a bucket.
            "google-cloud-storage>=3.17.1",
            "grain>=0.2.18",
            "jaxtyping>=0.3.11",
            "ml-collections>=1.1.0",
        ],
        # The engine of the export format "ctranslate2", and the server.
        "serve": [
            "ctranslate2>=4.6.0",
            "fastapi>=0.115.0",
            "starlette>=0.38.6",
            "pydantic>=2.7.0",
            "uvicorn>=0.30.0",
            "prometheus-client>=0.20.0",
        ],
        # Near-duplicate rationales on the quality card.
        "duplicates": ["datasketch>=1.5.3"],
        # Trackers. mlflow-skinny is MLflow without its server; the other two packages
        # write its database.
        "wandb": ["wandb>=0.20.0"],
        "mlflow": ["mlflow-skinny>=3.0.0", "sqlalchemy>=2.0.0", "alembic>=1.14.0"],
        "test": [
            "pytest>=8.2.0",
            "hypothesis>=6.100.0",
            "datasets>=4.2.0",
            "datasketch>=1.5.3",
            "pytest-cov>=6.0.0",
            "pytest-xdist>=3.6.1",
            # The metrics of reports are compared with it.
            "scikit-learn>=1.5.0",
            # The formatter's output depends on the version.
            "ruff>=0.17.5",
            "mypy>=2.0.0",
            "import-linter>=2.6",
            "build>=1.2.0",
            # The server's page is tested in Chromium.
            "selenium>=4.20.0",
            # To run docs/own_task.ipynb.
            "nbclient>=0.10.0",
            "nbformat>=5.10.0",
            "ipykernel>=6.29.0",
        ],
        "docs": [
            "mkdocs>=1.6.0",
            "mkdocs-material>=9.6.0",
            "mkdocstrings[python]>=1.0.0",
        ],
    },
)
