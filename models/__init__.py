"""Networks, losses, metrics and baselines: arrays in, arrays out.

`models.metrics` and `models.baselines` need NumPy only; the other modules need Keras 3 and are
therefore never imported from here.
"""
