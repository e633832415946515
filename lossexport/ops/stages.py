"""The torch functions of the stages of ops that take several kernels, by their names."""

from lossexport.ops.ghm import (
    ghm_c_counts,
    ghm_c_terms,
    ghm_r_counts,
    ghm_r_terms,
    ghm_total,
    ghm_weights,
)
from lossexport.ops.ranking import ap_counts, ap_positives, ap_shares, ap_update

__all__ = [
    "ap_counts",
    "ap_positives",
    "ap_shares",
    "ap_update",
    "ghm_c_counts",
    "ghm_c_terms",
    "ghm_r_counts",
    "ghm_r_terms",
    "ghm_total",
    "ghm_weights",
]
