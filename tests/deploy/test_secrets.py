"""Nothing secret and nothing that floats in the deployment files."""

from __future__ import annotations

import re
from pathlib import Path

FLOATING = re.compile(r"(?:image: |FROM |=)\S+:(?:latest|main|edge|nightly)\b")
SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|eyJ[A-Za-z0-9_-]{10,}\.|"
    r"(?:PASSWORD|SECRET_ACCESS_KEY|TOKEN)\s*[=:]\s*['\"]?[A-Za-z0-9/+]{8,}"
)


def test_no_secret_and_no_floating_image(deploy: Path) -> None:
    files = [file for file in deploy.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    assert len(files) > 10
    for file in files:
        if file.name == ".env":
            continue
        text = file.read_text(encoding="utf-8")
        assert not SECRET.search(text), file
        assert not FLOATING.search(text), file
