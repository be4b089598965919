"""Update the catalogues with the texts in the page's code, and compile them. Babel is needed (requirements-dev.txt).

python -m frontend.locale.update            all languages
python -m frontend.locale.update de         German too, if it is new
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_from_dir, extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from api import service_errors
from api.classes import CLASSES
from frontend.i18n import LOCALES

API = LOCALES.parent.parent / "api"
CLIENT_ERRORS = [name for name, value in vars(service_errors).items() if isinstance(value, type)]
"""Exceptions whose first argument is a text."""


def extract() -> Catalog:
    """Every text to translate: those in the page's code, the client's messages, and the names of the diagnoses."""
    template = Catalog(project="MLBIO", charset="utf-8")
    for file, line, message, comments, context in extract_from_dir(LOCALES.parent, [("**.py", "python")]):
        template.add(message, locations=[(f"frontend/{file}", line)], auto_comments=comments, context=context)
    keywords = dict.fromkeys(CLIENT_ERRORS)
    for module in ("address.py", "client.py"):
        for line, message, _comments, _context in extract_from_file("python", API / module, keywords=keywords):
            template.add(message, locations=[(f"api/{module}", line)])
    for name in CLASSES.values():
        template.add(name, locations=[("api/classes.py", 0)])
    return template


def compiled(catalogue: Catalog) -> bytes:
    """The content of the ``.mo`` file."""
    file = io.BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def update(file: Path) -> None:
    """Update a catalogue, or create it, and compile it."""
    code = file.parent.parent.name
    if file.exists():
        catalogue = read_po(io.BytesIO(file.read_bytes()), locale=code)
    else:
        catalogue = Catalog(locale=code, project="MLBIO", header_comment="# Translations of the page.", fuzzy=False)
    template = extract()
    template.creation_date = catalogue.creation_date  # so that a file without changes stays the same
    catalogue.update(template, no_fuzzy_matching=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as output:
        write_po(output, catalogue, width=120, ignore_obsolete=True, include_lineno=False)
    file.with_suffix(".mo").write_bytes(compiled(catalogue))


if __name__ == "__main__":
    for code in sys.argv[1:]:
        update(LOCALES / code / "LC_MESSAGES" / "mlbio.po")
    for file in LOCALES.glob("*/LC_MESSAGES/mlbio.po"):
        update(file)
