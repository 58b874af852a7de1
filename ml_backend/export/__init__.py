"""Labels + recordings → files to train on. In come every participant's labels and the recordings they belong to; out
comes a folder as `training/contract.py` defines it, as Parquet or as WEAR's CSV.

Other rooms use `write_export` (formats in `FORMATS`, a `Track` for what else was asked of each clip; each
`ParticipantPart` may be `Written` elsewhere, as `WriteParts` says, else `one_by_one`) and `threshold_table`, what
each threshold would keep; `forget_in_export` for a participant who withdraws.
"""

from ml_backend.export.dataset import FORMATS, forget_in_export, one_by_one, threshold_table, write_export
from ml_backend.export.participant import ParticipantPart, WriteParts, Written
from ml_backend.export.samples import Track

__all__ = [
    "FORMATS",
    "ParticipantPart",
    "Track",
    "WriteParts",
    "Written",
    "forget_in_export",
    "one_by_one",
    "threshold_table",
    "write_export",
]
