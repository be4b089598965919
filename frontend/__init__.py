"""The web page: ``streamlit run frontend/app.py``."""
