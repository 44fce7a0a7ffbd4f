"""Runs an extraction against the fake teacher and exits with its status.

    python extract.py inputs.jsonl replies.json PROMPT OUTPUT_DIR [further flags …]

Few attempts and short delays make requests without a usable reply fail quickly.
"""

import os
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True  # no __pycache__ folder in the cases
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import fake_teacher  # noqa: E402

inputs, replies, prompt, output, *more = sys.argv[1:]
server = fake_teacher.Server(fake_teacher.load(replies))
environment = {**os.environ, "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1"}
for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    environment.pop(name, None)
command = [
    sys.executable,
    "-m",
    "dsbs_jax.teacher.extract",
    "--gin_file=teacher/extract.gin",
    f"--gin.PROMPT={prompt!r}",
    f"--gin.INPUT_FILE={inputs!r}",
    f"--gin.OUTPUT_DIR={output!r}",
    f"--gin.BASE_URL={server.url!r}",
    "--gin.TEACHER_MODEL='fake'",
    "--gin.MAX_ATTEMPTS=2",
    "--gin.BACKOFF=0.01",
    "--gin.TIMEOUT=20.0",
    "--gin.CONCURRENCY=1",
    *more,
]
sys.exit(subprocess.run(command, env=environment).returncode)
