"""Quality of a detector's boxes without references, from a calibration on a labelled sample."""

from lossexport.monitor.calibration import Calibration
from lossexport.monitor.learn import calibrate
from lossexport.monitor.watch import Watch

__all__ = ["Calibration", "Watch", "calibrate"]
