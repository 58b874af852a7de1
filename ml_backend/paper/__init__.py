"""Experiments by an annotator who knows the truth. In come the authors' downloads of WEAR, Wetlab and ActionSense, or
recordings of one's own that bring labels; out come the paper's tables and figures, ours beside theirs, and how right
labels are for how many answers.

Other rooms use the modules `reproduce` (tables, figures, ablations), `published` (the downloads) and `rehearsal`
(one's own recordings), and of `annotator`, which plays the paper's annotator, `Track` and `annotate`."""

from ml_backend.paper import published, rehearsal, reproduce
from ml_backend.paper.annotator import Track, annotate

__all__ = ["Track", "annotate", "published", "rehearsal", "reproduce"]
