"""The web page; see ``app.py``.

Views turn an answer, and the photograph in full size, into HTML styled by ``style.VIEW_STYLE``. They know nothing of
Streamlit, so ``report`` uses them as well as the page does:

- ``verdict.html(answer)``: malignant or not, then the diagnosis.
- ``crop.picture(photograph, name)`` and ``crop.note(photograph)``: what the network saw of the photograph.
- ``explanation.view(photograph, prediction, figures, id)``: which regions support the diagnosis.
- ``report.html(items, created)``: a file to print or keep.
"""
