"""The paper's experiments. In come the authors' downloads of WEAR, Wetlab and ActionSense; out come the paper's
tables and figures, ours beside theirs, by an annotator who knows the truth.

Other rooms use the modules `reproduce` (tables, figures, ablations) and `published` (the downloads), and of
`annotator`, which plays the paper's annotator, `Track` and `annotate`.
"""

from ml_backend.paper import published, reproduce
from ml_backend.paper.annotator import Track, annotate

__all__ = ["Track", "annotate", "published", "reproduce"]
