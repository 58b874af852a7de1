"""Labels + recordings → files to train on. In come every participant's labels and the recordings they belong to; out
comes a folder as `training/contract.py` defines it, as Parquet or as WEAR's CSV.

Other rooms use `write_export` (formats in `FORMATS`, a `Track` for what else was asked of each clip) and
`threshold_table`, what each threshold would keep; `forget_in_export` for a participant who withdraws.
"""

from ml_backend.export.dataset import FORMATS, forget_in_export, threshold_table, write_export
from ml_backend.export.samples import Track

__all__ = ["FORMATS", "Track", "forget_in_export", "threshold_table", "write_export"]
