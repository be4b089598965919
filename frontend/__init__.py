"""The web page; see ``app.py``.

Views turn an answer, and the photograph in full size, into HTML. Of them only ``component`` knows Streamlit,
and ``report`` uses the same ones:

- ``verdict.html(answer, say)``: malignant or not, then the diagnosis; ``verdict.STYLE`` goes before it, once.
- ``seen.picture(photograph, name, say)`` and ``seen.note(photograph, say)``: what the network saw of the photograph.
- ``explanation.view(photograph, prediction, figures, say, id)``, which ``component.show(view, key)`` puts on the page.
- ``report.html(items, made, say, language)``: a file to print or keep.
"""
