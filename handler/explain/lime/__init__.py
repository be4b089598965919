"""LIME with a factorial design of masks (Ribeiro et al., KDD 2016)."""
