"""weakhar: label hours of synchronised video and IMU from a few minutes of human work.

The rooms along the flow, each importing only those before it: `recordings` (a folder → recordings on one clock),
`embeddings` (a video → vectors), `clusters` (vectors → clusters and centroid clips), `labels` (clusters + answers →
labels), `export` (labels → files), `labelstudio` (all that speaks with it), `jobs` (the job, queue and store),
`web` (the server), `paper` (its experiments), `sample` (simulated recordings and the demo), `cli` (the `weakhar`
command). Before them stand `errors`, `files` and `settings`, and `training/contract.py`, which defines an export.
"""

__version__ = "0.2.0"
