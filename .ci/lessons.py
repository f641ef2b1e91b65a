"""Run the lessons named (all by default) again and save them; translations get their code and outputs.

python .ci/lessons.py 1_what_batch_norm_does, in an environment with the extra docs.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "examples" / "lessons"
for path in sorted(FOLDER.glob("?_*.ipynb")):
    if path.stem.endswith(".zh") or (sys.argv[1:] and path.stem not in sys.argv[1:]):
        continue
    lesson = nbformat.read(path, 4)
    metadata = lesson.metadata.copy()
    NotebookClient(lesson, timeout=60, record_timing=False, coalesce_streams=True).execute()
    lesson.metadata = metadata
    nbformat.write(lesson, path)
    translated = path.with_suffix(".zh.ipynb")
    if translated.exists():
        texts = iter(nbformat.read(translated, 4).cells)
        for cell, text in zip(lesson.cells, texts, strict=True):
            if cell.cell_type == "markdown":
                cell.source = text.source
        nbformat.write(lesson, translated)
    print(path.stem)
